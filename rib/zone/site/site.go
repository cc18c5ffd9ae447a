// Package site brings one name server to serve what is desired, and keeps it there. It
// runs on the server's host: it asks the keeper what to serve, lists what the server
// has, does the difference, watches what is answered, and tells the keeper.
//
// It is level-triggered: news of the keeper, and the clock, only say when to look. What
// was desired last is kept on disk, so that it goes on without the keeper; without
// anything ever heard from a keeper it changes nothing.
package site

import (
	"context"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	"kaname.dev/kaname/rib/office"
	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/plan"
	"kaname.dev/kaname/rib/zone/quarantine"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/watch"
	"kaname.dev/kaname/rib/zone/wire"
)

// Options say which server a site works, and with what.
type Options struct {
	Name    string // of the server on this host
	Kind    string
	View    string
	Groups  []string
	Address netip.AddrPort // where it answers DNS
	Manual  bool           // changes only when Apply is called
	Driver  server.Driver
	Keeper  *office.Client
	Root    *os.Root // the site's own state
	Wire    *wire.Client
	Kept    *quarantine.Store
	// Rescue makes the contents of a zone in quarantine transferable for this host's
	// servers, and returns from where; nil when restoring is off.
	Rescue  func(n name.Name) (netip.AddrPort, error)
	Keys    watch.Keys
	Metrics *watch.Metrics
	Log     *slog.Logger
}

// Times that a site works by.
const (
	lookEvery  = time.Minute            // a full list of the server's zones
	probeAgain = 5 * time.Second        // a zone that is not served so long after its addition is kicked
	tellEvery  = 500 * time.Millisecond // what is observed, when it changed
)

// Site is one server's.
type Site struct {
	o       Options
	watcher *watch.Watcher
	seed    maphash.Seed
	looks   chan look
	dirty   chan struct{} // something is desired differently

	mu        sync.Mutex // guards the fields below
	desired   desired
	touched   map[name.Name]bool // desired differently since the last pass
	info      server.Info
	trouble   string
	notes     map[name.Name]note // what the last passes could not do
	conflicts map[name.Name]bool
	held      *exchange.Held
	heldOps   map[name.Name]bool
	foreign   int
	looked    time.Time
	converged bool
	changed   bool // there is something to tell
	unsaved   bool // what is desired is not on disk

	have map[name.Name]server.Zone // what the server has
	// Of the worker alone: how many zones waited at the last kick, and those kicked.
	waited int
	kicked map[name.Name]kicked
}

// note is what went wrong with a zone.
type note struct {
	text    string
	since   time.Time
	settled bool // trying again is in vain: the server cannot hold such a zone
}

// look asks for a pass over everything.
type look struct {
	force bool              // apply although the server is manual
	dry   bool              // plan only
	done  chan<- lookResult // may be nil; has room for one
}

type lookResult struct {
	plan plan.Plan
	err  error
}

// New returns a site; Run works it.
func New(o Options) (*Site, error) {
	s := &Site{
		o: o, seed: maphash.MakeSeed(), looks: make(chan look, 1), dirty: make(chan struct{}, 1), touched: map[name.Name]bool{},
		notes: map[name.Name]note{}, conflicts: map[name.Name]bool{}, heldOps: map[name.Name]bool{}, kicked: map[name.Name]kicked{},
	}
	d, err := loadDesired(o.Root)
	if err != nil {
		return nil, err
	}
	s.desired = d
	s.watcher = watch.New(watch.Options{
		Server: o.Address, Name: o.Name, Keys: o.Keys, Metrics: o.Metrics, Log: o.Log,
	})
	return s, nil
}

// Name returns the server's name on this host.
func (s *Site) Name() string { return s.o.Name }

// Run works the server until ctx ends.
func (s *Site) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.follow(ctx) })
	wg.Go(func() { s.watcher.Run(ctx) })
	wg.Go(func() { s.report(ctx) })
	wg.Go(func() { s.keep(ctx) })
	s.work(ctx)
	return nil
}

// Plan lists what the server has and returns what would be done to it.
func (s *Site) Plan(ctx context.Context) (plan.Plan, error) { return s.ask(ctx, look{dry: true}) }

// Apply does the plan now, also on a server that is manual, and returns it.
func (s *Site) Apply(ctx context.Context) (plan.Plan, error) { return s.ask(ctx, look{force: true}) }

func (s *Site) ask(ctx context.Context, l look) (plan.Plan, error) {
	done := make(chan lookResult, 1)
	l.done = done
	select {
	case s.looks <- l:
	case <-ctx.Done():
		return plan.Plan{}, ctx.Err()
	}
	select {
	case r := <-done:
		return r.plan, r.err
	case <-ctx.Done():
		return plan.Plan{}, ctx.Err()
	}
}

// Problems asks the server what its configuration lacks.
func (s *Site) Problems(ctx context.Context) []string {
	info, err := s.o.Driver.Probe(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	return info.Problems
}
