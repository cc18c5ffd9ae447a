package schedule

import "time"

// average is a moving average of durations; the newest weighs an eighth, as in the
// round-trip estimate of TCP (RFC 6298). One far above it counts as four times the
// average only, so that a single slow host does not change what is usual.
type average struct {
	value time.Duration
	known bool
}

func (a *average) add(d time.Duration) {
	if !a.known {
		a.value, a.known = d, true
		return
	}
	a.value += (min(d, 4*a.value) - a.value) / 8
}

// times returns the average times a factor, and whether anything was seen yet.
func (a *average) times(factor int) (time.Duration, bool) {
	return a.value * time.Duration(factor), a.known
}
