package expect

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// routers checks the namespaces of the routers that must be here.
func (v *view) routers() []trace.Finding {
	if v.h.Lacks(facts.Spaces, "", "") != "" {
		return nil
	}
	var out []trace.Finding
	for _, r := range v.in.routersOn(v.h.Name) {
		name := "qrouter-" + r.ID
		n := v.h.Space(name)
		if n == nil {
			out = append(out, v.noRouter(r, name))
			continue
		}
		out = append(out, v.forwarding(n)...)
		for _, p := range v.in.interfaces(r) {
			out = append(out, v.leg(n, p, "qr-"+short(p.ID), v.in.addrs(p))...)
			out = append(out, v.neighbours(n, p)...)
		}
		if r.Distributed {
			out = append(out, v.redirects(r, n)...)
		}
	}
	return out
}

func routerParams(r *intent.Router, space string) map[string]string {
	return map[string]string{"router": routerName(r), "space": space}
}

func (v *view) noRouter(r *intent.Router, name string) trace.Finding {
	return trace.Finding{
		ID: "router-namespace-missing", Where: name, Params: routerParams(r, name),
		Proof:  append(v.none("ip netns", name, v.spaces("qrouter-")...), neutron("router %s distributed=%t", r.ID, r.Distributed)),
		Fix:    []trace.Fix{v.restart(agentL3)},
		Repair: v.edit(func(h *facts.Host) { v.makeRouter(h, r) }),
	}
}

// makeRouter builds as much of a distributed router's namespace as packets between its
// networks and to the SNAT host need, in the model.
func (v *view) makeRouter(h *facts.Host, r *intent.Router) {
	n := facts.Namespace{Name: "qrouter-" + r.ID, ID: newSpaceID(h), Sysctls: map[string]string{"net.ipv4.ip_forward": "1"}}
	n.Rules = []facts.Rule{
		{Priority: 0, Kind: "lookup", Table: 255}, {Priority: 32766, Kind: "lookup", Table: mainTable}, {Priority: 32767, Kind: "lookup", Table: 253},
	}
	h.Namespaces = append(h.Namespaces, n)
	s := &h.Namespaces[len(h.Namespaces)-1]
	for _, p := range v.in.interfaces(r) {
		v.makeLeg(h, s, p, "qr-"+short(p.ID), v.in.addrs(p))
		for _, other := range v.in.byNet[p.Network] {
			for _, ip := range other.IPs {
				if other != p {
					s.Neighbours = append(s.Neighbours, facts.Neighbour{Addr: ip.Addr, Dev: "qr-" + short(p.ID), MAC: other.MAC, State: "permanent"})
				}
			}
		}
	}
	if r.Distributed {
		for _, p := range v.in.interfaces(r) {
			if via := v.in.snatPort(r, p); via != nil {
				v.makeRedirect(s, p, via)
			}
		}
	}
}

func newSpaceID(h *facts.Host) uint64 {
	id := uint64(1)
	for i := range h.Namespaces {
		id = max(id, h.Namespaces[i].ID+1)
	}
	return id
}

// makeLeg gives a namespace a device for a port: a port of the integration bridge with its
// address and routes, in the model.
func (v *view) makeLeg(h *facts.Host, n *facts.Namespace, p *intent.Port, dev string, addrs []netip.Prefix) {
	mtu := v.mtu(p.Network)
	if n.Link(dev) == nil {
		index := 1000 + len(n.Links)
		n.Links = append(n.Links, facts.Link{Name: dev, Index: index, Kind: "tun", MAC: p.MAC, MTU: mtu, Up: true, Running: true})
	}
	l := n.Link(dev)
	for _, a := range addrs {
		if !slices.Contains(l.Addrs, a) {
			l.Addrs = append(slices.Clip(l.Addrs), a)
		}
		addRoutes(n, dev, a)
	}
	if b := h.Bridge("br-int"); v.br != nil && b != nil && b.Port(dev) == nil {
		v.plugIn(h, p, dev)
		b.Port(dev).Type = "internal"
	}
}

