package expect

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// tunnelTo is the number of the tunnel bridge's port to a host; 0 if there is none.
func (v *view) tunnelTo(host string) int {
	a := v.in.agent(host, agentL2)
	if a == nil || v.tun == nil {
		return 0
	}
	for i := range v.tun.Ports {
		if p := &v.tun.Ports[i]; isTunnel(p) && p.Options["remote_ip"] == a.TunnelIP.String() {
			return p.OFPort
		}
	}
	return 0
}

// tunnelFlows adds what a tunnel's port needs, in the model.
func (v *view) tunnelFlows(h *facts.Host, a *intent.Agent, ofport int) {
	b := h.Bridge(v.tun.Name)
	b.Flows = addFlow(b.Flows, fmt.Sprintf(" cookie=0x0, duration=0s, table=0, n_packets=0, n_bytes=0, priority=1,in_port=%d actions=resubmit(,%d)", ofport, v.inTableOf()), "")
	for _, w := range v.tunnelWants(func(host string) int {
		if host == a.Host {
			return ofport
		}
		return v.tunnelTo(host)
	}) {
		if w.group == "entries" && strings.Contains(w.action, fmt.Sprintf("output:%d", ofport)) {
			b.Flows = addFlow(b.Flows, w.line(v.tunTables), "")
		}
	}
}

// inTableOf is the table that takes packets in from tunnels.
func (v *view) inTableOf() int {
	for i := range v.tunFlows {
		if v.tunFlows[i].has("tun_id") {
			return v.tunFlows[i].table
		}
	}
	return 4
}

// tunnelWants lists what the tunnel bridge must do for the networks that are here. ofport
// says by which port a host is reached, 0 by none.
func (v *view) tunnelWants(ofport func(host string) int) []want {
	var out []want
	for _, id := range sorted(v.vlans) {
		n := v.in.networks[id]
		if n == nil || !tunnelled(n) || !v.wired(id) {
			continue
		}
		vlan := v.vlans[id]
		out = append(out, v.wantIn(n, vlan))
		var ports []int
		for _, host := range v.in.hostsOf(id) {
			if p := ofport(host); host != v.h.Name && p > 0 {
				ports = append(ports, p)
			}
		}
		if len(ports) > 0 {
			out = append(out, v.wantFlood(n, vlan, ports))
		}
		for _, p := range v.in.byNet[id] {
			at := ofport(p.Host)
			if p.Host == "" || p.Host == v.h.Name || p.Status != "ACTIVE" || at <= 0 || isDistributed(p) {
				continue
			}
			out = append(out, v.wantUnicast(n, vlan, p, at))
		}
		out = append(out, v.wantDVR(n, vlan)...)
	}
	return out
}

// wired reports whether a port of a network is on the integration bridge.
func (v *view) wired(network string) bool {
	for id := range v.byIface {
		if p := v.in.ports[id]; p != nil && p.Network == network {
			return true
		}
	}
	return false
}

func isDistributed(p *intent.Port) bool {
	return p.Owner == intent.OwnerDistributed || p.Owner == intent.OwnerHA
}

func (v *view) netParams(n *intent.Network, vlan int) map[string]string {
	return map[string]string{"network": v.in.netName(n.ID), "vni": strconv.Itoa(n.Segment), "vlan": strconv.Itoa(vlan)}
}

// same compares a number in any spelling.
func same(s string, n int) bool { return number(s) == n }

func (v *view) wantIn(n *intent.Network, vlan int) want {
	return want{
		role: "in", group: "in", key: fmt.Sprintf("tun_id=0x%x", n.Segment), table: 4, id: "tunnel-vni-missing", wrong: "tunnel-vni-wrong-vlan", where: "tun_id " + strconv.Itoa(n.Segment),
		is:    func(f *flow) bool { return f.setsVLAN() == vlan },
		place: func(f *flow) bool { return f.setsVLAN() >= 0 || f.drops() },
		match: fmt.Sprintf("priority=1,tun_id=0x%x", n.Segment), action: fmt.Sprintf("push_vlan:0x8100,set_field:%d->vlan_vid,resubmit(,%d)", 0x1000|vlan, v.afterIn()),
		params: v.netParams(n, vlan), proof: []trace.Proof{neutron("network %s segmentation_id=%d", n.ID, n.Segment)},
	}
}

// afterIn is the table that packets from tunnels go to once their VLAN is known.
func (v *view) afterIn() int {
	for i := range v.tunFlows {
		if f := &v.tunFlows[i]; f.has("tun_id") && f.resubmits() >= 0 {
			return f.resubmits()
		}
	}
	if v.l2 != nil && v.l2.DVR {
		return 9
	}
	return 10
}

