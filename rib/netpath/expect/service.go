package expect

import (
	"net/netip"
	"slices"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// services checks who gives addresses and settings to VMs.
func (v *view) services() []trace.Finding {
	if v.h.Lacks(facts.Spaces, "", "") != "" {
		return nil
	}
	var out []trace.Finding
	for i := range v.in.cloud.Networks {
		n := &v.in.cloud.Networks[i]
		if n.Up && slices.Contains(n.DHCP, v.h.Name) && slices.ContainsFunc(v.in.subnetsI[n.ID], func(s *intent.Subnet) bool { return s.DHCP }) {
			out = append(out, v.dhcp(n)...)
		}
	}
	for _, r := range v.in.routersOn(v.h.Name) {
		if n := v.h.Space("qrouter-" + r.ID); n != nil {
			out = append(out, v.metadata(r, n)...)
		}
	}
	return append(out, v.bypassed()...)
}

func (v *view) dhcp(n *intent.Network) []trace.Finding {
	name := "qdhcp-" + n.ID
	params := map[string]string{"network": v.in.netName(n.ID), "space": name}
	s := v.h.Space(name)
	var port *intent.Port
	for _, p := range v.in.byHost[v.h.Name] {
		if p.Owner == intent.OwnerDHCP && p.Network == n.ID {
			port = p
		}
	}
	if s == nil {
		return []trace.Finding{{
			ID: "dhcp-namespace-missing", Where: name, Params: params, Proof: append(v.none("ip netns", name, v.spaces("qdhcp-")...), neutron("network %s dhcp agent on %s", n.ID, v.h.Name)),
			Fix: []trace.Fix{v.restart(agentDHCP)},
			Repair: v.edit(func(h *facts.Host) {
				h.Namespaces = append(h.Namespaces, facts.Namespace{Name: name, ID: newSpaceID(h), Sysctls: map[string]string{}, Rules: []facts.Rule{{Kind: "lookup", Table: 255}, {Priority: 32766, Kind: "lookup", Table: mainTable}}})
				if port != nil {
					v.makeLeg(h, h.Space(name), port, "tap"+short(port.ID), v.in.addrs(port))
				}
				serve(h, name, "dnsmasq", packet.UDP, 67)
			}),
		}}
	}
	var out []trace.Finding
	if port != nil {
		out = v.leg(s, port, "tap"+short(port.ID), v.in.addrs(port))
	}
	if v.h.Lacks(facts.Programs, "", "") == "" && !v.runs("dnsmasq", s, n.ID) {
		out = append(out, trace.Finding{
			ID: "dhcp-not-running", Where: name, Params: params, Proof: append(v.none("processes", "dnsmasq for "+n.ID, v.running("dnsmasq")...), neutron("network %s dhcp agent on %s", n.ID, v.h.Name)),
			Fix: []trace.Fix{v.restart(agentDHCP)}, Repair: v.edit(func(h *facts.Host) { serve(h, name, "dnsmasq", packet.UDP, 67) }),
		})
	}
	return out
}

// serve adds a program and its socket to a namespace, in the model.
func serve(h *facts.Host, space, program string, proto uint8, port uint16) {
	n := h.Space(space)
	if n == nil {
		return
	}
	_, id, _ := strings.Cut(space, "-")
	h.Processes = append(h.Processes, facts.Process{PID: 1 << 22, Name: program, Args: []string{program, id}, Network: n.ID})
	n.Sockets = append(n.Sockets, facts.Socket{Proto: proto, Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), port), Program: program})
}

// runs reports whether a program runs in a namespace, or for what has that id.
func (v *view) runs(program string, n *facts.Namespace, id string) bool {
	for i := range v.h.Processes {
		p := &v.h.Processes[i]
		if p.Name != program && !slices.ContainsFunc(p.Args, func(a string) bool { return strings.HasSuffix(a, "/"+program) }) {
			continue
		}
		if n.ID != 0 && p.Network == n.ID || slices.ContainsFunc(p.Args, func(a string) bool { return strings.Contains(a, id) }) {
			return true
		}
	}
	return slices.ContainsFunc(n.Sockets, func(s facts.Socket) bool { return s.Program == program })
}