// addRoutes gives a namespace the routes that the kernel makes of an address.
func addRoutes(n *facts.Namespace, dev string, a netip.Prefix) {
	host := netip.PrefixFrom(a.Addr(), a.Addr().BitLen())
	for _, r := range []facts.Route{
		{Table: mainTable, Dst: a.Masked(), Kind: "unicast", Dev: dev, Src: a.Addr()},
		{Table: 255, Dst: host, Kind: "local", Dev: dev, Src: a.Addr()},
	} {
		if !slices.Contains(n.Routes, r) && r.Dst.IsValid() && !(r.Kind == "unicast" && a.Bits() == a.Addr().BitLen()) {
			n.Routes = append(n.Routes, r)
		}
	}
}

// leg checks a namespace's device on the integration bridge.
func (v *view) leg(n *facts.Namespace, p *intent.Port, dev string, addrs []netip.Prefix) []trace.Finding {
	if v.h.Lacks(facts.Links, n.Name, "") != "" {
		return nil
	}
	l := n.Link(dev)
	params := v.portParams(p, dev)
	params["space"] = n.Name
	if l == nil || v.br != nil && v.br.Port(dev) == nil && v.h.Lacks(facts.Database, "", "") == "" {
		proof := append(v.none(n.Name+" links", dev, linkNames(n)...), intentPort(p))
		id := "leg-missing"
		if l != nil {
			proof = append(v.none(v.br.Name+" ports", dev), intentPort(p))
			id = "leg-not-plugged"
		}
		return []trace.Finding{{
			ID: id, Where: dev, Params: params, Proof: proof, Fix: []trace.Fix{v.restart(agentL3)},
			Repair: v.edit(func(h *facts.Host) {
				if s := h.Space(n.Name); s != nil {
					v.makeLeg(h, s, p, dev, addrs)
				}
			}),
		}}
	}
	out := v.device(p, dev)
	for _, a := range addrs {
		if !a.Addr().Is4() || slices.ContainsFunc(l.Addrs, func(b netip.Prefix) bool { return b.Addr() == a.Addr() }) {
			continue
		}
		lost := map[string]string{"addr": a.String()}
		maps.Copy(lost, params)
		out = append(out, trace.Finding{
			ID: "leg-no-address", Where: dev + " " + a.Addr().String(), Params: lost, Proof: append(v.none(n.Name+" addresses", a.String(), linkLine(l)), intentPort(p)),
			Fix: []trace.Fix{v.run("none", "%s", inside(n.Name, "ip addr add "+a.String()+" dev "+dev)), v.restart(agentL3)},
			Repair: v.editSpace(n.Name, func(s *facts.Namespace) {
				if l := s.Link(dev); l != nil {
					l.Addrs = append(slices.Clip(l.Addrs), a)
					addRoutes(s, dev, a)
				}
			}),
		})
	}
	if l.MAC != p.MAC && !l.MAC.Zero() {
		wrong := map[string]string{"has": l.MAC.String()}
		maps.Copy(wrong, params)
		out = append(out, trace.Finding{
			ID: "leg-wrong-mac", Where: dev, Params: wrong, Proof: []trace.Proof{v.see(n.Name+" links", linkLine(l)), intentPort(p)},
			Fix:    []trace.Fix{v.run("none", "%s", inside(n.Name, "ip link set "+dev+" address "+p.MAC.String()))},
			Repair: v.editLink(n.Name, dev, func(l *facts.Link) { l.MAC = p.MAC }),
		})
	}
	return out
}

func linkNames(n *facts.Namespace) []string {
	var out []string
	for i := range n.Links {
		if n.Links[i].Name != "lo" {
			out = append(out, linkLine(&n.Links[i]))
		}
	}
	return out
}

// forwarding checks that a namespace passes packets on.
func (v *view) forwarding(n *facts.Namespace) []trace.Finding {
	const key = "net.ipv4.ip_forward"
	if n.Sysctls[key] != "0" {
		return nil
	}
	return []trace.Finding{{
		ID: "forwarding-off", Where: n.Name, Params: map[string]string{"space": n.Name}, Proof: []trace.Proof{v.see(n.Name+" sysctl", key+" = 0")},
		Fix: []trace.Fix{v.run("none", "%s", inside(n.Name, "sysctl -w "+key+"=1"))},
		Repair: v.editSpace(n.Name, func(s *facts.Namespace) {
			s.Sysctls[key] = "1"
			for k := range s.Sysctls {
				if strings.HasPrefix(k, "net.ipv4.conf.") && strings.HasSuffix(k, ".forwarding") {
					s.Sysctls[k] = "1"
				}
			}
		}),
	}}
}

