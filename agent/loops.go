package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// steady is how long a loop must have run for its next failure to count as the
// first one again.
const steady = 5 * time.Minute

// loop is something that runs as long as the agent does.
type loop struct {
	name  string // "rib release"
	run   func(ctx context.Context) error
	fails func() // called at each failure, for the metrics; may be nil
}

// keep runs a loop until ctx ends and starts it again when it fails, panics or
// returns early: after one second at first, then longer, at most a minute. The
// health shows what it is doing.
func (l loop) keep(ctx context.Context, h *health, log *slog.Logger) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = time.Second, time.Minute
	for {
		h.set(l.name, true, "running")
		start := time.Now()
		err := l.once(ctx)
		if ctx.Err() != nil {
			h.set(l.name, true, "stopped")
			return
		}
		if err == nil {
			err = errors.New("ended without being told to")
		}
		if time.Since(start) > steady {
			wait.Reset()
		}
		pause := wait.NextBackOff()
		h.set(l.name, false, err.Error())
		log.Error("loop failed and is started again", "loop", l.name, "after", pause.Round(time.Millisecond), "error", err)
		if l.fails != nil {
			l.fails()
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// once runs the loop and turns a panic into an error that carries the stack.
func (l loop) once(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return l.run(ctx)
}
