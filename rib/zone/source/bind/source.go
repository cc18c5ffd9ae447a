// Package bind is the source of zones that are primary on a BIND: what its
// configuration and rndc addzone made it serve.
package bind

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"kaname.dev/kaname/rib/zone/control/rndc/named"
	"kaname.dev/kaname/rib/zone/source"
)

// How often the source looks. Asking for the time of named's last change takes it
// less than a millisecond; a list of 10,000 zones is 2.5 MB of JSON.
const (
	peekEvery = 200 * time.Millisecond
	hintEvery = 20 * time.Millisecond // a flood of NOTIFY makes it look no oftener
	fullEvery = 45 * time.Second
	retry     = 2 * time.Second
)

// settle is when named is listed again after a change: it tells the time of a
// removal before the zone is gone.
var settle = []time.Duration{500 * time.Millisecond, 2 * time.Second}

type bind struct {
	o      source.Options
	hints  chan struct{}
	quick  *hints
	config *named.Config
}

// New returns the source. Stats, or the configuration at Config, says where named's
// statistics channel is, by which zones are listed. With View, only that view's zones;
// without, those of the only view that is not built in.
//
// Catalogs are no members: those that named consumes (catalog-zones, when Config can
// be read), and the one of Catalog. named does not say which others of its zones are
// catalogs that it produces, primary zones like any: name the one with Catalog, and
// keep further ones out with Allow.
func New(o source.Options) (source.Source, error) {
	if o.Stats == "" && o.Config == "" {
		return nil, fmt.Errorf("source %s of kind bind has neither stats nor config; give the address of named's statistics-channels", o.Name)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &bind{o: o, hints: make(chan struct{}, 1), quick: newHints()}, nil
}

// Hear makes the source look at once. What it reports comes from named alone.
func (s *bind) Hear(n source.Notify) {
	s.quick.hear(n.Zone)
	select {
	case s.hints <- struct{}{}:
	default:
	}
}

// seen is what was last told, and when.
type seen struct {
	told    bool // and taken
	members source.Set
	peek    string
	full    time.Time
	again   []time.Time // when to list though nothing seems to have changed
}

func (s *bind) Run(ctx context.Context, tell func(context.Context, source.Report) error) error {
	var last seen
	var quick sync.WaitGroup
	defer quick.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	quick.Go(func() { s.hurry(ctx, tell) })
	for {
		begun := time.Now()
		wait := s.step(ctx, &last, tell)
		if err := s.pause(ctx, begun, wait); err != nil {
			return err
		}
	}
}

// pause waits for the next look, or for a hint.
func (s *bind) pause(ctx context.Context, begun time.Time, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	hints := s.hints
	if wait >= retry {
		hints = nil // it does not answer
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	case <-hints:
	}
	timer.Reset(time.Until(begun.Add(hintEvery)))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	return nil
}

// step looks once, tells what is new, and returns how long to wait.
func (s *bind) step(ctx context.Context, last *seen, tell func(context.Context, source.Report) error) time.Duration {
	report, members, peek, err := s.look(ctx, last)
	switch {
	case ctx.Err() != nil:
		return 0
	case err != nil:
		last.told = false
		report = &source.Report{Trouble: fmt.Sprintf("the zones of %s are unknown: %v", s.o.Name, err)}
	case report == nil:
		return peekEvery
	}
	if err := tell(ctx, *report); err != nil {
		s.o.Log.Debug("a report was not taken", "source", s.o.Name, "error", err)
		last.told = false
		return retry
	}
	if report.Trouble != "" {
		return retry
	}
	if report.Full != nil {
		last.full = time.Now()
	}
	last.told, last.members, last.peek = true, members, peek
	s.quick.told(members)
	return peekEvery
}

// look returns what is to be told, nil when nothing is.
func (s *bind) look(ctx context.Context, last *seen) (*source.Report, source.Set, string, error) {
	address, err := s.stats()
	if err != nil {
		return nil, nil, "", err
	}
	times, err := named.Times(ctx, address)
	if err != nil {
		return nil, nil, "", err
	}
	now := time.Now()
	full := !last.told || now.Sub(last.full) >= fullEvery
	peek := times.Boot + " " + times.Configured
	due := len(last.again) > 0 && !now.Before(last.again[0])
	if !full && !due && peek == last.peek {
		return nil, nil, "", nil
	}
	if due {
		last.again = last.again[1:]
	}
	if peek != last.peek {
		last.again = nil
		for _, after := range settle {
			last.again = append(last.again, now.Add(after))
		}
		last.peek = peek
	}
	begun := time.Now()
	snapshot, err := named.Stats(ctx, address)
	if err != nil {
		return nil, nil, "", err
	}
	members, err := s.members(snapshot)
	if err != nil {
		return nil, nil, "", err
	}
	s.quick.missed(members, begun)
	if full {
		return &source.Report{Full: members.List()}, members, peek, nil
	}
	if delta := members.Since(last.members); delta != nil {
		return &source.Report{Delta: delta}, members, peek, nil
	}
	return nil, nil, "", nil
}

// stats returns the address of the statistics channel, and reads the configuration
// again after a change.
func (s *bind) stats() (string, error) {
	if s.o.Config != "" && (s.config == nil || s.config.Changed()) {
		c, err := named.Read(s.o.Config)
		if err != nil && s.o.Stats == "" {
			return "", err
		}
		if err == nil {
			s.config = c
		}
	}
	switch {
	case s.o.Stats != "":
		return s.o.Stats, nil
	case s.config.Stats == "":
		return "", errors.New(`named has no statistics channel; add "statistics-channels { inet 127.0.0.1 port 8653 allow { 127.0.0.1; }; };" to named.conf`)
	}
	return s.config.Stats, nil
}

// members picks the primary zones that are meant for others.
func (s *bind) members(snapshot *named.Snapshot) (source.Set, error) {
	view := s.o.View
	if view == "" {
		var names []string
		for v := range snapshot.Views {
			if !strings.HasPrefix(v, "_") || v == named.DefaultView {
				names = append(names, v)
			}
		}
		if len(names) != 1 {
			return nil, fmt.Errorf("named has the views %v; set view", names)
		}
		view = names[0]
	}
	zones, ok := snapshot.Views[view]
	if !ok {
		return nil, fmt.Errorf("named has no view %q; correct view", view)
	}
	leave := s.catalogs(view)
	members := source.Set{}
	for _, z := range zones {
		if (z.Type == "primary" || z.Type == "master") && !leave[z.Name] && s.o.Allowed(z.Name) {
			members[z.Name] = true
		}
	}
	return members, nil
}

// catalogs returns the catalog zones that are known, to be left out.
func (s *bind) catalogs(view string) source.Set {
	leave := source.Set{}
	if s.o.Catalog != "" {
		leave[s.o.Catalog] = true
	}
	if s.config != nil {
		if v, err := s.config.View(view); err == nil {
			maps.Copy(leave, v.Catalogs)
		}
	}
	return leave
}
