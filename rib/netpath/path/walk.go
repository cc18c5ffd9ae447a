package path

import (
	"net/netip"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/conn"
	"kaname.dev/kaname/rib/netpath/linux"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// usual is the size of a ping, bytes of the IP packet.
const usual = 84

// firstPort is the source port that packets have which have one: one of those that the
// kernel gives to clients.
const firstPort = 49876

func itoa(n int) string { return strconv.Itoa(n) }

// Walk follows the packet that a question asks about, and the answer to it if it arrives.
// The trace has no causes yet. Errors are faults: ends that are not found or ambiguous.
func (w *World) Walk(q trace.Question) (trace.Trace, error) {
	src, dst, err := w.ends(q)
	if err != nil {
		return trace.Trace{}, err
	}
	p, err := first(q, src, dst)
	if err != nil {
		return trace.Trace{}, err
	}
	r := newRun(w)
	t := trace.Trace{Question: q, Source: src.End, Target: dst.End}
	there := r.send(src, dst, p)
	t.Forward = trace.Leg{Verdict: there.verdict, Hops: there.trail.hops()}
	t.Verdict = there.verdict
	if there.verdict == trace.Delivered {
		back := r.answer(src, dst, p, there)
		t.Back = trace.Leg{Verdict: back.verdict, Hops: back.trail.hops()}
		t.Verdict = back.verdict
	}
	t.Missing, t.Taken = r.lacking(), r.oldest
	return t, nil
}

// First is the packet that a question asks about, as its sender makes it, without the
// hardware address of its next station. Errors are those of Walk.
func (w *World) First(q trace.Question) (packet.Packet, error) {
	src, dst, err := w.ends(q)
	if err != nil {
		return packet.Packet{}, err
	}
	return first(q, src, dst)
}

// first makes the packet as its sender makes it.
func first(q trace.Question, src, dst side) (packet.Packet, error) {
	proto, port, err := protocol(q)
	if err != nil {
		return packet.Packet{}, err
	}
	p := packet.Packet{
		Src: src.MAC, Type: packet.IPv4, IPSrc: src.Addr, IPDst: dst.target, Proto: proto, TTL: 64, Keep: !q.Fragment, Size: q.Size, DstPort: port,
	}
	if p.Size == 0 {
		p.Size = usual
	}
	if p.IPSrc.Is6() {
		p.Type, p.Keep = packet.IPv6, true
	}
	switch proto {
	case packet.ICMP:
		p.ICMPType = 8
		if p.Type == packet.IPv6 {
			p.Proto, p.ICMPType = packet.ICMPv6, 128
		}
	case packet.TCP:
		p.SrcPort, p.Flags = firstPort, 2
	default:
		p.SrcPort = firstPort
	}
	if dst.Kind == kindDHCP && dst.port == nil {
		p.Dst, p.IPSrc, p.SrcPort = packet.Broadcast, netip.IPv4Unspecified(), 68
		p.Size, p.Keep = max(p.Size, 328), false
	}
	return p, nil
}

// send lets the source send the packet and follows it.
func (r *run) send(src, dst side, p packet.Packet) ending {
	g := goal{host: dst.Host, accept: func(at place, got packet.Packet) bool { return r.reached(dst, at, got, p) }}
	var start []frame
	var ends []ending
	switch src.Kind {
	case kindOutside:
		start, ends = r.fromOutside(wireOf(src), src.network, p, nil)
	case kindVM:
		start, ends = r.from(src.port, p)
	default:
		start, ends = r.fromService(src, p, g)
	}
	return r.finish(start, ends, g)
}

func (r *run) finish(start []frame, ends []ending, g goal) ending {
	if len(start) == 0 && len(ends) > 0 {
		return ends[0]
	}
	return r.fly(start, g)
}

// wireOf is the physical network on which the outside stands for this end.
func wireOf(s side) string {
	if s.network.Physical != "" {
		return s.network.Physical
	}
	return "br-ex"
}

// fromService lets a router or a DHCP server send.
func (r *run) fromService(src side, p packet.Packet, g goal) ([]frame, []ending) {
	space := "qdhcp-" + src.port.Network
	if src.Kind == kindRouter {
		space = "qrouter-" + src.port.Device
	}
	host := src.Host
	if host == "" && g.host != "" && r.w.sites[g.host] != nil && r.w.sites[g.host].facts.Space(space) != nil {
		host = g.host // a distributed router is everywhere
	}
	for _, name := range r.w.names {
		if host == "" && r.w.sites[name].facts.Space(space) != nil {
			host = name
		}
	}
	return r.sent(frame{host: host, space: space, p: p}, g)
}

// sent lets a namespace send a packet of its own.
func (r *run) sent(f frame, g goal) ([]frame, []ending) {
	s := r.site(f.host)
	if s == nil {
		return r.unknown(f)
	}
	hop := trace.Hop{Place: trace.PlaceNamespace, Host: f.host, Name: f.space}
	if s.space(f.space) == nil {
		hop.Facts = map[string]string{"namespace": f.space}
		return nil, stop(f, hop, trace.Dropped, "no-namespace")
	}
	if ends := r.unseen(f, s); ends != nil {
		return nil, ends
	}
	f.dev = ""
	return r.within(f, g, s, "", func(sp *linux.Space, x linux.Context) linux.Outcome { return sp.Send(f.p, x) })
}

// reached reports whether a packet has come to the end that it was sent to.
func (r *run) reached(dst side, at place, got, sent packet.Packet) bool {
	if got.Type == packet.ARP || isSolicitation(got) {
		return false
	}
	switch {
	case dst.Kind == kindDHCP && dst.port == nil:
		return at.kind == "space" && at.space == "qdhcp-"+dst.network.ID && got.DstPort == 67
	case dst.Kind == kindMetadata:
		return at.kind == "space" && (strings.HasPrefix(at.space, "qrouter-") || strings.HasPrefix(at.space, "qdhcp-"))
	case dst.Kind == kindOutside:
		return got.IPDst == dst.target && (at.kind == "outside" || at.kind == "machine" && r.forwards(at.port, got.IPDst))
	case dst.Kind == kindVM:
		return at.kind == "machine" && at.port == dst.port && (got.IPDst == dst.Addr || r.answersFor(dst, got.IPDst))
	case dst.Kind == kindAddress: // an address that machines share
		if at.kind == "machine" {
			_, ok := r.holds(at.port, got.IPDst)
			return ok && got.IPDst == dst.target
		}
		return at.kind == "outside" && got.IPDst == dst.target
	}
	return at.kind == "space" && r.has(at, got.IPDst) && (got.IPDst == dst.Addr || got.IPDst == dst.target || got.IPDst == sent.IPDst)
}

func (r *run) answersFor(dst side, addr netip.Addr) bool {
	_, ok := r.holds(dst.port, addr)
	return ok
}

// has reports whether a namespace has an address.
func (r *run) has(at place, addr netip.Addr) bool {
	n := r.w.sites[at.host].facts.Space(at.space)
	for i := range n.Links {
		for _, a := range n.Links[i].Addrs {
			if a.Addr() == addr {
				return true
			}
		}
	}
	return false
}

// answer lets whoever got the packet answer it, and follows the answer.
func (r *run) answer(src, dst side, sent packet.Packet, there ending) ending {
	reply := there.p.Reply()
	reply.VLAN = 0
	if dst.Kind == kindDHCP && dst.port == nil {
		reply = r.offer(src, dst, there, reply)
	}
	g := goal{host: src.Host, accept: func(at place, got packet.Packet) bool { return r.returned(src, at, got, sent) }}
	var start []frame
	var ends []ending
	switch there.at.kind {
	case "machine":
		reply.Src = there.at.port.MAC
		start, ends = r.from(there.at.port, reply)
	case "outside":
		start, ends = r.fromOutside(there.at.space, r.onWire(there.at.space, there.at.vlan), reply, nil)
	default:
		reply.Src, reply.Dst = packet.MAC{}, packet.MAC{}
		start, ends = r.sent(frame{host: there.at.host, space: there.at.space, dev: there.at.dev, p: reply}, g)
	}
	e := r.finish(start, ends, g)
	if e.verdict != trace.Delivered || dst.Kind == kindDHCP && dst.port == nil {
		return e
	}
	if want, _ := conn.Of(sent.Reply()); e.p.IPSrc != want.Src || e.p.SrcPort != want.Sport {
		last := &e.trail.hop
		last.Does, last.Verdict, e.verdict = "drop", trace.Dropped, trace.Dropped
		facts := map[string]string{"why": "answer-from-another", "asked": sent.IPDst.String(), "source": e.p.IPSrc.String()}
		last.Facts = facts
	}
	return e
}

// offer is the answer of a DHCP server: it goes to the hardware address that asked, without
// ARP (RFC 2131, 4.1).
func (r *run) offer(src, dst side, there ending, p packet.Packet) packet.Packet {
	p.IPDst = src.Addr
	p.IPSrc = dst.Addr
	if n := r.w.sites[there.at.host].facts.Space(there.at.space); n != nil {
		if l := n.Link(there.at.dev); l != nil {
			for _, a := range l.Addrs {
				if s := r.w.index.subnet(dst.network.ID, src.Addr); s != nil && s.CIDR.Contains(a.Addr()) {
					p.IPSrc = a.Addr()
				}
			}
		}
	}
	r.neighbours(there.at.host + "/" + there.at.space)[linux.Ask{Dev: there.at.dev, Addr: src.Addr}] = src.MAC
	return p
}

// returned reports whether an answer has come to who asked.
func (r *run) returned(src side, at place, got, sent packet.Packet) bool {
	if got.Type == packet.ARP || isSolicitation(got) || got.Proto != sent.Proto {
		return false
	}
	if sent.SrcPort == 68 {
		return at.kind == "machine" && at.port == src.port && got.DstPort == 68
	}
	if got.IPDst != sent.IPSrc || got.DstPort != sent.SrcPort {
		return false
	}
	switch src.Kind {
	case kindOutside:
		return at.kind == "outside"
	case kindVM:
		return at.kind == "machine" && at.port == src.port
	}
	return at.kind == "space"
}
