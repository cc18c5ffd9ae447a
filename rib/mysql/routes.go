package mysql

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/exchange"
	"kaname.dev/kaname/rib/mysql/router"
	"kaname.dev/kaname/rib/office"
)

// openRouters starts the routers of this host.
func (r *service) openRouters(loop func(func(context.Context) error)) error {
	if len(r.config.Routers) == 0 {
		return nil
	}
	meters, err := router.NewMetrics(r.node.Metrics)
	if err != nil {
		return err
	}
	for i := range r.config.Routers {
		c := &r.config.Routers[i]
		rt, err := router.New(router.Options{
			Topology: c.Topology, Listen: c.Listen, Target: c.Target, Hold: c.Hold, Drain: c.Drain, Users: c.Users,
			Log: r.node.Log.With("router", c.Listen), Metrics: meters,
		})
		if err != nil {
			return fault.Of(err).At("mysql.routers: " + c.Listen)
		}
		loop(rt.Run)
		loop(func(ctx context.Context) error { return r.lead(ctx, c, rt) })
	}
	return nil
}

// lead has a router follow what the controller says, until ctx ends. What was said last is
// kept on disk: a host that starts while there is no controller leads where it did.
func (r *service) lead(ctx context.Context, c *Router, rt *router.Router) error {
	file := "route-" + c.Topology + ".json"
	var last exchange.Led
	if data, err := r.node.Root.ReadFile(file); err == nil && json.Unmarshal(data, &last) == nil && last.Primary != nil {
		_ = rt.Publish(ctx, target(c.Topology, last)) // the first one: nothing is newer
	}
	var have uint64 // as this process has it: nothing yet
	for ctx.Err() == nil {
		led, err := office.Do[exchange.Led](ctx, r.routes, exchange.PathRoute, exchange.Route{
			Topology: c.Topology, Router: c.Listen, Have: have, Clients: rt.Clients(),
		})
		if err != nil || led.Turn == 0 {
			pause(ctx, 300*time.Millisecond)
			continue
		}
		if led.Turn == have {
			continue
		}
		t := target(c.Topology, led)
		if led.Primary == nil {
			err = rt.Withdraw(ctx, t)
		} else {
			err = rt.Publish(ctx, t)
		}
		if errors.Is(err, endpoint.ErrOld) {
			r.node.Log.Warn("the controller leads to an older epoch, and is not followed", "router", c.Listen, "epoch", led.Epoch)
		} else if err != nil && ctx.Err() == nil {
			r.node.Log.Warn("router does not follow", "router", c.Listen, "why", err)
			pause(ctx, 300*time.Millisecond)
			continue
		}
		have = led.Turn
		if led.Primary != nil {
			r.remember(file, led)
		}
	}
	return nil
}

func target(topology string, led exchange.Led) endpoint.Target {
	return endpoint.Target{Topology: topology, Epoch: led.Epoch, Primary: led.Primary, Replicas: led.Replicas}
}

// remember keeps where clients are led. A loss costs what the controller says again.
func (r *service) remember(file string, led exchange.Led) {
	data, err := json.Marshal(led)
	if err == nil {
		err = r.node.Root.WriteFile(file+".new", data, 0o600)
	}
	if err == nil {
		err = r.node.Root.Rename(file+".new", file)
	}
	if err != nil && !errors.Is(err, os.ErrClosed) {
		r.node.Log.Warn("where a router leads is not kept over a restart", "file", file, "why", err)
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
