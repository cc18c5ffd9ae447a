package expect

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/trace"
)

func utoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// floatsOn lists the floating IPs that a distributed router translates on this host.
func (v *view) floatsOn() []*intent.Float {
	l3 := v.in.agent(v.h.Name, agentL3)
	if l3 == nil || !l3.Up || !strings.HasPrefix(l3.Mode, "dvr") || l3.Mode == "dvr_no_external" {
		return nil
	}
	var out []*intent.Float
	for _, p := range v.in.byHost[v.h.Name] {
		for _, f := range v.in.floats[p.ID] {
			if r := v.in.routers[f.Router]; r != nil && r.Up && r.Distributed && f.Fixed.Is4() {
				out = append(out, f)
			}
		}
	}
	return out
}

// pair is the two ends of the link between a router and the namespace of floating IPs.
func pair(router string) (inRouter, inFloat string) {
	id := router[:min(10, len(router))]
	return "rfp-" + id, "fpr-" + id
}

// floats checks floating IPs: from the wire inwards and back.
func (v *view) floats() []trace.Finding {
	if v.h.Lacks(facts.Spaces, "", "") != "" {
		return nil
	}
	var out []trace.Finding
	seen := map[string]bool{}
	for _, f := range v.floatsOn() {
		r := v.in.routers[f.Router]
		qr, fip := v.h.Space("qrouter-"+r.ID), v.h.Space("fip-"+f.Network)
		if fip == nil {
			if !seen[f.Network] {
				out = append(out, v.noFloatSpace(f, r))
			}
			seen[f.Network] = true
			continue
		}
		if !seen[f.Network] {
			out = append(out, v.floatGateway(fip, f.Network)...)
			seen[f.Network] = true
		}
		if qr == nil {
			continue
		}
		if !seen[r.ID] {
			seen[r.ID] = true
			out = append(out, v.floatPair(r, qr, fip)...)
		}
		out = append(out, v.floatRoute(f, r, qr, fip)...)
		out = append(out, v.floatRule(f, r, qr)...)
		out = append(out, v.floatNAT(f, r, qr)...)
	}
	for _, r := range v.in.routersOn(v.h.Name) {
		if qr := v.h.Space("qrouter-" + r.ID); qr != nil && r.Distributed {
			out = append(out, v.staleRules(r, qr)...)
		}
	}
	return out
}

func floatParams(f *intent.Float, r *intent.Router, space string) map[string]string {
	return map[string]string{"float": f.Addr.String(), "ip": f.Fixed.String(), "router": routerName(r), "space": space}
}

func (v *view) noFloatSpace(f *intent.Float, r *intent.Router) trace.Finding {
	name := "fip-" + f.Network
	return trace.Finding{
		ID: "floating-namespace-missing", Where: name, Params: floatParams(f, r, name), Proof: append(v.none("ip netns", name, v.spaces("fip-")...), intentFloat(f)),
		Fix: []trace.Fix{v.restart(agentL3)},
	}
}

// floatGateway checks the device by which floating IPs of a network are seen outside.
func (v *view) floatGateway(n *facts.Namespace, network string) []trace.Finding {
	var port *intent.Port
	for _, p := range v.in.byHost[v.h.Name] {
		if p.Owner == intent.OwnerFloatingGW && p.Network == network {
			port = p
		}
	}
	out := v.forwarding(n)
	if port == nil {
		return out
	}
	dev := "fg-" + short(port.ID)
	out = append(out, v.leg(n, port, dev, v.in.addrs(port))...)
	if v.h.Lacks(facts.Sysctls, n.Name, "") == "" && n.Link(dev) != nil {
		out = append(out, v.proxyARP(n, dev, network)...)
	}
	return out
}

func (v *view) proxyARP(n *facts.Namespace, dev, network string) []trace.Finding {
	key := "net.ipv4.conf." + dev + ".proxy_arp"
	if n.Sysctls[key] != "0" || n.Sysctls["net.ipv4.conf.all.proxy_arp"] == "1" {
		return nil
	}
	var float, who string
	for _, f := range v.floatsOn() {
		if f.Network == network && float == "" {
			float, who = f.Addr.String(), v.in.nameOf(v.in.ports[f.Port])
		}
	}
	return []trace.Finding{{
		ID: "floating-proxy-arp", Where: n.Name, Params: map[string]string{"space": n.Name, "device": dev, "float": float, "name": who},
		Proof:  []trace.Proof{v.see(n.Name+" sysctl", key+" = 0")},
		Fix:    []trace.Fix{v.run("none", "%s", inside(n.Name, "sysctl -w "+key+"=1")), v.restart(agentL3)},
		Repair: v.editSpace(n.Name, func(s *facts.Namespace) { s.Sysctls[key] = "1" }),
	}}
}

