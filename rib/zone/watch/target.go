package watch

import (
	"net/netip"
	"slices"
	"time"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/wire"
)

// target is a server that is asked: the watched one, or a primary.
type target struct {
	peer    wire.Peer
	asker   asker
	rate    float64 // questions a second
	budget  float64 // questions that may be asked now
	filled  time.Time
	started bool

	misses int       // questions without an answer since the last answer
	heard  time.Time // of the last answer
	down   time.Time // since when it does not answer; zero when it does
	tried  time.Time // the last question while it is down
}

// downAfter is how many questions in a row without an answer make a server silent, and
// downFor how long it must have said nothing.
const (
	downAfter = 3
	downFor   = 2 * time.Second
	downTry   = 500 * time.Millisecond // a silent server is asked so often
)

func newTarget(p wire.Peer, open func(wire.Peer) asker, rate int) *target {
	return &target{peer: p, asker: open(p), rate: float64(rate)}
}

// may reports whether another question may be asked now, and counts it.
func (t *target) may(now time.Time) bool {
	if !t.down.IsZero() {
		if now.Sub(t.tried) < downTry {
			return false
		}
		t.tried = now
		return true
	}
	if t.filled.IsZero() {
		t.filled = now
	}
	t.budget = min(t.budget+t.rate*now.Sub(t.filled).Seconds(), max(t.rate/20, 1))
	t.filled = now
	if t.budget < 1 {
		return false
	}
	t.budget--
	return true
}

// note counts an answer or its absence, and reports whether the server fell silent or
// came back by it.
func (t *target) note(a Answer, now time.Time) bool {
	if a.Kind != NoAnswer {
		was := t.down
		t.misses, t.heard, t.down = 0, now, time.Time{}
		return !was.IsZero()
	}
	if t.misses++; t.heard.IsZero() {
		t.heard = now
	}
	if t.down.IsZero() && t.misses >= downAfter && now.Sub(t.heard) >= downFor {
		t.down = now
		return true
	}
	return false
}

// wireKey identifies a target.
type wireKey struct {
	address netip.AddrPort
	key     string
}

// route is where the zones of a group come from.
type route struct {
	zone Zone
	to   []*target
}

func (r *route) is(z *Zone) bool {
	return r.zone.Group == z.Group && slices.Equal(r.zone.Primaries, z.Primaries)
}

// route returns the route of a zone. w.mu is held.
func (w *Watcher) route(z *Zone) *route {
	for _, r := range w.routes {
		if r.is(z) {
			return r
		}
	}
	r := &route{zone: Zone{Group: z.Group, Primaries: slices.Clone(z.Primaries)}}
	for _, p := range z.Primaries {
		k := wireKey{p.Address, p.Key}
		t := w.targets[k]
		if t == nil {
			t = newTarget(wire.Peer{Address: p.Address, Key: w.o.Keys.find(p.Key)}, w.o.asker, w.o.Sweep)
			w.targets[k] = t
		}
		r.to = append(r.to, t)
	}
	w.routes = append(w.routes, r)
	return r
}

// find returns the key of a name, nil when it is not known.
func (k Keys) find(text string) *wire.Key {
	n, err := name.Parse(text)
	if text == "" || err != nil {
		return nil
	}
	for i := range k {
		if m, err := name.Parse(k[i].Name); err == nil && m == n {
			return &k[i]
		}
	}
	return nil
}

// live returns the first primary that answers, the first of all when none does; nil when
// there are none.
func (r *route) live() *target {
	for _, t := range r.to {
		if t.down.IsZero() {
			return t
		}
	}
	if len(r.to) == 0 {
		return nil
	}
	return r.to[0]
}
