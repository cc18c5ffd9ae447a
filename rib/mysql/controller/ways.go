package controller

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"

	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/topology"
)

// ways are the endpoints of a topology: the board for routers, and those that its policy
// names. They belong to the loop of the topology.
type ways struct {
	board  onBoard
	specs  []topology.Endpoint // as the drivers were opened
	opened []way
}

type way struct {
	kind   string
	driver endpoint.Driver
}

// open opens the drivers that the policy names, when they are not those that are open.
func (w *ways) open(t *charge) {
	specs := t.record().Policy.Endpoints
	if slices.EqualFunc(specs, w.specs, sameEndpoint) {
		return
	}
	w.close()
	w.specs = slices.Clone(specs)
	for _, s := range specs {
		d, err := t.r.c.o.Endpoint(t.name, s)
		if err != nil {
			t.r.c.o.Log.Error("an endpoint cannot be opened, and does not follow", "topology", t.name, "kind", s.Kind, "why", err)
			continue
		}
		w.opened = append(w.opened, way{kind: s.Kind, driver: d})
	}
}

func sameEndpoint(a, b topology.Endpoint) bool {
	if a.Kind != b.Kind || len(a.Settings) != len(b.Settings) {
		return false
	}
	for k, v := range a.Settings {
		if b.Settings[k] != v {
			return false
		}
	}
	return true
}

func (w *ways) close() {
	for _, o := range w.opened {
		_ = o.driver.Close() // clients are still led
	}
	w.opened = nil
}

// publish leads clients to the primary, by all endpoints at once.
func (w *ways) publish(ctx context.Context, t endpoint.Target) error {
	return w.each(ctx, func(ctx context.Context, d endpoint.Driver) error { return d.Publish(ctx, t) })
}

// withdraw leads them nowhere.
func (w *ways) withdraw(ctx context.Context, t endpoint.Target) error {
	return w.each(ctx, func(ctx context.Context, d endpoint.Driver) error { return d.Withdraw(ctx, t) })
}

func (w *ways) each(ctx context.Context, do func(context.Context, endpoint.Driver) error) error {
	all := append([]way{{kind: "router", driver: w.board}}, w.opened...)
	errs := make([]error, len(all))
	var g errgroup.Group
	for i := range all {
		g.Go(func() error {
			if err := do(ctx, all[i].driver); err != nil {
				errs[i] = errors.New(all[i].kind + ": " + err.Error())
			}
			return nil
		})
	}
	_ = g.Wait() // each keeps its own
	return errors.Join(errs...)
}
