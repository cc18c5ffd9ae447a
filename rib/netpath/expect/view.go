package expect

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/trace"
)

// Tables of routes that every namespace has.
const mainTable = 254

// view is one host as its checks see it: its parts by their roles.
type view struct {
	c  *Checker
	in *index
	h  *facts.Host
	l2 *intent.Agent // nil: Neutron knows of no such agent here

	br  *facts.Bridge // integration bridge: VMs' and routers' ports are on it; nil if there is none
	tun *facts.Bridge // tunnel bridge

	byIface   map[string]*facts.Port // of br, by Neutron's id of the port
	vlans     map[string]int         // network to its VLAN on this host
	brFlows   []flow
	tunFlows  []flow
	tunTables map[string]int     // of the tunnel bridge: where flows of a role stand
	parsed    map[string]filters // by namespace
}

func newView(c *Checker, h *facts.Host) *view {
	v := &view{c: c, in: c.in, h: h, l2: c.in.agent(h.Name, agentL2), byIface: map[string]*facts.Port{}, vlans: map[string]int{}, parsed: map[string]filters{}}
	if h.OVS == nil {
		return v
	}
	v.br, v.tun = h.Bridge("br-int"), h.Bridge("br-tun")
	for i := range h.OVS.Bridges {
		b := &h.OVS.Bridges[i]
		for j := range b.Ports {
			p := &b.Ports[j]
			switch {
			case p.Externals["iface-id"] != "" && v.br == nil:
				v.br = b
			case isTunnel(p) && v.tun == nil:
				v.tun = b
			}
		}
	}
	if v.tun != nil {
		v.tunFlows = parseFlows(v.tun.Flows)
	}
	if v.br == nil {
		return v
	}
	v.brFlows = parseFlows(v.br.Flows)
	for i := range v.br.Ports {
		if id := v.br.Ports[i].Externals["iface-id"]; id != "" {
			v.byIface[id] = &v.br.Ports[i]
		}
	}
	v.findVLANs()
	return v
}

func isTunnel(p *facts.Port) bool { return p.Type == "vxlan" || p.Type == "gre" || p.Type == "geneve" }

// deadVLAN is where the agent puts a port that it could not wire.
const deadVLAN = 4095

// findVLANs finds the VLAN of each network here: most of its signs win. Signs are what the
// agent has noted of its ports, the ports' tags, and the flow that takes packets in from
// the tunnels.
func (v *view) findVLANs() {
	votes := map[string]map[int]int{}
	vote := func(net string, vlan, weight int) {
		if net == "" || vlan <= 0 || vlan >= deadVLAN {
			return
		}
		if votes[net] == nil {
			votes[net] = map[int]int{}
		}
		votes[net][vlan] += weight
	}
	for id, p := range v.byIface {
		net := p.Other["net_uuid"]
		if ip := v.in.ports[id]; ip != nil {
			net = ip.Network
		}
		vote(net, number(p.Other["tag"]), 2)
		vote(net, p.Tag, 2)
	}
	bySegment := map[int]string{}
	for i := range v.in.cloud.Networks {
		if n := &v.in.cloud.Networks[i]; tunnelled(n) {
			bySegment[n.Segment] = n.ID
		}
	}
	for i := range v.tunFlows {
		f := &v.tunFlows[i]
		if vni := f.number("tun_id"); vni >= 0 {
			vote(bySegment[vni], f.setsVLAN(), 1)
		}
	}
	for net, of := range votes {
		best := slices.Sorted(maps.Keys(of))
		v.vlans[net] = slices.MaxFunc(best, func(a, b int) int {
			if of[a] != of[b] {
				return of[a] - of[b]
			}
			return b - a
		})
	}
}

func tunnelled(n *intent.Network) bool {
	return n.Kind == "vxlan" || n.Kind == "gre" || n.Kind == "geneve"
}

// edit is a repair by one change of this host.
func (v *view) edit(do func(*facts.Host)) trace.Repair {
	return trace.Repair{Hosts: []facts.Edit{{Host: v.h.Name, Do: do}}}
}

// editSpace is a repair by one change of a namespace of this host.
func (v *view) editSpace(name string, do func(*facts.Namespace)) trace.Repair {
	return v.edit(func(h *facts.Host) {
		if n := h.Space(name); n != nil {
			do(n)
		}
	})
}

// editPort is a repair by one change of a port of one of this host's bridges.
func (v *view) editPort(bridge, port string, do func(*facts.Port)) trace.Repair {
	return v.edit(func(h *facts.Host) {
		if b := h.Bridge(bridge); b != nil {
			if p := b.Port(port); p != nil {
				do(p)
			}
		}
	})
}

// run is a command that mends a difference here and now.
func (v *view) run(risk, format string, a ...any) trace.Fix {
	return trace.Fix{Host: v.h.Name, Command: fmt.Sprintf(format, a...), Risk: risk}
}

// restart is the command that lets an agent write all of its state anew.
func (v *view) restart(kind string) trace.Fix {
	unit := map[string]string{agentL2: "neutron-openvswitch-agent", agentL3: "neutron-l3-agent", agentDHCP: "neutron-dhcp-agent"}[kind]
	return trace.Fix{Host: v.h.Name, Command: "systemctl restart " + unit, Lasting: true, Risk: "host"}
}

// in says in which namespace a command runs.
func inside(space, command string) string {
	if space == "" {
		return command
	}
	return "ip netns exec " + space + " " + command
}

// linkOf finds a device in any namespace of the host.
func (v *view) linkOf(name string) (*facts.Namespace, *facts.Link) {
	for i := range v.h.Namespaces {
		if l := v.h.Namespaces[i].Link(name); l != nil {
			return &v.h.Namespaces[i], l
		}
	}
	return nil, nil
}

// spaces lists the names of the namespaces that begin so.
func (v *view) spaces(prefix string) []string {
	var out []string
	for i := range v.h.Namespaces {
		if n := v.h.Namespaces[i].Name; strings.HasPrefix(n, prefix) && n != "" {
			out = append(out, n)
		}
	}
	return out
}
