package path

import (
	"maps"
	"net/netip"
	"slices"

	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/linux"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// outsideMAC is the address that the router beyond the cloud is given; the real one does not
// matter.
var outsideMAC = packet.MAC{0x02, 0x00, 0x5e, 0x00, 0x00, 0x01}

// internet is an address that is nobody's in the cloud (RFC 5737, TEST-NET-2).
var internet = netip.MustParseAddr("198.51.100.1")

// internet6 is the same of IPv6 (RFC 3849).
var internet6 = netip.MustParseAddr("2001:db8:ffff::1")

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// outside is the router beyond a physical network: it has the gateway's address, and routes
// to all that is not the cloud's.
func (r *run) outside(f frame, g goal) ([]frame, []ending) {
	n := r.onWire(f.space, f.p.VLAN)
	at := place{kind: "outside", space: f.space, vlan: f.p.VLAN}
	hop := trace.Hop{Place: trace.PlaceOutside, Name: "outside", Does: "deliver", In: f.p, Verdict: trace.Delivered}
	idle := []ending{{verdict: trace.Dropped, idle: true, at: at, p: f.p, trail: f.trail}}
	if f.p.Type == packet.ARP || isSolicitation(f.p) || isAdvertisement(f.p) {
		return r.outsideARP(f, g, n, at, idle)
	}
	if f.p.Dst != outsideMAC && !f.p.Dst.Group() {
		return nil, idle
	}
	if g.accept(at, f.p) {
		return nil, []ending{{verdict: trace.Delivered, at: at, p: f.p, trail: f.trail.add(hop)}}
	}
	if f.copied || f.p.Dst.Group() {
		return nil, idle
	}
	hop.Facts = map[string]string{"address": f.p.IPDst.String(), "source": f.p.IPSrc.String()}
	return nil, stop(f, hop, trace.Dropped, "left-the-cloud")
}

func (r *run) outsideARP(f frame, g goal, n *intent.Network, at place, idle []ending) ([]frame, []ending) {
	if f.p.Op == 2 || isAdvertisement(f.p) {
		if f.p.Dst == outsideMAC && g.accept(at, f.p) {
			return nil, []ending{{verdict: trace.Delivered, at: at, p: f.p, trail: f.trail}}
		}
		return nil, idle
	}
	if n == nil || !r.beyondCloud(n, f.p.IPDst) {
		return nil, idle
	}
	r.neighbours("outside")[linux.Ask{Dev: f.space, Addr: f.p.IPSrc}] = f.p.ARPSrc
	answer := f.p.Reply()
	answer.Src, answer.ARPSrc = outsideMAC, outsideMAC
	if f.p.Type != packet.ARP {
		answer.ICMPType = advertisement
	}
	hop := trace.Hop{Place: trace.PlaceOutside, Name: "outside", Does: "arp", In: f.p, Out: answer, Verdict: trace.Delivered}
	return []frame{{spot: atWire, host: "", space: f.space, dev: "", p: answer, trail: f.trail.add(hop)}}, nil
}

// beyondCloud reports whether an address of a network is that of something that Neutron
// does not know: the physical router, or a neighbour of it.
func (r *run) beyondCloud(n *intent.Network, addr netip.Addr) bool {
	if r.w.index.on(n.ID, addr) != nil || r.w.index.floats[addr] != nil {
		return false
	}
	s := r.w.index.subnet(n.ID, addr)
	if s == nil {
		return false
	}
	return addr == s.Gateway || n.External || r.w.index.on(n.ID, s.Gateway) == nil
}

// fromOutside lets the router beyond the cloud send a packet onto a physical network, and
// asks for the address of the next station.
func (r *run) fromOutside(physical string, n *intent.Network, p packet.Packet, t *trail) ([]frame, []ending) {
	f := frame{spot: atWire, space: physical, p: p, trail: t}
	hop := trace.Hop{Place: trace.PlaceOutside, Name: "outside", Does: "send", Out: p, Verdict: trace.Delivered}
	to := p.IPDst
	if r.w.index.subnet(n.ID, to) == nil {
		via := r.routeInto(n, to)
		if !via.IsValid() {
			hop.Out = packet.Packet{}
			hop.Facts = map[string]string{"address": to.String(), "network": n.Name}
			return nil, stop(f, hop, trace.Dropped, "no-way-back")
		}
		to = via
	}
	if n.Kind == "vlan" {
		f.p.VLAN = uint16(n.Segment)
	}
	mac, how := r.askFrom("outside", place{kind: "outside", space: physical}, f.p.VLAN, outsideMAC, outsideSource(r, n, to), to)
	if mac.Zero() {
		return nil, r.unanswered(f, hop, how)
	}
	f.p.Src, f.p.Dst = outsideMAC, mac
	hop.Out = f.p
	f.trail = t.add(hop)
	return []frame{f}, nil
}

// routeInto is the router by which addresses of the cloud that are not translated are
// reached from an external network, invalid if there is none: those of private networks.
func (r *run) routeInto(n *intent.Network, to netip.Addr) netip.Addr {
	for i := range r.w.index.cloud.Routers {
		ro := &r.w.index.cloud.Routers[i]
		if ro.External != n.ID || ro.SNAT {
			continue
		}
		for _, leg := range r.w.index.legs[ro.ID] {
			if !isInterface(leg.Owner) || r.w.index.subnet(leg.Network, to) == nil {
				continue
			}
			for _, ip := range ro.GatewayIPs {
				if ip.Addr.Is4() == to.Is4() {
					return ip.Addr
				}
			}
		}
	}
	return netip.Addr{}
}

// outsideSource is the address from which the router beyond asks: the gateway's.
func outsideSource(r *run, n *intent.Network, to netip.Addr) netip.Addr {
	if s := r.w.index.subnet(n.ID, to); s != nil && s.Gateway.IsValid() {
		return s.Gateway
	}
	if to.Is4() {
		return internet
	}
	return internet6
}
