package site

import (
	"cmp"
	"context"
	"hash/maphash"
	"slices"
	"time"

	"kaname.dev/kaname/rib/office"
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
	told := map[name.Name]uint64{}
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
		heard, err := office.Do[exchange.Heard](ctx, s.o.Keeper, exchange.PathObserved, in)
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

// observe returns what is to be told beyond what was told, and hashes of all that is
// told then.
func (s *Site) observe(told map[name.Name]uint64, full bool) (in exchange.Observed, next map[name.Name]uint64) {
	s.mu.Lock()
	in = exchange.Observed{
		Server: s.o.Name, Kind: s.o.Kind, View: s.o.View, Version: s.info.Version, Address: s.o.Address, Generation: s.desired.Generation,
		Trouble: s.trouble, Problems: s.info.Problems, Held: s.held, Converged: s.converged, Looked: s.looked, Foreign: s.foreign, Full: full,
	}
	s.mu.Unlock()
	next = make(map[name.Name]uint64, len(told))
	s.cells(func(c exchange.Cell) {
		hash := maphash.Comparable(s.seed, c)
		next[c.Name] = hash
		if was, ok := told[c.Name]; full || !ok || was != hash {
			in.Cells = append(in.Cells, c)
		}
	})
	if !full {
		for n := range told {
			if _, ok := next[n]; !ok {
				in.Gone = append(in.Gone, n)
			}
		}
	}
	slices.SortFunc(in.Cells, func(a, b exchange.Cell) int { return cmp.Compare(a.Name, b.Name) })
	return in, next
}

// cells gives the state of every zone that is desired here, or that is here though it
// is not and ours.
func (s *Site) cells(give func(exchange.Cell)) {
	seen := map[name.Name]bool{}
	for z := range s.watcher.Snapshot() {
		c := exchange.Cell{Name: z.Name, State: string(z.State), Serial: z.Serial, Primary: z.Primary, Since: z.Since, Behind: z.Behind, Note: z.Note}
		s.mu.Lock()
		_, desired := s.desired.Zones[z.Name]
		if desired {
			c = s.overlay(c)
		}
		s.mu.Unlock()
		if desired {
			seen[z.Name] = true
			give(c)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range s.desired.Zones {
		if !seen[n] {
			give(s.overlay(exchange.Cell{Name: n, State: string(watch.Missing)}))
		}
	}
	for n, z := range s.have {
		if _, ok := s.desired.Zones[n]; ok || !z.Owned {
			continue
		}
		c := exchange.Cell{Name: n, State: string(watch.Extra), Note: s.notes[n].text}
		if s.heldOps[n] {
			c.State, c.Note = string(watch.Held), "its removal is held: "+s.o.Name+" would lose too many zones at once"
		}
		give(c)
	}
}

// overlay adds to what is seen of a desired zone what passes have found. s.mu is held.
func (s *Site) overlay(c exchange.Cell) exchange.Cell {
	if s.conflicts[c.Name] {
		c.State, c.Note = string(watch.Conflict), "the server has a zone of this name that kaname did not make; kaname zone adopt "+c.Name.Bare()
	} else if note, ok := s.notes[c.Name]; ok {
		c.Note, c.Since = note.text, note.since
	}
	return c
}
