package agent

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAFailingLoopIsStartedAgainLaterAndLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHealth()
		var starts []time.Duration
		failures, began := 0, time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		lp := loop{name: "rib x", fails: func() { failures++ }, run: func(ctx context.Context) error {
			starts = append(starts, time.Since(began))
			switch len(starts) {
			case 1:
				return errors.New("no disk")
			case 2:
				panic("index out of range")
			case 3:
				return nil // ends without being told to
			default:
				<-ctx.Done()
				return ctx.Err()
			}
		}}
		done := make(chan struct{})
		go func() { defer close(done); lp.keep(ctx, h, slog.New(slog.DiscardHandler)) }()
		synctest.Wait()
		if parts, ready := h.report(); ready || parts[0].Detail != "no disk" {
			t.Errorf("after the first failure: %+v", parts)
		}
		time.Sleep(10 * time.Minute) //nolint:forbidigo // virtual time
		if len(starts) != 4 || failures != 3 {
			t.Fatalf("%d starts, %d failures", len(starts), failures)
		}
		for i := 1; i < 4; i++ {
			if gap := starts[i] - starts[i-1]; gap < 500*time.Millisecond || gap > 2*time.Minute {
				t.Errorf("gap %d is %v", i, gap)
			}
		}
		if _, ready := h.report(); !ready {
			t.Errorf("runs, but is not well: %s", h.wrong())
		}
		cancel()
		<-done
	})
}

func TestAPanicCarriesItsStack(t *testing.T) {
	err := loop{run: func(context.Context) error { panic("boom") }}.once(t.Context())
	if err == nil || !strings.Contains(err.Error(), "panic: boom") || !strings.Contains(err.Error(), "loops_test.go") {
		t.Errorf("%v", err)
	}
}

func TestHealthKeepsTheTimeOfAVerdict(t *testing.T) {
	now := time.Unix(100, 0)
	h := newHealth()
	h.now = func() time.Time { return now }
	if _, ready := h.report(); ready {
		t.Error("ready before anything has spoken")
	}
	h.set("plane", false, "opening")
	now = now.Add(time.Minute)
	h.set("plane", false, "still opening")
	parts, ready := h.report()
	if ready || !parts[0].Since.Equal(time.Unix(100, 0)) || h.wrong() != "plane: still opening" {
		t.Errorf("%+v, %v, %q", parts, ready, h.wrong())
	}
	h.set("plane", true, "joined")
	parts, ready = h.report()
	if !ready || !parts[0].Since.Equal(time.Unix(160, 0)) {
		t.Errorf("%+v, %v", parts, ready)
	}
}