// floatPair checks the link between a router and the namespace of floating IPs.
func (v *view) floatPair(r *intent.Router, qr, fip *facts.Namespace) []trace.Finding {
	rfp, fpr := pair(r.ID)
	a, b := qr.Link(rfp), fip.Link(fpr)
	params := routerParams(r, qr.Name)
	params["device"] = rfp
	if a == nil || b == nil {
		return []trace.Finding{{
			ID: "floating-pair-missing", Where: rfp, Params: params, Proof: append(v.none(qr.Name+" links", rfp, linkNames(qr)...), v.none(fip.Name+" links", fpr, linkNames(fip)...)...),
			Fix:    []trace.Fix{v.restart(agentL3)},
			Repair: v.edit(func(h *facts.Host) { v.makePair(h, r, qr.Name, fip.Name) }),
		}}
	}
	var out []trace.Finding
	for _, end := range []struct {
		n *facts.Namespace
		l *facts.Link
	}{{qr, a}, {fip, b}} {
		p := map[string]string{"device": end.l.Name, "space": end.n.Name, "router": routerName(r)}
		if !end.l.Up {
			out = append(out, trace.Finding{
				ID: "floating-pair-down", Where: end.l.Name, Params: p, Proof: []trace.Proof{v.see(end.n.Name+" links", linkLine(end.l))},
				Fix: []trace.Fix{v.run("none", "%s", inside(end.n.Name, "ip link set "+end.l.Name+" up"))},
				Repair: v.edit(func(h *facts.Host) {
					for space, dev := range map[string]string{qr.Name: rfp, fip.Name: fpr} {
						if l := h.Space(space).Link(dev); l != nil && (l.Name == end.l.Name || l.Up) {
							l.Up, l.Running = true, true
						}
					}
				}),
			})
		}
	}
	return out
}

// makePair builds the link, addresses and routes between a router and the namespace of
// floating IPs, in the model.
func (v *view) makePair(h *facts.Host, r *intent.Router, qrName, fipName string) {
	rfp, fpr := pair(r.ID)
	qr, fip := h.Space(qrName), h.Space(fipName)
	if qr == nil || fip == nil {
		return
	}
	near, far := v.linkLocals(qr, fip, rfp, fpr)
	put := func(n *facts.Namespace, dev string, peer uint64, index, other int, a netip.Addr, last byte) {
		n.Links = slices.DeleteFunc(n.Links, func(l facts.Link) bool { return l.Name == dev })
		n.Links = append(n.Links, facts.Link{Name: dev, Index: index, Kind: "veth", MAC: [6]byte{2, 0, 0, 0, 0xfd, last}, MTU: 1500, Up: true, Running: true, PeerIndex: other, PeerSpace: peer, Addrs: []netip.Prefix{netip.PrefixFrom(a, 31)}})
		addRoutes(n, dev, netip.PrefixFrom(a, 31))
	}
	put(qr, rfp, fip.ID, 9001, 9002, near, 1)
	put(fip, fpr, qr.ID, 9002, 9001, far, 2)
	if defaultOf(qr, floatTable) == nil {
		qr.Routes = append(qr.Routes, facts.Route{Table: floatTable, Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Kind: "unicast", Via: far, Dev: rfp})
	}
	for _, f := range v.floatsOn() {
		if f.Router == r.ID {
			addFloatRoute(fip, f.Addr, near, fpr)
		}
	}
	for i := range fip.Routes { // a table of the router's own, as newer agents keep it
		if fip.Routes[i].Dst.Bits() == 0 && fip.Routes[i].Table != mainTable && !hasIn(fip, fpr) {
			fip.Rules = append(fip.Rules, facts.Rule{Priority: 2852018311, In: fpr, Kind: "lookup", Table: fip.Routes[i].Table})
			break
		}
	}
}

func hasIn(n *facts.Namespace, dev string) bool {
	return slices.ContainsFunc(n.Rules, func(r facts.Rule) bool { return r.In == dev })
}

