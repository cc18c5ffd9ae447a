package swarm

import (
	"context"

	"golang.org/x/time/rate"
)

// Limits bounds what this host sends and receives, over all packs together. It can be
// changed while transfers run, and is safe for concurrent use.
type Limits struct{ up, down *rate.Limiter }

// burst is how many bytes may go at once after a pause.
const burst = 4 * piece

// NewLimits bounds uploads and downloads to so many bytes a second; 0 means unlimited.
func NewLimits(up, down int64) *Limits {
	l := &Limits{up: rate.NewLimiter(rate.Inf, burst), down: rate.NewLimiter(rate.Inf, burst)}
	l.Set(up, down)
	return l
}

// Set changes the bounds, in bytes a second; 0 means unlimited.
func (l *Limits) Set(up, down int64) {
	set := func(r *rate.Limiter, n int64) {
		if n <= 0 {
			r.SetLimit(rate.Inf)
		} else {
			r.SetLimit(rate.Limit(n))
		}
	}
	set(l.up, up)
	set(l.down, down)
}

// waitUp waits until n bytes may be sent; n is at most burst.
func (l *Limits) waitUp(ctx context.Context, n int) error {
	if l == nil {
		return nil
	}
	return l.up.WaitN(ctx, n)
}

// waitDown waits until n bytes may be received; n is at most burst.
func (l *Limits) waitDown(ctx context.Context, n int) error {
	if l == nil {
		return nil
	}
	return l.down.WaitN(ctx, n)
}
