package site

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/store"
	"kaname.dev/kaname/rib/release/swarm"
)

// fanOut is how many hosts ask one host for an index, and askUp how long they wait
// for it before they turn to an origin.
const (
	fanOut = 8
	askUp  = 2 * time.Second
)

// receive returns the pack to put chunks in, with the index from a peer if the pack is
// new here.
func (s *Site) receive(ctx context.Context, in StageIn, p Pack) (*store.Pack, error) {
	if held, err := s.o.Store.Pack(p.ID); err == nil {
		return held, nil
	}
	index, err := s.index(ctx, p)
	if err != nil {
		return nil, err
	}
	held, err := s.o.Store.Receive(ctx, index)
	if fault.Is(err, fault.KindFull) && s.makeRoom(in) {
		held, err = s.o.Store.Receive(ctx, index)
	}
	return held, err
}

// index gets a pack's index. It spreads along a tree over the peers, so that the origin
// gives it to a few only: each host asks the one above, and an origin when that has
// nothing for too long.
func (s *Site) index(ctx context.Context, p Pack) ([]byte, error) {
	var origins, others []swarm.Peer
	for _, peer := range p.Peers {
		switch {
		case peer.Host == s.o.Host:
			others = append(others, peer)
		case peer.Origin:
			origins = append(origins, peer)
		default:
			others = append(others, peer)
		}
	}
	slices.SortFunc(others, func(a, b swarm.Peer) int { return strings.Compare(a.Host, b.Host) })
	rank := slices.IndexFunc(others, func(o swarm.Peer) bool { return o.Host == s.o.Host })
	var err error
	if rank >= fanOut {
		up, cancel := context.WithTimeout(ctx, askUp)
		index, from := s.poll(up, p, []swarm.Peer{others[rank/fanOut-1]})
		cancel()
		if from == nil {
			return index, nil
		}
		err = from
	}
	index, from := s.poll(ctx, p, append(origins, others...))
	if from != nil {
		return nil, errors.Join(fault.Unavailable("pack "+p.ID.Short()+" cannot be fetched from anybody").At(s.o.Host).Because(from), err)
	}
	return index, nil
}

// poll asks the peers in turn until one has the index or ctx ends.
func (s *Site) poll(ctx context.Context, p Pack, peers []swarm.Peer) (index []byte, err error) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		for _, peer := range peers {
			if peer.Host == s.o.Host {
				continue
			}
			one, cancel := context.WithTimeout(ctx, 10*time.Second)
			index, err = swarm.FetchIndex(one, s.o.Client(peer.Host), peer, p.ID.String())
			cancel()
			switch {
			case err == nil && manifest.Sum(index) == p.ID:
				return index, nil
			case err == nil:
				err = fault.Corrupt("host " + peer.Host + " gives another index for pack " + p.ID.Short())
			default:
				err = fmt.Errorf("host %s: %w", peer.Host, err)
			}
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = context.Cause(ctx)
			}
			return nil, err
		case <-time.After(wait):
		}
	}
}

// makeRoom removes packs of other releases from the store of a plain host, which keeps
// them only to give them to others. It reports whether it found any.
func (s *Site) makeRoom(in StageIn) bool {
	if s.o.Core {
		return false
	}
	found := false
	for _, r := range s.o.Store.Releases("") {
		if r.ID == in.Manifest || r.Kind != manifest.Tree {
			continue
		}
		for _, p := range r.Packs {
			if s.busy(p.ID.String()) {
				continue
			}
			s.unshare(p.ID.String())
			if err := s.o.Store.RemovePack(p.ID); err != nil {
				s.o.Log.Warn("a pack cannot be removed", "pack", p.ID.Short(), "err", err)
				continue
			}
			found = true
		}
	}
	return found
}

// Pull brings a whole pack here without making a tree of it: a core gets a release that
// another core holds.
func (s *Site) Pull(ctx context.Context, p Pack) (*store.Pack, error) {
	held, err := s.receive(ctx, StageIn{}, p)
	if err != nil {
		return nil, err
	}
	err = swarm.Fetch(ctx, held, swarm.FetchSpec{
		Self: s.o.Host, Place: s.o.Place, Peers: p.Peers, Client: s.o.Client, Limits: s.o.Limits, Stats: s.o.Stats, Log: s.o.Log,
	})
	return held, err
}

func hostsOf(peers []swarm.Peer) (hosts []string) {
	for _, p := range peers {
		hosts = append(hosts, p.Host)
	}
	return hosts
}