// linkLocals are the addresses of the pair: what one end still has, what routes still say,
// or a pair of our own.
func (v *view) linkLocals(qr, fip *facts.Namespace, rfp, fpr string) (near, far netip.Addr) {
	if l := qr.Link(rfp); l != nil {
		for _, a := range l.Addrs {
			if a.Addr().Is4() {
				near = a.Addr()
			}
		}
	}
	if l := fip.Link(fpr); l != nil {
		for _, a := range l.Addrs {
			if a.Addr().Is4() {
				far = a.Addr()
			}
		}
	}
	if d := defaultOf(qr, floatTable); d != nil && !far.IsValid() {
		far = d.Via
	}
	switch {
	case near.IsValid() && far.IsValid():
	case far.IsValid():
		near = far.Prev()
	case near.IsValid():
		far = near.Next()
	default:
		near = netip.AddrFrom4([4]byte{169, 254, 127, 252})
		far = near.Next()
	}
	return near, far
}

// floatTable is the table of routes that packets of VMs with a floating IP use
// (FIP_RT_TBL in the L3 agent since it knows distributed routers).
const floatTable = 16

func addFloatRoute(fip *facts.Namespace, float, via netip.Addr, dev string) {
	dst := netip.PrefixFrom(float, 32)
	if slices.ContainsFunc(fip.Routes, func(r facts.Route) bool { return r.Dst == dst && r.Table == mainTable }) {
		return
	}
	fip.Routes = append(fip.Routes, facts.Route{Table: mainTable, Dst: dst, Kind: "unicast", Via: via, Dev: dev})
}

// floatRoute checks that packets to a floating IP are led to its router.
func (v *view) floatRoute(f *intent.Float, r *intent.Router, qr, fip *facts.Namespace) []trace.Finding {
	if v.h.Lacks(facts.Routes, fip.Name, "") != "" {
		return nil
	}
	rfp, fpr := pair(r.ID)
	near, _ := v.linkLocals(qr, fip, rfp, fpr)
	params := floatParams(f, r, fip.Name)
	params["name"] = v.in.nameOf(v.in.ports[f.Port])
	var there []string
	for i := range fip.Routes {
		e := &fip.Routes[i]
		if e.Table != mainTable || e.Kind != "unicast" {
			continue
		}
		if e.Dst == netip.PrefixFrom(f.Addr, 32) {
			if e.Dev == fpr && e.Via == near {
				return nil
			}
			params["has"] = e.Dev
			return []trace.Finding{{
				ID: "floating-route-wrong", Where: fip.Name + " " + f.Addr.String(), Params: params, Proof: []trace.Proof{v.see(fip.Name+" routes", routeLine(e)), intentFloat(f)},
				Fix: []trace.Fix{v.run("none", "%s", inside(fip.Name, "ip route replace "+f.Addr.String()+" via "+near.String()+" dev "+fpr)), v.restart(agentL3)},
				Repair: v.editSpace(fip.Name, func(s *facts.Namespace) {
					s.Routes = slices.DeleteFunc(s.Routes, func(q facts.Route) bool { return q.Table == mainTable && q.Dst == netip.PrefixFrom(f.Addr, 32) })
					addFloatRoute(s, f.Addr, near, fpr)
				}),
			}}
		}
		there = append(there, routeLine(e))
	}
	return []trace.Finding{{
		ID: "floating-route-missing", Where: fip.Name + " " + f.Addr.String(), Params: params, Proof: append(v.none(fip.Name+" routes", f.Addr.String()+" via "+near.String()+" dev "+fpr, there...), intentFloat(f)),
		Fix:    []trace.Fix{v.run("none", "%s", inside(fip.Name, "ip route add "+f.Addr.String()+" via "+near.String()+" dev "+fpr)), v.restart(agentL3)},
		Repair: v.editSpace(fip.Name, func(s *facts.Namespace) { addFloatRoute(s, f.Addr, near, fpr) }),
	}}
}

