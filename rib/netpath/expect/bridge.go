package expect

import (
	"fmt"
	"slices"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/trace"
)

// bridges checks that the switches are there, hold flows, and are joined.
func (v *view) bridges() []trace.Finding {
	if v.l2 == nil || v.h.Lacks(facts.Database, "", "") != "" {
		return nil
	}
	if v.h.OVS == nil {
		return []trace.Finding{{
			ID: "ovs-missing", Where: v.h.Name, Proof: []trace.Proof{neutron("agent on %s: Open vSwitch agent alive=%t", v.h.Name, v.l2.Alive)},
			Fix: []trace.Fix{v.run("host", "systemctl start openvswitch-switch"), v.restart(agentL2)},
		}}
	}
	var out []trace.Finding
	names := []string{"br-int"}
	if v.l2.TunnelIP.IsValid() && len(v.l2.Tunnels) > 0 {
		names = append(names, "br-tun")
	}
	for _, phys := range sorted(v.l2.Mappings) {
		names = append(names, v.l2.Mappings[phys])
	}
	for _, name := range names {
		b := v.h.Bridge(name)
		if b == nil {
			out = append(out, v.noBridge(name))
			continue
		}
		out = append(out, v.bridgeFlows(b)...)
		if name != "br-int" {
			out = append(out, v.joined(b)...)
		}
	}
	return append(out, v.tunnelTables()...)
}

func (v *view) noBridge(name string) trace.Finding {
	var there []string
	for i := range v.h.OVS.Bridges {
		there = append(there, "Bridge "+v.h.OVS.Bridges[i].Name)
	}
	return trace.Finding{
		ID: "bridge-missing", Where: name, Params: map[string]string{"bridge": name}, Proof: v.none("ovs-vsctl list-br", name, there...),
		Fix: []trace.Fix{v.run("host", "ovs-vsctl --may-exist add-br %s", name), v.restart(agentL2)},
	}
}

// bridgeFlows tells a bridge that has lost all that the agent wrote.
func (v *view) bridgeFlows(b *facts.Bridge) []trace.Finding {
	if v.h.Lacks(facts.Flows, "", b.Name) != "" {
		return nil
	}
	n := strings.Count(b.Flows, " actions=")
	if n > 1 || n == 1 && b.Name != "br-int" && b.Name != "br-tun" {
		return nil
	}
	proof := []trace.Proof{{Host: v.h.Name, Where: "ovs-ofctl dump-flows " + b.Name, Line: fmt.Sprintf("(%d flows) fail_mode: %s", n, b.FailMode)}}
	if n == 1 {
		proof = append(proof, v.see(b.Name, strings.TrimSpace(b.Flows)))
	}
	return []trace.Finding{{
		ID: "bridge-flows-lost", Where: b.Name, Params: map[string]string{"bridge": b.Name, "mode": cmpOr(b.FailMode, "standalone")}, Proof: proof,
		Fix: []trace.Fix{v.restart(agentL2)},
		Repair: v.edit(func(h *facts.Host) {
			for _, name := range v.emptied() { // one event empties all: flows of one alone bring nobody back
				if b := h.Bridge(name); b != nil {
					b.Flows = v.rebuild(b)
				}
			}
		}),
	}}
}

// emptied lists the bridges that have lost their flows.
func (v *view) emptied() []string {
	var out []string
	for i := range v.h.OVS.Bridges {
		b := &v.h.OVS.Bridges[i]
		if _, mapped := v.physicalOf(b.Name); (mapped || b == v.br || b == v.tun) && strings.Count(b.Flows, " actions=") <= 1 {
			out = append(out, b.Name)
		}
	}
	return out
}

// physicalOf is the physical network that a bridge carries.
func (v *view) physicalOf(bridge string) (string, bool) {
	if v.l2 == nil {
		return "", false
	}
	for _, phys := range sorted(v.l2.Mappings) {
		if v.l2.Mappings[phys] == bridge {
			return phys, true
		}
	}
	return "", false
}

