package origin

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// retry does something until it works, cannot work, or was tried often enough.
func retry[T any](ctx context.Context, o Options, do func() (T, error)) (T, error) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, o.Pause
	return backoff.Retry(ctx, func() (T, error) {
		v, err := do()
		if err != nil && permanent(err) {
			return v, backoff.Permanent(err)
		}
		return v, err
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(uint(o.Tries)), backoff.WithMaxElapsedTime(0))
}
