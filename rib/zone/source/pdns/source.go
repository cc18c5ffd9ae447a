// Package pdns is the source of zones that are primary on a PowerDNS: what its HTTP
// API lists. There is no cheaper question than the whole list, so how often it is asked
// depends on how long it takes; a NOTIFY makes the source ask for that one zone.
package pdns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"kaname.dev/kaname/rib/zone/control/pdnsapi"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/source"
	"kaname.dev/kaname/rib/zone/wire"
)

// How often the source looks.
const (
	least     = 250 * time.Millisecond // between lists
	most      = 15 * time.Second
	share     = 10 // a list that takes a second is asked for each ten
	fullEvery = 45 * time.Second
	retry     = 2 * time.Second
)

// Bounds of hints: zones that may wait to be looked at, and zones that are looked at
// between two lists. What is beyond is found by the next list.
const (
	maxHints = 256
	maxLooks = 32
)

// askTime bounds the question for one zone's SOA.
const askTime = 3 * time.Second

// Source watches one server.
type Source struct {
	o   source.Options
	api *pdnsapi.Client
	ask wire.Client

	mu    sync.Mutex
	hints source.Set
	heard chan struct{} // holds a token when there are hints
}

// New returns the source: Control is the API's URL, KeyFile holds the API key, Peer
// answers DNS. Members are the zones of kind Master, and with Native those of kind
// Native, whose primary sends no NOTIFY; one that has no SOA is none yet. Catalogs
// are of other kinds, Producer and Consumer, and none.
func New(o source.Options) (source.Source, error) {
	api, err := pdnsapi.New(o.Control, o.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", o.Name, err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Source{o: o, api: api, hints: source.Set{}, heard: make(chan struct{}, 1)}, nil
}

// Hear notes a zone to look at soon.
func (s *Source) Hear(n source.Notify) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.hints) >= maxHints {
		return
	}
	s.hints[n.Zone] = true
	select {
	case s.heard <- struct{}{}:
	default:
	}
}

// take returns some of the hints, and forgets them.
func (s *Source) take() []name.Name {
	s.mu.Lock()
	defer s.mu.Unlock()
	var some []name.Name
	for n := range s.hints {
		if len(some) == maxLooks {
			break
		}
		some = append(some, n)
		delete(s.hints, n)
	}
	return some
}

// seen is what was last told, and when.
type seen struct {
	told    bool // and taken
	members source.Set
	full    time.Time
}

// Run lists the server's zones and tells.
func (s *Source) Run(ctx context.Context, tell func(context.Context, source.Report) error) error {
	defer s.api.Close()
	var last seen
	for {
		wait := s.list(ctx, &last, tell)
		if err := s.pause(ctx, wait, &last, tell); err != nil {
			return err
		}
	}
}

// pause waits for the next list, and looks at what is heard in the meantime.
func (s *Source) pause(ctx context.Context, wait time.Duration, last *seen, tell func(context.Context, source.Report) error) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	heard := s.heard
	if !last.told || wait <= least {
		heard = nil // the list comes first, or as soon
	}
	for looks := 0; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		case <-heard:
		}
		some := s.take()
		if looks += len(some); looks >= maxLooks {
			heard = nil // a flood must not make the server do more
		}
		if !s.look(ctx, some, last, tell) {
			return ctx.Err()
		}
	}
}

// list asks for all zones, tells what is new, and returns how long to wait.
func (s *Source) list(ctx context.Context, last *seen, tell func(context.Context, source.Report) error) time.Duration {
	s.take() // the list has them
	begun := time.Now()
	zones, err := s.api.All(ctx)
	cost := time.Since(begun)
	if err != nil {
		if ctx.Err() == nil {
			s.trouble(ctx, last, err, tell)
		}
		return retry
	}
	members := make(source.Set, len(zones))
	for _, z := range zones {
		if s.member(ctx, z, last.members) {
			members[z.Name] = true
		}
	}
	wait := min(max(cost*share, least), most)
	full := !last.told || time.Since(last.full) >= fullEvery
	var report source.Report
	if full {
		report.Full = members.List()
	} else if report.Delta = members.Since(last.members); report.Delta == nil {
		return wait
	}
	if !s.tell(ctx, last, report, tell) {
		return retry
	}
	last.members = members
	if full {
		last.told, last.full = true, time.Now()
	}
	return wait
}

// look asks for single zones and tells what is new; false when it could not.
func (s *Source) look(ctx context.Context, zones []name.Name, last *seen, tell func(context.Context, source.Report) error) bool {
	members := maps.Clone(last.members)
	for _, n := range zones {
		z, err := s.api.Find(ctx, n)
		switch {
		case errors.Is(err, pdnsapi.ErrMissing):
			delete(members, n)
		case err != nil:
			return false // the list will say so
		case s.member(ctx, z, last.members):
			members[n] = true
		default:
			delete(members, n)
		}
	}
	delta := members.Since(last.members)
	if delta == nil {
		return true
	}
	if !s.tell(ctx, last, source.Report{Delta: delta}, tell) {
		return false
	}
	last.members = members
	return true
}

// member reports whether a zone is one of the set.
func (s *Source) member(ctx context.Context, z pdnsapi.Zone, before source.Set) bool {
	if z.Kind != pdnsapi.Master && (z.Kind != pdnsapi.Native || !s.o.Native) {
		return false
	}
	if !s.o.Allowed(z.Name) {
		return false
	}
	if z.Serial != 0 || before[z.Name] || !s.o.Peer.Address.IsValid() {
		return true
	}
	// A zone whose records are just being written, or a serial that is really 0.
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	_, err := s.ask.SOA(ctx, s.o.Peer, z.Name)
	return err == nil
}

// trouble tells that the set is unknown.
func (s *Source) trouble(ctx context.Context, last *seen, err error, tell func(context.Context, source.Report) error) {
	what := "look whether pdns_server runs with api=yes and whether webserver-allow-from has this host"
	if errors.Is(err, pdnsapi.ErrKey) {
		what = "put the value of api-key in pdns.conf into " + s.o.KeyFile
	}
	last.told = false
	s.tell(ctx, last, source.Report{Trouble: fmt.Sprintf("the zones of %s are unknown: %v; %s", s.o.Name, err, what)}, tell)
}

// tell gives a report; one that was not taken makes the next a full one.
func (s *Source) tell(ctx context.Context, last *seen, r source.Report, tell func(context.Context, source.Report) error) bool {
	if err := tell(ctx, r); err != nil {
		s.o.Log.Debug("a report was not taken", "source", s.o.Name, "error", err)
		last.told = false
		return false
	}
	return true
}
