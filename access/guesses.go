package access

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"kaname.dev/kaname/fault"
)

// guesses limits how often passwords may be tried. Three limits stand side by
// side: for a name from one address, for an address, and for a name from all
// addresses. The last is wide, so that a stranger cannot lock a person out.
type guesses struct {
	now func() time.Time

	mu     sync.Mutex // guards limits
	limits map[string]*guess
}

type guess struct {
	*rate.Limiter
	used time.Time
}

// maxGuessers bounds the memory; the longest unused are forgotten first.
const maxGuessers = 10_000

func newGuesses(now func() time.Time) *guesses {
	return &guesses{now: now, limits: map[string]*guess{}}
}

// take counts one try; it returns a Denied fault when there were too many.
func (g *guesses) take(name, from string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	for _, l := range []struct {
		key   string
		burst int
		every time.Duration
	}{
		{"name\x00" + name + "\x00" + from, 5, 20 * time.Second},
		{"from\x00" + from, 20, 5 * time.Second},
		{"all\x00" + name, 50, 5 * time.Second},
	} {
		lim := g.limits[l.key]
		if lim == nil {
			lim = &guess{Limiter: rate.NewLimiter(rate.Every(l.every), l.burst)}
			g.limits[l.key] = lim
		}
		lim.used = now
		if !lim.AllowN(now, 1) {
			return fault.Denied("too many sign-ins were tried").Try("wait a minute and try again")
		}
	}
	g.forget(now)
	return nil
}

// forgive gives a name from one address its tries back after it signed in.
func (g *guesses) forgive(name, from string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.limits, "name\x00"+name+"\x00"+from)
}

// forget drops limits that have long been full again, and if that is not enough
// all but the youngest.
func (g *guesses) forget(now time.Time) {
	for age := time.Hour; len(g.limits) > maxGuessers && age > time.Second; age /= 2 {
		for k, l := range g.limits {
			if now.Sub(l.used) > age {
				delete(g.limits, k)
			}
		}
	}
	if len(g.limits) > 2*maxGuessers {
		clear(g.limits)
	}
}
