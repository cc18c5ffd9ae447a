// Package netpath says where a packet dies in a Neutron network, and why: it walks the path
// in a model made of what Neutron wants and what the hosts really have, and names as the
// cause that difference whose repair, in the model, lets the packet arrive.
//
// A host gives its facts (package collect); Neutron's view comes from its API (package
// intent/neutron); both together can be kept in a file (package bundle). The walk is package
// path, the causes package cause, what differs package expect, and what people read package
// words. None of them changes anything anywhere.
package netpath

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/rib"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/office"
)

// Rib returns the rib, unattached: no I/O happens before Attach.
func Rib() rib.Rib {
	r := newService()
	return rib.Rib{
		Name:     "netpath",
		Summary:  action.Text{EN: "Say where a packet dies in a Neutron network, and what mends it", JA: "Neutron ネットワークのどこでパケットが落ちるか、どう直すかを言う"},
		Config:   r.config,
		Actions:  r.actions(),
		Attach:   r.attach,
		Run:      r.run,
		Complete: map[string]func(context.Context, string) ([]string, error){"netpath-ends": r.completeEnds, "netpath-hosts": r.completeHosts},
	}
}

// service is the rib on one node.
type service struct {
	config *Config
	node   rib.Node // zero in the command line's own process
	served atomic.Bool
	drawer drawer

	asking sync.Mutex // guards what Neutron said, and is held while it is asked
	said   *intent.Cloud
	saidAt time.Time

	naming sync.Mutex        // guards the field below
	names  map[string]string // Neutron's name for a host, by the member's name and start
}

func newService() *service {
	return &service{config: &Config{Look: true}, drawer: drawer{kept: map[string]kept{}}, names: map[string]string{}}
}

// attached reports whether this is a node of a plane, not a command line alone.
func (r *service) attached() bool { return r.node.Plane != nil }

func (r *service) attach(n rib.Node) error {
	r.node = n
	if r.config.Host == "" {
		r.config.Host = n.Host
	}
	r.register(n.Peers)
	return nil
}

func (r *service) register(mux *http.ServeMux) { office.Stream(mux, pathFacts, r.hand) }

// run serves looks until ctx ends.
func (r *service) run(ctx context.Context) error {
	if r.config.Look {
		if err := r.serveOnce(); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}
