package path

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/packet"
)

// short is how much of a port's id Neutron puts into the names of its devices.
const short = 11

// index finds the things of a cloud by what packets and people call them. It is made once
// and only read.
type index struct {
	cloud    *intent.Cloud
	networks map[string]*intent.Network
	subnets  map[string]*intent.Subnet
	within   map[string][]*intent.Subnet // by network
	ports    map[string]*intent.Port
	tails    map[string]*intent.Port // by the id's first characters
	macs     map[packet.MAC][]*intent.Port
	addrs    map[netip.Addr][]*intent.Port
	names    map[string][]*intent.Port // of ports, VMs and devices
	floats   map[netip.Addr]*intent.Float
	floating map[string][]*intent.Float // by port
	routers  map[string]*intent.Router
	legs     map[string][]*intent.Port // of a router, by its id
	taps     map[string][]*intent.Port // of a network: the ports of routers on it
	groups   map[string]*intent.Group
	dhcp     map[string]*intent.Port          // of a network: the first port by which it is served
	tunnels  map[netip.Addr]string            // address to host
	wires    map[string]map[string]string     // host to physical network to bridge
	reach    map[string][]string              // physical network to hosts, sorted
	members  map[string]map[netip.Addr]string // security group to addresses of members, to port
	paired   map[string][]netip.Prefix        // security group to what its members may use besides
}

func newIndex(c *intent.Cloud) *index {
	x := &index{
		cloud: c, networks: map[string]*intent.Network{}, subnets: map[string]*intent.Subnet{}, within: map[string][]*intent.Subnet{},
		ports: map[string]*intent.Port{}, tails: map[string]*intent.Port{}, macs: map[packet.MAC][]*intent.Port{},
		addrs: map[netip.Addr][]*intent.Port{}, names: map[string][]*intent.Port{}, floats: map[netip.Addr]*intent.Float{},
		floating: map[string][]*intent.Float{}, routers: map[string]*intent.Router{}, legs: map[string][]*intent.Port{},
		taps: map[string][]*intent.Port{}, groups: map[string]*intent.Group{}, dhcp: map[string]*intent.Port{}, tunnels: map[netip.Addr]string{},
		wires: map[string]map[string]string{}, reach: map[string][]string{}, members: map[string]map[netip.Addr]string{}, paired: map[string][]netip.Prefix{},
	}
	for i := range c.Networks {
		x.networks[c.Networks[i].ID] = &c.Networks[i]
	}
	for i := range c.Subnets {
		s := &c.Subnets[i]
		x.subnets[s.ID] = s
		x.within[s.Network] = append(x.within[s.Network], s)
	}
	for i := range c.Ports {
		x.addPort(&c.Ports[i])
	}
	for i := range c.Floating {
		f := &c.Floating[i]
		x.floats[f.Addr] = f
		if f.Port != "" {
			x.floating[f.Port] = append(x.floating[f.Port], f)
		}
	}
	for i := range c.Routers {
		x.routers[c.Routers[i].ID] = &c.Routers[i]
	}
	for i := range c.Groups {
		x.groups[c.Groups[i].ID] = &c.Groups[i]
	}
	x.addAgents()
	return x
}

func (x *index) addPort(p *intent.Port) {
	x.ports[p.ID] = p
	if len(p.ID) >= short {
		x.tails[p.ID[:short]] = p
	}
	x.macs[p.MAC] = append(x.macs[p.MAC], p)
	for _, a := range p.IPs {
		x.addrs[a.Addr] = append(x.addrs[a.Addr], p)
	}
	for _, g := range p.Groups {
		if x.members[g] == nil {
			x.members[g] = map[netip.Addr]string{}
		}
		for _, a := range p.IPs {
			x.members[g][a.Addr] = p.ID
		}
		for _, pair := range p.Pairs {
			x.paired[g] = append(x.paired[g], pair.Prefix)
		}
	}
	for _, name := range slices.Compact([]string{p.Name, p.VM, p.Device}) {
		if name != "" && !slices.Contains(x.names[name], p) {
			x.names[name] = append(x.names[name], p)
		}
	}
	if p.Owner == intent.OwnerDHCP && len(p.IPs) > 0 && x.dhcp[p.Network] == nil {
		x.dhcp[p.Network] = p
	}
	if isRouter(p.Owner) {
		x.legs[p.Device] = append(x.legs[p.Device], p)
		x.taps[p.Network] = append(x.taps[p.Network], p)
	}
}

func (x *index) addAgents() {
	for i := range x.cloud.Agents {
		a := &x.cloud.Agents[i]
		if a.TunnelIP.IsValid() {
			x.tunnels[a.TunnelIP] = a.Host
		}
		for physical, bridge := range a.Mappings {
			if x.wires[a.Host] == nil {
				x.wires[a.Host] = map[string]string{}
			}
			x.wires[a.Host][physical] = bridge
		}
	}
	for _, host := range slices.Sorted(maps.Keys(x.wires)) {
		for physical := range x.wires[host] {
			x.reach[physical] = append(x.reach[physical], host)
		}
	}
}

// isRouter reports whether an owner's ports are those by which routers stand on networks.
func isRouter(owner string) bool {
	switch owner {
	case intent.OwnerRouter, intent.OwnerDistributed, intent.OwnerHA, intent.OwnerGateway, intent.OwnerSNAT:
		return true
	}
	return false
}

// isInterface reports whether an owner's ports are what machines of a network use as their
// gateway.
func isInterface(owner string) bool {
	return owner == intent.OwnerRouter || owner == intent.OwnerDistributed || owner == intent.OwnerHA
}

// isMachine reports whether an owner's ports belong to something that is no part of
// Neutron's own plumbing: VMs, and what people make by hand.
func isMachine(owner string) bool { return !strings.HasPrefix(owner, "network:") }

// on returns the port that has an address on a network, nil if none has.
func (x *index) on(network string, addr netip.Addr) *intent.Port {
	for _, p := range x.addrs[addr] {
		if p.Network == network {
			return p
		}
	}
	return nil
}

// behind returns the machine whose device has that name, nil if it is no such device.
func (x *index) behind(device string) *intent.Port {
	tail, ok := strings.CutPrefix(device, "tap")
	if !ok {
		tail, ok = strings.CutPrefix(device, "vhu")
	}
	if !ok {
		return nil
	}
	if p := x.tails[tail]; p != nil && isMachine(p.Owner) {
		return p
	}
	return nil
}

// subnet returns the subnet of a network that has an address, nil if none has.
func (x *index) subnet(network string, addr netip.Addr) *intent.Subnet {
	for _, s := range x.within[network] {
		if s.CIDR.Contains(addr) {
			return s
		}
	}
	return nil
}

// holder returns the machine's address on which a packet from outside to a floating address
// ends, with the host that has it; zero and "" if it is not associated.
func (x *index) holder(addr netip.Addr) (*intent.Float, *intent.Port) {
	f := x.floats[addr]
	if f == nil || f.Port == "" {
		return f, nil
	}
	return f, x.ports[f.Port]
}
