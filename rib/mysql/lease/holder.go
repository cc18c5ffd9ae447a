package lease

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Holder is the side of the primary's agent: it asks the voters, counts their grants, and
// says when they are too few. Set says what it holds, Run asks, State and Changed tell.
type Holder struct {
	clock Clock
	ask   func(ctx context.Context, voter string, a Ask) (Answer, error)

	mu         sync.Mutex
	claim      Claim
	asked      map[string]time.Duration // by Boot: when the latest grant of a voter was asked for
	controller *time.Duration
	denied     map[string]Answer // in favour of a higher epoch
	last       Now               // when the clock was last read
	held       bool
	suspended  time.Duration // for how long the machine was, when that last cost the grants
	changed    chan struct{}
	wake       chan struct{}
}

// Claim is what a holder asks for. The zero value asks for nothing.
type Claim struct {
	Ask
	Rule   Rule
	Counts time.Duration // how long a grant counts: topology.Policy.Lease
}

// State is how a holder stands.
type State struct {
	Ask
	Held   bool
	Left   time.Duration // until the lease ends unless more grants come
	Voters []string      // whose grants are fresh; "" is the controller
	// Over: so many voters know a higher epoch that the lease cannot come back.
	Over bool
	// Higher is the highest epoch that a voter has answered with, if it is above the
	// claim's; Why is what one of those who denied said, or why grants do not count.
	Higher uint64
	Why    string
}

// NewHolder returns a holder that asks voters with ask, whose calls end with their context.
func NewHolder(ask func(ctx context.Context, voter string, a Ask) (Answer, error), clock Clock) *Holder {
	return &Holder{
		clock: clock, ask: ask, asked: map[string]time.Duration{}, denied: map[string]Answer{},
		last: clock(), changed: make(chan struct{}, 1), wake: make(chan struct{}, 1),
	}
}

// Set says what to ask for from now on. Grants to another primary, or of an epoch that is
// higher, are forgotten; those of the same stay, also when the rule has changed or the epoch
// has risen: a voter that is frozen in the new epoch tells when it last granted, in whichever.
func (h *Holder) Set(c Claim) {
	h.mu.Lock()
	same := h.claim.Topology == c.Topology && h.claim.Primary == c.Primary && h.claim.Epoch <= c.Epoch
	news := h.claim.Ask != c.Ask || h.claim.Counts != c.Counts || h.claim.Rule.Need != c.Rule.Need || !slices.Equal(h.claim.Rule.Voters, c.Rule.Voters)
	if h.claim.Ask != c.Ask {
		clear(h.denied)
	}
	h.claim = c
	if !same {
		clear(h.asked)
		h.controller = nil
	}
	h.judge()
	h.mu.Unlock()
	if news {
		poke(h.wake)
	}
}

// Controller counts a grant of the controller to the epoch, for what was asked at the
// instant (of the holder's clock) at.
func (h *Holder) Controller(epoch uint64, at Now) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if epoch != h.claim.Epoch || h.claim.Primary == "" {
		return
	}
	if h.slept() || slept(at, h.last) > nap {
		return
	}
	h.controller = &at.Boot
	h.judge()
}

// Run asks until ctx ends; it returns when no question is under way any more.
func (h *Holder) Run(ctx context.Context) {
	var asks sync.WaitGroup
	defer asks.Wait()
	next := time.NewTimer(0)
	defer next.Stop()
	var again time.Duration // when to ask next, by Mono
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
			again = 0
		case <-next.C:
		}
		h.mu.Lock()
		now := h.look()
		h.judge()
		if now.Mono >= again {
			again = now.Mono + Every
			h.round(ctx, now, &asks)
		}
		wait := min(again-now.Mono, h.soon(now))
		h.mu.Unlock()
		next.Reset(wait)
	}
}

