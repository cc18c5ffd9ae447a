package neutron

import (
	"context"
	"maps"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/netpath/intent"
)

// Kinds of agents.
const (
	kindL3   = "L3 agent"
	kindDHCP = "DHCP agent"
)

func (r *reading) agents(ctx context.Context) error {
	type agent struct {
		ID     string `json:"id"`
		Kind   string `json:"agent_type"`
		Host   string `json:"host"`
		Alive  bool   `json:"alive"`
		Up     *bool  `json:"admin_state_up"`
		Seen   string `json:"heartbeat_timestamp"`
		Config struct {
			Mode     string            `json:"agent_mode"`
			TunnelIP string            `json:"tunneling_ip"`
			Tunnels  []string          `json:"tunnel_types"`
			Mappings map[string]string `json:"bridge_mappings"`
			L2Pop    bool              `json:"l2_population"`
			DVR      bool              `json:"enable_distributed_routing"`
			Hybrid   *bool             `json:"ovs_hybrid_plug"` // Newton and later
		} `json:"configurations"`
	}
	r.cloud.Agents = []intent.Agent{}
	err := list(ctx, r.client, r.neutron, "agents", "agents", nil, func(a *agent) error {
		c := &a.Config
		out := intent.Agent{
			ID: a.ID, Kind: a.Kind, Host: a.Host, Alive: a.Alive, Up: or(a.Up, true), Mode: c.Mode, TunnelIP: addr(c.TunnelIP),
			Tunnels: c.Tunnels, Mappings: maps.Clone(c.Mappings), L2Pop: c.L2Pop, DVR: c.DVR,
		}
		if c.Hybrid != nil {
			out.Firewall = map[bool]string{true: "iptables_hybrid", false: "openvswitch"}[*c.Hybrid]
		}
		if t, err := time.Parse(time.DateTime, strings.Replace(strings.TrimSuffix(a.Seen, "Z"), "T", " ", 1)); err == nil {
			out.Seen = t
		}
		r.cloud.Agents = append(r.cloud.Agents, out)
		return nil
	})
	return r.optional(err, "agents")
}

// schedule asks which routers and networks agents have: a request for each agent that can
// be told so, and none for each router. L3 agents in mode "dvr" have what their host's ports
// need, and are not asked.
func (r *reading) schedule(ctx context.Context) error {
	routers, networks := map[string][]string{}, map[string][]string{}
	var mu sync.Mutex // of both
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	ask := func(a *intent.Agent, path, key string, into map[string][]string) {
		group.Go(func() error {
			type object struct {
				ID string `json:"id"`
			}
			err := list(ctx, r.client, r.neutron, "agents/"+url.PathEscape(a.ID)+"/"+path, key, nil, func(o *object) error {
				mu.Lock()
				defer mu.Unlock()
				into[o.ID] = append(into[o.ID], a.Host)
				return nil
			})
			if fault.Is(err, fault.KindNotFound) || fault.Is(err, fault.KindInvalid) {
				return nil // it has gone meanwhile, or its kind is not scheduled here
			}
			return r.optional(err, key+" of the agents")
		})
	}
	distributed := map[bool]bool{}
	for i := range r.cloud.Routers {
		distributed[r.cloud.Routers[i].Distributed] = true
	}
	for i := range r.cloud.Agents {
		a := &r.cloud.Agents[i]
		switch {
		case a.Kind == kindL3 && a.Mode != "dvr" && a.Mode != "dvr_no_external" && len(distributed) > 0:
			ask(a, "l3-routers", "routers", routers)
		case a.Kind == kindDHCP:
			ask(a, "dhcp-networks", "networks", networks)
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if len(routers) > 0 {
		r.hosted = routers
	}
	if len(networks) > 0 {
		r.served = networks
	}
	return nil
}

// servers reads the names of virtual machines from Nova.
func (r *reading) servers(ctx context.Context) error {
	if !r.Servers {
		return nil
	}
	if r.nova == nil {
		r.refused.add("names of servers: Nova is not in the catalogue")
		return nil
	}
	type server struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	r.vms = map[string]string{}
	query := url.Values{"all_tenants": {"1"}}
	err := list(ctx, r.client, r.nova, "servers", "servers", query, func(s *server) error {
		r.vms[s.ID] = s.Name
		return nil
	})
	return r.optional(err, "names of servers")
}
