// Package zone makes every name server know every zone, whatever software it runs. A
// zone that appears at a primary is served by all secondaries within seconds, one that
// is removed there is not; nothing vanishes that nobody meant to remove.
//
// A source (package source) watches a primary, a catalog or a directory and reports to
// the keeper (package keeper), the core that decides what is desired. On each name
// server's host a site (package site) asks the keeper, and works the server through a
// driver (package server). Contents are not kaname's business: they travel by zone
// transfer, between the servers. What is desired is also served as a catalog zone
// (RFC 9432), for servers that need no agent.
package zone

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/rib"
	"kaname.dev/kaname/rib/office"
	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/keeper"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/quarantine"
	"kaname.dev/kaname/rib/zone/serve"
	"kaname.dev/kaname/rib/zone/site"
	"kaname.dev/kaname/rib/zone/source"
	"kaname.dev/kaname/rib/zone/watch"
	"kaname.dev/kaname/rib/zone/wire"
)

// Rib returns the rib, unattached: no I/O happens before Attach.
func Rib() rib.Rib {
	c := defaultConfig()
	r := &service{config: &c}
	return rib.Rib{
		Name:    "zone",
		Summary: action.Text{EN: "Make every name server know every zone, whatever software it runs", JA: "どのソフトウェアの DNS サーバーにも、すべてのゾーンを行き渡らせる"},
		Config:  r.config,
		Actions: r.actions(),
		Attach:  r.attach,
		Run:     r.run,
		Reload:  r.reload,
		Checks:  r.checks(),
		Complete: map[string]func(context.Context, string) ([]string, error){
			"zones": r.completeZones, "servers": r.completeServers,
		},
	}
}

// service is the rib on one node.
type service struct {
	config *Config // as decoded at the start
	node   rib.Node
	keys   []wire.Key
	client *office.Client
	keeper *keeper.Keeper // nil on plain hosts
	meters *watch.Metrics
	known  map[name.Name][]netip.AddrPort // servers that delegations name, known without asking; tests set it

	mu      sync.Mutex // guards the fields below
	set     Config     // as it is now
	sites   map[string]*site.Site
	sources map[string]source.Source
	kept    *quarantine.Store
	served  bool                       // the commands are
	astray  map[name.Name]watch.Report // delegations that are not right; of the keeper
	desired chan keeper.Desired
	listen  *serve.Server // nil when there is no DNS listener; of Run
}

// serveOnce serves the commands, once in the life of the process.
func (r *service) serveOnce() error {
	r.mu.Lock()
	was := r.served
	r.served = true
	r.mu.Unlock()
	if was {
		return nil
	}
	return r.serveCommands()
}

// settings returns the configuration as it is now.
func (r *service) settings() Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.set
}

// attach readies the rib on this node.
func (r *service) attach(n rib.Node) (err error) {
	r.node, r.set = n, *r.config
	r.client = exchange.NewClient(n.Plane, n.PeerClient)
	r.sites, r.sources, r.desired = map[string]*site.Site{}, map[string]source.Source{}, make(chan keeper.Desired, 1)
	r.astray = map[name.Name]watch.Report{}
	if r.meters, err = watch.NewMetrics(n.Metrics); err != nil {
		return err
	}
	if r.keys, err = readKeys(r.config.Keys); err != nil {
		return err
	}
	if !n.Plane.IsCore() {
		return nil
	}
	if err := r.meterDelegations(n.Metrics); err != nil {
		return err
	}
	var latest func(keeper.Desired) // collecting all that is desired is work: only for those who ask
	if len(r.config.Catalog) > 0 {
		latest = r.latest
	}
	r.keeper, err = keeper.New(keeper.Options{
		Plane: n.Plane, Log: n.Log, Metrics: n.Metrics, Settings: r.keeperSettings, Desired: latest, Delegation: r.delegationNote,
	})
	if err != nil {
		return err
	}
	return r.keeper.Register(n.Peers)
}

// latest hands what is desired to the publisher, dropping what it has not yet seen.
func (r *service) latest(d keeper.Desired) {
	for {
		select {
		case r.desired <- d:
			return
		default:
		}
		select {
		case <-r.desired:
		default:
		}
	}
}

// reload takes over what can change while the rib runs: groups, guard, quarantine.
// Sources, servers and listeners wait for the next start.
func (r *service) reload(config any) {
	if c, ok := config.(*Config); ok {
		r.mu.Lock()
		r.set = *c
		r.mu.Unlock()
	}
}

// run is the rib's loop on this node.
func (r *service) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var loops sync.WaitGroup
	defer loops.Wait()
	defer cancel(nil)
	loop := func(f func(context.Context) error) {
		loops.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	if err := r.openKept(); err != nil {
		return err
	}
	defer r.closeKept()
	if err := r.openListener(); err != nil {
		return err
	}
	if r.listen != nil {
		loop(r.listen.Run)
	}
	if err := r.openSites(loop); err != nil {
		return err
	}
	if err := r.openSources(loop); err != nil {
		return err
	}
	if err := r.serveOnce(); err != nil {
		return err
	}
	loop(r.sweep)
	if r.keeper != nil {
		loop(r.keeper.Run)
		if r.listen != nil {
			loop(r.publish)
		}
		loop(r.delegations)
	}
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// openKept opens the quarantine.
func (r *service) openKept() error {
	dir := filepath.Join(r.node.Dir, "quarantine")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	kept, err := quarantine.Open(dir)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = kept
	return nil
}

func (r *service) closeKept() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.kept.Close()
}

// addr reads an address that Check has let through; the zero value for an empty one.
func addr(s string) netip.AddrPort {
	a, _ := netip.ParseAddrPort(s)
	return a
}