// neighbours checks what a router believes of the hosts of a network: entries that were
// written for good and are wrong stop packets to one address.
func (v *view) neighbours(n *facts.Namespace, leg *intent.Port) []trace.Finding {
	dev := "qr-" + short(leg.ID)
	var macs map[netip.Addr][]packet.MAC
	var out []trace.Finding
	for i := range n.Neighbours {
		e := &n.Neighbours[i]
		if e.Dev != dev || e.MAC.Zero() || e.Proxy || e.State == "failed" || e.State == "incomplete" || e.State == "noarp" || !e.Addr.Is4() {
			continue
		}
		if macs == nil {
			macs = v.in.stations(leg.Network)
		}
		want := macs[e.Addr]
		if slices.Contains(want, e.MAC) {
			continue
		}
		if f, ok := v.neighbour(n, leg, e, want); ok {
			out = append(out, f)
		}
	}
	return out
}

func (v *view) neighbour(n *facts.Namespace, leg *intent.Port, e *facts.Neighbour, want []packet.MAC) (trace.Finding, bool) {
	params := map[string]string{"ip": e.Addr.String(), "has": e.MAC.String(), "space": n.Name, "device": e.Dev, "network": v.in.netName(leg.Network)}
	f := trace.Finding{ID: "neighbour-wrong", Where: n.Name + " " + e.Addr.String(), Params: params, Proof: []trace.Proof{v.see(n.Name+" neigh", neighLine(e))}}
	at := func(do func(*facts.Namespace, int)) trace.Repair {
		return v.editSpace(n.Name, func(s *facts.Namespace) {
			i := slices.IndexFunc(s.Neighbours, func(q facts.Neighbour) bool { return q.Addr == e.Addr && q.Dev == e.Dev })
			if i >= 0 {
				do(s, i)
			}
		})
	}
	forget := at(func(s *facts.Namespace, i int) { s.Neighbours = slices.Delete(s.Neighbours, i, i+1) })
	f.Fix = []trace.Fix{v.run("none", "%s", inside(n.Name, "ip neigh del "+e.Addr.String()+" dev "+e.Dev))}
	switch {
	case len(want) == 0 && e.State == "permanent":
		f.ID, f.Repair = "neighbour-stale", forget
		f.Proof = append(f.Proof, neutron("no port of network %s has %s", leg.Network, e.Addr))
	case len(want) == 0:
		return f, false
	case e.State == "permanent":
		params["mac"] = want[0].String()
		mac := want[0]
		f.Repair = at(func(s *facts.Namespace, i int) { s.Neighbours[i].MAC = mac })
		f.Proof = append(f.Proof, v.in.whoHas(leg.Network, e.Addr)...)
	default:
		f.ID, f.Repair = "neighbour-foreign", forget
		params["mac"] = want[0].String()
		f.Proof = append(f.Proof, v.in.whoHas(leg.Network, e.Addr)...)
	}
	return f, true
}

// redirects checks that packets of VMs without a floating IP are led to the host that
// translates them.
func (v *view) redirects(r *intent.Router, n *facts.Namespace) []trace.Finding {
	if r.External == "" || !r.SNAT || v.h.Lacks(facts.Rules, n.Name, "") != "" || v.h.Lacks(facts.Routes, n.Name, "") != "" {
		return nil
	}
	var out []trace.Finding
	for _, p := range v.in.interfaces(r) {
		via := v.in.snatPort(r, p)
		if via == nil {
			continue
		}
		out = append(out, v.redirect(r, n, p, via)...)
	}
	return out
}

