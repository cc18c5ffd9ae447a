package trust

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// freshLook is the longest time between two looks at the clock. The wall clock
// decides when to renew, and it may jump: after a suspend, for one.
const freshLook = 10 * time.Minute

// KeepFresh renews the identity whenever half of its certificate's life is over,
// until ctx ends: it calls renew, and saves the identity in dir when that has
// succeeded. A renewal that fails is tried again after 1 to 10 minutes, for as long
// as it takes; each failure is logged. On a plain host renew is a call of
// Identity.Renew, on a core it installs what its own Authority issues.
func (i *Identity) KeepFresh(ctx context.Context, dir string, log *slog.Logger, renew func(ctx context.Context) error) {
	pause := time.Minute
	for {
		wait := min(time.Until(i.RenewAt()), freshLook)
		if wait <= 0 {
			err := renew(ctx)
			if err == nil {
				err = i.Save(dir)
			}
			if err == nil {
				pause = time.Minute
				log.Info("certificate renewed", "until", i.Certificate().NotAfter)
				continue
			}
			if ctx.Err() != nil {
				return
			}
			log.Warn("certificate not renewed, will try again", "until", i.Certificate().NotAfter, "error", err)
			wait = pause
			pause = min(2*pause, freshLook)
		}
		// Spread by a tenth, so that hosts that joined together do not renew together.
		t := time.NewTimer(wait + rand.N(wait/10+time.Second))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// RenewFrom installs a new certificate that the Authority, held by this very
// process, issues: how a core renews itself. names are as in Grant.
func (i *Identity) RenewFrom(a *Authority, names []string) error {
	csr, err := i.Request()
	if err != nil {
		return err
	}
	e := Enroller{Authority: a}
	out, err := e.issue(csr, Grant{Host: i.host, Role: i.Role(), Names: names})
	if err != nil {
		return err
	}
	return i.Install(out)
}
