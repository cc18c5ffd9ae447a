package lease_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"kaname.dev/kaname/rib/mysql/lease"
)

// voters answer as they are told to; their answers take a while.
type voters struct {
	mu      sync.Mutex
	answers map[string]lease.Answer
	silent  map[string]bool
	takes   time.Duration
	asked   int
}

func (v *voters) ask(ctx context.Context, voter string, a lease.Ask) (lease.Answer, error) {
	v.mu.Lock()
	answer, told := v.answers[voter]
	silent, takes := v.silent[voter], v.takes
	v.asked++
	v.mu.Unlock()
	if silent {
		<-ctx.Done()
		return lease.Answer{}, ctx.Err()
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return lease.Answer{}, ctx.Err()
	}
	if !told {
		return lease.Answer{}, errors.New("connection refused")
	}
	return answer, nil
}

func (v *voters) set(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
}

// bubble returns a clock of a synctest bubble, and a way to suspend its machine.
func bubble() (lease.Clock, func(time.Duration)) {
	start := time.Now()
	var mu sync.Mutex
	var slept time.Duration
	clock := func() lease.Now {
		mu.Lock()
		defer mu.Unlock()
		d := time.Since(start)
		return lease.Now{Boot: d + slept, Mono: d}
	}
	return clock, func(d time.Duration) { mu.Lock(); slept += d; mu.Unlock() }
}

var claim = lease.Claim{
	Ask:    lease.Ask{Topology: "shop", Epoch: 3, Primary: "db0"},
	Rule:   lease.Rule{Voters: []string{"db1", "db2"}, Need: 1},
	Counts: 2 * time.Second,
}

func hold(t *testing.T, test func(t *testing.T, h *lease.Holder, v *voters, suspend func(time.Duration), clock lease.Clock)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		yes := lease.Answer{Granted: true, Epoch: 3}
		v := &voters{answers: map[string]lease.Answer{"db1": yes, "db2": yes}, silent: map[string]bool{}}
		clock, suspend := bubble()
		h := lease.NewHolder(v.ask, clock)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); h.Run(ctx) }()
		defer func() { cancel(); <-done }()
		test(t, h, v, suspend, clock)
	})
}

// until waits for a change and returns how long it took.
func until(t *testing.T, h *lease.Holder, held bool, most time.Duration) time.Duration {
	t.Helper()
	start := time.Now()
	deadline := time.After(most)
	for h.State().Held != held {
		select {
		case <-h.Changed():
		case <-deadline:
			t.Fatalf("held is not %v after %v: %+v", held, most, h.State())
		}
	}
	return time.Since(start)
}

func TestHolderWinsAndLoses(t *testing.T) {
	hold(t, func(t *testing.T, h *lease.Holder, v *voters, _ func(time.Duration), _ lease.Clock) {
		if h.State().Held {
			t.Fatal("held before anything was asked for")
		}
		h.Set(claim)
		until(t, h, true, time.Second)
		<-time.After(10 * time.Second)
		synctest.Wait()
		if s := h.State(); !s.Held || !cmp.Equal(s.Voters, []string{"db1", "db2"}) {
			t.Fatalf("after ten seconds: %+v", s)
		}
		// One of two voters suffices.
		v.set(func() { v.silent["db1"] = true })
		<-time.After(10 * time.Second)
		if !h.State().Held {
			t.Fatal("lost with one of two voters")
		}
		v.set(func() { v.silent["db2"] = true })
		if took := until(t, h, false, 5*time.Second); took > claim.Counts || took < claim.Counts-lease.Every {
			t.Errorf("lost after %v", took)
		}
		v.set(func() { clear(v.silent) })
		if took := until(t, h, true, 5*time.Second); took > lease.Every {
			t.Errorf("won again after %v", took)
		}
	})
}

