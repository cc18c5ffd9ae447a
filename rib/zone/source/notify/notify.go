// Package notify is a source that learns of zones from NOTIFY messages for unknown ones,
// as PowerDNS's autoprimary ("supermaster") does: the message comes from an allowed
// address or is signed, the primary has the zone, and one of the zone's NS records names
// us. What differs makes it safe: the message is only a hint, for which nobody waits;
// the primary that was configured is asked, never the message's sender; questions are
// bounded; and a zone that the primary no longer has goes again.
package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/source"
	"kaname.dev/kaname/rib/zone/wire"
)

// pace bounds what the source asks, and says when a zone is gone.
type pace struct {
	rate    int           // zones looked at a second, at most
	flight  int           // zones looked at at a time, at most
	queue   int           // hints that wait, at most; further ones are lost
	forget  time.Duration // a zone that was turned down is not looked at again for so long
	verify  time.Duration // each known zone is looked at so often
	strikes int           // a known zone is gone when the primary said so many times that it has none,
	over    time.Duration // in at least this time
	full    time.Duration // the whole set is told so often
	gather  time.Duration // changes are told together when they come within this time
	scan    time.Duration // known zones are gone through so often for those that are due
}

func usual() pace {
	return pace{
		rate: 300, flight: 16, queue: 1 << 15, forget: 10 * time.Second, verify: 5 * time.Minute,
		strikes: 3, over: 3 * time.Second, full: time.Minute, gather: 20 * time.Millisecond, scan: time.Second,
	}
}

// Source is the source.
type Source struct {
	o     source.Options
	pace  pace
	key   name.Name // of the TSIG key that must sign; empty for none
	names map[name.Name]bool
	ask   wire.Client
	set   *set
	log   *slog.Logger
	wake  chan struct{}

	mu     sync.Mutex // guards the fields below
	queue  []name.Name
	queued map[name.Name]bool      // in queue, or looked at now
	denied map[name.Name]time.Time // turned down, until then
	known  map[name.Name]*zone
	hoped  map[name.Name]*zone // new ones for which the primary did not answer yet; strikes are the tries
	lost   int                 // hints, for the queue was full
}

// zone is a zone of the set.
type zone struct {
	next    time.Time // of the next look
	strikes int
	first   time.Time // of the strikes
}

// New returns a source with what Options.Dir remembers of it. It needs Peer, Names, and
// Froms or a key of the Peer.
func New(o source.Options) (source.Source, error) {
	s, err := open(o, usual())
	if err != nil {
		return nil, err
	}
	return s, nil
}

func open(o source.Options, p pace) (*Source, error) {
	switch {
	case !o.Peer.Address.IsValid():
		return nil, errors.New("source of kind notify: no primary is given; set address")
	case len(o.Names) == 0:
		return nil, errors.New("source of kind notify: no names of ours are given, one of which the zones' NS records must have; set names")
	case len(o.Froms) == 0 && o.Peer.Key == nil:
		return nil, errors.New("source of kind notify: anybody could notify; set allow_from, or a key")
	}
	s := &Source{
		o: o, pace: p, names: map[name.Name]bool{}, ask: wire.Client{Timeout: 2 * time.Second, Tries: 2}, log: o.Log, wake: make(chan struct{}, 1),
		queued: map[name.Name]bool{}, denied: map[name.Name]time.Time{}, known: map[name.Name]*zone{}, hoped: map[name.Name]*zone{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, n := range o.Names {
		s.names[n] = true
	}
	if o.Peer.Key != nil {
		n, err := name.Parse(o.Peer.Key.Name)
		if err != nil {
			return nil, fmt.Errorf("source of kind notify: the key's name %w", err)
		}
		s.key = n
	}
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("source of kind notify: its state: %w", err)
	}
	set, names, err := openSet(root)
	if err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("source of kind notify: its state in %s: %w", o.Dir, err)
	}
	s.set = set
	now := time.Now()
	for i, n := range names { // spread over the period from the start on
		s.known[n] = &zone{next: now.Add(p.verify * time.Duration(i) / time.Duration(len(names)))}
	}
	return s, nil
}

// Hear takes a NOTIFY as a hint. Without the key that is demanded, from elsewhere than
// allowed, or for a name that may not be, it is ignored.
func (s *Source) Hear(n source.Notify) {
	if !s.allowed(n) {
		s.log.Debug("NOTIFY is ignored", "zone", n.Zone, "from", n.From, "key", n.Key)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	z := s.known[n.Zone]
	now := time.Now()
	switch {
	case z != nil && z.strikes == 0, s.queued[n.Zone], now.Before(s.denied[n.Zone]):
		return
	case z != nil:
		z.next = now // it is suspected to be gone, and here is a sign of life
	case len(s.queue) >= s.pace.queue:
		if s.lost++; s.lost == 1 {
			s.log.Warn("too many NOTIFYs for unknown zones at once; further ones are lost until these are looked at", "source", s.o.Name, "waiting", len(s.queue))
		}
		return
	default:
		s.queued[n.Zone] = true
		s.queue = append(s.queue, n.Zone)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// allowed reports whether a NOTIFY is a hint at all.
func (s *Source) allowed(n source.Notify) bool {
	if s.key != "" {
		if k, err := name.Parse(n.Key); n.Key == "" || err != nil || k != s.key {
			return false
		}
	}
	from := n.From.Addr().Unmap()
	if len(s.o.Froms) > 0 && !slices.ContainsFunc(s.o.Froms, func(p netip.Prefix) bool { return p.Contains(from) }) {
		return false
	}
	return n.Zone != "" && s.may(n.Zone)
}

// may reports whether a zone of this name may be.
func (s *Source) may(n name.Name) bool {
	if len(s.o.Allow) == 0 {
		return n != name.Root
	}
	return slices.ContainsFunc(s.o.Allow, n.Under)
}

// verdict is what a look at the primary says.
type verdict uint8

const (
	unknown verdict = iota // the primary did not answer, or not for sure
	there                  // it has the zone; a new one names us, too
	absent                 // it says that it does not have it
	denied                 // it has it, but none of its NS records names us
)

// look asks the primary for a zone, and for a new one whether it names us.
func (s *Source) look(ctx context.Context, n name.Name, fresh bool) (verdict, error) {
	_, err := s.ask.SOA(ctx, s.o.Peer, n)
	switch {
	case errors.Is(err, wire.ErrRefused), errors.Is(err, wire.ErrNotAuth):
		return absent, err
	case err != nil:
		return unknown, err
	case !fresh:
		return there, nil
	}
	ns, err := s.ask.NS(ctx, s.o.Peer, n)
	if err != nil {
		return unknown, err
	}
	for _, server := range ns {
		if s.names[server] {
			return there, nil
		}
	}
	return denied, fmt.Errorf("its NS records %s do not have any of %s", list(ns), list(s.o.Names))
}

func list(names []name.Name) string {
	if len(names) == 0 {
		return "(none)"
	}
	bare := make([]string, len(names))
	for i, n := range names {
		bare[i] = n.Bare()
	}
	return strings.Join(bare, ", ")
}
