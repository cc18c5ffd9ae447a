package expect

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/packet"
)

// index finds what a cloud has by its keys.
type index struct {
	cloud    *intent.Cloud
	networks map[string]*intent.Network
	subnets  map[string]*intent.Subnet
	ports    map[string]*intent.Port
	short    map[string]*intent.Port // by the first 11 characters, as devices are named
	routers  map[string]*intent.Router
	groups   map[string]*intent.Group
	byHost   map[string][]*intent.Port
	byNet    map[string][]*intent.Port
	byDevice map[string][]*intent.Port   // router's or VM's id
	byGroup  map[string][]*intent.Port   // members of a security group
	floats   map[string][]*intent.Float  // by the port that they lead to
	agents   map[string][]*intent.Agent  // by host
	routed   map[string][]*intent.Router // by network: those with an interface there
	subnetsI map[string][]*intent.Subnet // by network
	nets     map[string]map[string]bool  // by host: see tunnelNets

	hosts map[string][]string // by network in tunnels: the hosts that have to do with it

	mu   sync.Mutex
	macs map[string]map[netip.Addr][]packet.MAC // by network: see stations
}

func newIndex(c *intent.Cloud) *index {
	in := &index{
		cloud: c, networks: make(map[string]*intent.Network, len(c.Networks)), subnets: make(map[string]*intent.Subnet, len(c.Subnets)),
		ports: make(map[string]*intent.Port, len(c.Ports)), short: make(map[string]*intent.Port, len(c.Ports)),
		routers: make(map[string]*intent.Router, len(c.Routers)), groups: make(map[string]*intent.Group, len(c.Groups)),
		byHost: map[string][]*intent.Port{}, byNet: map[string][]*intent.Port{}, byDevice: map[string][]*intent.Port{}, byGroup: map[string][]*intent.Port{},
		floats: map[string][]*intent.Float{}, agents: map[string][]*intent.Agent{}, routed: map[string][]*intent.Router{}, subnetsI: map[string][]*intent.Subnet{},
	}
	for i := range c.Networks {
		in.networks[c.Networks[i].ID] = &c.Networks[i]
	}
	for i := range c.Subnets {
		s := &c.Subnets[i]
		in.subnets[s.ID] = s
		in.subnetsI[s.Network] = append(in.subnetsI[s.Network], s)
	}
	for i := range c.Routers {
		in.routers[c.Routers[i].ID] = &c.Routers[i]
	}
	for i := range c.Groups {
		in.groups[c.Groups[i].ID] = &c.Groups[i]
	}
	for i := range c.Floating {
		if f := &c.Floating[i]; f.Port != "" {
			in.floats[f.Port] = append(in.floats[f.Port], f)
		}
	}
	for i := range c.Agents {
		a := &c.Agents[i]
		in.agents[a.Host] = append(in.agents[a.Host], a)
	}
	for i := range c.Ports {
		in.addPort(&c.Ports[i])
	}
	in.nets, in.hosts, in.macs = map[string]map[string]bool{}, map[string][]string{}, map[string]map[netip.Addr][]packet.MAC{}
	in.findNets()
	return in
}

func (in *index) addPort(p *intent.Port) {
	in.ports[p.ID] = p
	in.short[short(p.ID)] = p
	in.byNet[p.Network] = append(in.byNet[p.Network], p)
	if p.Host != "" {
		in.byHost[p.Host] = append(in.byHost[p.Host], p)
	}
	if p.Device != "" {
		in.byDevice[p.Device] = append(in.byDevice[p.Device], p)
	}
	for _, g := range p.Groups {
		in.byGroup[g] = append(in.byGroup[g], p)
	}
	if r := in.routers[p.Device]; r != nil && isInterface(p) && !slices.Contains(in.routed[p.Network], r) {
		in.routed[p.Network] = append(in.routed[p.Network], r)
	}
}

// short is the part of a port's id that names its devices.
func short(id string) string { return id[:min(11, len(id))] }

func isVM(p *intent.Port) bool { return strings.HasPrefix(p.Owner, intent.OwnerCompute) }

func isInterface(p *intent.Port) bool {
	return p.Owner == intent.OwnerRouter || p.Owner == intent.OwnerDistributed || p.Owner == intent.OwnerHA
}

