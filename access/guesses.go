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

	mu     sync.Mutex // guards the fields below
	limits map[string]*rate.Limiter
	swept  time.Time
}

// maxGuessers is how many limits are kept before any is forgotten; there are never
// more than twice as many.
const maxGuessers = 10_000

func newGuesses(now func() time.Time) *guesses {
	return &guesses{now: now, limits: map[string]*rate.Limiter{}}
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
			lim = rate.NewLimiter(rate.Every(l.every), l.burst)
			g.limits[l.key] = lim
		}
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

// forget drops limits that are full again, for they say nothing; it looks at most
// every ten seconds, so that many strangers cost no more than memory. When even
// that is too much, all is forgotten.
func (g *guesses) forget(now time.Time) {
	switch {
	case len(g.limits) > 2*maxGuessers:
		clear(g.limits)
	case len(g.limits) > maxGuessers && now.Sub(g.swept) >= 10*time.Second:
		g.swept = now
		for k, l := range g.limits {
			if l.TokensAt(now) >= float64(l.Burst()) {
				delete(g.limits, k)
			}
		}
	}
}
