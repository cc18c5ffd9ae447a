// Package knot is the source of zones that are primary on a Knot DNS: those of its
// configuration that have no master and are no catalogs. It looks at the server's count
// of zones often, which costs nothing, and reads the configuration when that changed,
// when a NOTIFY tells of a zone that was not there, and now and then.
package knot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"kaname.dev/kaname/rib/zone/control/knotctl"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/source"
	"kaname.dev/kaname/rib/zone/wire"
)

// How often the source looks.
const (
	countEvery = 300 * time.Millisecond
	listEvery  = 10 * time.Second // though the count is the same: one came and one went
	fullEvery  = 45 * time.Second
	retry      = 2 * time.Second
)

// Bounds of hints, and of the time of one question.
const (
	maxHints = 256
	maxLooks = 16
	askTime  = 2 * time.Second
	callTime = 30 * time.Second
)

// Socket is where Debian's knotd listens for commands.
const Socket = "/run/knot/knot.sock"

// Source watches one server.
type Source struct {
	o   source.Options
	ask wire.Client

	mu    sync.Mutex
	hints source.Set
	heard chan struct{} // holds a token when there are hints
}

// New returns the source: Control is the path of knotd's control socket, Peer answers
// DNS and verifies hints.
func New(o source.Options) (source.Source, error) {
	if o.Control == "" {
		o.Control = Socket
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Source{o: o, hints: source.Set{}, heard: make(chan struct{}, 1)}, nil
}

// Hear notes a zone to look at soon.
func (s *Source) Hear(n source.Notify) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.hints) >= maxHints {
		return // the next list has it
	}
	s.hints[n.Zone] = true
	select {
	case s.heard <- struct{}{}:
	default:
	}
}

// take returns some of the hints, and forgets all.
func (s *Source) take() []name.Name {
	s.mu.Lock()
	defer s.mu.Unlock()
	some := slices.Collect(maps.Keys(s.hints))
	clear(s.hints)
	return some[:min(len(some), maxLooks)]
}

// seen is what was last told, and when.
type seen struct {
	told    bool // and taken
	members source.Set
	count   string // knotd's, before the list
	listed  time.Time
	full    time.Time
}

// Run looks and tells.
func (s *Source) Run(ctx context.Context, tell func(context.Context, source.Report) error) error {
	var last seen
	hinted := false
	for {
		wait := s.look(ctx, &last, hinted, tell)
		hinted = false
		timer := time.NewTimer(wait)
		heard := s.heard
		if !last.told {
			heard = nil
		}
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		case <-heard:
			timer.Stop()
			hinted = s.verified(ctx, last.members)
		}
	}
}

// verified reports whether the configured primary bears out that a zone came, or went.
func (s *Source) verified(ctx context.Context, members source.Set) bool {
	for _, n := range s.take() {
		if !s.o.Peer.Address.IsValid() {
			return !members[n]
		}
		limited, cancel := context.WithTimeout(ctx, askTime)
		_, err := s.ask.SOA(limited, s.o.Peer, n)
		cancel()
		if (err == nil) != members[n] {
			return true
		}
	}
	return false
}

// look lists the zones if anything may be new, tells, and returns how long to wait.
func (s *Source) look(ctx context.Context, last *seen, hinted bool, tell func(context.Context, source.Report) error) time.Duration {
	limited, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	c, err := knotctl.Dial(limited, s.o.Control)
	if err != nil {
		return s.trouble(ctx, last, err, tell)
	}
	defer c.Close() //nolint:errcheck // nothing is lost
	count, err := countOf(c)
	if err != nil {
		return s.trouble(ctx, last, err, tell)
	}
	full := !last.told || time.Since(last.full) >= fullEvery
	if !full && !hinted && count == last.count && time.Since(last.listed) < listEvery {
		return countEvery
	}
	members, err := s.list(c)
	_ = c.Close() // others may speak to knotd while the report is taken
	if err != nil {
		return s.trouble(ctx, last, err, tell)
	}
	last.count, last.listed = count, time.Now()
	var report source.Report
	if full {
		report.Full = members.List()
	} else if report.Delta = members.Since(last.members); report.Delta == nil {
		return countEvery
	}
	if !s.tell(ctx, last, report, tell) {
		return retry
	}
	last.members = members
	if full {
		last.told, last.full = true, time.Now()
	}
	return countEvery
}

// countOf asks how many zones knotd serves.
func countOf(c *knotctl.Conn) (string, error) {
	units, err := c.Do(knotctl.Data{Command: "stats", Section: "server", Item: "zone-count"})
	for _, u := range units {
		if u.Item == "zone-count" {
			return u.Value, err
		}
	}
	return "", err
}

// list reads the configuration. What a zone does not say, its template does, or the
// template "default".
func (s *Source) list(c *knotctl.Conn) (source.Set, error) {
	from := map[string]map[string]string{} // by section.item, then id
	for _, what := range [][2]string{
		{"zone", "template"}, {"zone", "master"}, {"zone", "catalog-role"}, {"template", "master"}, {"template", "catalog-role"},
	} {
		values := map[string]string{}
		from[what[0]+"."+what[1]] = values
		if err := c.Each(knotctl.Data{Command: "conf-read", Section: what[0], Item: what[1]}, func(u knotctl.Data) {
			values[u.ID] = u.Value
		}); err != nil && !errors.Is(err, knotctl.ErrNoItem) {
			return nil, err
		}
	}
	value := func(id, what string) string {
		if v, ok := from["zone."+what][id]; ok {
			return v
		}
		template, ok := from["zone.template"][id]
		if !ok {
			template = "default"
		}
		return from["template."+what][template]
	}
	members := source.Set{}
	var bad error
	err := c.Each(knotctl.Data{Command: "conf-read", Section: "zone", Item: "domain"}, func(u knotctl.Data) {
		n, err := name.Parse(u.Value)
		if err != nil {
			bad = fmt.Errorf("knotd lists a zone whose name %q %w", u.Value, err)
			return
		}
		role := value(u.Value, "catalog-role")
		if value(u.Value, "master") == "" && role != "interpret" && role != "generate" && s.o.Allowed(n) {
			members[n] = true
		}
	})
	if errors.Is(err, knotctl.ErrNoItem) {
		err = nil // the section is empty
	}
	return members, errors.Join(err, bad)
}

// trouble tells that the set is unknown, and returns how long to wait.
func (s *Source) trouble(ctx context.Context, last *seen, err error, tell func(context.Context, source.Report) error) time.Duration {
	if ctx.Err() != nil {
		return retry
	}
	last.told = false
	s.tell(ctx, last, source.Report{Trouble: fmt.Sprintf("the zones of %s are unknown: %v; try: knotc -s %s status", s.o.Name, err, s.o.Control)}, tell)
	return retry
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
