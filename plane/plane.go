// Package plane is the pin of the fan: the few primitives on which every rib
// stands. Members are the hosts; Documents are typed values changed only by
// compare-and-set; a Lease has one holder and an epoch that only grows; Events
// are an append-only log; Serve and Call let a core command hosts.
//
// Behind it is NATS JetStream, embedded, clustered or external by configuration.
// No other package imports NATS. Bulk bytes never travel here: hosts exchange
// them directly.
//
// A process is either a core, which holds or reaches the store, decides and
// commands, or a plain host, which may only announce itself, append its own events and
// serve the commands that cores have signed.
//
// # What is promised
//
// A write that was acknowledged is on disk (on most disks of a cluster) and is
// recorded in the seal, a file outside the store. When a store comes back
// without it, or with other bytes in its place, Open refuses with a Corrupt
// fault instead of going on with less. A write that ends in a Timeout fault may
// or may not have happened.
//
// A read is a hint: it may be old the moment it returns, and in a cluster a
// replica may lag. Decisions are made by writes that carry the revision they
// stand on: Docs.Swap, Docs.Update, and the epoch of a Lease.
//
// A command is done at most once per host and call id within 24 hours, not
// exactly once: a host that is killed in the midst of it says so when asked again.
package plane

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane/trust"
)

// Plane is one process's hold on the plane. It is safe for concurrent use.
type Plane struct {
	o         Options
	log       *slog.Logger
	engine    *engine   // the embedded server; nil on plain hosts and with an external NATS
	auth      *auth     // who may connect to it; nil as engine is
	refused   *refusals // attempts at what is not allowed, on their way to the audit
	sightings sightings // of leases
	link      *link     // this process's connection
	store     *store    // nil on plain hosts
	served    *served   // the commands of this host
	roll      *roll     // the members; nil on plain hosts
	notes     []string  // see Notes
	start     time.Time
	labels    atomic.Pointer[map[string]string] // nil until SetLabels

	closing sync.Once
	closed  chan struct{} // everything has ended

	life context.Context //nolint:containedctx // ends with Close; the parent of all that runs here
	stop context.CancelFunc
	wg   crew // the goroutines that Close waits for
}

// Open starts or joins the plane as o says. ctx bounds the opening only. A store
// that lost acknowledged data is refused with a Corrupt fault; see Options.Recover.
func Open(ctx context.Context, o Options) (*Plane, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := o.identify(); err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	p := &Plane{o: o, log: o.Log.With("host", o.Host), start: time.Now(), refused: newRefusals(), life: life, stop: stop, closed: make(chan struct{})}
	if err := p.open(ctx); err != nil {
		_ = p.Close(context.WithoutCancel(ctx)) // the first error is the one to tell
		return nil, err
	}
	return p, nil
}

// open brings the parts up in the order in which they need each other.
func (p *Plane) open(ctx context.Context) (err error) {
	if p.o.Mode == Embedded || p.o.Mode == Cluster {
		p.auth = newAuth(p.refused, p.log)
		if p.engine, err = startEngine(ctx, p.o, p.auth, p.log); err != nil {
			return err
		}
	}
	if p.link, err = dial(ctx, p.o, p.engine, p.auth, p.log); err != nil {
		return err
	}
	if p.o.Mode == External {
		if p.notes, err = preflight(ctx, p.o, p.link); err != nil {
			return err
		}
		for _, n := range p.notes {
			p.log.Warn(n)
		}
	}
	if p.IsCore() {
		if p.store, err = openStore(ctx, p.o, p.link, p.log); err != nil {
			return err
		}
		if err = p.openAuth(ctx); err != nil {
			return err
		}
		if p.roll, err = p.openRoll(ctx); err != nil {
			return err
		}
		if err = p.takeEvents(); err != nil {
			return err
		}
	}
	if p.served, err = p.openServed(); err != nil {
		return err
	}
	p.wg.Go(func() { p.beat(p.life) })
	p.wg.Go(func() { p.refused.run(p.life, p.writeRefusal) })
	if p.IsCore() {
		p.wg.Go(func() { p.housekeep(p.life) })
	}
	return nil
}

// Close stops serving and beating, waits for what runs, and stops the embedded
// server. Commands in progress are cancelled. ctx bounds the waiting.
func (p *Plane) Close(ctx context.Context) error {
	p.closing.Do(func() {
		p.stop()
		go func() {
			defer close(p.closed)
			p.wg.Wait()
			p.served.close()
			p.link.close()
			p.engine.close()
			p.store.close()
		}()
	})
	select {
	case <-p.closed:
		return nil
	case <-ctx.Done():
		return fault.Timeout("plane of host " + p.o.Host + " did not stop in time").Because(ctx.Err())
	}
}

// Identity returns who this host is.
func (p *Plane) Identity() *trust.Identity { return p.o.Identity }

// Authority returns what makes this host a core; nil on plain hosts.
func (p *Plane) Authority() *trust.Authority { return p.o.Authority }

// Host returns the name of this host.
func (p *Plane) Host() string { return p.o.Host }

// IsCore reports whether this process may use Documents, Lease, Events and Call.
// On a plain host these return a Denied fault; Emit is allowed there.
func (p *Plane) IsCore() bool { return p.o.Mode != Host }

// needCore is the fault of a plain host that reaches for what only cores have.
func (p *Plane) needCore(what string) error {
	if p.IsCore() {
		return nil
	}
	return fault.Denied(what + " is for cores, and this host is not one").At(p.o.Host).
		Try("run the action on a core; hosts get their orders by commands")
}

// within bounds ctx by the life of the plane.
func (p *Plane) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(p.life, func() {
		cancel(fault.Unavailable("the plane of host " + p.o.Host + " is closing"))
	})
	return ctx, func() { unhook(); cancel(nil) }
}

// ListenAddress returns the host:port at which this core takes hosts; empty when
// it takes none.
func (p *Plane) ListenAddress() string { return p.engine.address() }
