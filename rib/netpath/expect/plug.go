package expect

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// plugs checks how each port of this host hangs on the integration bridge.
func (v *view) plugs() []trace.Finding {
	if v.br == nil || v.h.Lacks(facts.Database, "", "") != "" {
		return nil
	}
	var out []trace.Finding
	for _, p := range v.in.byHost[v.h.Name] {
		if isVM(p) && p.Up && plugged(p) {
			out = append(out, v.vmPlug(p)...)
		}
	}
	for i := range v.br.Ports {
		o := &v.br.Ports[i]
		p := v.in.ports[o.Externals["iface-id"]]
		if p == nil || !p.Up {
			continue
		}
		out = append(out, v.tag(p, o)...)
		out = append(out, v.opened(p, o)...)
	}
	return out
}

// plugged reports whether Neutron has bound the port to an Open vSwitch.
func plugged(p *intent.Port) bool { return p.VIFType == "ovs" || p.VIFType == "" }

func (v *view) portParams(p *intent.Port, device string) map[string]string {
	m := map[string]string{"port": p.ID, "device": device, "name": v.in.nameOf(p), "network": v.in.netName(p.Network), "mac": p.MAC.String()}
	if len(p.IPs) > 0 {
		m["ip"] = p.IPs[0].Addr.String()
	} else {
		m["ip"] = p.MAC.String()
	}
	return m
}

// tag compares a port's VLAN with that of its network.
func (v *view) tag(p *intent.Port, o *facts.Port) []trace.Finding {
	want := v.vlans[p.Network]
	if len(o.Trunks) > 0 || o.Tag == want && want != 0 || o.Tag == 0 && want == 0 {
		return nil
	}
	id := "port-wrong-vlan"
	switch o.Tag {
	case deadVLAN:
		id = "port-dead-vlan"
	case 0:
		id = "port-untagged"
	}
	params := v.portParams(p, o.Name)
	params["tag"], params["vlan"] = strconv.Itoa(o.Tag), strconv.Itoa(want)
	proof := []trace.Proof{v.see(v.br.Name+" ports", portLine(o)), intentPort(p)}
	for i := range v.br.Ports {
		if q := &v.br.Ports[i]; q != o && q.Tag == want && v.in.ports[q.Externals["iface-id"]] != nil {
			proof = append(proof, v.see(v.br.Name+" ports", portLine(q)))
			break
		}
	}
	f := trace.Finding{ID: id, Where: o.Name, Params: params, Proof: proof}
	if want != 0 {
		f.Fix = append(f.Fix, v.run("port", "ovs-vsctl set port %s tag=%d", o.Name, want))
		f.Repair = v.editPort(v.br.Name, o.Name, func(q *facts.Port) { q.Tag = want })
	}
	f.Fix = append(f.Fix, v.restart(agentL2))
	return []trace.Finding{f}
}

// opened checks that a port works as a device of the switch and is its port.
func (v *view) opened(p *intent.Port, o *facts.Port) []trace.Finding {
	var out []trace.Finding
	where := v.br.Name + " ports"
	if o.OFPort <= 0 || o.Error != "" {
		params := v.portParams(p, o.Name)
		params["error"] = o.Error
		free := v.freePort()
		out = append(out, trace.Finding{
			ID: "port-not-opened", Where: o.Name, Params: params, Proof: []trace.Proof{v.see(where, portLine(o)), intentPort(p)},
			Fix:    []trace.Fix{v.run("port", "ovs-vsctl del-port %s %s && ovs-vsctl add-port %s %s -- set interface %s external_ids:iface-id=%s external_ids:attached-mac=%s external_ids:iface-status=active", v.br.Name, o.Name, v.br.Name, o.Name, o.Name, p.ID, p.MAC)},
			Repair: v.editPort(v.br.Name, o.Name, func(q *facts.Port) { q.OFPort, q.Error = free, "" }),
		})
	}
	if mac := o.Externals["attached-mac"]; mac != "" && mac != p.MAC.String() && p.Owner != intent.OwnerDistributed {
		params := v.portParams(p, o.Name)
		params["has"] = mac
		out = append(out, trace.Finding{
			ID: "port-mac-differs", Where: o.Name, Params: params, Proof: []trace.Proof{v.see(where, portLine(o)+" attached-mac="+mac), intentPort(p)},
			Fix: []trace.Fix{v.run("port", "ovs-vsctl set interface %s external_ids:attached-mac=%s", o.Name, p.MAC), v.restart(agentL2)},
			Repair: v.editPort(v.br.Name, o.Name, func(q *facts.Port) {
				q.Externals["attached-mac"] = p.MAC.String()
			}),
		})
	}
	return append(out, v.device(p, o.Name)...)
}

