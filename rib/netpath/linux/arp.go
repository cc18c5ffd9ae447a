package linux

import (
	"net/netip"

	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// Request returns the packet that asks for an address: an ARP request or a neighbour
// solicitation.
func (s *Space) Request(a Ask) packet.Packet {
	p := packet.Packet{Type: packet.ARP, Op: 1, Dst: packet.Broadcast, IPDst: a.Addr, IPSrc: s.pick(a.Dev, a.Addr)}
	if l := s.ns.Link(a.Dev); l != nil {
		p.Src, p.ARPSrc = l.MAC, l.MAC
	}
	if a.Addr.Is4() {
		return p
	}
	b := a.Addr.As16()
	p.Type, p.Op, p.Proto, p.ICMPType, p.TTL = packet.IPv6, 0, packet.ICMPv6, 135, 255
	p.Target, p.Size = a.Addr, 72
	p.IPDst = netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
	p.Dst = packet.MAC{0x33, 0x33, 0xff, b[13], b[14], b[15]}
	return p
}

// arp answers a request, or takes an answer (arp_process of net/ipv4/arp.c).
func (w *walk) arp(p packet.Packet, dev string) Outcome {
	v := &view{p: p, in: dev, space: w.s}
	l := w.s.ns.Link(dev)
	if p.Op != 1 {
		w.add(v, "arp", map[string]string{"addr": p.IPSrc.String(), "mac": p.ARPSrc.String(), "dev": dev, "answer": "true"})
		w.o.Local, w.o.Packet = true, p
		return w.o
	}
	told := map[string]string{"addr": p.IPDst.String(), "asks": p.IPSrc.String(), "dev": dev}
	if p.IPDst.IsMulticast() || p.IPDst.IsLoopback() {
		told["reason"] = "not an address to ask for"
		return w.drop(v, WhyUnanswered, told)
	}
	proof, reason, kind := w.answers(v, told)
	if reason == "" && kind == "" {
		return w.o // unknown
	}
	if reason != "" {
		told["reason"] = reason
		return w.drop(v, WhyUnanswered, told, proof...)
	}
	told["mac"], told["kind"] = l.MAC.String(), kind
	r := p.Reply()
	r.Src, r.Dst, r.ARPSrc, r.ARPDst, r.TTL = l.MAC, p.ARPSrc, l.MAC, p.ARPSrc, 0
	if r.Dst.Zero() {
		r.Dst = p.Src
	}
	v.p = r
	told["how"] = kind
	w.add(v, "arp", told, proof...)
	w.o.Out = append(w.o.Out, w.leave(dev, r)...)
	return w.o
}

// answers finds out whether a request is answered: kind is "own" or "proxy", or reason says why
// not; both empty: nobody knows.
func (w *walk) answers(v *view, told map[string]string) (proof []trace.Proof, reason, kind string) {
	dev, target, asks := v.in, v.p.IPDst, v.p.IPSrc
	if !asks.IsValid() || asks.IsUnspecified() {
		if w.s.addrType(target) == "local" && w.ignores(dev, asks, target) == "" {
			return w.addrProof(target), "", "own"
		}
		return nil, "nobody here has the address", ""
	}
	in := w.input(v, target, asks)
	if in.lacks != "" {
		w.unknown(v, in.lacks)
		return nil, "", ""
	}
	switch {
	case in.why != "":
		return in.proof, in.why, ""
	case in.local:
		if why := w.ignores(dev, asks, target); why != "" {
			return nil, why, ""
		}
		return w.addrProof(target), "", "own"
	}
	return w.proxies(v, in, told)
}

// proxies finds out whether a request for an address elsewhere is answered for it.
func (w *walk) proxies(v *view, in routed, told map[string]string) (proof []trace.Proof, reason, kind string) {
	dev, target := v.in, v.p.IPDst
	told["route"], told["other"] = routeLine(in.route), in.route.Dev
	proof = append(proof, in.proof...)
	if in.route.Dev == dev {
		return proof, "the address is on the same segment", ""
	}
	on, known := w.s.either("proxy_arp", dev)
	if !known {
		w.unknown(v, "net.ipv4.conf."+dev+".proxy_arp of "+w.s.label())
		return nil, "", ""
	}
	if on {
		return append(proof, w.s.sysctlProof("net.ipv4.conf."+dev+".proxy_arp")...), "", "proxy"
	}
	for i := range w.s.ns.Neighbours {
		n := &w.s.ns.Neighbours[i]
		if n.Proxy && n.Addr == target && (n.Dev == dev || n.Dev == "") {
			return append(proof, trace.Proof{Host: w.s.name(), Where: w.s.where("neighbours"), Line: NeighbourLine(*n)}), "", "proxy"
		}
	}
	return append(proof, w.s.sysctlProof("net.ipv4.conf."+dev+".proxy_arp")...), "proxy_arp is off", ""
}

// ignores returns why an own address is not told to somebody on a device: arp_ignore and
// arp_filter.
func (w *walk) ignores(dev string, asks, target netip.Addr) string {
	switch mode := w.s.most("net.ipv4.conf.", "arp_ignore", dev); mode {
	case 0:
	case 8:
		return "arp_ignore"
	case 3:
	default: // 1: only of this device; 2: and for those of its network
		here := false
		if l := w.s.ns.Link(dev); l != nil {
			for _, p := range l.Addrs {
				here = here || p.Addr() == target && (mode != 2 || p.Contains(asks))
			}
		}
		if !here {
			return "arp_ignore"
		}
	}
	if on, _ := w.s.either("arp_filter", dev); on && asks.IsValid() && !asks.IsUnspecified() {
		r := w.c.fib(asks.Is6()).lookup(flow{src: target, dst: asks, in: "lo"})
		if r.fail != "" || r.route.Dev != dev {
			return "arp_filter"
		}
	}
	return ""
}

// addrProof writes the address as ip addr does.
func (w *walk) addrProof(a netip.Addr) []trace.Proof {
	for i := range w.s.ns.Links {
		l := &w.s.ns.Links[i]
		for _, p := range l.Addrs {
			if p.Addr() == a {
				return []trace.Proof{{Host: w.s.name(), Where: w.s.where("addresses"), Line: l.Name + " inet " + p.String()}}
			}
		}
	}
	return nil
}

// discovery answers a neighbour solicitation, or takes an advertisement (RFC 4861); false: the
// packet is neither.
func (w *walk) discovery(v *view) (Outcome, bool) {
	p := v.p
	if p.Proto != packet.ICMPv6 || p.ICMPType != 135 && p.ICMPType != 136 {
		return w.o, false
	}
	if !w.hook("INPUT", v) {
		return w.o, true
	}
	target := p.Target
	if p.ICMPType == 136 {
		if !target.IsValid() {
			target = p.IPSrc
		}
		mac := p.ARPDst
		if mac.Zero() {
			mac = p.Src
		}
		w.add(v, "arp", map[string]string{"addr": target.String(), "mac": mac.String(), "dev": v.in, "answer": "true"})
		w.o.Local, w.o.Packet = true, p
		return w.o, true
	}
	if !target.IsValid() {
		target = p.IPDst
	}
	l := w.s.ns.Link(v.in)
	told := map[string]string{"addr": target.String(), "asks": p.IPSrc.String(), "dev": v.in}
	own := false
	for _, a := range l.Addrs {
		own = own || a.Addr() == target
	}
	if !own {
		told["reason"] = "nobody here has the address"
		return w.drop(v, WhyUnanswered, told), true
	}
	r := p.Reply()
	r.Src, r.Dst, r.IPSrc, r.ICMPType, r.TTL = l.MAC, p.Src, target, 136, 255
	r.Target, r.ARPSrc, r.ARPDst = target, packet.MAC{}, l.MAC
	v.p = r
	told["mac"], told["how"] = l.MAC.String(), "own"
	w.add(v, "arp", told, w.addrProof(target)...)
	w.o.Out = append(w.o.Out, w.leave(v.in, r)...)
	return w.o, true
}