// served reports whether a distributed router must be where the port is: it uses the
// gateway itself.
func served(p *intent.Port) bool {
	return isVM(p) || p.Owner == intent.OwnerDHCP || strings.HasPrefix(p.Owner, "neutron:LOADBALANCER") || p.Owner == "Octavia"
}

// agent returns the host's agent of a kind, nil if there is none.
func (in *index) agent(host, kind string) *intent.Agent {
	for _, a := range in.agents[host] {
		if a.Kind == kind {
			return a
		}
	}
	return nil
}

// Kinds of agents.
const (
	agentL2   = "Open vSwitch agent"
	agentL3   = "L3 agent"
	agentDHCP = "DHCP agent"
)

// routersOn lists the routers that must have a namespace on the host.
func (in *index) routersOn(host string) []*intent.Router {
	var out []*intent.Router
	add := func(r *intent.Router) {
		if r != nil && r.Up && !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	l3 := in.agent(host, agentL3)
	if l3 == nil || !l3.Up {
		return nil
	}
	nets := map[string]bool{}
	for _, p := range in.byHost[host] {
		if served(p) {
			nets[p.Network] = true
		}
	}
	if strings.HasPrefix(l3.Mode, "dvr") {
		for net := range nets {
			for _, r := range in.routed[net] {
				if r.Distributed {
					add(r)
				}
			}
		}
	}
	for i := range in.cloud.Routers {
		if r := &in.cloud.Routers[i]; slices.Contains(r.Hosts, host) {
			add(r)
		}
	}
	slices.SortFunc(out, func(a, b *intent.Router) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// interfaces lists a router's ports that its subnets' hosts have as gateway.
func (in *index) interfaces(r *intent.Router) []*intent.Port {
	return in.devicePorts(r.ID, isInterface)
}

func (in *index) devicePorts(device string, want func(*intent.Port) bool) []*intent.Port {
	var out []*intent.Port
	for _, p := range in.byDevice[device] {
		if want(p) {
			out = append(out, p)
		}
	}
	return out
}

func owner(name string) func(*intent.Port) bool {
	return func(p *intent.Port) bool { return p.Owner == name }
}

// addrs lists a port's addresses with the length of their subnets.
func (in *index) addrs(p *intent.Port) []netip.Prefix {
	var out []netip.Prefix
	for _, f := range p.IPs {
		if s := in.subnets[f.Subnet]; s != nil {
			out = append(out, netip.PrefixFrom(f.Addr, s.CIDR.Bits()))
		}
	}
	return out
}

// nameOf is what people call a port: its VM's name, its own, its addresses.
func (in *index) nameOf(p *intent.Port) string {
	switch {
	case p.VM != "":
		return p.VM
	case p.Name != "":
		return p.Name
	case len(p.IPs) > 0:
		return p.IPs[0].Addr.String()
	}
	return short(p.ID)
}

func (in *index) netName(id string) string {
	if n := in.networks[id]; n != nil && n.Name != "" {
		return n.Name
	}
	return id
}

func routerName(r *intent.Router) string {
	if r.Name != "" {
		return r.Name
	}
	return r.ID
}

// tunnelNets is the set of networks in tunnels that the host has to do with: by a port, or
// by a router that is there.
func (in *index) tunnelNets(host string) map[string]bool {
	if nets, ok := in.nets[host]; ok {
		return nets
	}
	return nil
}

// findNets fills in.nets once.
func (in *index) findNets() {
	add := func(host, net string) {
		n := in.networks[net]
		if n == nil || !tunnelled(n) {
			return
		}
		if in.nets[host] == nil {
			in.nets[host] = map[string]bool{}
		}
		if !in.nets[host][net] {
			in.nets[host][net] = true
			in.hosts[net] = append(in.hosts[net], host)
		}
	}
	for host, ports := range in.byHost {
		for _, p := range ports {
			add(host, p.Network)
		}
	}
	for host := range in.agents {
		for _, r := range in.routersOn(host) {
			for _, p := range in.interfaces(r) {
				add(host, p.Network)
			}
		}
	}
	for _, list := range in.hosts {
		slices.Sort(list)
	}
}