func (v *view) wantFlood(n *intent.Network, vlan int, ports []int) want {
	slices.Sort(ports)
	outs := make([]string, len(ports))
	for i, p := range ports {
		outs[i] = "output:" + strconv.Itoa(p)
	}
	floods := func(f *flow) bool {
		return !f.has("dl_dst") && !f.has("arp_tpa") && !f.has("dl_src") && f.setsTunnel() >= 0
	}
	return want{
		role: "flood", group: "entries", key: fmt.Sprintf("dl_vlan=%d", vlan), table: 22, id: "flood-missing", wrong: "flood-wrong", where: "flood vlan " + strconv.Itoa(vlan),
		is: func(f *flow) bool {
			if !floods(f) || f.setsTunnel() != n.Segment {
				return false
			}
			has := f.outputs()
			return !slices.ContainsFunc(ports, func(p int) bool { return !slices.Contains(has, p) })
		},
		place: floods,
		match: fmt.Sprintf("priority=1,dl_vlan=%d", vlan), action: fmt.Sprintf("pop_vlan,set_field:0x%x->tun_id,%s", n.Segment, strings.Join(outs, ",")),
		params: v.netParams(n, vlan), proof: []trace.Proof{neutron("network %s segmentation_id=%d", n.ID, n.Segment)},
	}
}

func (v *view) wantUnicast(n *intent.Network, vlan int, p *intent.Port, at int) want {
	params := v.netParams(n, vlan)
	params["mac"], params["name"], params["peer"] = p.MAC.String(), v.in.nameOf(p), p.Host
	return want{
		role: "unicast", group: "entries", key: "dl_dst=" + p.MAC.String(), table: 20, id: "unicast-missing", wrong: "unicast-wrong", where: p.MAC.String(),
		is: func(f *flow) bool {
			return f.vlan() == vlan && f.setsTunnel() == n.Segment && slices.Contains(f.outputs(), at)
		},
		place: func(f *flow) bool { return f.vlan() == vlan && f.setsTunnel() >= 0 },
		match: fmt.Sprintf("priority=2,dl_vlan=%d,dl_dst=%s", vlan, p.MAC), action: fmt.Sprintf("pop_vlan,set_field:0x%x->tun_id,output:%d", n.Segment, at),
		params: params, proof: []trace.Proof{intentPort(p)},
	}
}

// wantDVR lists what hides a distributed router's address, which is the same on every host,
// from the other hosts.
func (v *view) wantDVR(n *intent.Network, vlan int) []want {
	mine := v.c.hostMAC(v.h.Name)
	var out []want
	for _, r := range v.in.routed[n.ID] {
		if !r.Distributed || v.h.Space("qrouter-"+r.ID) == nil {
			continue
		}
		for _, p := range v.in.interfaces(r) {
			if p.Network != n.ID || v.byIface[p.ID] == nil {
				continue
			}
			params := v.netParams(n, vlan)
			params["router"], params["mac"] = routerName(r), p.MAC.String()
			if !mine.Zero() {
				params["hostmac"] = mine.String()
				out = append(out, want{
					role: "dvr-out", group: "dvr", key: "dl_src=" + p.MAC.String(), table: 1, id: "dvr-source-missing", where: p.MAC.String(),
					is:    func(f *flow) bool { m, ok := f.setsSource(); return ok && m == mine && f.vlan() == vlan },
					match: fmt.Sprintf("priority=1,dl_vlan=%d,dl_src=%s", vlan, p.MAC), action: fmt.Sprintf("set_field:%s->eth_src,resubmit(,%d)", mine, v.afterDVR()),
					params: params, proof: []trace.Proof{intentPort(p)},
				})
			}
			out = append(out, want{
				role: "dvr-hide", group: "dvr", key: "dl_dst=" + p.MAC.String(), table: 1, id: "dvr-gateway-leaks", where: "to " + p.MAC.String(),
				is:    func(f *flow) bool { return f.vlan() == vlan && f.drops() },
				match: fmt.Sprintf("priority=2,dl_vlan=%d,dl_dst=%s", vlan, p.MAC), action: "drop", params: params, proof: []trace.Proof{intentPort(p)},
			})
		}
	}
	return out
}

func (v *view) afterDVR() int {
	for i := range v.tunFlows {
		if _, ok := v.tunFlows[i].setsSource(); ok && v.tunFlows[i].resubmits() >= 0 {
			return v.tunFlows[i].resubmits()
		}
	}
	return 2
}

// hostMAC is the address with which a host's distributed routers send to other hosts; zero
// if it cannot be told. Neutron's API does not show it: the host's own flows do.
func (c *Checker) hostMAC(host string) packet.MAC {
	c.once.Do(func() {
		c.macs = map[string]packet.MAC{}
		for name, h := range c.hosts {
			for _, bridge := range []string{"br-tun", "br-int", "br-ex"} {
				if b := h.Bridge(bridge); b != nil && c.macs[name].Zero() {
					c.macs[name] = ownMAC(b.Flows)
				}
			}
		}
	})
	return c.macs[host]
}