// TestHolderCountsFromTheQuestion: an answer that took 900 ms is worth 1.1 s.
func TestHolderCountsFromTheQuestion(t *testing.T) {
	hold(t, func(t *testing.T, h *lease.Holder, v *voters, _ func(time.Duration), _ lease.Clock) {
		v.set(func() { v.takes = 900 * time.Millisecond; delete(v.answers, "db2") })
		h.Set(claim)
		until(t, h, true, 5*time.Second)
		if left := h.State().Left; left > 1100*time.Millisecond {
			t.Errorf("left %v", left)
		}
		v.set(func() { v.takes = 1500 * time.Millisecond }) // later than of use
		until(t, h, false, 5*time.Second)
	})
}

func TestHolderSuspended(t *testing.T) {
	hold(t, func(t *testing.T, h *lease.Holder, v *voters, suspend func(time.Duration), clock lease.Clock) {
		h.Set(claim)
		until(t, h, true, time.Second)
		h.Controller(3, clock())
		v.set(func() { clear(v.answers) })
		suspend(200 * time.Millisecond)
		<-time.After(100 * time.Millisecond)
		if !h.State().Held {
			t.Error("lost by a pause that grants outlive")
		}
		suspend(1200 * time.Millisecond)
		if took := until(t, h, false, time.Second); took > 100*time.Millisecond {
			t.Errorf("noticed after %v", took)
		}
		v.set(func() { v.answers["db1"] = lease.Answer{Granted: true, Epoch: 3} })
		until(t, h, true, time.Second)
	})
}

func TestHolderHearsOfAHigherEpoch(t *testing.T) {
	hold(t, func(t *testing.T, h *lease.Holder, v *voters, _ func(time.Duration), clock lease.Clock) {
		h.Set(claim)
		until(t, h, true, time.Second)
		no := lease.Answer{Epoch: 4, Why: "epoch 3 is over"}
		v.set(func() { v.answers["db1"] = no })
		<-time.After(time.Second)
		synctest.Wait()
		if s := h.State(); !s.Held || s.Over || s.Higher != 4 {
			t.Fatalf("one of two is frozen: %+v", s)
		}
		v.set(func() { v.answers["db2"] = no })
		if took := until(t, h, false, time.Second); took > lease.Every {
			t.Errorf("over after %v", took)
		}
		if s := h.State(); !s.Over || s.Why == "" {
			t.Errorf("both are frozen: %+v", s)
		}
		// A late word of the controller of the old epoch does not open it again.
		h.Controller(3, clock())
		if h.State().Held {
			t.Error("held although both voters know a higher epoch")
		}
	})
}

func TestHolderByTheController(t *testing.T) {
	hold(t, func(t *testing.T, h *lease.Holder, v *voters, _ func(time.Duration), clock lease.Clock) {
		v.set(func() { clear(v.answers) })
		h.Set(claim)
		h.Controller(2, clock()) // of another epoch
		if h.State().Held {
			t.Fatal("held by a word for another epoch")
		}
		h.Controller(3, clock())
		if s := h.State(); !s.Held || s.Left != claim.Counts {
			t.Fatalf("%+v", s)
		}
		if took := until(t, h, false, 3*time.Second); took != claim.Counts {
			t.Errorf("lost after %v", took)
		}
	})
}

func TestHolderForgetsGrantsToAnotherPrimary(t *testing.T) {
	hold(t, func(t *testing.T, h *lease.Holder, v *voters, _ func(time.Duration), _ lease.Clock) {
		h.Set(claim)
		until(t, h, true, time.Second)
		next := claim
		next.Epoch = 4
		h.Set(next)
		if !h.State().Held {
			t.Error("a primary that stays lost its lease when the epoch rose")
		}
		<-time.After(claim.Counts + time.Second)
		synctest.Wait()
		if h.State().Held {
			t.Error("held by answers for epoch 3")
		}
		h.Set(claim)
		until(t, h, true, time.Second)
		other := claim
		other.Epoch, other.Primary = 4, "db9"
		h.Set(other)
		if h.State().Held {
			t.Error("held by grants to another primary")
		}
		h.Set(lease.Claim{})
		synctest.Wait() // a round was under way
		v.set(func() { v.asked = 0 })
		<-time.After(time.Second)
		synctest.Wait()
		v.set(func() {
			if v.asked != 0 {
				t.Errorf("asked %d times for nothing", v.asked)
			}
		})
	})
}
