package site

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/plan"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/wire"
)

// add adds and changes zones in the server's best batches, and no faster than the
// server transfers them.
func (s *Site) add(ctx context.Context, ops []plan.Op) error {
	size := max(s.batch(), 1)
	for batch := range slices.Chunk(ops, size) {
		if err := s.room(ctx, len(batch)); err != nil {
			return err
		}
		zones := make([]server.Addition, 0, len(batch))
		for i := range batch {
			w := &batch[i].Want
			t, err := s.template(w)
			if err != nil {
				s.fail(w.Name, err)
				continue
			}
			zones = append(zones, server.Addition{Name: w.Name, Template: t, Adopt: w.Adopt})
		}
		results := s.o.Driver.Add(ctx, zones)
		if err := s.added(zones, results); err != nil {
			return err
		}
	}
	return nil
}

// added notes the results of additions; the error is of the server as a whole.
func (s *Site) added(zones []server.Addition, results []error) error {
	names := make([]name.Name, len(zones))
	for i := range zones {
		names[i] = zones[i].Name
	}
	return s.outcome(names, results, s.watcher.Added, func(n name.Name) {
		delete(s.conflicts, n)
		s.have[n] = server.Zone{Name: n, Present: true, Owned: true, Template: s.desired.Zones[n].Template}
		if r := s.desired.Zones[n].Reset; r != "" {
			s.desired.Resets[n] = r // fresh contents come anyway
		}
	})
}

// outcome notes what became of zones: done, with s.mu held, for each that succeeded, and
// then watched for all of these. The error is of the server as a whole.
func (s *Site) outcome(zones []name.Name, results []error, watched func([]name.Name), done func(name.Name)) error {
	var well []name.Name
	var whole error
	s.mu.Lock()
	for i, n := range zones {
		if err := results[i]; err != nil {
			s.failLocked(n, err)
			if unreachable(err) {
				whole = err
			}
			continue
		}
		delete(s.notes, n)
		done(n)
		well = append(well, n)
	}
	s.changed = true
	s.mu.Unlock()
	s.watch()
	watched(well)
	if whole != nil {
		s.setTrouble(whole)
	}
	return whole
}

// batch returns how many zones are best added at once.
func (s *Site) batch() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info.Batch
}

// room waits until the server has so few zones without a first transfer that more can
// be added. Zones that wait long do not count: they have troubles of their own.
func (s *Site) room(ctx context.Context, n int) error {
	s.mu.Lock()
	most := s.info.Pending
	s.mu.Unlock()
	if most == 0 {
		return ctx.Err()
	}
	began := time.Now()
	for ctx.Err() == nil {
		waiting := 0
		for _, w := range s.watcher.Waiting() {
			if w.Age < probeAgain {
				waiting++
			}
		}
		if waiting == 0 || waiting+n <= most || time.Since(began) > 2*probeAgain {
			return nil
		}
		pause(ctx, 10*time.Millisecond)
	}
	return ctx.Err()
}

// template returns how a zone is to be served.
func (s *Site) template(w *plan.Want) (server.Template, error) {
	s.mu.Lock()
	t, ok := s.desired.Templates[w.Template]
	s.mu.Unlock()
	if !ok {
		return t, fmt.Errorf("template %s was not told by the keeper", w.Template)
	}
	if !w.Rescue {
		return t, nil
	}
	if s.o.Rescue == nil {
		return t, errors.New("restoring is off on this host: set zone.rescue")
	}
	at, err := s.o.Rescue(w.Name)
	if err != nil {
		return t, fmt.Errorf("its contents were not kept on this host: %w", err)
	}
	t.Primaries = []server.Primary{{Address: at}}
	t.Name = "rescue"
	return t, nil
}

// reset makes the server throw a zone's contents away for the primary's: a full
// transfer, during which the old ones are served. RFC 9432 section 5.6 wants the
// state reset; an outage is not asked for.
func (s *Site) reset(ctx context.Context, ops []plan.Op) error {
	if len(ops) == 0 {
		return nil
	}
	zones := make([]name.Name, 0, len(ops))
	for _, op := range ops {
		zones = append(zones, op.Name)
	}
	if err := s.o.Driver.Kick(ctx, zones); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, op := range ops {
		s.desired.Resets[op.Name] = op.Want.Reset
	}
	s.unsaved = true
	return nil
}

// removeAtOnce is how many zones are removed in one call.
const removeAtOnce = 500

// remove keeps the contents of zones, and takes them from the server.
func (s *Site) remove(ctx context.Context, ops []plan.Op) error {
	for batch := range slices.Chunk(ops, removeAtOnce) {
		var names []name.Name
		var zones []server.Removal
		for _, op := range s.save(ctx, batch) {
			names = append(names, op.Name)
			zones = append(zones, server.Removal{Name: op.Name, Adopt: op.Want.Adopt})
		}
		err := s.outcome(names, s.o.Driver.Remove(ctx, zones), s.watcher.Removed, func(n name.Name) {
			delete(s.have, n)
			delete(s.desired.Resets, n)
		})
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// kick makes the server try again with zones that were added and are not served yet,
// once it gets no further by itself: while zones come in, those that wait are in its
// queue, and asking twice makes it do twice the work. A zone is kicked at growing
// intervals.
func (s *Site) kick(ctx context.Context) {
	waiting := s.watcher.Waiting()
	progress := s.waited - len(waiting)
	s.waited = len(waiting)
	if progress < 0 || progress > len(waiting)/50 || s.inTrouble() {
		return // more came, or many were served since
	}
	now := time.Now()
	var late []name.Name
	for _, w := range waiting {
		k := s.kicked[w.Name]
		if w.Age < probeAgain || now.Before(k.next) {
			continue
		}
		if _, err := s.o.Wire.SOA(ctx, wire.Peer{Address: s.o.Address}, w.Name); err == nil {
			continue // it is served, the watcher does not know yet
		}
		k.wait = min(max(2*k.wait, 2*probeAgain), 10*time.Minute)
		k.next = now.Add(k.wait)
		s.kicked[w.Name] = k
		if late = append(late, w.Name); len(late) == kickAtOnce {
			break
		}
	}
	if len(s.kicked) > 2*len(waiting)+kickAtOnce {
		clear(s.kicked) // most of them are served by now
	}
	if len(late) == 0 {
		return
	}
	if err := s.o.Driver.Kick(ctx, late); err != nil && ctx.Err() == nil {
		s.o.Log.Warn("server does not transfer again", "zones", len(late), "why", err)
	}
}

// kickAtOnce is how many zones are kicked at a time.
const kickAtOnce = 200

// kicked is when a zone may be kicked again.
type kicked struct {
	wait time.Duration
	next time.Time
}

func (s *Site) inTrouble() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble != ""
}

// fail notes what went wrong with a zone.
func (s *Site) fail(n name.Name, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failLocked(n, err)
}

// failLocked is fail with s.mu held.
func (s *Site) failLocked(n name.Name, err error) {
	if errors.Is(err, server.ErrForeign) {
		s.conflicts[n] = true
	}
	was := s.notes[n]
	if was.text == err.Error() {
		return
	}
	s.notes[n] = note{err.Error(), time.Now(), errors.Is(err, server.ErrName)}
	s.changed = true
}

// unreachable reports whether an error is of the server as a whole.
func unreachable(err error) bool {
	return errors.Is(err, server.ErrUnreachable) || errors.Is(err, server.ErrDenied)
}
