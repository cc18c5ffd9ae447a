// Package keeper decides which zones are desired. Of the cores, the one that holds
// the lease "zone" does it: it takes the reports of sources, lets them through the
// guard, keeps the accepted sets as documents, and answers servers that ask what to
// serve. What it needs after a restart is in the documents; what servers tell it is
// not, they tell it again.
//
// The invariants: what a source does not know to be gone stays desired; a set that
// shrinks beyond the guard's limits is not accepted without an operator; a zone has
// one owner among the sources, the one that has had it longest.
package keeper

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/office"
	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/guard"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// leaseTTL outlives a core that is short of processors for a while. After a core that
// died it passes before there is a keeper again.
const leaseTTL = 10 * time.Second

// Settings are what can change while it runs.
type Settings struct {
	Groups     map[string]server.Template // by group; without primaries those of the source count
	Guard      guard.Policy
	Quarantine time.Duration // how long a removed zone can be restored
}

// Options say with what a keeper works.
type Options struct {
	Plane    *plane.Plane
	Log      *slog.Logger
	Metrics  prometheus.Registerer
	Settings func() Settings
	// Desired is called, if not nil, after each change of what is desired, by the
	// goroutine that made it; with all that is desired, by view.
	Desired func(d Desired)
	// Delegation says what is wrong with a zone's delegation, if not nil; empty for
	// nothing. It must not call the keeper.
	Delegation func(zone name.Name) string
	Now        func() time.Time // time.Now when nil
}

// Keeper is the keeper's office on one core; whether this core holds it changes.
type Keeper struct {
	o      Options
	meters *meters
	office office.Office

	mu    sync.Mutex // guards reign
	reign *reign     // nil when this core is not the keeper
}

// New returns the office; Register and Run open it.
func New(o Options) (*Keeper, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	m, err := newMeters(o.Metrics)
	if err != nil {
		return nil, err
	}
	return &Keeper{o: o, meters: m, office: office.Office{
		Plane: o.Plane, Name: exchange.Office, Duty: "keeps the zones", TTL: leaseTTL, Log: o.Log,
	}}, nil
}

// Register serves other hosts' messages on the peer listener's mux, and answers the
// plane's question who the keeper is.
func (k *Keeper) Register(mux *http.ServeMux) error {
	office.Handle(mux, exchange.PathReport, k.report)
	office.Handle(mux, exchange.PathDesired, k.feed)
	office.Handle(mux, exchange.PathObserved, k.observed)
	office.Handle(mux, exchange.PathView, k.view)
	return k.office.Announce()
}

// Run holds the office whenever no other core does, until ctx ends.
func (k *Keeper) Run(ctx context.Context) error { return k.office.Run(ctx, k.serve) }

// serve is one reign: from the lease to its end.
func (k *Keeper) serve(life context.Context, lease *plane.Lease, fail context.CancelCauseFunc) error {
	r, err := k.accede(life, lease, fail)
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.reign = r
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		k.reign = nil
		k.mu.Unlock()
		r.end()
	}()
	k.o.Log.Info("this core keeps the zones", "zones", len(r.desired), "sources", len(r.sources))
	return r.watch(life, fail)
}

// current returns the reign, or says that another core has it.
func (k *Keeper) current() (*reign, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.reign == nil {
		return nil, fault.Unavailable("this core does not keep the zones").Try("ask again: the plane names the one that does")
	}
	return k.reign, nil
}