// floatRule checks that a VM's own packets leave by its floating IP.
func (v *view) floatRule(f *intent.Float, r *intent.Router, qr *facts.Namespace) []trace.Finding {
	if v.h.Lacks(facts.Rules, qr.Name, "") != "" || v.h.Lacks(facts.Routes, qr.Name, "") != "" {
		return nil
	}
	rfp, _ := pair(r.ID)
	params := floatParams(f, r, qr.Name)
	params["name"] = v.in.nameOf(v.in.ports[f.Port])
	for i := range qr.Rules {
		e := &qr.Rules[i]
		if e.From != netip.PrefixFrom(f.Fixed, 32) || e.Kind != "lookup" {
			continue
		}
		if d := defaultOf(qr, e.Table); d != nil && d.Dev == rfp {
			return nil
		}
		return []trace.Finding{v.noFloatDefault(r, qr, e)}
	}
	var rules []string
	prio := 32000
	for i := range qr.Rules {
		e := &qr.Rules[i]
		rules = append(rules, ruleLine(e))
		if e.From.IsValid() && e.From.Bits() < 32 {
			prio = min(prio, e.Priority-1)
		}
	}
	return []trace.Finding{{
		ID: "floating-rule-missing", Where: qr.Name + " " + f.Fixed.String(), Params: params, Proof: append(v.none(qr.Name+" rules", "from "+f.Fixed.String()+" lookup 16", rules...), intentFloat(f)),
		Fix: []trace.Fix{v.run("none", "%s", inside(qr.Name, "ip rule add from "+f.Fixed.String()+" lookup 16 pref "+strconv.Itoa(prio))), v.restart(agentL3)},
		Repair: v.editSpace(qr.Name, func(s *facts.Namespace) {
			s.Rules = append(s.Rules, facts.Rule{Priority: prio, From: netip.PrefixFrom(f.Fixed, 32), Kind: "lookup", Table: floatTable})
			slices.SortStableFunc(s.Rules, func(a, b facts.Rule) int { return a.Priority - b.Priority })
		}),
	}}
}

// noFloatDefault says that the table of floating IPs leads nowhere.
func (v *view) noFloatDefault(r *intent.Router, qr *facts.Namespace, e *facts.Rule) trace.Finding {
	rfp, fpr := pair(r.ID)
	params := routerParams(r, qr.Name)
	params["table"] = utoa(e.Table)
	var far netip.Addr
	for _, name := range v.spaces("fip-") {
		if l := v.h.Space(name).Link(fpr); l != nil {
			_, far = v.linkLocals(qr, v.h.Space(name), rfp, fpr)
		}
	}
	table := e.Table
	f := trace.Finding{
		ID: "floating-default-missing", Where: qr.Name, Params: params,
		Proof: append([]trace.Proof{v.see(qr.Name+" rules", ruleLine(e))}, v.none(qr.Name+" routes", "default dev "+rfp+" table "+utoa(table))...),
		Fix:   []trace.Fix{v.restart(agentL3)},
	}
	if far.IsValid() {
		f.Fix = append([]trace.Fix{v.run("none", "%s", inside(qr.Name, "ip route replace default via "+far.String()+" dev "+rfp+" table "+utoa(table)))}, f.Fix...)
		f.Repair = v.editSpace(qr.Name, func(s *facts.Namespace) {
			s.Routes = slices.DeleteFunc(s.Routes, func(q facts.Route) bool { return q.Table == table && q.Dst.Bits() == 0 })
			s.Routes = append(s.Routes, facts.Route{Table: table, Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Kind: "unicast", Via: far, Dev: rfp})
		})
	}
	return f
}

// staleRules finds rules of floating IPs that are no more.
func (v *view) staleRules(r *intent.Router, qr *facts.Namespace) []trace.Finding {
	if v.h.Lacks(facts.Rules, qr.Name, "") != "" {
		return nil
	}
	fixed := map[netip.Addr]bool{}
	for _, f := range v.floatsOn() {
		if f.Router == r.ID {
			fixed[f.Fixed] = true
		}
	}
	rfp, _ := pair(r.ID)
	var out []trace.Finding
	for i := range qr.Rules {
		e := &qr.Rules[i]
		if !e.From.IsValid() || e.From.Bits() != 32 || !e.From.Addr().Is4() || fixed[e.From.Addr()] || e.Kind != "lookup" {
			continue
		}
		d := defaultOf(qr, e.Table)
		if e.Table != floatTable && (d == nil || d.Dev != rfp) {
			continue
		}
		rule := *e
		params := routerParams(r, qr.Name)
		params["ip"], params["name"] = e.From.Addr().String(), v.in.ownerOf(r, e.From.Addr())
		out = append(out, trace.Finding{
			ID: "floating-rule-stale", Where: qr.Name + " " + e.From.Addr().String(), Params: params,
			Proof: []trace.Proof{v.see(qr.Name+" rules", ruleLine(e)), neutron("no floating IP of router %s leads to %s on %s", r.ID, e.From.Addr(), v.h.Name)},
			Fix:   []trace.Fix{v.run("none", "%s", inside(qr.Name, "ip rule del from "+e.From.Addr().String()+" lookup "+utoa(e.Table)+" pref "+strconv.Itoa(e.Priority)))},
			Repair: v.editSpace(qr.Name, func(s *facts.Namespace) {
				s.Rules = slices.DeleteFunc(s.Rules, func(q facts.Rule) bool { return q == rule })
			}),
		})
	}
	return out
}
