package trust

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

func TestKeepFresh(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		a := authority(t)
		i := identity(t, a, Grant{Host: "core1", Role: RoleCore})
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		var renewed []time.Duration
		failures := 3
		done := make(chan struct{})
		go func() {
			defer close(done)
			i.KeepFresh(ctx, dir, slog.New(slog.DiscardHandler), func(context.Context) error {
				if failures > 0 {
					failures--
					return errors.New("the core is away")
				}
				renewed = append(renewed, time.Since(start))
				return i.RenewFrom(a, nil)
			})
		}()
		time.Sleep(30 * 24 * time.Hour)
		cancel()
		<-done
		if n := len(renewed); n < 7 || n > 9 {
			t.Errorf("renewed %d times in 30 days: %v", n, renewed)
		}
		if renewed[0] < Life/2-Skew || renewed[0] > Life/2+time.Hour {
			t.Errorf("first renewal, after three failures, at %v", renewed[0])
		}
		kept, err := LoadIdentity(dir)
		if err != nil || !kept.Certificate().Equal(i.Certificate()) {
			t.Errorf("what was renewed last is not on disk: %v", err)
		}
	})
}
