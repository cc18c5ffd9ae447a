package expect

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/trace"
)

// peers lists the agents that this host must have a tunnel to. With L2 population that are
// those with a network in common, else all.
func (v *view) peers() []*intent.Agent {
	if v.l2 == nil || !v.l2.TunnelIP.IsValid() {
		return nil
	}
	var out []*intent.Agent
	mine := v.in.tunnelNets(v.h.Name)
	for i := range v.in.cloud.Agents {
		a := &v.in.cloud.Agents[i]
		if a.Kind != agentL2 || a.Host == v.h.Name || !a.TunnelIP.IsValid() || a.TunnelIP == v.l2.TunnelIP {
			continue
		}
		if v.l2.L2Pop {
			shared := false
			for net := range v.in.tunnelNets(a.Host) {
				shared = shared || mine[net]
			}
			if !shared {
				continue
			}
		}
		out = append(out, a)
	}
	return out
}

// tunnels checks the tunnel bridge's ports to other hosts.
func (v *view) tunnels() []trace.Finding {
	if v.tun == nil || v.l2 == nil || v.h.Lacks(facts.Database, "", "") != "" {
		return nil
	}
	var out []trace.Finding
	have := map[string]*facts.Port{}
	for i := range v.tun.Ports {
		if p := &v.tun.Ports[i]; isTunnel(p) {
			have[p.Options["remote_ip"]] = p
		}
	}
	known := map[string]bool{}
	for _, a := range v.peers() {
		known[a.TunnelIP.String()] = true
		if p := have[a.TunnelIP.String()]; p != nil {
			out = append(out, v.tunnelPort(a, p)...)
			continue
		}
		out = append(out, v.noTunnel(a))
	}
	return out
}

func (v *view) kind() string {
	if len(v.l2.Tunnels) > 0 {
		return v.l2.Tunnels[0]
	}
	return "vxlan"
}

// tunnelName is the name that the agent gives to a tunnel's port.
func tunnelName(kind string, remote netip.Addr) string {
	a := remote.As4()
	return fmt.Sprintf("%s-%02x%02x%02x%02x", kind, a[0], a[1], a[2], a[3])
}

func (v *view) tunnelParams(a *intent.Agent, port string) map[string]string {
	return map[string]string{"peer": a.Host, "remote": a.TunnelIP.String(), "local": v.l2.TunnelIP.String(), "device": port}
}

func (v *view) noTunnel(a *intent.Agent) trace.Finding {
	name := tunnelName(v.kind(), a.TunnelIP)
	var there []string
	var wrong *facts.Port
	for i := range v.tun.Ports {
		p := &v.tun.Ports[i]
		if isTunnel(p) {
			there = append(there, portLine(p))
			if p.Name == name {
				wrong = p
			}
		}
	}
	where := v.tun.Name + " ports"
	said := neutron("agent on %s tunnel_ip=%s", a.Host, a.TunnelIP)
	if wrong != nil {
		params := v.tunnelParams(a, name)
		params["has"] = wrong.Options["remote_ip"]
		return trace.Finding{
			ID: "tunnel-wrong-remote", Where: name, Params: params, Proof: []trace.Proof{v.see(where, portLine(wrong)), said},
			Fix:    []trace.Fix{v.run("none", "ovs-vsctl set interface %s options:remote_ip=%s", name, a.TunnelIP), v.restart(agentL2)},
			Repair: v.editPort(v.tun.Name, name, func(p *facts.Port) { p.Options["remote_ip"] = a.TunnelIP.String() }),
		}
	}
	add := fmt.Sprintf("ovs-vsctl --may-exist add-port %s %s -- set interface %s type=%s options:remote_ip=%s options:local_ip=%s options:in_key=flow options:out_key=flow options:df_default=true",
		v.tun.Name, name, name, v.kind(), a.TunnelIP, v.l2.TunnelIP)
	return trace.Finding{
		ID: "tunnel-missing", Where: name, Params: v.tunnelParams(a, name), Proof: append(v.none(where, name+" remote_ip="+a.TunnelIP.String(), there...), said),
		Fix:    []trace.Fix{v.restart(agentL2), v.run("none", "%s", add)},
		Repair: v.edit(func(h *facts.Host) { v.addTunnel(h, a) }),
	}
}

