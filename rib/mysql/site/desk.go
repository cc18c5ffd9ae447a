package site

import (
	"context"
	"errors"
	"sync"
	"time"
)

// desk is where work on the server is done, one piece after the other.
type desk struct {
	turn chan struct{} // has room for one

	mu   sync.Mutex
	stop context.CancelCauseFunc // of the work that is under way
	soft bool                    // that work may be interrupted by Freeze
	last time.Time               // when work last ended
}

// errInterrupted is the cause of a context whose work had to give way.
var errInterrupted = errors.New("interrupted by a more urgent order")

// give is how long work that is interrupted may take to end.
const give = 100 * time.Millisecond

// take waits for the turn and returns the context of the work; done ends it. soft work
// gives way to Freeze, all work to fencing.
func (d *desk) take(ctx context.Context, soft bool) (within context.Context, done func(), err error) {
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	within, stop := context.WithCancelCause(ctx)
	d.mu.Lock()
	d.stop, d.soft = stop, soft
	d.mu.Unlock()
	return within, func() {
		d.mu.Lock()
		d.stop, d.last = nil, time.Now()
		d.mu.Unlock()
		stop(nil)
		<-d.turn
	}, nil
}

// interrupt ends what is under way and takes the turn; when that does not end soon, it
// goes ahead without.
func (d *desk) interrupt(ctx context.Context) (done func()) {
	d.cancel(true)
	ctx, cancel := context.WithTimeout(ctx, give)
	defer cancel()
	ended := func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.last = time.Now()
	}
	select {
	case d.turn <- struct{}{}:
		return func() { ended(); <-d.turn }
	case <-ctx.Done():
		return ended
	}
}

// cancel interrupts soft work, or all.
func (d *desk) cancel(all bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stop != nil && (all || d.soft) {
		d.stop(errInterrupted)
	}
}

// busy reports whether work is under way, and when some last ended.
func (d *desk) busy() (working bool, last time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stop != nil, d.last
}
