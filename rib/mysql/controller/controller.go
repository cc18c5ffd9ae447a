// Package controller decides about topologies. Of the cores, the one that holds the lease
// "mysql" does it: it takes the reports of agents, judges them, moves the primary of a
// topology when that is called for, and mends small things in peace. What it needs after a
// restart is in one document for each topology; what agents report is not, they
// report again.
package controller

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/exchange"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
	"kaname.dev/kaname/rib/office"
)

// leaseTTL is short, for while there is no controller nobody fails over: the next one begins
// 1.8 to 2.5 s after the last was killed. It is lost when the store has taken none of three
// renewals, one each 0.67 s. A controller that so loses it in a busy moment loses no more
// than evidence, which agents report anew; what it still does has an epoch that hosts refuse.
const leaseTTL = 2 * time.Second

// Options say with what a controller works.
type Options struct {
	Plane   *plane.Plane
	Log     *slog.Logger
	Metrics prometheus.Registerer
	// Endpoint opens the driver of an endpoint; the board for routers is the
	// controller's own and always there.
	Endpoint func(topology string, e topology.Endpoint) (endpoint.Driver, error)
	// Fence runs the command of Policy.FenceCommand about a member.
	Fence func(ctx context.Context, command []string, m topology.Member) error
}

// Controller is the controller's office on one core; whether this core holds it changes.
type Controller struct {
	o      Options
	office office.Office
	meters *meters

	mu    sync.Mutex // guards reign
	reign *reign     // nil when this core is not the controller
}

// New returns the office; Register and Run open it.
func New(o Options) (*Controller, error) {
	m, err := newMeters(o.Metrics)
	if err != nil {
		return nil, err
	}
	return &Controller{o: o, meters: m, office: office.Office{
		Plane: o.Plane, Name: exchange.Office, Duty: "watches the databases", TTL: leaseTTL, Log: o.Log,
	}}, nil
}

// Register serves other hosts' messages on the peer listener's mux, and answers the
// plane's question who the controller is.
func (c *Controller) Register(mux *http.ServeMux) error {
	office.Hear(mux, exchange.PathReport, c.report)
	office.Handle(mux, exchange.PathRoute, c.route)
	office.Handle(mux, exchange.PathView, c.view)
	return c.office.Announce()
}

// Run holds the office whenever no other core does, until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.office.Run(ctx, c.serve) }

// serve is one reign: from the lease to its end.
func (c *Controller) serve(ctx context.Context, lease *plane.Lease, fail context.CancelCauseFunc) error {
	r := &reign{
		c: c, lease: lease, fail: fail, began: time.Now(), board: newBoard(uint64(lease.Epoch())),
		charges: map[string]*charge{}, answers: map[string]*answer{}, life: ctx,
	}
	docs, err := records(c.o.Plane).List(ctx, "")
	if err != nil {
		return err
	}
	for _, d := range docs {
		r.take(d)
	}
	c.mu.Lock()
	c.reign = r
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.reign = nil
		c.mu.Unlock()
		fail(nil) // whoever still works for this reign stops
		r.work.Wait()
	}()
	if err := c.office.Sit(ctx, lease); err != nil {
		return err
	}
	c.o.Log.Info("this core watches the databases", "topologies", len(docs))
	r.work.Go(func() { r.pace(ctx) })
	return r.listen(ctx)
}

// current returns the reign, or says that another core has it.
func (c *Controller) current() (*reign, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reign == nil {
		return nil, fault.Unavailable("this core does not watch the databases").Try("ask again: the plane names the one that does")
	}
	return c.reign, nil
}

// reign is the controller's knowledge while this core is it.
type reign struct {
	c     *Controller
	lease *plane.Lease
	fail  context.CancelCauseFunc // ends the reign
	life  context.Context         //nolint:containedctx // the reign's own: loops of topologies that appear later end with it
	began time.Time
	board *board
	work  sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	charges map[string]*charge
	answers map[string]*answer // by the word's key
	silent  int                // topologies whose primary does not speak
	stalled time.Time          // until when silence proves nothing, for this process was not running
}

// take begins to watch a topology.
func (r *reign) take(doc plane.Doc[topology.Record]) {
	t := newCharge(r, doc)
	r.mu.Lock()
	r.charges[doc.Key] = t
	r.mu.Unlock()
	r.work.Go(func() { t.run(r.life) })
}

// charge returns what watches a topology, or a NotFound fault.
func (r *reign) charge(name string) (*charge, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.charges[name]
	if t == nil {
		return nil, fault.NotFound("topology " + name + " is not known").Try("see those that are: kaname mysql status; or: kaname mysql adopt " + name)
	}
	return t, nil
}

// all returns what watches the topologies.
func (r *reign) all() []*charge {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*charge, 0, len(r.charges))
	for _, t := range r.charges {
		out = append(out, t)
	}
	return out
}

// tick is how often the controller looks at its own clock.
const tick = 100 * time.Millisecond

// pace notices that this process was not running: what it has not heard meanwhile may
// have been said. It also forgets old answers.
func (r *reign) pace(ctx context.Context) {
	last := time.Now()
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := time.Now()
		silent := r.speechless()
		r.mu.Lock()
		r.silent = silent
		if gap := now.Sub(last); gap > 4*tick {
			r.stalled = now.Add(2 * topology.Beat)
		}
		for k, a := range r.answers {
			if a.done && now.Sub(a.ended) > kept {
				delete(r.answers, k)
			}
		}
		r.mu.Unlock()
		last = now
	}
}

// speechless counts the topologies whose primary does not speak.
func (r *reign) speechless() int {
	n := 0
	for _, t := range r.all() {
		t.mu.Lock()
		if speechless(t.verdict.State) {
			n++
		}
		t.mu.Unlock()
	}
	return n
}

// listen follows what people want, until ctx ends.
func (r *reign) listen(ctx context.Context) error {
	listening := false // to what is said from now on
	for change, err := range words(r.c.o.Plane).Watch(ctx, "") {
		if err != nil {
			r.c.o.Log.Warn("a word about databases cannot be read", "why", err)
			continue
		}
		listening = listening || change.Ready
		if change.Ready || change.Deleted {
			continue
		}
		r.hear(change.Doc, listening)
	}
	return context.Cause(ctx)
}

// order has an agent do something, as a command of the plane under the office's lease.
func (r *reign) order(ctx context.Context, m topology.Member, o order.Order) (order.Done, error) {
	o.Member = m.Name
	return plane.CallOne[order.Done](ctx, r.c.o.Plane, m.Host, plane.CallSpec{
		Command: exchange.CommandOrder, In: o, Lease: r.lease, Actor: action.Actor{Name: "kaname", Door: "agent"}, Timeout: silent,
	}, func(json.RawMessage) {})
}

// silent is how long an agent that was given an order may show no sign of life.
const silent = 5 * time.Second