// addTunnel makes a tunnel's port and the flows that use it, in the model.
func (v *view) addTunnel(h *facts.Host, a *intent.Agent) {
	b := h.Bridge(v.tun.Name)
	if b == nil {
		return
	}
	name := tunnelName(v.kind(), a.TunnelIP)
	n := 1
	for i := range b.Ports {
		if q := b.Ports[i].OFPort; q < 65000 {
			n = max(n, q+1)
		}
	}
	// flows outlive the port: they still send to the number that it had
	if old := v.lostPort(b); old > 0 {
		n = old
	}
	b.Ports = append(b.Ports, facts.Port{Name: name, OFPort: n, Type: v.kind(), Options: map[string]string{
		"remote_ip": a.TunnelIP.String(), "local_ip": v.l2.TunnelIP.String(), "in_key": "flow", "out_key": "flow",
	}})
	v.tunnelFlows(h, a, n)
}

// lostPort is a number that flows send to and no port has; 0 if there is not exactly one.
func (v *view) lostPort(b *facts.Bridge) int {
	var lost []int
	for i := range v.tunFlows {
		for _, n := range v.tunFlows[i].outputs() {
			if b.PortAt(n) == nil && !slices.Contains(lost, n) {
				lost = append(lost, n)
			}
		}
	}
	if len(lost) == 1 {
		return lost[0]
	}
	return 0
}

// tunnelPort checks one port to another host.
func (v *view) tunnelPort(a *intent.Agent, p *facts.Port) []trace.Finding {
	var out []trace.Finding
	where := v.tun.Name + " ports"
	if local := p.Options["local_ip"]; local != "" && local != v.l2.TunnelIP.String() {
		params := v.tunnelParams(a, p.Name)
		params["has"] = local
		out = append(out, trace.Finding{
			ID: "tunnel-wrong-local", Where: p.Name, Params: params, Proof: []trace.Proof{v.see(where, portLine(p)), neutron("agent on %s tunnel_ip=%s", v.h.Name, v.l2.TunnelIP)},
			Fix:    []trace.Fix{v.run("none", "ovs-vsctl set interface %s options:local_ip=%s", p.Name, v.l2.TunnelIP), v.restart(agentL2)},
			Repair: v.editPort(v.tun.Name, p.Name, func(p *facts.Port) { p.Options["local_ip"] = v.l2.TunnelIP.String() }),
		})
	}
	for _, key := range []string{"in_key", "out_key", "key"} {
		val, ok := p.Options[key]
		if !ok || val == "flow" {
			continue
		}
		params := v.tunnelParams(a, p.Name)
		params["key"], params["has"] = key, val
		out = append(out, trace.Finding{
			ID: "tunnel-fixed-key", Where: p.Name, Params: params, Proof: []trace.Proof{v.see(where, portLine(p))},
			Fix:    []trace.Fix{v.run("none", "ovs-vsctl set interface %s options:%s=flow", p.Name, key), v.restart(agentL2)},
			Repair: v.editPort(v.tun.Name, p.Name, func(p *facts.Port) { p.Options[key] = "flow" }),
		})
	}
	if p.OFPort <= 0 || p.Error != "" {
		params := v.tunnelParams(a, p.Name)
		params["error"] = p.Error
		out = append(out, trace.Finding{
			ID: "tunnel-not-opened", Where: p.Name, Params: params, Proof: []trace.Proof{v.see(where, portLine(p))},
			Fix: []trace.Fix{v.run("none", "ovs-vsctl del-port %s %s", v.tun.Name, p.Name), v.restart(agentL2)},
			Repair: v.edit(func(h *facts.Host) {
				b := h.Bridge(v.tun.Name)
				b.Ports = slices.DeleteFunc(b.Ports, func(q facts.Port) bool { return q.Name == p.Name })
				v.addTunnel(h, a)
			}),
		})
	}
	return out
}

// overhead of a packet in a tunnel over IPv4, bytes.
func overhead(kind string) int {
	switch kind {
	case "gre":
		return 42
	case "geneve":
		return 58
	}
	return 50
}

// underlay checks what carries the tunnels: the host has the address that its agent has
// told Neutron, and its links are wide enough.
func (v *view) underlay() []trace.Finding {
	root := v.h.Space("")
	if v.l2 == nil || !v.l2.TunnelIP.IsValid() || root == nil || v.h.Lacks(facts.Links, "", "") != "" {
		return nil
	}
	var holder *facts.Link
	for i := range root.Links {
		for _, a := range root.Links[i].Addrs {
			if a.Addr() == v.l2.TunnelIP {
				holder = &root.Links[i]
			}
		}
	}
	if holder == nil {
		return []trace.Finding{v.noVTEP(root)}
	}
	want := v.widest()
	var out []trace.Finding
	for _, l := range v.carriers(root, holder) {
		params := map[string]string{"device": l.Name, "mtu": strconv.Itoa(l.MTU), "want": strconv.Itoa(want), "tunnel": v.kind()}
		if !l.Up {
			out = append(out, trace.Finding{
				ID: "underlay-down", Where: l.Name, Params: params, Proof: []trace.Proof{v.see("host links", linkLine(l))},
				Fix: []trace.Fix{v.run("none", "ip link set %s up", l.Name)}, Repair: v.editLink("", l.Name, func(l *facts.Link) { l.Up, l.Running = true, true }),
			})
		}
		if want > 0 && l.MTU < want {
			out = append(out, trace.Finding{
				ID: "underlay-mtu", Where: l.Name, Params: params, Proof: []trace.Proof{v.see("host links", linkLine(l)), neutron("networks need mtu %d with %s", want, v.kind())},
				Fix: []trace.Fix{v.run("host", "ip link set %s mtu %d", l.Name, want)}, Repair: v.editLink("", l.Name, func(l *facts.Link) { l.MTU = want }),
			})
		}
	}
	return out
}

