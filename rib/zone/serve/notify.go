package serve

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/source"
	"kaname.dev/kaname/rib/zone/wire"
)

// concerns reports whether the rule may allow a NOTIFY, its signature not yet looked at.
func (u *Rule) concerns(r *request) bool {
	switch {
	case len(u.From) == 0 && len(u.Keys) == 0,
		len(u.Zones) > 0 && !slices.Contains(u.Zones, r.zone),
		len(u.From) > 0 && !within(u.From, r.from.Addr()):
		return false
	}
	return len(u.Keys) == 0 || r.msg.IsTsig() != nil
}

// hear answers a NOTIFY, and hands it on once when a rule allows it (RFC 1996 section 3).
func (s *Server) hear(r *request) error {
	allowed := slices.ContainsFunc(s.rules, func(u Rule) bool {
		return u.concerns(r) && (len(u.Keys) == 0 || slices.Contains(u.Keys, r.key))
	})
	if !allowed || r.question.Qclass != dns.ClassINET || r.question.Qtype != dns.TypeSOA {
		s.log.Debug("NOTIFY refused", "zone", r.zone, "peer", r.from, "key", r.key)
		return r.reply(dns.RcodeRefused)
	}
	n := source.Notify{Zone: r.zone, From: r.from, Key: name.Name(r.key).Bare()}
	if r.key == "" {
		n.Key = ""
	}
	for _, rr := range r.msg.Answer {
		if soa, ok := rr.(*dns.SOA); ok {
			n.Serial = &soa.Serial
		}
	}
	if s.tell != nil && s.fresh(r) {
		s.tell(n)
	}
	b := r.begin(dns.RcodeSuccess, true)
	return r.send(r.finish(b))
}

// fresh reports whether a NOTIFY that is allowed is to be handed on: one that is signed
// once, others as often as their network may.
func (s *Server) fresh(r *request) bool {
	if r.key != "" {
		return s.replay.fresh(r.msg.IsTsig().MAC, time.Now())
	}
	return s.limit.allow(r.from.Addr(), time.Now())
}

// target is who is told of a zone.
type target struct {
	zone   name.Name
	addr   netip.AddrPort
	source netip.Addr
	key    string
}

// due is a NOTIFY that is not yet acknowledged.
type due struct {
	peer   wire.Peer
	serial uint32
	at     time.Time // of the next try
	tries  int
	busy   bool
}

// Waits between tries of a NOTIFY, doubled from the first to the last (RFC 1996 section
// 3.6 suggests a minute; here a lost one is not waited for so long).
const (
	againFirst = time.Second
	againLast  = time.Minute
	atOnce     = 16 // consumers that are told at a time
)

// announce makes a zone's consumers be told of its serial; mu is held.
func (s *Server) announce(p *published) {
	last := map[target]bool{}
	for _, peer := range p.zone.Notify {
		if !peer.Source.IsValid() && len(s.addrs) > 0 && !s.addrs[0].Addr().IsUnspecified() && s.addrs[0].Addr().Is4() == peer.Address.Addr().Is4() {
			peer.Source = s.addrs[0].Addr()
		}
		t := target{zone: p.zone.Name, addr: peer.Address, source: peer.Source}
		if peer.Key != nil {
			t.key = peer.Key.Name
		}
		last[t] = true
		if d := s.due[t]; d == nil || d.serial != p.serial {
			s.due[t] = &due{peer: peer, serial: p.serial}
		}
	}
	maps.DeleteFunc(s.due, func(t target, _ *due) bool { return t.zone == p.zone.Name && !last[t] })
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// herald tells consumers of new serials until ctx ends.
func (s *Server) herald(ctx context.Context) error {
	var under sync.WaitGroup
	defer under.Wait()
	slots := make(chan struct{}, atOnce)
	for {
		next := s.tellDue(ctx, slots, &under)
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// tellDue starts what is due and returns when to look again.
func (s *Server) tellDue(ctx context.Context, slots chan struct{}, under *sync.WaitGroup) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	next := now.Add(againLast)
	for t, d := range s.due {
		switch {
		case d.busy, d.tries < 0:
			continue
		case d.at.After(now):
			if d.at.Before(next) {
				next = d.at
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			return next // one that ends wakes us
		}
		d.busy = true
		under.Go(func() {
			err := s.wire.Notify(ctx, d.peer, t.zone, d.serial)
			<-slots
			s.told(ctx, t, d, err)
		})
	}
	return next
}

// told notes how a NOTIFY went.
func (s *Server) told(ctx context.Context, t target, d *due, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.busy = false
	switch {
	case ctx.Err() != nil:
		return
	case err == nil:
		if d.tries > 0 {
			s.log.Info("consumer has taken the NOTIFY", "zone", t.zone, "peer", t.addr, "serial", d.serial)
		}
		d.tries = -1 // stays, so that the same serial is not told again
	default:
		if d.tries++; d.tries == 3 {
			s.log.Warn("consumer does not take the NOTIFY; trying on", "zone", t.zone, "serial", d.serial, "why", err)
		}
		d.at = time.Now().Add(min(againFirst<<min(d.tries-1, 6), againLast))
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