// freePort is a number that no port of the integration bridge has.
func (v *view) freePort() int {
	n := 1
	for i := range v.br.Ports {
		if q := v.br.Ports[i].OFPort; q < 65000 {
			n = max(n, q+1)
		}
	}
	return n
}

// device checks a network device that packets of a port must pass: it is up, and wide
// enough for its network.
func (v *view) device(p *intent.Port, name string) []trace.Finding {
	n, l := v.linkOf(name)
	if l == nil {
		return nil
	}
	var out []trace.Finding
	params := v.portParams(p, name)
	params["space"] = n.Name
	where := spaceName(n.Name) + " links"
	set := func(do func(*facts.Link)) trace.Repair {
		return v.editSpace(n.Name, func(n *facts.Namespace) {
			if l := n.Link(name); l != nil {
				do(l)
			}
		})
	}
	if !l.Up {
		out = append(out, trace.Finding{
			ID: "device-down", Where: name, Params: params, Proof: []trace.Proof{v.see(where, linkLine(l)), intentPort(p)},
			Fix:    []trace.Fix{v.run("none", "%s", inside(n.Name, "ip link set "+name+" up"))},
			Repair: set(func(l *facts.Link) { l.Up, l.Running = true, true }),
		})
	}
	if net := v.in.networks[p.Network]; net != nil && net.MTU > 0 && l.MTU < net.MTU {
		narrow := map[string]string{"mtu": strconv.Itoa(l.MTU), "want": strconv.Itoa(net.MTU)}
		maps.Copy(narrow, params)
		want := net.MTU
		out = append(out, trace.Finding{
			ID: "device-mtu", Where: name, Params: narrow, Proof: []trace.Proof{v.see(where, linkLine(l)), neutron("network %s mtu=%d", net.ID, net.MTU)},
			Fix:    []trace.Fix{v.run("none", "%s", inside(n.Name, fmt.Sprintf("ip link set %s mtu %d", name, want)))},
			Repair: set(func(l *facts.Link) { l.MTU = want }),
		})
	}
	return out
}

func spaceName(name string) string {
	if name == "" {
		return "host"
	}
	return name
}

// vmPlug checks the devices between a VM and the integration bridge.
func (v *view) vmPlug(p *intent.Port) []trace.Finding {
	root := v.h.Space("")
	if root == nil || v.h.Lacks(facts.Links, "", "") != "" {
		return nil
	}
	tap := "tap" + short(p.ID)
	on := tap
	hybrid := p.Hybrid || root.Link("qvo"+short(p.ID)) != nil
	var out []trace.Finding
	if root.Link(tap) == nil && v.byIface[p.ID] == nil || hybrid && root.Link(tap) == nil {
		return []trace.Finding{v.noTap(p, tap, hybrid)}
	}
	if hybrid {
		on = "qvo" + short(p.ID)
		out = append(out, v.hybrid(p, root)...)
	}
	if v.byIface[p.ID] == nil && root.Link(on) != nil {
		out = append(out, v.unplugged(p, on))
	}
	return out
}

// noTap says that a VM's own device is not there: the VM does not run here.
func (v *view) noTap(p *intent.Port, tap string, hybrid bool) trace.Finding {
	return trace.Finding{
		ID: "port-no-device", Where: tap, Params: v.portParams(p, tap), Proof: append(v.none("host links", tap), intentPort(p)),
		Fix: []trace.Fix{{Host: v.h.Name, Command: "nova reboot --hard " + p.Device, Lasting: true, Risk: "port"}},
		Repair: v.edit(func(h *facts.Host) {
			addLink(h, facts.Link{Name: tap, Kind: "tun", Up: true, Running: true, MTU: v.mtu(p.Network), MAC: tapMAC(p.MAC), Master: hybridMaster(p, hybrid)})
			if !hybrid {
				v.plugIn(h, p, tap)
			}
		}),
	}
}

func hybridMaster(p *intent.Port, hybrid bool) string {
	if hybrid {
		return "qbr" + short(p.ID)
	}
	return ""
}

// tapMAC is the host's end of a VM's device: Nova makes it from the VM's.
func tapMAC(m packet.MAC) packet.MAC {
	m[0] = 0xfe
	return m
}

func (v *view) mtu(network string) int {
	if n := v.in.networks[network]; n != nil && n.MTU > 0 {
		return n.MTU
	}
	return 1500
}

func addLink(h *facts.Host, l facts.Link) {
	n := h.Space("")
	if n == nil || n.Link(l.Name) != nil {
		return
	}
	for i := range n.Links {
		l.Index = max(l.Index, n.Links[i].Index+1)
	}
	n.Links = append(n.Links, l)
}