func (v *view) editLink(space, name string, do func(*facts.Link)) trace.Repair {
	return v.editSpace(space, func(n *facts.Namespace) {
		if l := n.Link(name); l != nil {
			do(l)
		}
	})
}

func (v *view) noVTEP(root *facts.Namespace) trace.Finding {
	var there []string
	for i := range root.Links {
		if len(root.Links[i].Addrs) > 0 && root.Links[i].Name != "lo" {
			there = append(there, linkLine(&root.Links[i]))
		}
	}
	addr := v.l2.TunnelIP
	dev := ""
	if v.h.OVS != nil { // the device that holds it elsewhere, else any that is in the same range
		for i := range root.Links {
			for _, a := range root.Links[i].Addrs {
				if a.Contains(addr) {
					dev = root.Links[i].Name
				}
			}
		}
	}
	if dev == "" {
		dev = v.c.vtepDevice(v.h)
	}
	f := trace.Finding{
		ID: "tunnel-address-missing", Where: addr.String(), Params: map[string]string{"local": addr.String(), "device": dev},
		Proof: append(v.none("host addresses", addr.String(), there...), neutron("agent on %s tunnel_ip=%s", v.h.Name, addr)),
		Fix:   []trace.Fix{v.run("host", "ip addr add %s/%d dev %s", addr, v.c.vtepBits(), cmpOr(dev, "DEVICE")), v.restart(agentL2)},
	}
	if dev != "" {
		bits := v.c.vtepBits()
		f.Repair = v.editLink("", dev, func(l *facts.Link) {
			l.Addrs = append(slices.Clip(l.Addrs), netip.PrefixFrom(addr, bits))
		})
	}
	return f
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// vtepDevice is the device that holds the address of the tunnels on other hosts, if this
// one has it too.
func (c *Checker) vtepDevice(h *facts.Host) string {
	root := h.Space("")
	for name, other := range c.hosts {
		a := c.in.agent(name, agentL2)
		space := other.Space("")
		if a == nil || space == nil || other == h {
			continue
		}
		for i := range space.Links {
			for _, p := range space.Links[i].Addrs {
				if p.Addr() == a.TunnelIP && root.Link(space.Links[i].Name) != nil {
					return space.Links[i].Name
				}
			}
		}
	}
	return ""
}

func (c *Checker) vtepBits() int {
	for name, other := range c.hosts {
		a := c.in.agent(name, agentL2)
		space := other.Space("")
		if a == nil || space == nil {
			continue
		}
		for i := range space.Links {
			for _, p := range space.Links[i].Addrs {
				if p.Addr() == a.TunnelIP {
					return p.Bits()
				}
			}
		}
	}
	return 24
}

// widest is the MTU that the networks of this host need of what carries their tunnels.
func (v *view) widest() int {
	want := 0
	for id := range v.in.tunnelNets(v.h.Name) {
		n := v.in.networks[id]
		want = max(want, n.MTU+overhead(n.Kind))
	}
	return want
}

// carriers lists the links that packets between hosts pass: the one with the address and,
// if that is a bridge's own, the bridge's devices, and bonds' and VLANs' parents.
func (v *view) carriers(root *facts.Namespace, holder *facts.Link) []*facts.Link {
	out := []*facts.Link{holder}
	add := func(l *facts.Link) {
		if l != nil && !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	if b := v.h.Bridge(holder.Name); b != nil {
		for i := range b.Ports {
			if p := &b.Ports[i]; p.Type == "" || p.Type == "system" {
				add(root.Link(p.Name))
			}
		}
	}
	for i := range out {
		if out[i].Parent != "" {
			add(root.Link(out[i].Parent))
		}
		for j := range root.Links {
			l := &root.Links[j]
			if l.Master == out[i].Name && !strings.HasPrefix(l.Name, "tap") && !strings.HasPrefix(l.Name, "qvb") {
				add(l)
			}
		}
	}
	return out
}
