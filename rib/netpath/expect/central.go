package expect

import (
	"net/netip"
	"slices"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/trace"
)

// central checks the routers' way out that this host has for all: the SNAT namespace of
// distributed routers, and routers that are on one host only.
func (v *view) central() []trace.Finding {
	if v.h.Lacks(facts.Spaces, "", "") != "" {
		return nil
	}
	var out []trace.Finding
	for i := range v.in.cloud.Routers {
		r := &v.in.cloud.Routers[i]
		if !r.Up || r.External == "" || !slices.Contains(r.Hosts, v.h.Name) {
			continue
		}
		name := "qrouter-" + r.ID
		if r.Distributed {
			name = "snat-" + r.ID
		}
		n := v.h.Space(name)
		switch {
		case n == nil && r.Distributed:
			out = append(out, v.noSNAT(r, name))
		case n != nil:
			out = append(out, v.wayOut(r, n)...)
		}
	}
	return out
}

func (v *view) noSNAT(r *intent.Router, name string) trace.Finding {
	return trace.Finding{
		ID: "snat-namespace-missing", Where: name, Params: routerParams(r, name),
		Proof:  append(v.none("ip netns", name, v.spaces("snat-")...), neutron("router %s external=%s hosts=%s", r.ID, r.External, v.h.Name)),
		Fix:    []trace.Fix{v.restart(agentL3)},
		Repair: v.edit(func(h *facts.Host) { v.makeSNAT(h, r) }),
	}
}

// gatewayPort is a router's port on the external network; nil if there is none.
func (v *view) gatewayPort(r *intent.Router) *intent.Port {
	for _, p := range v.in.byDevice[r.ID] {
		if p.Owner == intent.OwnerGateway {
			return p
		}
	}
	return nil
}

// makeSNAT builds the namespace in which a router translates for VMs without a floating
// IP, in the model.
func (v *view) makeSNAT(h *facts.Host, r *intent.Router) {
	h.Namespaces = append(h.Namespaces, facts.Namespace{
		Name: "snat-" + r.ID, ID: newSpaceID(h), Sysctls: map[string]string{"net.ipv4.ip_forward": "1"},
		Rules: []facts.Rule{{Priority: 0, Kind: "lookup", Table: 255}, {Priority: 32766, Kind: "lookup", Table: mainTable}, {Priority: 32767, Kind: "lookup", Table: 253}},
	})
	n := &h.Namespaces[len(h.Namespaces)-1]
	for _, p := range v.in.devicePorts(r.ID, owner(intent.OwnerSNAT)) {
		v.makeLeg(h, n, p, "sg-"+short(p.ID), v.in.addrs(p))
	}
	gw := v.gatewayPort(r)
	if gw == nil {
		return
	}
	qg := "qg-" + short(gw.ID)
	v.makeLeg(h, n, gw, qg, v.in.addrs(gw))
	if via := v.externalGateway(gw); via.IsValid() {
		n.Routes = append(n.Routes, facts.Route{Table: mainTable, Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Kind: "unicast", Via: via, Dev: qg})
	}
	if r.SNAT && len(gw.IPs) > 0 {
		n.IPTables4 = insertRule("", "nat", "-A POSTROUTING -o "+qg+" -j SNAT --to-source "+gw.IPs[0].Addr.String(), nil)
	}
}

// externalGateway is the next hop outside of a gateway port.
func (v *view) externalGateway(gw *intent.Port) netip.Addr {
	for _, ip := range gw.IPs {
		if s := v.in.subnets[ip.Subnet]; s != nil && s.Gateway.Is4() {
			return s.Gateway
		}
	}
	return netip.Addr{}
}

// wayOut checks devices, default route and translation of a router's way out.
func (v *view) wayOut(r *intent.Router, n *facts.Namespace) []trace.Finding {
	out := v.forwarding(n)
	if r.Distributed {
		for _, p := range v.in.devicePorts(r.ID, owner(intent.OwnerSNAT)) {
			out = append(out, v.leg(n, p, "sg-"+short(p.ID), v.in.addrs(p))...)
		}
	}
	gw := v.gatewayPort(r)
	if gw == nil {
		return out
	}
	qg := "qg-" + short(gw.ID)
	out = append(out, v.leg(n, gw, qg, v.in.addrs(gw))...)
	out = append(out, v.wayOutRoute(r, n, gw, qg)...)
	return append(out, v.wayOutNAT(r, n, gw, qg)...)
}

func (v *view) wayOutRoute(r *intent.Router, n *facts.Namespace, gw *intent.Port, qg string) []trace.Finding {
	via := v.externalGateway(gw)
	if !via.IsValid() || v.h.Lacks(facts.Routes, n.Name, "") != "" {
		return nil
	}
	def := defaultOf(n, mainTable)
	if def != nil && def.Via == via {
		return nil
	}
	params := routerParams(r, n.Name)
	params["via"], params["device"] = via.String(), qg
	var there []string
	for i := range n.Routes {
		if n.Routes[i].Table == mainTable {
			there = append(there, routeLine(&n.Routes[i]))
		}
	}
	return []trace.Finding{{
		ID: "gateway-route-missing", Where: n.Name, Params: params, Proof: append(v.none(n.Name+" routes", "default via "+via.String()+" dev "+qg, there...), intentPort(gw)),
		Fix: []trace.Fix{v.run("none", "%s", inside(n.Name, "ip route replace default via "+via.String()+" dev "+qg)), v.restart(agentL3)},
		Repair: v.editSpace(n.Name, func(s *facts.Namespace) {
			s.Routes = slices.DeleteFunc(s.Routes, func(q facts.Route) bool {
				return q.Table == mainTable && q.Dst.Bits() == 0 && q.Dst.Addr().Is4()
			})
			s.Routes = append(s.Routes, facts.Route{Table: mainTable, Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Kind: "unicast", Via: via, Dev: qg})
		}),
	}}
}

func (v *view) wayOutNAT(r *intent.Router, n *facts.Namespace, gw *intent.Port, qg string) []trace.Finding {
	if !r.SNAT || len(gw.IPs) == 0 || v.h.Lacks(facts.Filters, n.Name, "") != "" {
		return nil
	}
	fl := v.filters(n)
	addr := gw.IPs[0].Addr.String()
	is := fl.translation(func(q *filterRule) bool {
		return q.get("-j") == "SNAT" && q.get("-o") == qg && q.get("-s") == ""
	})
	if is != nil && host(is.get("--to-source")) == addr {
		return nil
	}
	params := routerParams(r, n.Name)
	params["addr"], params["device"] = addr, qg
	chain := cmpOr(fl.chainEnding("nat", "-snat"), "POSTROUTING")
	rule := "-A " + chain + " -o " + qg + " -j SNAT --to-source " + addr
	f := v.lostRule("snat-rule-missing", n, addr, params, rule, []trace.Proof{intentPort(gw)}, fl["nat"][chain])
	if is != nil {
		f.ID = "snat-rule-wrong"
		f.Proof = []trace.Proof{v.see(n.Name+" iptables nat", is.line), intentPort(gw)}
		old := is.line
		f.Repair = v.editSpace(n.Name, func(s *facts.Namespace) { s.IPTables4 = insertRule(removeRule(s.IPTables4, old), "nat", rule, nil) })
	}
	return []trace.Finding{f}
}
