package watch

import (
	"context"
	"sync"
	"time"

	"kaname.dev/kaname/rib/zone/name"
)

// beat is how often the watcher looks what is to be asked when there is much, rest how
// often when there is nothing.
const (
	beat = 10 * time.Millisecond
	rest = time.Second
)

// measureEvery is how often gauges are set, and states that depend on the clock alone
// are looked at.
const measureEvery = 5 * time.Second

// sweep goes round all zones in one period.
type sweep struct {
	at   int
	owed float64
	last time.Time
}

// due returns how many zones are to be asked for now.
func (s *sweep) due(zones int, period time.Duration, now time.Time) int {
	if s.last.IsZero() {
		s.last = now
	}
	s.owed = min(s.owed+float64(zones)*float64(now.Sub(s.last))/float64(period), float64(zones))
	s.last = now
	return int(s.owed)
}

// Run asks until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	look := newDoctor(w)
	defer look.wait()
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		for _, t := range w.idle() {
			wg.Go(func() { t.asker.run(ctx) })
		}
		tick.Reset(w.step(time.Now()))
		look.round(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-w.wake:
		}
	}
}

// idle returns the targets that nobody receives for yet.
func (w *Watcher) idle() []*target {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*target
	if !w.own.started {
		w.own.started = true
		all = append(all, w.own)
	}
	for _, t := range w.targets {
		if !t.started {
			t.started = true
			all = append(all, t)
		}
	}
	return all
}

// step asks what is to be asked now, and returns how long there is nothing to do.
func (w *Watcher) step(now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stepChases(now)
	w.stepFresh(now)
	w.stepSweep(now)
	w.stepAsk(now)
	w.stepPrimary(now)
	if now.Sub(w.measured) >= measureEvery {
		w.measured = now
		w.review(now)
	}
	if awaited := len(w.chases.by) - len(w.chases.due); awaited+len(w.fresh)+len(w.ask) > 0 {
		return beat
	}
	next := w.o.Period / time.Duration(max(len(w.zones), 1))
	if len(w.chases.due) > 0 {
		next = min(next, w.chases.due[0].due.Sub(now))
	}
	return min(max(next, beat), rest)
}

func (w *Watcher) stepChases(now time.Time) {
	for len(w.chases.due) > 0 && !w.chases.due[0].due.After(now) && w.own.may(now) {
		c := w.chases.take(now)
		w.askOwn(c.name)
	}
}

func (w *Watcher) stepFresh(now time.Time) {
	for len(w.fresh) > 0 {
		n := w.fresh[0]
		i, ok := w.index[n]
		if chased := w.chases.by[n] != nil; ok && !chased && w.zones[i].answer.Kind == Unasked {
			if !w.own.may(now) {
				return
			}
			w.askOwn(n)
		}
		if w.fresh = w.fresh[1:]; len(w.fresh) == 0 {
			w.fresh = nil // gives the memory back
		}
	}
}

func (w *Watcher) stepSweep(now time.Time) {
	for due := w.sweep.due(len(w.zones), w.o.Period, now); due > 0; due-- {
		if w.sweep.at >= len(w.zones) {
			w.sweep.at = 0
		}
		if !w.own.may(now) {
			return
		}
		w.askOwn(w.zones[w.sweep.at].name)
		w.sweep.at++
		w.sweep.owed--
	}
}

// stepAsk asks the primaries of zones of which more is to be known soon.
func (w *Watcher) stepAsk(now time.Time) {
	for len(w.ask) > 0 {
		if i, ok := w.index[w.ask[0]]; ok && !w.askPrimary(&w.zones[i], now) {
			return
		}
		if w.ask = w.ask[1:]; len(w.ask) == 0 {
			w.ask = nil
		}
	}
}

func (w *Watcher) stepPrimary(now time.Time) {
	for due := w.primary.due(len(w.zones), w.o.Period, now); due > 0; due-- {
		if w.primary.at >= len(w.zones) {
			w.primary.at = 0
		}
		if !w.askPrimary(&w.zones[w.primary.at], now) {
			return
		}
		w.primary.at++
		w.primary.owed--
	}
}

// askPrimary asks the primary for a zone, and reports whether that could be done now.
func (w *Watcher) askPrimary(z *zone, now time.Time) bool {
	n := z.name
	for _, t := range z.route.to {
		up := t.down.IsZero()
		if !t.may(now) {
			if up {
				return false
			}
			continue // one that is silent is not waited for
		}
		t.asker.ask(n, func(a Answer) { w.heardPrimary(t, n, a) })
		if up {
			break // it is the first that answers; silent ones before it are asked now and then
		}
	}
	return true
}

// askNext asks the primary behind t, which does not have the zone, and reports whether
// there is one.
func (w *Watcher) askNext(z *zone, t *target, now time.Time) bool {
	n, behind := z.name, false
	for _, next := range z.route.to {
		if behind && next.down.IsZero() && next.may(now) {
			next.asker.ask(n, func(a Answer) { w.heardPrimary(next, n, a) })
			return true
		}
		behind = behind || next == t
	}
	return false
}

func (w *Watcher) askOwn(n name.Name) {
	w.own.asker.ask(n, func(a Answer) { w.heardOwn(n, a) })
}

// review looks at the states that change with the clock alone, and sets the gauges.
func (w *Watcher) review(now time.Time) {
	for i := range w.zones {
		if w.zones[i].settle(now) {
			w.version++
		}
	}
	w.measure(now)
}