// patches finds the ports that join two bridges: of b, and of the integration bridge.
func (v *view) patches(b *facts.Bridge) (there, here *facts.Port) {
	if v.br == nil {
		return nil, nil
	}
	names := [2]string{"phy-" + b.Name, "int-" + b.Name}
	if b == v.tun {
		names = [2]string{"patch-int", "patch-tun"}
	}
	return b.Port(names[0]), v.br.Port(names[1])
}

// joined checks the link between a bridge and the integration bridge.
func (v *view) joined(b *facts.Bridge) []trace.Finding {
	if v.br == nil {
		return nil
	}
	names := [2]string{"phy-" + b.Name, "int-" + b.Name}
	if b.Name == "br-tun" {
		names = [2]string{"patch-int", "patch-tun"}
	}
	there, here := b.Port(names[0]), v.br.Port(names[1])
	if there != nil && here != nil && there.Options["peer"] == here.Name && here.Options["peer"] == there.Name || there != nil && here != nil && there.Type != "patch" {
		return nil
	}
	params := map[string]string{"bridge": b.Name, "other": v.br.Name, "port": names[0], "peer": names[1]}
	var lines []string
	for _, p := range []*facts.Port{there, here} {
		if p != nil {
			lines = append(lines, portLine(p))
		}
	}
	id := "patch-missing"
	if there != nil && here != nil {
		id = "patch-wrong-peer"
	}
	command := fmt.Sprintf("ovs-vsctl --may-exist add-port %s %s -- set interface %s type=patch options:peer=%s -- --may-exist add-port %s %s -- set interface %s type=patch options:peer=%s",
		b.Name, names[0], names[0], names[1], v.br.Name, names[1], names[1], names[0])
	return []trace.Finding{{
		ID: id, Where: b.Name + " " + names[0], Params: params, Proof: v.none(b.Name+", "+v.br.Name+" ports", names[0]+" peer="+names[1], lines...),
		Fix: []trace.Fix{v.run("host", "%s", command), v.restart(agentL2)},
		Repair: v.edit(func(h *facts.Host) {
			v.join(h, b.Name, names[0], names[1])
			v.join(h, v.br.Name, names[1], names[0])
		}),
	}}
}

// join makes or mends a patch port in the model. Its number is the one that flows still
// speak of, if there is just one that no port has.
func (v *view) join(h *facts.Host, bridge, name, peer string) {
	b := h.Bridge(bridge)
	if b == nil {
		return
	}
	if p := b.Port(name); p != nil {
		p.Type, p.Options = "patch", map[string]string{"peer": peer}
		return
	}
	var lost []int
	n := 1
	for _, f := range parseFlows(b.Flows) {
		list := f.outputs()
		if in := f.number("in_port"); in > 0 {
			list = append(list, in)
		}
		for _, at := range list {
			if at > 0 && at < 65000 && b.PortAt(at) == nil && !slices.Contains(lost, at) {
				lost = append(lost, at)
			}
		}
	}
	for i := range b.Ports {
		if b.Ports[i].OFPort < 65000 {
			n = max(n, b.Ports[i].OFPort+1)
		}
	}
	if len(lost) == 1 {
		n = lost[0]
	}
	b.Ports = append(b.Ports, facts.Port{Name: name, OFPort: n, Type: "patch", Options: map[string]string{"peer": peer}})
}