func (v *view) running(program string) []string {
	var out []string
	for i := range v.h.Processes {
		if p := &v.h.Processes[i]; p.Name == program {
			out = append(out, strings.Join(p.Args[:min(4, len(p.Args))], " "))
		}
	}
	return out
}

// metadata checks that requests for a VM's settings find who answers: where a router has
// haproxy or its rule on some host, it must have both on each.
func (v *view) metadata(r *intent.Router, n *facts.Namespace) []trace.Finding {
	if v.in.agent(v.h.Name, "Metadata agent") == nil {
		return nil
	}
	var out []trace.Finding
	params := routerParams(r, n.Name)
	params["network"] = routerName(r)
	if v.h.Lacks(facts.Programs, "", "") == "" && !v.runs("haproxy", n, r.ID) && !v.runs("neutron-ns-metadata-proxy", n, r.ID) {
		out = append(out, trace.Finding{
			ID: "metadata-not-running", Where: n.Name, Params: params, Proof: v.none("processes", "haproxy for "+r.ID, v.running("haproxy")...),
			Fix: []trace.Fix{v.restart(agentL3)}, Repair: v.edit(func(h *facts.Host) { serve(h, n.Name, "haproxy", packet.TCP, 9697) }),
		})
	}
	if v.h.Lacks(facts.Filters, n.Name, "") != "" {
		return out
	}
	fl := v.filters(n)
	if fl.translation(func(q *filterRule) bool { return q.get("-j") == "REDIRECT" && host(q.get("-d")) == "169.254.169.254" }) == nil {
		chain := cmpOr(fl.chainEnding("nat", "-PREROUTING"), "PREROUTING")
		rule := "-A " + chain + " -d 169.254.169.254/32 -i qr-+ -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 9697"
		out = append(out, v.lostRule("metadata-redirect-missing", n, "169.254.169.254", routerParams(r, n.Name), rule, nil, fl["nat"][chain]))
	}
	return out
}

// bypassed tells hosts with Linux bridges between VMs and switch that do not filter there.
func (v *view) bypassed() []trace.Finding {
	const key = "net.bridge.bridge-nf-call-iptables"
	root := v.h.Space("")
	if root == nil || root.Sysctls[key] != "0" || !slices.ContainsFunc(root.Links, func(l facts.Link) bool { return strings.HasPrefix(l.Name, "qbr") }) {
		return nil
	}
	return []trace.Finding{{
		ID: "filter-bypassed", Where: v.h.Name, Params: map[string]string{}, Proof: []trace.Proof{v.see("host sysctl", key+" = 0")},
		Fix: []trace.Fix{v.run("none", "sysctl -w %s=1", key)}, Repair: v.editSpace("", func(s *facts.Namespace) { s.Sysctls[key] = "1" }),
	}}
}

// leftovers finds namespaces that are for nothing that Neutron knows.
func (v *view) leftovers() []trace.Finding {
	var out []trace.Finding
	for i := range v.h.Namespaces {
		name := v.h.Namespaces[i].Name
		kind, id, _ := strings.Cut(name, "-")
		known := true
		switch kind {
		case "qrouter", "snat":
			known = v.in.routers[id] != nil
		case "qdhcp", "fip":
			known = v.in.networks[id] != nil
		}
		if known || len(id) != 36 {
			continue
		}
		out = append(out, trace.Finding{
			ID: "namespace-stale", Where: name, Params: map[string]string{"space": name}, Proof: []trace.Proof{v.see("ip netns", name), neutron("nothing has the id %s", id)},
			Fix: []trace.Fix{v.run("none", "ip netns delete %s", name)},
			Repair: v.edit(func(h *facts.Host) {
				h.Namespaces = slices.DeleteFunc(h.Namespaces, func(n facts.Namespace) bool { return n.Name == name })
			}),
		})
	}
	return out
}
