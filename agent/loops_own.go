package agent

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
)

// ownLoops are the loops of the agent itself.
func (l *life) ownLoops() []loop {
	return []loop{
		{name: "certificate", run: l.keepCertificate},
		{name: "maintenance", run: l.watchDrain},
		{name: "plane", run: l.watchPlane},
	}
}

// serveCommands offers what cores may order any host to do.
func (l *life) serveCommands() error {
	return errors.Join(
		plane.Serve(l.plane, "host.label", 1, l.obeyLabel),
		plane.Serve(l.plane, "host.check", 1, l.obeyCheck),
	)
}

// keepCertificate renews this host's certificate at half of its life: a core by
// its own authority, a plain host at the cores' API.
func (l *life) keepCertificate(ctx context.Context) error {
	id := l.plane.Identity()
	l.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kaname_certificate_expiry_timestamp_seconds", Help: "End of this host's certificate, in Unix time.",
	}, func() float64 { return float64(id.Certificate().NotAfter.Unix()) }))
	renew := l.renewHost
	if l.o.Core {
		renew = l.renewCore
	}
	id.KeepFresh(ctx, trustDir(l.cfg.Config), l.log, renew)
	return nil
}

// renewHost asks the cores' APIs one after another.
func (l *life) renewHost(ctx context.Context) error {
	addresses := l.cfg.Plane.API
	if len(addresses) == 0 {
		return fault.Invalid("plane.api names no core, so the certificate cannot be renewed").Try("set plane.api to [\"core1:7421\"]")
	}
	var errs []error
	for _, a := range addresses {
		err := l.plane.Identity().Renew(ctx, a)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil || fault.Is(err, fault.KindDenied) {
			break
		}
	}
	return errors.Join(errs...)
}

// watchPlane shows in the health whether this host is connected to the plane.
func (l *life) watchPlane(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if ok, detail := l.connected(ctx); ctx.Err() == nil {
			l.health.set("plane", ok, detail)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// connected tells through which core this host is in the plane.
func (l *life) connected(ctx context.Context) (ok bool, detail string) {
	core, ok := l.plane.Connected()
	switch {
	case !ok:
		return false, "no core answers; trying again"
	case l.plane.IsCore():
		if _, err := l.plane.Members(ctx); err != nil {
			return false, err.Error()
		}
		return true, "core " + l.name
	default:
		return true, "joined as " + l.name + " through " + core
	}
}

// alive says whether the agent itself works, whatever the state of the others; it
// feeds the watchdog. A core that cannot list its members within the time is
// stuck.
func (l *life) alive(ctx context.Context) error {
	if l.plane == nil || !l.plane.IsCore() {
		return nil // a plain host whose cores are away is alive
	}
	_, err := l.plane.Members(ctx)
	return err
}