// rebuild writes as much of a bridge's flows as its packets need, in the model: what it
// does, not as the agent would write it.
func (v *view) rebuild(b *facts.Bridge) string {
	add := func(s *strings.Builder, table int, match, actions string) {
		fmt.Fprintf(s, " cookie=0x0, duration=0s, table=%d, n_packets=0, n_bytes=0, %s actions=%s\n", table, match, actions)
	}
	var s strings.Builder
	switch {
	case v.tun != nil && b.Name == v.tun.Name: // b is of a copy
		v.rebuildTunnel(&s, add)
	case v.br != nil && b.Name == v.br.Name:
		add(&s, 0, "priority=65535,dl_vlan=4095", "drop")
		add(&s, 0, "priority=0", "resubmit(,60)")
		v.rebuildPhysical(&s, add)
		for _, w := range v.firewallWants() {
			s.WriteString(w.line(nil) + "\n")
		}
		add(&s, 60, "priority=3", "NORMAL")
		for _, t := range []int{71, 72, 73, 81, 82, 92, 93} {
			add(&s, t, "priority=0", "drop")
		}
		add(&s, 91, "priority=1", "resubmit(,94)")
		add(&s, 94, "priority=1", "NORMAL")
	default:
		v.rebuildMapped(b, &s, add)
	}
	return s.String()
}

type adder func(s *strings.Builder, table int, match, actions string)

func (v *view) rebuildTunnel(s *strings.Builder, add adder) {
	patch, _ := v.patches(v.tun)
	if patch == nil {
		return
	}
	add(s, 0, fmt.Sprintf("priority=1,in_port=%d", patch.OFPort), "resubmit(,1)")
	for i := range v.tun.Ports {
		if p := &v.tun.Ports[i]; isTunnel(p) {
			add(s, 0, fmt.Sprintf("priority=1,in_port=%d", p.OFPort), "resubmit(,4)")
		}
	}
	add(s, 1, "priority=0", "resubmit(,2)")
	add(s, 2, "priority=0,dl_dst=00:00:00:00:00:00/01:00:00:00:00:00", "resubmit(,20)")
	add(s, 2, "priority=0,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00", "resubmit(,22)")
	for _, t := range []int{9, 10} {
		add(s, t, "priority=1", fmt.Sprintf("output:%d", patch.OFPort))
	}
	add(s, 20, "priority=0", "resubmit(,22)")
	for _, w := range v.tunnelWants(v.tunnelTo) {
		s.WriteString(w.line(nil) + "\n")
	}
}

// rebuildPhysical writes how packets of physical networks come into the integration bridge.
func (v *view) rebuildPhysical(s *strings.Builder, add adder) {
	for _, id := range sorted(v.vlans) {
		n := v.in.networks[id]
		if n == nil || n.Physical == "" || v.l2 == nil {
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
		if n.Kind == "vlan" {
			add(s, 0, fmt.Sprintf("priority=3,in_port=%d,dl_vlan=%d", here.OFPort, n.Segment), fmt.Sprintf("set_field:%d->vlan_vid,resubmit(,60)", 0x1000|v.vlans[id]))
		} else {
			add(s, 0, fmt.Sprintf("priority=3,in_port=%d,vlan_tci=0x0000/0x1fff", here.OFPort), fmt.Sprintf("push_vlan:0x8100,set_field:%d->vlan_vid,resubmit(,60)", 0x1000|v.vlans[id]))
		}
	}
}

// rebuildMapped writes how packets leave for a physical network.
func (v *view) rebuildMapped(b *facts.Bridge, s *strings.Builder, add adder) {
	there, _ := v.patches(b)
	phys, _ := v.physicalOf(b.Name)
	add(s, 0, "priority=0", "NORMAL")
	if there == nil {
		return
	}
	add(s, 0, fmt.Sprintf("priority=2,in_port=%d", there.OFPort), "drop")
	for _, id := range sorted(v.vlans) {
		n := v.in.networks[id]
		if n == nil || n.Physical != phys {
			continue
		}
		action := "pop_vlan,NORMAL"
		if n.Kind == "vlan" {
			action = fmt.Sprintf("set_field:%d->vlan_vid,NORMAL", 0x1000|n.Segment)
		}
		add(s, 0, fmt.Sprintf("priority=4,in_port=%d,dl_vlan=%d", there.OFPort, v.vlans[id]), action)
	}
}