// unplugged says that a device is there and is no port of the integration bridge.
func (v *view) unplugged(p *intent.Port, device string) trace.Finding {
	return trace.Finding{
		ID: "port-not-plugged", Where: device, Params: v.portParams(p, device), Proof: append(v.none(v.br.Name+" ports", device), intentPort(p)),
		Fix: []trace.Fix{v.run("port", "ovs-vsctl --may-exist add-port %s %s -- set interface %s external_ids:iface-id=%s external_ids:attached-mac=%s external_ids:iface-status=active external_ids:vm-uuid=%s",
			v.br.Name, device, device, p.ID, p.MAC, p.Device)},
		Repair: v.edit(func(h *facts.Host) { v.plugIn(h, p, device) }),
	}
}

// plugIn makes a device a port of the integration bridge, in the model.
func (v *view) plugIn(h *facts.Host, p *intent.Port, device string) {
	b := h.Bridge(v.br.Name)
	if b == nil || b.Port(device) != nil {
		return
	}
	b.Ports = append(b.Ports, facts.Port{
		Name: device, OFPort: v.freePort(), Tag: v.vlans[p.Network], MTU: v.mtu(p.Network),
		Externals: map[string]string{"iface-id": p.ID, "attached-mac": p.MAC.String(), "iface-status": "active"},
	})
}

// hybrid checks the Linux bridge between a VM and the integration bridge.
func (v *view) hybrid(p *intent.Port, root *facts.Namespace) []trace.Finding {
	id := short(p.ID)
	qbr, qvb, qvo, tap := "qbr"+id, "qvb"+id, "qvo"+id, "tap"+id
	var out []trace.Finding
	if root.Link(qbr) == nil {
		return []trace.Finding{v.hybridLost(p, "hybrid-bridge-missing", qbr, "brctl addbr "+qbr+" && ip link set "+qbr+" up && ip link set "+qvb+" master "+qbr+" && ip link set "+tap+" master "+qbr)}
	}
	if root.Link(qvb) == nil || root.Link(qvo) == nil {
		return []trace.Finding{v.hybridLost(p, "hybrid-pair-missing", qvb, "ip link add "+qvb+" type veth peer name "+qvo+" && ip link set "+qvb+" up promisc on && ip link set "+qvo+" up promisc on && ip link set "+qvb+" master "+qbr)}
	}
	for _, dev := range []string{tap, qvb} {
		if l := root.Link(dev); l.Master != qbr {
			params := v.portParams(p, dev)
			params["bridge"], params["master"] = qbr, l.Master
			out = append(out, trace.Finding{
				ID: "hybrid-member", Where: dev, Params: params, Proof: []trace.Proof{v.see("host links", linkLine(l)), intentPort(p)},
				Fix: []trace.Fix{v.run("none", "ip link set %s master %s", dev, qbr)},
				Repair: v.editSpace("", func(n *facts.Namespace) {
					if l := n.Link(dev); l != nil {
						l.Master = qbr
					}
				}),
			})
		}
	}
	for _, dev := range []string{tap, qvb, qbr} {
		out = append(out, v.device(p, dev)...)
	}
	return out
}

// hybridLost says that a part of the plug is gone; its repair makes all of it.
func (v *view) hybridLost(p *intent.Port, id, device, command string) trace.Finding {
	s := short(p.ID)
	return trace.Finding{
		ID: id, Where: device, Params: v.portParams(p, device), Proof: append(v.none("host links", device), intentPort(p)),
		Fix: []trace.Fix{v.run("port", "%s", command), {Host: v.h.Name, Command: "nova reboot --hard " + p.Device, Lasting: true, Risk: "port"}},
		Repair: v.edit(func(h *facts.Host) {
			mtu := v.mtu(p.Network)
			addLink(h, facts.Link{Name: "qbr" + s, Kind: "bridge", Up: true, Running: true, MTU: mtu})
			n := h.Space("")
			for _, dev := range []string{"qvb" + s, "qvo" + s} {
				addLink(h, facts.Link{Name: dev, Kind: "veth", Up: true, Running: true, MTU: mtu})
			}
			qvb, qvo, tap := n.Link("qvb"+s), n.Link("qvo"+s), n.Link("tap"+s)
			qvb.PeerIndex, qvo.PeerIndex, qvb.Master = qvo.Index, qvb.Index, "qbr"+s
			if tap != nil {
				tap.Master = "qbr" + s
			}
			v.plugIn(h, p, "qvo"+s)
		}),
	}
}

// sortedPorts lists ports by their id, for a stable order.
func sortedPorts(list []*intent.Port) []*intent.Port {
	out := slices.Clone(list)
	slices.SortFunc(out, func(a, b *intent.Port) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return out
}