// ownMAC finds the address that flows give to packets of routers: one of the range that
// Neutron takes for this (dvr_base_mac fa:16:3f:00:00:00).
func ownMAC(dump string) packet.MAC {
	for _, before := range []string{"set_field:fa:16:3f:", "mod_dl_src:fa:16:3f:", "dl_dst=fa:16:3f:"} {
		for rest := dump; ; {
			i := strings.Index(rest, before)
			if i < 0 {
				break
			}
			from := i + len(before) - len("fa:16:3f:")
			if len(rest) < from+17 {
				break
			}
			line := rest[:from]
			learned := before[0] == 'd' && strings.Contains(line[strings.LastIndexByte(line, '\n')+1:], "timeout=")
			if m, err := packet.ParseMAC(rest[from : from+17]); err == nil && !learned {
				return m
			}
			rest = rest[from:]
		}
	}
	return packet.MAC{}
}

// hostsOf lists the hosts that have to do with a network, in order.
func (in *index) hostsOf(network string) []string { return in.hosts[network] }

// tunnelTables checks what the tunnel bridge does.
func (v *view) tunnelTables() []trace.Finding {
	if v.tun == nil || v.h.Lacks(facts.Flows, "", v.tun.Name) != "" || len(v.tunFlows) == 0 || v.l2 == nil || !v.l2.L2Pop {
		return nil
	}
	x := newFlowIndex(v.tunFlows)
	wants := v.tunnelWants(v.tunnelTo)
	v.tunTables = x.check(wants)
	var out []trace.Finding
	var entries []*want
	any := false
	for i := range wants {
		if w := &wants[i]; w.group == "entries" {
			if w.found == nil {
				entries = append(entries, w)
			}
			any = any || w.found != nil || w.bad != nil
		}
	}
	if !any && len(entries) > 1 {
		return append(v.others(v.tun, wants, "entries"), v.lost(v.tun, "tunnel-entries-lost", v.tun.Name, map[string]string{}, entries, v.tunTables))
	}
	out = append(out, v.others(v.tun, wants, "")...)
	return append(out, v.responders(x)...)
}

// others lists the wants that are not met, but for those of a group.
func (v *view) others(b *facts.Bridge, wants []want, but string) []trace.Finding {
	var out []trace.Finding
	for i := range wants {
		if w := &wants[i]; w.found == nil && (but == "" || w.group != but) {
			out = append(out, v.missing(b, w, v.tunTables))
		}
	}
	return out
}

// responders checks the answers that the bridge gives to ARP itself: a wrong one leads to
// nobody; a missing one is asked of the network.
func (v *view) responders(x *flowIndex) []trace.Finding {
	byVLAN := map[int]string{}
	for net, vlan := range v.vlans {
		byVLAN[vlan] = net
	}
	var out []trace.Finding
	for i := range x.all {
		f := &x.all[i]
		ip, ok := f.get("arp_tpa")
		if !ok {
			continue
		}
		said, ok := f.sets("arp_sha", "NXM_NX_ARP_SHA[]")
		if !ok {
			continue
		}
		if strings.HasPrefix(said, "0x") {
			said = hexMAC(said)
		}
		net := byVLAN[f.vlan()]
		if net == "" || v.in.networks[net] == nil {
			continue
		}
		a := rawAddrOf(ip)
		macs := v.in.stations(net)[a]
		m, err := packet.ParseMAC(said)
		if err != nil || len(macs) == 0 || slices.Contains(macs, m) {
			continue
		}
		old, want := f.line, strings.ReplaceAll(f.line, said, macs[0].String())
		out = append(out, trace.Finding{
			ID: "arp-responder-wrong", Where: v.tun.Name + " " + ip, Params: map[string]string{"ip": ip, "has": said, "mac": macs[0].String(), "network": v.in.netName(net)},
			Proof: append([]trace.Proof{v.see(fmt.Sprintf("%s table %d", v.tun.Name, f.table), old)}, v.in.whoHas(net, a)...), Fix: []trace.Fix{v.restart(agentL2)},
			Repair: v.edit(func(h *facts.Host) {
				if b := h.Bridge(v.tun.Name); b != nil {
					b.Flows = strings.Replace(b.Flows, old, want, 1)
				}
			}),
		})
	}
	return out
}

// hexMAC writes 0xfa163e000001 as a hardware address.
func hexMAC(s string) string {
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		return s
	}
	var m packet.MAC
	for i := range m {
		m[5-i] = byte(n >> (8 * i))
	}
	return m.String()
}
