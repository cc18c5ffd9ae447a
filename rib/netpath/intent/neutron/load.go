// Package neutron reads what a cloud should be from Neutron's API, of Mitaka and later. It
// only asks, with few and paged requests, so that a cloud of 50,000 ports takes some tens of
// them.
package neutron

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/netpath/intent"
)

// Defaults of Options.
const (
	DefaultWithin = time.Minute
	DefaultPage   = 1000
	DefaultLimit  = 512 << 20
)

// Options say where Neutron is and who asks.
type Options struct {
	// Cloud is an entry in clouds.yaml; "" where there is one only.
	Cloud string
	// Clouds is the path of clouds.yaml; "" looks in OpenStack's usual places, unless
	// Credentials or Endpoint are given.
	Clouds string
	// Credentials are used instead of those of a file.
	Credentials *Credentials
	// Endpoint is Neutron's address ("http://10.0.0.1:9696"). With credentials, "" is what
	// Keystone's catalogue says; without, Neutron is asked without authentication.
	Endpoint string
	// Servers asks Nova for the names of virtual machines. Where it denies them, a note in
	// the cloud says so, and ports have their own names only.
	Servers bool
	Within  time.Duration // all requests together; 0 is DefaultWithin
	Page    int           // objects asked for at once; 0 is DefaultPage
	Limit   int64         // bytes of one answer; 0 is DefaultLimit
}

// parallel is how many requests are under way at once.
const parallel = 4

// Load reads the cloud. It returns a fault that says what Neutron, or Keystone, answered;
// what is not needed and was denied is in the cloud's notes.
func Load(ctx context.Context, o Options) (*intent.Cloud, error) {
	if o.Within == 0 {
		o.Within = DefaultWithin
	}
	if o.Page == 0 {
		o.Page = DefaultPage
	}
	if o.Limit == 0 {
		o.Limit = DefaultLimit
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Within,
		fault.Timeout(fmt.Sprintf("Neutron has not answered all in %v", o.Within)).Try("look whether it is overloaded; give it longer"))
	defer cancel()
	c, err := connect(ctx, o)
	if err != nil {
		return nil, err
	}
	r := &reading{client: c, cloud: &intent.Cloud{Version: intent.Version, Taken: time.Now().UTC()}}
	group, within := errgroup.WithContext(ctx) // ends with the group
	group.SetLimit(parallel)
	for _, part := range []func(context.Context) error{r.ports, r.networks, r.subnets, r.routers, r.floating, r.groups, r.agents, r.servers} {
		group.Go(func() error { return part(within) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := r.schedule(ctx); err != nil {
		return nil, err
	}
	r.finish()
	return r.cloud, nil
}

// reading is a cloud while it is read. Each part writes a field of its own.
type reading struct {
	*client
	cloud *intent.Cloud

	vms     map[string]string   // names of virtual machines by their ids
	served  map[string][]string // hosts of DHCP agents by network
	hosted  map[string][]string // hosts of L3 agents by router
	addrs   map[string][]string // of address groups, which rules may refer to
	refused notes
}

// finish joins what was read apart.
func (r *reading) finish() {
	c := r.cloud
	snat := map[string][]string{}
	bound := map[string][]string{}
	hosts := 0
	for i := range c.Ports {
		p := &c.Ports[i]
		p.VM = r.vms[p.Device]
		if p.Host == "" {
			continue
		}
		hosts++
		switch p.Owner {
		case intent.OwnerSNAT:
			snat[p.Device] = append(snat[p.Device], p.Host)
		case intent.OwnerGateway, intent.OwnerRouter:
			bound[p.Device] = append(bound[p.Device], p.Host)
		case intent.OwnerDHCP:
			if r.served == nil {
				bound[p.Network] = append(bound[p.Network], p.Host)
			}
		}
	}
	if hosts == 0 && len(c.Ports) > 0 {
		r.refused.add("no port tells its host (binding:host_id): these credentials may not see it; use those of an administrator")
	}
	for i := range c.Networks {
		n := &c.Networks[i]
		n.DHCP = first(r.served[n.ID], bound[n.ID])
	}
	for i := range c.Routers {
		rt := &c.Routers[i]
		if rt.Distributed { // its agents are those of all its ports; SNAT is where its ports for that are
			rt.Hosts = first(snat[rt.ID], bound[rt.ID], r.hosted[rt.ID])
		} else {
			rt.Hosts = first(r.hosted[rt.ID], bound[rt.ID])
		}
	}
	c.Notes = r.refused.all()
}

// first returns the first of lists that is not empty, sorted, each name once.
func first(lists ...[]string) []string {
	for _, l := range lists {
		if len(l) > 0 {
			l = slices.Clone(l)
			slices.Sort(l)
			return slices.Compact(l)
		}
	}
	return nil
}

// optional makes a note of a part that was denied or is not there, so that the rest goes on.
func (r *reading) optional(err error, what string) error {
	if fault.Is(err, fault.KindDenied) || fault.Is(err, fault.KindNotFound) {
		r.refused.add(what + ": " + fault.Of(err).What)
		return nil
	}
	return err
}
