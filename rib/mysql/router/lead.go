package router

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/topology"
)

var _ endpoint.Driver = (*Router)(nil)

// Publish leads clients to t: those who wait at once, and those of other servers are cut,
// or carried over when their session is kept. It returns endpoint.ErrOld for an epoch
// lower than one it has seen.
func (r *Router) Publish(_ context.Context, t endpoint.Target) error {
	if t.Primary == nil {
		return fmt.Errorf("publish topology %s through the router: no primary is named; Withdraw leads nowhere", r.o.Topology)
	}
	return r.change(t, false)
}

// Withdraw leads new work nowhere: connections and, where sessions are kept, commands wait
// at most Options.Hold. What is in a transaction goes on, at most Options.Drain. Withdraw
// returns when no connection that can be followed is in a command or transaction, when
// Drain has passed, or when ctx ends; new work waits in any case.
func (r *Router) Withdraw(ctx context.Context, t endpoint.Target) error {
	if err := r.change(t, true); err != nil {
		return err
	}
	if r.o.Target == Replica {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.o.Drain)
	defer cancel()
	for r.busy() > 0 && ctx.Err() == nil {
		if v := r.view.Load(); !v.held || v.target.Epoch != t.Epoch {
			return nil // published meanwhile
		}
		wait(ctx, 2*time.Millisecond)
	}
	return nil
}

// Current returns where clients are led.
func (r *Router) Current(context.Context) (endpoint.Target, error) {
	v := r.view.Load()
	if v.held {
		return endpoint.Target{}, nil
	}
	t := v.target
	p := *t.Primary
	t.Primary, t.Replicas = &p, slices.Clone(t.Replicas)
	return t, nil
}

// Close does nothing: Run ends with its context.
func (r *Router) Close() error { return nil }

func (r *Router) change(t endpoint.Target, held bool) error {
	if t.Topology != "" && r.o.Topology != "" && t.Topology != r.o.Topology {
		return fmt.Errorf("router of topology %s: the target is of topology %s", r.o.Topology, t.Topology)
	}
	r.settling.Lock()
	defer r.settling.Unlock()
	before := r.view.Load()
	if known := before.target.Epoch; t.Epoch < known {
		return fmt.Errorf("router of topology %s: epoch %d, known is %d: %w", r.o.Topology, t.Epoch, known, endpoint.ErrOld)
	}
	now := r.next(t, held)
	if now.held == before.held && reflect.DeepEqual(now.target, before.target) {
		return nil
	}
	if before.held && now.held {
		now.since = before.since
	}
	r.view.Store(now)
	close(before.news)
	r.o.Metrics.led(r, now)
	r.o.Log.Info("router", "topology", r.o.Topology, "epoch", t.Epoch, "to", names(now.servers), "held", now.held)
	r.settle(time.Now())
	return nil
}

// next returns the view that follows from a target.
func (r *Router) next(t endpoint.Target, held bool) *view {
	v := &view{target: endpoint.Target{Topology: t.Topology, Epoch: t.Epoch, Replicas: slices.Clone(t.Replicas)}, held: held, news: make(chan struct{})}
	if t.Primary != nil {
		p := *t.Primary
		v.target.Primary = &p
	}
	if r.o.Target == Replica {
		v.servers = v.target.Replicas
		v.held = held && len(v.servers) == 0
	}
	if len(v.servers) == 0 && !v.held && v.target.Primary != nil {
		v.servers = []topology.Member{*v.target.Primary}
	}
	if v.held {
		v.since = time.Now()
		v.servers = nil
	}
	return v
}

func names(list []topology.Member) []string {
	out := make([]string, 0, len(list))
	for i := range list {
		out = append(out, list[i].Name)
	}
	return out
}

// settle lets each connection follow from the view.
func (r *Router) settle(now time.Time) {
	r.mu.Lock()
	list := slices.Collect(maps.Keys(r.conns))
	r.mu.Unlock()
	for _, c := range list {
		c.settle(now)
	}
}

// busy counts connections that are in a command or transaction and can be followed.
func (r *Router) busy() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for c := range r.conns {
		if c.busy() {
			n++
		}
	}
	return n
}

// sweep settles again and again after work was withdrawn, for what depends on time.
func (r *Router) sweep(ctx context.Context) {
	for {
		v := r.view.Load()
		if v.held && time.Since(v.since) < r.o.Drain+time.Second {
			wait(ctx, 10*time.Millisecond)
		} else {
			select {
			case <-v.news:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return
		}
		r.settling.Lock()
		r.settle(time.Now())
		r.settling.Unlock()
	}
}

// Clients returns how many connections of clients there are.
func (r *Router) Clients() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns)
}
