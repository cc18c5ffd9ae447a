package expect

import (
	"fmt"
	"strconv"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/trace"
)

// routedTables checks what the integration bridge does for distributed routers and physical
// networks.
func (v *view) routedTables() []trace.Finding {
	if v.br == nil || v.l2 == nil || len(v.brFlows) < 2 || v.h.Lacks(facts.Flows, "", v.br.Name) != "" {
		return nil
	}
	x := newFlowIndex(v.brFlows)
	wants := v.wantPhysical()
	if v.l2.DVR {
		wants = append(wants, v.wantDelivery()...)
		wants = append(wants, v.wantHosts()...)
	}
	tables := x.check(wants)
	// a host that knows none of the others' routers takes their packets as any others, which
	// works; one that knows some treats hosts differently
	_, knows := tables["dvr-mac"]
	var out []trace.Finding
	for i := range wants {
		if wants[i].found == nil && (knows || wants[i].role != "dvr-mac") {
			out = append(out, v.missing(v.br, &wants[i], tables))
		}
	}
	return out
}

// wantDelivery lists the flows that hand packets from other hosts' routers to the ports here
// under their own router's address.
func (v *view) wantDelivery() []want {
	var out []want
	for _, p := range v.in.byHost[v.h.Name] {
		n := v.in.networks[p.Network]
		if n == nil || n.External || !isVM(p) || !p.Up || v.byIface[p.ID] == nil || len(p.IPs) == 0 {
			continue
		}
		gw := v.routerPort(p)
		if gw == nil || v.byIface[gw.ID] == nil {
			continue
		}
		vlan := v.vlans[n.ID]
		if !tunnelled(n) {
			vlan = n.Segment
		}
		if vlan == 0 {
			continue
		}
		out = append(out, want{
			role: "dvr-in-" + strconv.FormatBool(tunnelled(n)), key: "dl_dst=" + p.MAC.String(), table: map[bool]int{true: 1, false: 2}[tunnelled(n)], id: "dvr-delivery-missing", where: p.MAC.String(),
			is:    func(f *flow) bool { m, ok := f.setsSource(); return ok && m == gw.MAC && f.vlan() == vlan },
			place: func(f *flow) bool { _, ok := f.setsSource(); return ok && f.vlan() == vlan },
			match: fmt.Sprintf("priority=20,dl_vlan=%d,dl_dst=%s", vlan, p.MAC), action: fmt.Sprintf("set_field:%s->eth_src,resubmit(,%d)", gw.MAC, v.afterDelivery()),
			params: map[string]string{"name": v.in.nameOf(p), "mac": p.MAC.String(), "network": v.in.netName(n.ID), "vlan": strconv.Itoa(vlan)},
			proof:  []trace.Proof{intentPort(p), intentPort(gw)},
		})
	}
	return out
}

// routerPort is the distributed router's port that is the gateway of a port's subnet.
func (v *view) routerPort(p *intent.Port) *intent.Port {
	for _, r := range v.in.routed[p.Network] {
		if !r.Distributed {
			continue
		}
		for _, leg := range v.in.interfaces(r) {
			for _, ip := range leg.IPs {
				s := v.in.subnets[ip.Subnet]
				if leg.Network == p.Network && s != nil && ip.Subnet == p.IPs[0].Subnet && ip.Addr == s.Gateway {
					return leg
				}
			}
		}
	}
	return nil
}

func (v *view) afterDelivery() int {
	for i := range v.brFlows {
		if _, ok := v.brFlows[i].setsSource(); ok && v.brFlows[i].resubmits() >= 0 {
			return v.brFlows[i].resubmits()
		}
	}
	return 60
}

// wantHosts lists the flows that know the routers of the other hosts.
func (v *view) wantHosts() []want {
	_, here := v.patches(v.tun)
	if v.tun == nil || here == nil || len(v.in.tunnelNets(v.h.Name)) == 0 {
		return nil
	}
	var out []want
	for _, a := range v.peers() {
		mac := v.c.hostMAC(a.Host)
		if mac.Zero() || !a.DVR {
			continue
		}
		out = append(out, want{
			role: "dvr-mac", key: "dl_src=" + mac.String(), table: 0, id: "dvr-mac-unknown", where: mac.String(),
			is:    func(f *flow) bool { return f.number("in_port") == here.OFPort && f.resubmits() >= 0 },
			match: fmt.Sprintf("priority=2,in_port=%d,dl_src=%s", here.OFPort, mac), action: fmt.Sprintf("resubmit(,%d)", v.deliveryTable()),
			params: map[string]string{"mac": mac.String(), "peer": a.Host, "bridge": v.br.Name}, proof: []trace.Proof{neutron("agent on %s enable_distributed_routing=true", a.Host)},
		})
	}
	return out
}

func (v *view) deliveryTable() int {
	for i := range v.brFlows {
		if f := &v.brFlows[i]; f.has("dl_dst") {
			if _, ok := f.setsSource(); ok {
				return f.table
			}
		}
	}
	return 1
}

// wantPhysical lists the flows that take packets of physical networks in.
func (v *view) wantPhysical() []want {
	var out []want
	for _, id := range sorted(v.vlans) {
		n := v.in.networks[id]
		if n == nil || n.Physical == "" || !v.wired(id) || n.Kind != "vlan" && n.Kind != "flat" {
			continue
		}
		b := v.h.Bridge(v.l2.Mappings[n.Physical])
		if b == nil {
			continue
		}
		_, here := v.patches(b)
		if here == nil {
			continue
		}
		vlan, match := v.vlans[id], "vlan_tci=0x0000/0x1fff"
		action := fmt.Sprintf("push_vlan:0x8100,set_field:%d->vlan_vid,resubmit(,60)", 0x1000|vlan)
		if n.Kind == "vlan" {
			match, action = fmt.Sprintf("dl_vlan=%d", n.Segment), fmt.Sprintf("set_field:%d->vlan_vid,resubmit(,60)", 0x1000|vlan)
		}
		params := v.netParams(n, vlan)
		params["bridge"], params["segment"] = v.br.Name, strconv.Itoa(n.Segment)
		out = append(out, want{
			role: "physical", key: fmt.Sprintf("in_port=%d", here.OFPort), table: 0, id: "physical-vlan-missing", where: v.in.netName(id),
			is: func(f *flow) bool {
				return f.setsVLAN() == vlan && (n.Kind == "flat" || f.vlan() == n.Segment)
			},
			match: fmt.Sprintf("priority=3,in_port=%d,%s", here.OFPort, match), action: action, params: params,
			proof: []trace.Proof{neutron("network %s %s %s segment=%d", n.ID, n.Kind, n.Physical, n.Segment)},
		})
	}
	return out
}
