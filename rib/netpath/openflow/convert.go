package openflow

import (
	"kaname.dev/kaname/rib/netpath/packet"
)

const sctp = 132

// load makes words of a packet that comes in by a port.
func load(p *packet.Packet, inPort int) words {
	var w words
	w[slotPort] = uint64(inPort) << 32
	w[slotEthSrc] = macValue(p.Src) << 16
	w[slotEthDst] = macValue(p.Dst) << 16
	w[slotCT] = uint64(p.Type)
	w[slotQueue] = portUnset
	if p.VLAN != 0 {
		w[slotEthSrc] |= presentTCI | uint64(p.VLAN&0xfff)
		w[slotVLANs] = 0x8100 << 48
	}
	if p.Tunnel.Kind != "" {
		w[slotTunID] = uint64(p.Tunnel.ID)
		if p.Tunnel.Src.Is6() {
			s, d := addrValue(p.Tunnel.Src), addrValue(p.Tunnel.Dst)
			w[slotTunSrc6], w[slotTunSrc6+1], w[slotTunDst6], w[slotTunDst6+1] = s.hi, s.lo, d.hi, d.lo
		} else {
			w[slotTunAddr] = addrValue(p.Tunnel.Src).lo<<32 | addrValue(p.Tunnel.Dst).lo
		}
	}
	switch p.Type {
	case packet.ARP:
		w[slotEthDst] |= uint64(p.Op) << 8
		w[slotIP] = addrValue(p.IPSrc).lo<<32 | addrValue(p.IPDst).lo
		w[slotSHA], w[slotTHA] = macValue(p.ARPSrc)<<16, macValue(p.ARPDst)<<16
	case packet.IPv4:
		w[slotIP] = addrValue(p.IPSrc).lo<<32 | addrValue(p.IPDst).lo
		w.loadIP(p)
	case packet.IPv6:
		s, d := addrValue(p.IPSrc), addrValue(p.IPDst)
		w[slotSrc6], w[slotSrc6+1], w[slotDst6], w[slotDst6+1] = s.hi, s.lo, d.hi, d.lo
		w.loadIP(p)
	}
	return w
}

func (w *words) loadIP(p *packet.Packet) {
	w[slotEthDst] |= uint64(p.Proto)<<8 | uint64(p.TOS)
	w[slotTHA] |= uint64(p.TTL) << 8
	switch {
	case p.Proto == packet.ICMP && p.Type == packet.IPv4 || p.Proto == packet.ICMPv6 && p.Type == packet.IPv6:
		w[slotTP] = uint64(p.ICMPType)<<48 | uint64(p.ICMPCode)<<32
		if w.neighbour() != 0 {
			t := addrValue(p.Target)
			w[slotTarget], w[slotTarget+1] = t.hi, t.lo
			w[slotSHA] |= macValue(p.ARPSrc) << 16
			w[slotTHA] |= macValue(p.ARPDst) << 16
		}
	case p.Proto == packet.TCP:
		w[slotSHA] |= uint64(p.Flags)
		fallthrough
	case p.Proto == packet.UDP, p.Proto == sctp:
		w[slotTP] = uint64(p.SrcPort)<<48 | uint64(p.DstPort)<<32
	}
}

// neighbour returns 135 for a neighbour solicitation, 136 for an advertisement, 0 for the
// rest.
func (w *words) neighbour() uint64 {
	kind := w[slotTP] >> 48 & 0xff
	if w.etherType() == packet.IPv6 && w.proto() == packet.ICMPv6 && w[slotTP]>>32&0xff == 0 && (kind == 135 || kind == 136) {
		return kind
	}
	return 0
}

func (w *words) etherType() uint16 { return uint16(w[slotCT]) }
func (w *words) proto() uint8      { return uint8(w[slotEthDst] >> 8) }
func (w *words) inPort() int       { return int(w[slotPort] >> 32 & 0xffff) }
func (w *words) tagged() bool      { return w[slotEthSrc]&presentTCI != 0 }
func (w *words) isIP() bool {
	return w.etherType() == packet.IPv4 || w.etherType() == packet.IPv6
}

// store writes the fields back into a packet that was like p before.
func (w *words) store(p *packet.Packet) packet.Packet {
	q := *p
	q.Src, q.Dst = valueMAC(w[slotEthSrc]>>16), valueMAC(w[slotEthDst]>>16)
	q.VLAN = 0
	if w.tagged() {
		q.VLAN = uint16(w[slotEthSrc] & 0xfff)
	}
	switch w.etherType() {
	case packet.ARP:
		q.Op = w.proto()
		q.IPSrc, q.IPDst = valueAddr4(w[slotIP]>>32), valueAddr4(w[slotIP])
		q.ARPSrc, q.ARPDst = valueMAC(w[slotSHA]>>16), valueMAC(w[slotTHA]>>16)
	case packet.IPv4:
		q.IPSrc, q.IPDst = valueAddr4(w[slotIP]>>32), valueAddr4(w[slotIP])
		w.storeIP(&q)
	case packet.IPv6:
		q.IPSrc, q.IPDst = valueAddr6(u128{w[slotSrc6], w[slotSrc6+1]}), valueAddr6(u128{w[slotDst6], w[slotDst6+1]})
		w.storeIP(&q)
	}
	return q
}

func (w *words) storeIP(q *packet.Packet) {
	q.TTL, q.TOS = uint8(w[slotTHA]>>8), uint8(w[slotEthDst])
	switch q.Proto {
	case packet.TCP, packet.UDP, sctp:
		q.SrcPort, q.DstPort = uint16(w[slotTP]>>48), uint16(w[slotTP]>>32)
	case packet.ICMP, packet.ICMPv6:
		q.ICMPType, q.ICMPCode = uint8(w[slotTP]>>48), uint8(w[slotTP]>>32)
		if w.neighbour() != 0 {
			q.Target = valueAddr6(u128{w[slotTarget], w[slotTarget+1]})
			q.ARPSrc, q.ARPDst = valueMAC(w[slotSHA]>>16), valueMAC(w[slotTHA]>>16)
		}
	}
}

// has reports whether the packet is one that has a field.
func (w *words) has(n need) bool {
	p := w.proto()
	switch n { //nolint:exhaustive // the others are dealt with below, or need nothing
	case needNone:
		return true
	case needARP:
		return w.etherType() == packet.ARP || w.etherType() == 0x8035
	case needVLAN:
		return w.tagged()
	case needIPv4:
		return w.etherType() == packet.IPv4
	case needIPv6:
		return w.etherType() == packet.IPv6
	case needIP:
		return w.isIP()
	case needTCP:
		return w.isIP() && p == packet.TCP
	case needUDP:
		return w.isIP() && p == packet.UDP
	case needSCTP:
		return w.isIP() && p == sctp
	case needICMP:
		return w.etherType() == packet.IPv4 && p == packet.ICMP
	case needICMPv6:
		return w.etherType() == packet.IPv6 && p == packet.ICMPv6
	case needND:
		return w.neighbour() != 0
	case needSolicit:
		return w.neighbour() == 135
	case needAdvert:
		return w.neighbour() == 136
	}
	return false
}