func (v *view) redirect(r *intent.Router, n *facts.Namespace, p, via *intent.Port) []trace.Finding {
	gw := via.IPs[0].Addr
	cidr := v.in.subnets[via.IPs[0].Subnet].CIDR
	params := routerParams(r, n.Name)
	params["subnet"], params["via"] = cidr.String(), gw.String()
	var rules []string
	for i := range n.Rules {
		e := &n.Rules[i]
		if e.Kind != "lookup" || !e.From.IsValid() || e.From.Masked() != cidr || e.From.Bits() == e.From.Addr().BitLen() {
			continue
		}
		def := defaultOf(n, e.Table)
		if def != nil && def.Via == gw {
			return nil
		}
		proof := []trace.Proof{v.see(n.Name+" rules", ruleLine(e)), intentPort(via)}
		id := "snat-redirect-route-missing"
		if def != nil {
			id, params["has"] = "snat-redirect-wrong", def.Via.String()
			proof = append(proof, v.see(n.Name+" routes", routeLine(def)))
		} else {
			proof = append(proof, v.none(n.Name+" routes", "default via "+gw.String()+" table "+utoa(e.Table))...)
		}
		dev, table := "qr-"+short(p.ID), e.Table
		params["table"] = utoa(table)
		return []trace.Finding{{
			ID: id, Where: n.Name + " " + cidr.String(), Params: params, Proof: proof,
			Fix: []trace.Fix{v.run("none", "%s", inside(n.Name, "ip route replace default via "+gw.String()+" dev "+dev+" table "+utoa(table))), v.restart(agentL3)},
			Repair: v.editSpace(n.Name, func(s *facts.Namespace) {
				s.Routes = slices.DeleteFunc(s.Routes, func(q facts.Route) bool { return q.Table == table && q.Dst.Bits() == 0 && q.Dst.Addr().Is4() })
				s.Routes = append(s.Routes, facts.Route{Table: table, Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Kind: "unicast", Via: gw, Dev: dev})
			}),
		}}
	}
	for i := range n.Rules {
		rules = append(rules, ruleLine(&n.Rules[i]))
	}
	leg := v.gateway(p, cidr)
	params["table"] = utoa(tableOf(leg))
	where := inside(n.Name, "ip rule add from "+netip.PrefixFrom(leg, cidr.Bits()).String()+" lookup "+utoa(tableOf(leg))+" pref "+utoa(tableOf(leg)))
	return []trace.Finding{{
		ID: "snat-redirect-missing", Where: n.Name + " " + cidr.String(), Params: params,
		Proof:  append(v.none(n.Name+" rules", "from "+netip.PrefixFrom(leg, cidr.Bits()).String(), rules...), intentPort(via)),
		Fix:    []trace.Fix{v.run("none", "%s", where), v.restart(agentL3)},
		Repair: v.editSpace(n.Name, func(s *facts.Namespace) { v.makeRedirect(s, p, via) }),
	}}
}

// gateway is the router's own address in a subnet.
func (v *view) gateway(p *intent.Port, cidr netip.Prefix) netip.Addr {
	for _, ip := range p.IPs {
		if cidr.Contains(ip.Addr) {
			return ip.Addr
		}
	}
	return cidr.Addr().Next()
}

// tableOf is the table that a router's address has for packets to the SNAT host: the
// address as a number.
func tableOf(gw netip.Addr) uint32 {
	if !gw.Is4() {
		return 0
	}
	a := gw.As4()
	return uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
}

// makeRedirect writes rule and route to the SNAT host, in the model.
func (v *view) makeRedirect(s *facts.Namespace, p, via *intent.Port) {
	cidr := v.in.subnets[via.IPs[0].Subnet].CIDR
	gw := v.gateway(p, cidr)
	table := tableOf(gw)
	s.Rules = append(s.Rules, facts.Rule{Priority: int(table), From: netip.PrefixFrom(gw, cidr.Bits()), Kind: "lookup", Table: table})
	slices.SortStableFunc(s.Rules, func(a, b facts.Rule) int { return a.Priority - b.Priority })
	if defaultOf(s, table) == nil {
		s.Routes = append(s.Routes, facts.Route{Table: table, Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Kind: "unicast", Via: via.IPs[0].Addr, Dev: "qr-" + short(p.ID)})
	}
}

// defaultOf is a table's default route for IPv4.
func defaultOf(n *facts.Namespace, table uint32) *facts.Route {
	for i := range n.Routes {
		r := &n.Routes[i]
		if r.Table == table && r.Dst.IsValid() && r.Dst.Bits() == 0 && r.Dst.Addr().Is4() {
			return r
		}
	}
	return nil
}
