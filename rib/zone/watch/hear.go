package watch

import (
	"time"

	"kaname.dev/kaname/rib/zone/name"
)

// heardOwn takes over an answer of the watched server.
func (w *Watcher) heardOwn(n name.Name, a Answer) {
	w.mu.Lock()
	now := time.Now()
	w.o.Metrics.probed(w.o.Name, "server", a.Kind)
	if w.own.note(a, now) {
		w.version++
		w.o.Log.Info("name server answers, or not any more", "server", w.o.Name, "answers", w.own.down.IsZero())
	}
	c := w.chases.by[n]
	var tell func()
	switch i, ok := w.index[n]; {
	case ok:
		tell = w.heardZone(&w.zones[i], c, a, now)
	case c == nil || c.why != leaving: // it is not watched any more
		w.chases.end(n)
	case a.Kind == Authoritative || a.Kind == NoAnswer:
		w.chases.later(c, now)
	default:
		w.chases.end(n)
		w.version++
		if took := now.Sub(c.from); c.told {
			w.o.Metrics.removed(w.o.Name, took)
			if w.o.OnGone != nil {
				tell = func() { w.o.OnGone(n, took) }
			}
		}
	}
	w.mu.Unlock()
	if tell != nil {
		tell()
	}
}

// heardZone is heardOwn for a zone that should be answered. It returns what is to be told
// once w.mu is free again; nil for nothing.
func (w *Watcher) heardZone(z *zone, c *chase, a Answer, now time.Time) (tell func()) {
	if a.Kind == NoAnswer || a.Kind == Odd {
		switch {
		case c != nil:
			w.chases.later(c, now)
		case z.answer.Kind == Unasked:
			w.chases.start(z.name, loading, false, now, 10*chaseFirst)
		}
		return nil // nothing is known by it; that the server is silent is found out elsewhere
	}
	was, lag := z.answer, z.behind
	again := z.heard(a, now)
	if z.settle(now) || was.Kind != z.answer.Kind || was.Serial != z.answer.Serial {
		w.version++
	}
	if lag != 0 && z.behind == 0 {
		w.o.Metrics.caughtUp(w.o.Name, z.route.zone.Group, now.Sub(stamp(lag)))
	}
	if a.Kind == Authoritative && was.Kind != Authoritative {
		delete(w.causes, z.name)
		if z.primary.Kind != Authoritative {
			w.ask = append(w.ask, z.name) // to know the serial that it should have
		}
	}
	if a.Kind == Authoritative && c != nil && c.why == loading && c.told {
		n, took := z.name, now.Sub(c.from)
		w.o.Metrics.served(w.o.Name, z.route.zone.Group, took)
		if w.o.OnServed != nil {
			tell = func() { w.o.OnServed(n, took) }
		}
	}
	switch {
	case again && a.Kind == Authoritative:
		w.continueAs(z.name, behind, now)
	case again && z.doubt:
		w.continueAs(z.name, doubted, now)
	case again:
		w.continueAs(z.name, loading, now)
	default:
		w.chases.end(z.name)
	}
	return tell
}

// continueAs goes on to ask for a zone at short intervals.
func (w *Watcher) continueAs(n name.Name, why reason, now time.Time) {
	c := w.chases.by[n]
	if c != nil && c.why != why && !(c.why == loading && why == doubted) {
		w.chases.end(n)
	}
	w.chases.start(n, why, false, now, 10*chaseFirst)
}

// heardPrimary takes over an answer of a primary.
func (w *Watcher) heardPrimary(t *target, n name.Name, a Answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.o.Metrics.probed(w.o.Name, "primary", a.Kind)
	if t.note(a, now) {
		w.version++
		w.o.Log.Info("primary answers, or not any more", "server", w.o.Name, "primary", t.peer.Address, "answers", t.down.IsZero())
	}
	i, ok := w.index[n]
	if !ok || a.Kind == NoAnswer || a.Kind == Odd {
		return
	}
	z := &w.zones[i]
	if a.Kind != Authoritative && w.askNext(z, t, now) {
		return
	}
	was, lag := z.primary, z.behind
	z.heardPrimary(a, now)
	if z.settle(now) || was.Kind != a.Kind || was.Serial != a.Serial {
		w.version++
	}
	if lag != 0 && z.behind == 0 {
		w.o.Metrics.caughtUp(w.o.Name, z.route.zone.Group, now.Sub(stamp(lag)))
	}
	if z.behind != 0 && w.chases.by[n] == nil {
		w.chases.start(n, behind, false, now, 0)
	}
}
