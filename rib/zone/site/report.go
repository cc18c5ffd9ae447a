package site

import (
	"context"
	"slices"
	"time"

	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/watch"
)

// watch tells the watcher which zones the server should answer.
func (s *Site) watch() {
	s.mu.Lock()
	zones := make(map[name.Name]watch.Zone, len(s.have))
	for n, z := range s.have {
		w, ok := s.desired.Zones[n]
		if !ok || !z.Owned && !w.Adopt {
			continue
		}
		t := s.desired.Templates[w.Template]
		zones[n] = watch.Zone{Group: t.Name, Primaries: t.Primaries}
	}
	s.mu.Unlock()
	s.watcher.Set(zones)
}

// report tells the keeper what is observed, soon after it changed and now and then.
func (s *Site) report(ctx context.Context) {
	told := map[name.Name]exchange.Cell{}
	full := true
	last, wait, seen := time.Time{}, tellEvery, uint64(0)
	for ctx.Err() == nil {
		pause(ctx, wait)
		version := s.watcher.Version()
		if !s.takeChanged() && version == seen && !full && time.Since(last) < 20*time.Second {
			continue
		}
		began := time.Now()
		in, next := s.observe(told, full)
		wait = max(tellEvery, 20*time.Since(began)) // with many zones looking is work
		heard, err := exchange.Do[exchange.Heard](ctx, s.o.Keeper, exchange.PathObserved, in)
		if err != nil {
			full = true
			pause(ctx, 2*time.Second)
			continue
		}
		full, last, told, seen = heard.Resend, time.Now(), next, version
	}
}

func (s *Site) takeChanged() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.changed
	s.changed = false
	return was
}

// observe returns what is to be told, beyond what was told, and what is told then.
func (s *Site) observe(told map[name.Name]exchange.Cell, full bool) (in exchange.Observed, next map[name.Name]exchange.Cell) {
	next = s.cells()
	s.mu.Lock()
	in = exchange.Observed{
		Server: s.o.Name, Kind: s.o.Kind, View: s.o.View, Version: s.info.Version, Address: s.o.Address, Generation: s.desired.Generation,
		Trouble: s.trouble, Problems: s.info.Problems, Held: s.held, Converged: s.converged, Looked: s.looked, Foreign: s.foreign, Full: full,
	}
	s.mu.Unlock()
	for n, c := range next {
		if was, ok := told[n]; full || !ok || was != c {
			in.Cells = append(in.Cells, c)
		}
	}
	if !full {
		for n := range told {
			if _, ok := next[n]; !ok {
				in.Gone = append(in.Gone, n)
			}
		}
	}
	slices.SortFunc(in.Cells, func(a, b exchange.Cell) int { return compareNames(a.Name, b.Name) })
	return in, next
}

// cells returns the state of every zone that is desired here, or that is here though
// it is not and ours.
func (s *Site) cells() map[name.Name]exchange.Cell {
	seen := map[name.Name]exchange.Cell{}
	for z := range s.watcher.Snapshot() {
		seen[z.Name] = exchange.Cell{Name: z.Name, State: string(z.State), Serial: z.Serial, Primary: z.Primary, Since: z.Since, Behind: z.Behind, Note: z.Note}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[name.Name]exchange.Cell, len(s.desired.Zones))
	for n := range s.desired.Zones {
		c, ok := seen[n]
		if !ok {
			c = exchange.Cell{Name: n, State: string(watch.Missing)}
		}
		if s.conflicts[n] {
			c.State, c.Note = string(watch.Conflict), "the server has a zone of this name that kaname did not make; kaname zone adopt "+n.Bare()
		} else if note, ok := s.notes[n]; ok {
			c.Note, c.Since = note.text, note.since
		}
		out[n] = c
	}
	for n, z := range s.have {
		if _, ok := s.desired.Zones[n]; ok || !z.Owned {
			continue
		}
		c := exchange.Cell{Name: n, State: string(watch.Extra), Note: s.notes[n].text}
		if s.heldOps[n] {
			c.State, c.Note = string(watch.Held), "its removal is held: "+s.o.Name+" would lose too many zones at once"
		}
		out[n] = c
	}
	return out
}
