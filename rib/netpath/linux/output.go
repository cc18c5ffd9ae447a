package linux

import (
	"net/netip"
	"strconv"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// forward passes a packet on (ip_forward).
func (w *walk) forward(v *view, r routed) Outcome {
	told := w.routeFacts(r.found, v.p.IPDst)
	told["from"] = v.in
	if v.p.TTL <= 1 {
		told["ttl"] = strconv.Itoa(int(v.p.TTL))
		return w.drop(v, WhyTTL, told, r.proof...)
	}
	if !w.fits(v, r.route) {
		return w.o
	}
	v.p.TTL--
	v.out, v.next = r.route.Dev, hop(r.route, v.p.IPDst)
	w.routeStep(v, r.found, told, r.proof)
	if !w.hook("FORWARD", v) {
		return w.o
	}
	return w.emit(v, r.route)
}

// hop returns the next hop of a route.
func hop(r *facts.Route, dst netip.Addr) netip.Addr {
	if r.Via.IsValid() {
		return r.Via
	}
	return dst
}

// fits checks the packet's size against the MTU of the route or its device; what may be cut is.
func (w *walk) fits(v *view, r *facts.Route) bool {
	l := w.s.ns.Link(r.Dev)
	mtu := r.MTU
	if l != nil && l.MTU > 0 && (mtu == 0 || l.MTU < mtu) {
		mtu = l.MTU
	}
	if mtu == 0 || v.p.Size <= mtu {
		return true
	}
	if !v.p.Keep && v.p.Type == packet.IPv4 {
		v.p.Size = mtu
		return true
	}
	told := mtuFacts(v.p.Size, mtu, r.Dev)
	told["route"] = routeLine(r)
	proof := []trace.Proof{{Host: w.s.name(), Where: w.s.where("routes"), Line: routeLine(r)}}
	if l != nil {
		proof = append(proof, w.linkProof(l)...)
	}
	w.drop(v, WhyMTU, told, proof...)
	return false
}

// routeFacts are the facts about a route.
func (w *walk) routeFacts(r found, dst netip.Addr) map[string]string {
	f := map[string]string{"addr": dst.String()}
	if r.rule != nil {
		f["rule"], f["table"] = ruleLine(r.rule), tableName(r.rule.Table)
		f["priority"] = strconv.Itoa(r.rule.Priority)
	}
	if r.route == nil {
		return f
	}
	f["route"], f["dev"] = routeLine(r.route), r.route.Dev
	if r.route.Via.IsValid() {
		f["via"] = r.route.Via.String()
	}
	if n := len(r.also); n > 0 {
		f["hops"] = strconv.Itoa(n + 1) // next hops of which the kernel chooses by a hash
	}
	return f
}

// routeProof writes the rule and the route that were found.
func (w *walk) routeProof(v *view, r found) []trace.Proof {
	var lines []trace.Proof
	if r.rule != nil {
		if v.marker != nil && r.rule.Mark != 0 {
			lines = append(lines, trace.Proof{Host: w.s.name(), Where: w.s.where("iptables " + v.marker.Table), Line: v.marker.Line})
		}
		lines = append(lines, trace.Proof{Host: w.s.name(), Where: w.s.where("rules"), Line: ruleLine(r.rule)})
	}
	if r.route != nil {
		where := "routes"
		if r.route.Table != tableMain {
			where += " table " + tableName(r.route.Table)
		}
		lines = append(lines, trace.Proof{Host: w.s.name(), Where: w.s.where(where), Line: routeLine(r.route)})
	}
	return lines
}

// routeStep tells of the route with what is known of the next hop.
func (w *walk) routeStep(v *view, r found, told map[string]string, proof []trace.Proof) {
	if n := w.neighbour(r.route.Dev, v.next); n != nil {
		told["mac"], told["neighbour"] = n.MAC.String(), n.State
		proof = append(proof, trace.Proof{Host: w.s.name(), Where: w.s.where("neighbours"), Line: NeighbourLine(*n)})
	}
	w.add(v, "route", told, proof...)
}

// neighbour returns the entry of a next hop, nil if there is none.
func (w *walk) neighbour(dev string, a netip.Addr) *facts.Neighbour {
	return w.c.neighbours[Ask{dev, a}]
}

// emit lets a routed packet leave.
func (w *walk) emit(v *view, r *facts.Route) Outcome {
	if !w.hook("POSTROUTING", v) {
		return w.o
	}
	l := w.s.ns.Link(r.Dev)
	switch {
	case l == nil:
		if why := w.s.lacks(facts.Links); why != "" {
			w.unknown(v, "links of "+w.s.label()+": "+why)
			return w.o
		}
		return w.drop(v, WhyNoDevice, map[string]string{"dev": r.Dev})
	case !l.Up:
		return w.drop(v, WhyDown, map[string]string{"dev": r.Dev}, w.linkProof(l)...)
	case !l.Running && l.Name != "lo":
		return w.drop(v, WhyCarrier, map[string]string{"dev": r.Dev}, w.linkProof(l)...)
	}
	mac, ok := w.station(v, r, l)
	if !ok {
		return w.o
	}
	v.p.Src, v.p.Dst, v.p.VLAN, v.p.Tunnel = l.MAC, mac, 0, packet.Tunnel{}
	w.commit(v)
	outs := w.leave(r.Dev, v.p)
	if len(outs) == 0 {
		return w.drop(v, WhyNoPort, map[string]string{"dev": r.Dev}, w.linkProof(l)...)
	}
	w.o.Out = append(w.o.Out, outs...)
	return w.o
}

// station finds the MAC of the next hop; false: the walk ends here, perhaps with a question.
func (w *walk) station(v *view, r *facts.Route, l *facts.Link) (packet.MAC, bool) {
	a := v.next
	switch {
	case r.Kind == "broadcast" || a == limited:
		return packet.Broadcast, true
	case a.IsMulticast() && a.Is4():
		b := a.As4()
		return packet.MAC{1, 0, 0x5e, b[1] & 0x7f, b[2], b[3]}, true
	case a.IsMulticast():
		b := a.As16()
		return packet.MAC{0x33, 0x33, b[12], b[13], b[14], b[15]}, true
	case l.Kind == "dummy" || l.Name == "lo":
		return packet.MAC{}, true
	}
	ask := Ask{r.Dev, a}
	n := w.neighbour(r.Dev, a)
	if n != nil && (n.State == "permanent" || n.State == "noarp") {
		return n.MAC, true
	}
	mac, asked := w.x.Known[ask]
	switch {
	case asked && !mac.Zero():
		return mac, true
	case asked:
		told := map[string]string{"addr": a.String(), "dev": r.Dev, "route": routeLine(r)}
		proof := []trace.Proof{{Host: w.s.name(), Where: w.s.where("routes"), Line: routeLine(r)}}
		if n != nil {
			told["neighbour"] = n.State
			proof = append(proof, trace.Proof{Host: w.s.name(), Where: w.s.where("neighbours"), Line: NeighbourLine(*n)})
		}
		w.drop(v, WhyNeighbour, told, proof...)
		return mac, false
	case n != nil && !n.MAC.Zero() && n.State != "failed" && n.State != "incomplete":
		return n.MAC, true
	}
	w.o.Resolve = &ask
	return mac, false
}

// leave returns where a frame that leaves by a device really comes out: a VLAN's parent, the
// ports of a bridge.
func (w *walk) leave(dev string, p packet.Packet) []Out {
	for range 8 {
		l := w.s.ns.Link(dev)
		switch {
		case l == nil || l.Kind != "vlan" && l.Kind != "bridge":
			return []Out{{Dev: dev, Packet: p}}
		case l.Kind == "bridge":
			return w.flood(l, p, "")
		}
		p.VLAN, dev = uint16(l.VLAN&0xfff), l.Parent
	}
	return nil
}

// Send lets the namespace itself send a packet. An unset source address, and one that is not
// unicast, is chosen as the kernel does.
func (s *Space) Send(p packet.Packet, x Context) Outcome {
	w := &walk{s: s, c: s.compiled(), x: x}
	v := &view{p: p, in: "", space: s, sets: w.c.sets}
	if p.TTL == 0 {
		v.p.TTL = 64
	}
	if v.p.IPSrc.IsUnspecified() || v.p.IPSrc.IsMulticast() || v.p.IPSrc == limited {
		v.p.IPSrc = netip.Addr{}
	}
	for _, part := range []string{facts.Rules, facts.Routes, facts.Links} {
		if why := s.lacks(part); why != "" {
			w.unknown(v, part+" of "+s.label()+": "+why)
			return w.o
		}
	}
	if v.p.IPSrc.IsValid() && s.addrType(v.p.IPSrc) != "local" && !v.p.IPSrc.IsLoopback() {
		return w.drop(v, WhySource, map[string]string{"addr": v.p.IPSrc.String()})
	}
	r, ok := w.routeOut(v)
	if !ok {
		return w.o
	}
	before, mark := v.p.IPDst, v.mark
	v.out = r.route.Dev
	if !w.hook("OUTPUT", v) {
		return w.o
	}
	if v.p.IPDst != before || v.mark != mark { // ip_route_me_harder
		if r, ok = w.routeOut(v); !ok {
			return w.o
		}
	}
	if !w.fits(v, r.route) {
		return w.o
	}
	v.out, v.next = r.route.Dev, hop(r.route, v.p.IPDst)
	told := w.routeFacts(r, v.p.IPDst)
	told["source"] = v.p.IPSrc.String()
	if r.route.Kind == "local" {
		v.out = "lo"
		if !w.hook("POSTROUTING", v) {
			return w.o
		}
		v.in, v.out = "lo", ""
		return w.deliver(v)
	}
	w.routeStep(v, r, told, w.routeProof(v, r))
	return w.emit(v, r.route)
}

// routeOut finds the route of a packet made here and chooses its source (ip_route_output_key).
func (w *walk) routeOut(v *view) (found, bool) {
	dst := v.p.IPDst
	if (dst == limited || dst.IsMulticast()) && v.p.IPSrc.IsValid() {
		dev := w.s.deviceOf(v.p.IPSrc)
		return found{route: &facts.Route{Table: tableLocal, Kind: "broadcast", Dst: netip.PrefixFrom(dst, dst.BitLen()), Dev: dev}}, true
	}
	r := w.c.fib(dst.Is6()).lookup(flow{src: v.p.IPSrc, dst: dst, in: "lo", mark: v.mark})
	switch {
	case r.lacks != "":
		return r, w.unknown(v, r.lacks)
	case r.fail != "":
		w.drop(v, r.fail, w.routeFacts(r, dst), w.routeProof(v, r)...)
		return r, false
	}
	if v.p.IPSrc.IsValid() {
		return r, true
	}
	switch {
	case r.route.Src.IsValid():
		v.p.IPSrc = r.route.Src
	case r.route.Kind == "local":
		v.p.IPSrc = dst
	case dst.Is4() && !r.route.Via.IsValid(): // the first one, whatever network the destination is in
		v.p.IPSrc = w.s.pick(r.route.Dev, netip.IPv4Unspecified())
	default:
		v.p.IPSrc = w.s.pick(r.route.Dev, hop(r.route, dst))
	}
	if !v.p.IPSrc.IsValid() {
		w.drop(v, WhyNoAddress, w.routeFacts(r, dst), w.routeProof(v, r)...)
		return r, false
	}
	return r, true
}
