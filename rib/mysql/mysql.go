// Package mysql replaces a dead primary of MySQL or MariaDB in seconds, without losing an
// acknowledged write and without ever having two that take writes; and moves a live one on
// purpose with a pause too short to notice.
//
// A site (package site) on each database host works one server and reports to the
// controller (package controller), the core that decides: it judges what is reported
// (package judge) and moves the primary (package move). A primary stays open only as long
// as those whose acknowledgements it needs let it (package lease). Clients find it by
// endpoints, above all the router (package router) on their own hosts.
package mysql

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/rib"
	"kaname.dev/kaname/rib/mysql/controller"
	"kaname.dev/kaname/rib/mysql/endpoint/vip"
	"kaname.dev/kaname/rib/mysql/exchange"
	"kaname.dev/kaname/rib/mysql/site"
	"kaname.dev/kaname/rib/office"
)

// Rib returns the rib, unattached: no I/O happens before Attach.
func Rib() rib.Rib {
	r := &service{config: &Config{}}
	return rib.Rib{
		Name:    "mysql",
		Summary: action.Text{EN: "Replace a dead MySQL or MariaDB primary in seconds and lose nothing", JA: "MySQL・MariaDB のプライマリ障害時に、数秒で、書き込みを失わずに切り替える"},
		Config:  r.config,
		Actions: r.actions(),
		Attach:  r.attach,
		Run:     r.run,
		Checks:  r.checks(),
		Complete: map[string]func(context.Context, string) ([]string, error){
			"topologies": r.completeTopologies, "databases": r.completeServers,
		},
	}
}

// service is the rib on one node.
type service struct {
	config     *Config // as decoded at the start
	node       rib.Node
	quick      *office.Client         // for reports: an answer that is late is worth nothing
	routes     *office.Client         // for questions that stay open
	patient    *office.Client         // for people
	controller *controller.Controller // nil on plain hosts
	addresses  *vip.Holder            // virtual addresses on this host

	mu     sync.Mutex // guards the fields below
	sites  map[string]*site.Site
	served bool // the commands are
}

// reportWithin is how long a report may be under way.
const reportWithin = 800 * time.Millisecond

// attach readies the rib on this node.
func (r *service) attach(n rib.Node) (err error) {
	r.node, r.sites = n, map[string]*site.Site{}
	r.quick = exchange.NewClient(n.Plane, n.PeerClient, reportWithin)
	r.routes = exchange.NewClient(n.Plane, n.PeerClient, exchange.Wait+2*time.Second)
	r.patient = exchange.NewClient(n.Plane, n.PeerClient, 30*time.Second)
	for i := range r.config.Servers {
		if s := &r.config.Servers[i]; s.Name == "" {
			s.Name = n.Host
		}
	}
	if err := r.config.Check(); err != nil { // again: names are known now
		return err
	}
	r.addresses = vip.NewHolder(n.Log)
	r.register(n.Peers)
	if !n.Plane.IsCore() {
		return nil
	}
	r.controller, err = controller.New(controller.Options{
		Plane: n.Plane, Log: n.Log, Metrics: n.Metrics, Endpoint: r.openEndpoint, Fence: r.fence,
	})
	if err != nil {
		return err
	}
	return r.controller.Register(n.Peers)
}

// register serves what other database hosts ask.
func (r *service) register(mux *http.ServeMux) {
	office.Handle(mux, exchange.PathGrant, r.vote)
	office.Stream(mux, exchange.PathTail, r.tail)
	office.Stream(mux, exchange.PathCopy, r.copyOf)
}

// run is the rib's loop on this node.
func (r *service) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var loops sync.WaitGroup
	defer func() { _ = r.addresses.Close() }() // addresses that stay are found again
	defer loops.Wait()
	defer cancel(nil)
	loop := func(f func(context.Context) error) {
		loops.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	if err := r.openSites(loop); err != nil {
		return err
	}
	if err := r.openRouters(loop); err != nil {
		return err
	}
	if err := r.serveOnce(); err != nil {
		return err
	}
	if r.controller != nil {
		loop(r.controller.Run)
	}
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
