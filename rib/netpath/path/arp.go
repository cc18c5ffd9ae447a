package path

import (
	"net/netip"

	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/linux"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// ICMPv6 types of neighbour discovery (RFC 4861).
const (
	solicitation  = 135
	advertisement = 136
)

func isSolicitation(p packet.Packet) bool {
	return p.Type == packet.IPv6 && p.Proto == packet.ICMPv6 && p.ICMPType == solicitation
}

func isAdvertisement(p packet.Packet) bool {
	return p.Type == packet.IPv6 && p.Proto == packet.ICMPv6 && p.ICMPType == advertisement
}

// request is the packet that asks who has an address. A neighbour solicitation goes to the
// address itself: packets have no field for what it asks.
func request(mac packet.MAC, from, to netip.Addr) packet.Packet {
	if to.Is4() {
		return packet.Packet{Src: mac, Dst: packet.Broadcast, Type: packet.ARP, Op: 1, IPSrc: from, IPDst: to, ARPSrc: mac}
	}
	a := to.As16()
	return packet.Packet{
		Src: mac, Dst: packet.MAC{0x33, 0x33, 0xff, a[13], a[14], a[15]}, Type: packet.IPv6, Proto: packet.ICMPv6,
		ICMPType: solicitation, TTL: 255, IPSrc: from, IPDst: to, ARPSrc: mac, Size: 72,
	}
}

// ask lets a namespace ask for the address of a neighbour.
func (r *run) ask(f frame, s *site, a linux.Ask) (packet.MAC, ending) {
	d := s.link(f.space, a.Dev)
	if d == nil {
		return packet.MAC{}, ending{verdict: trace.Dropped, host: f.host}
	}
	from := netip.Addr{}
	for _, p := range d.link.Addrs {
		if p.Addr().Is4() == a.Addr.Is4() && (!from.IsValid() || p.Contains(a.Addr)) {
			from = p.Addr()
		}
	}
	if !from.IsValid() {
		from = f.p.IPSrc
	}
	who := f.host + "/" + f.space
	return r.query(who, frame{spot: byDevice, host: f.host, space: f.space, dev: a.Dev}, d.link.MAC, from, a, func(at place) bool {
		return at.kind == "space" && at.host == f.host && at.space == f.space && at.dev == a.Dev
	})
}

// askFrom lets what is beyond the cloud ask.
func (r *run) askFrom(who string, at place, vlan uint16, mac packet.MAC, from, to netip.Addr) (packet.MAC, *ending) {
	a := linux.Ask{Dev: at.space, Addr: to}
	if known := r.neighbours(who)[a]; !known.Zero() {
		return known, nil
	}
	f := frame{spot: atWire, space: at.space}
	f.p.VLAN = vlan
	found, how := r.query(who, f, mac, from, a, func(p place) bool { return p.kind == "outside" && p.space == at.space })
	r.neighbours(who)[a] = found
	return found, &how
}

// query sends a request and follows it to who answers, and the answer back.
func (r *run) query(who string, f frame, mac packet.MAC, from netip.Addr, a linux.Ask, back func(place) bool) (packet.MAC, ending) {
	q := question{who, a.Addr}
	if r.asks--; r.asking[q] || r.asks < 0 {
		return packet.MAC{}, ending{verdict: trace.Looped, host: f.host}
	}
	r.asking[q] = true
	defer delete(r.asking, q)
	vlan := f.p.VLAN
	f.p = request(mac, from, a.Addr)
	f.p.VLAN = vlan
	var found packet.MAC
	end := r.fly([]frame{f}, goal{host: r.owner(a.Addr, f.host), accept: func(at place, p packet.Packet) bool {
		if !back(at) || p.IPSrc != a.Addr || p.Type == packet.ARP && p.Op != 2 || p.Type != packet.ARP && !isAdvertisement(p) {
			return false
		}
		found = p.ARPSrc
		if found.Zero() {
			found = p.Src
		}
		return true
	}})
	return found, end
}

// owner is the host where an address should be answered for.
func (r *run) owner(addr netip.Addr, asker string) string {
	if host := r.floatingOn(addr); host != "" {
		return host
	}
	for _, p := range r.w.index.addrs[addr] {
		if p.Host != "" {
			return p.Host
		}
	}
	return asker
}

// floatingOn is the host that answers for a floating address: the machine's own with a
// distributed router, else that of the router; "" if it is none.
func (r *run) floatingOn(addr netip.Addr) string {
	f, port := r.w.index.holder(addr)
	if port == nil {
		return ""
	}
	ro := r.w.index.routers[f.Router]
	if ro == nil || ro.Distributed {
		return port.Host
	}
	for _, leg := range r.w.index.legs[ro.ID] {
		if leg.Owner == intent.OwnerGateway && leg.Host != "" {
			return leg.Host
		}
	}
	return port.Host
}

// shouldAnswer reports whether a namespace is where an address is answered for.
func (r *run) shouldAnswer(host, space string, addr netip.Addr) bool {
	if f, port := r.w.index.holder(addr); port != nil {
		ro := r.w.index.routers[f.Router]
		if ro != nil && !ro.Distributed {
			return host == r.floatingOn(addr) && space == "qrouter-"+ro.ID
		}
		return host == r.floatingOn(addr) && space == "fip-"+f.Network
	}
	for _, p := range r.w.index.addrs[addr] {
		if p.Host != "" && p.Host != host || isMachine(p.Owner) {
			continue
		}
		if space == "qdhcp-"+p.Network && p.Owner == intent.OwnerDHCP || (space == "qrouter-"+p.Device || space == "snat-"+p.Device) && isRouter(p.Owner) {
			return true
		}
	}
	return false
}

// unanswered ends a packet whose next station's address nobody told: with the way of the
// request, to where it, or the answer to it, came.
func (r *run) unanswered(f frame, asker trace.Hop, how *ending) []ending {
	asker.Does, asker.Verdict = "arp", trace.Delivered
	if asker.Facts == nil {
		asker.Facts = map[string]string{}
	}
	asker.Out = packet.Packet{}
	e := ending{verdict: trace.Dropped, host: f.host, p: f.p}
	if how == nil || how.trail == nil {
		asker.Does, asker.Verdict = "drop", trace.Dropped
		asker.Facts["why"] = "nobody-answers"
		e.trail = f.trail.add(asker)
		return []ending{e}
	}
	hops := how.trail.hops()
	asker.Facts["asks"] = hops[0].In.IPDst.String()
	asker.Out = hops[0].In
	if hops[0].In == (packet.Packet{}) {
		asker.Out = hops[0].Out
	}
	asker.To = hops[0].From
	e.trail = f.trail.add(asker)
	for _, h := range hops {
		e.trail = e.trail.add(h)
	}
	last := &e.trail.hop
	if how.verdict == trace.Undetermined {
		e.verdict = trace.Undetermined
	}
	if last.Facts == nil {
		last.Facts = map[string]string{}
	}
	if last.Verdict == trace.Delivered || how.idle { // it came to people who are not meant
		last.Does, last.Verdict = "drop", e.verdict
		last.Facts["why"] = "nobody-answers"
	}
	last.Facts["asks"] = asker.Facts["asks"]
	e.host = how.host
	if e.host == "" {
		e.host = f.host
	}
	return []ending{e}
}
