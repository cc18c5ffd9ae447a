package site

import (
	"context"
	"slices"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/store"
	"kaname.dev/kaname/rib/release/swarm"
)

// maxShared is how many packs are given to others after they are complete here.
const maxShared = 8

// shared is a pack that this host gives.
type shared struct {
	hosts  []string
	origin bool
	stop   func()
	users  int // transfers under way here
	used   time.Time
}

// share gives a pack to the hosts, in addition to those that it was given to. done ends
// the use by the caller, not the sharing: that ends when others need the place.
func (s *Site) share(p *store.Pack, hosts []string, origin bool) (done func(), err error) {
	s.mu.Lock()
	h := s.shares[p.ID()]
	if h == nil {
		h = &shared{}
		s.shares[p.ID()] = h
	}
	h.used = time.Now()
	h.users++
	all := slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(hosts), h.hosts...))))
	same := h.stop != nil && len(all) == len(h.hosts) && origin == h.origin
	stop := h.stop
	s.mu.Unlock()
	done = func() {
		s.mu.Lock()
		h.users--
		h.used = time.Now()
		s.mu.Unlock()
		s.trim()
	}
	if same {
		return done, nil
	}
	if stop != nil {
		stop() // the askers come back at once and are let in again
	}
	fresh, err := s.o.Server.Share(p, swarm.ShareSpec{Hosts: all, Origin: origin})
	if fault.Is(err, fault.KindExists) {
		err = nil // two at once: the other one's will do
	}
	s.mu.Lock()
	if fresh != nil {
		h.stop, h.hosts, h.origin = fresh, all, origin
	}
	s.mu.Unlock()
	if err != nil {
		done()
		return nil, err
	}
	return done, nil
}

// Offer gives packs as their origin, which has them whole; a core calls it.
func (s *Site) Offer(id manifest.Digest, hosts []string) (done func(), err error) {
	p, err := s.o.Store.Pack(id)
	if err != nil {
		return nil, err
	}
	return s.share(p, hosts, true)
}

// trim stops sharing the packs that were used longest ago.
func (s *Site) trim() {
	for {
		s.mu.Lock()
		oldest, idle := "", 0
		for id, h := range s.shares {
			if h.users > 0 {
				continue
			}
			idle++
			if oldest == "" || h.used.Before(s.shares[oldest].used) {
				oldest = id
			}
		}
		s.mu.Unlock()
		if idle <= maxShared {
			return
		}
		s.unshare(oldest)
	}
}

// busy reports whether a transfer of the pack is under way here.
func (s *Site) busy(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.shares[id]
	return h != nil && h.users > 0
}

func (s *Site) unshare(id string) {
	s.mu.Lock()
	h := s.shares[id]
	delete(s.shares, id)
	s.mu.Unlock()
	if h != nil && h.stop != nil {
		h.stop()
	}
}

func (s *Site) unshareAll() {
	s.mu.Lock()
	var ids []string
	for id := range s.shares {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	for _, id := range ids {
		s.unshare(id)
	}
}

// seed is the command: give packs that are here to more hosts.
func (s *Site) seed(_ context.Context, _ *plane.Call, in SeedIn) (out Seeded, err error) {
	for _, id := range in.Packs {
		p, err := s.o.Store.Pack(id)
		if fault.Is(err, fault.KindNotFound) {
			continue
		}
		if err != nil {
			return out, err
		}
		done, err := s.share(p, in.Hosts, false)
		if err != nil {
			return out, err
		}
		done()
		out.Packs = append(out.Packs, id)
	}
	return out, nil
}