// soon returns when the state has to be looked at again at the latest. It is short even
// in peace, so that a suspended machine is noticed soon after it goes on.
func (h *Holder) soon(now Now) time.Duration {
	wait := glance
	if end, ok := h.claim.Rule.Ends(h.asked, h.controller, h.claim.Counts); ok && h.held {
		wait = min(wait, max(end-now.Boot, time.Millisecond))
	}
	return wait
}

const (
	// glance is the time between looks at the clocks.
	glance = 50 * time.Millisecond
	// nap is how long a machine may be suspended without an end of the lease. Grants run out
	// by a clock that goes on meanwhile, so that this may well be above what reading one
	// clock after the other differs by on a busy machine.
	nap = time.Second
)

// round asks every voter once. A question may take as long as a grant counts at most, for
// an answer that comes later is of no use.
func (h *Holder) round(ctx context.Context, now Now, asks *sync.WaitGroup) {
	c := h.claim
	if c.Primary == "" {
		return
	}
	for _, voter := range c.Rule.Voters {
		asks.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, c.Counts/2)
			defer cancel()
			answer, err := h.ask(ctx, voter, c.Ask)
			if err == nil {
				h.count(voter, c.Ask, now, answer)
			}
		})
	}
}

// count takes an answer to what was asked at the given instant.
func (h *Holder) count(voter string, a Ask, at Now, answer Answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.claim.Ask != a || h.slept() || slept(at, h.last) > nap {
		return
	}
	switch {
	case answer.Granted && answer.Epoch == a.Epoch:
		delete(h.denied, voter)
		if last, ok := h.asked[voter]; !ok || at.Boot > last {
			h.asked[voter] = at.Boot
		}
	case answer.Epoch > a.Epoch:
		h.denied[voter] = answer
	}
	h.judge()
}

// look reads the clock; a machine that was suspended has lost its grants.
func (h *Holder) look() Now {
	now := h.clock()
	if d := slept(h.last, now); d > nap {
		clear(h.asked)
		h.controller, h.suspended = nil, d
	}
	h.last = now
	return now
}

// slept is look for those who drop what they have when the machine was suspended.
func (h *Holder) slept() bool {
	before := h.last
	return slept(before, h.look()) > nap
}

// judge compares what is held with what was.
func (h *Holder) judge() {
	held := h.state(h.clock()).Held
	if held != h.held {
		h.held = held
		poke(h.changed)
	}
}

func (h *Holder) state(now Now) State {
	c := h.claim
	s := State{Ask: c.Ask}
	if c.Primary == "" {
		return s
	}
	for _, v := range c.Rule.Voters {
		if at, ok := h.asked[v]; ok && now.Boot < at+c.Counts {
			s.Voters = append(s.Voters, v)
		}
	}
	if h.controller != nil && now.Boot < *h.controller+c.Counts {
		s.Voters = append(s.Voters, "")
	}
	for _, d := range h.denied {
		if d.Epoch > s.Higher {
			s.Higher, s.Why = d.Epoch, d.Why
		}
	}
	s.Over = s.Higher > 0 && c.Rule.Impossible(func(v string) bool { _, is := h.denied[v]; return is })
	if end, ok := c.Rule.Ends(h.asked, h.controller, c.Counts); ok && now.Boot < end && !s.Over {
		s.Held, s.Left = true, end-now.Boot
		h.suspended = 0
	}
	if !s.Held && s.Why == "" && h.suspended > 0 {
		s.Why = fmt.Sprintf("the machine was suspended for %v", h.suspended)
	}
	return s
}

// State returns how it stands now.
func (h *Holder) State() State {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.look()
	h.judge()
	return h.state(now)
}

// Changed has a value when the lease was won or lost since the last one was taken.
func (h *Holder) Changed() <-chan struct{} { return h.changed }

// Heard returns how long ago the latest grant of each voter was asked for.
func (h *Holder) Heard() map[string]time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	ages := maps.Clone(h.asked)
	for v, at := range ages {
		ages[v] = h.last.Boot - at
	}
	return ages
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
