package openflow

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
)

// question is one for the oracle.
type question struct {
	bridge  string
	port    int
	packet  packet.Packet
	states  []uint32 // of ct, one after the other
	flow    string
	options []string
}

// guesser makes packets that flows are about: it takes what the matches of some random flows
// demand, and fills the rest with values that others have.
type guesser struct {
	r       *rand.Rand
	ovs     *facts.OVS
	flows   map[string][]Flow
	macs    []uint64
	addrs   []uint64
	addrs6  []u128
	vlans   []uint16
	ports   []uint16
	tunnels []uint64
	states  []uint32
}

func newGuesser(o *facts.OVS, r *rand.Rand) *guesser {
	g := &guesser{r: r, ovs: o, flows: map[string][]Flow{}}
	g.macs = []uint64{0xffffffffffff, 0x01005e000001, 0x333300000001, 0xfa163e000001, 0x0180c2000000}
	g.states = []uint32{stateTracked | stateNew, stateTracked | stateEstablished, stateTracked | stateEstablished | stateReply, stateTracked | stateInvalid, stateTracked | stateNew | stateRelated}
	for i := range o.Bridges {
		b := &o.Bridges[i]
		g.flows[b.Name], _ = Parse(b.Flows)
		for _, p := range b.Ports {
			if p.Tag != 0 {
				g.vlans = append(g.vlans, uint16(p.Tag))
			}
		}
		for _, e := range b.FDB {
			g.macs = append(g.macs, macValue(e.MAC))
		}
		for _, f := range g.flows[b.Name] {
			g.harvest(&f)
		}
	}
	g.vlans = append(g.vlans, 7, 4095)
	g.ports = append(g.ports, 22, 67, 68, 53, 546, 547, 4789)
	return g
}

func (g *guesser) harvest(f *Flow) {
	var v, m words
	for _, t := range f.Match.terms {
		v[t.word], m[t.word] = t.value, t.mask
	}
	for _, name := range []string{"eth_src", "eth_dst", "arp_sha"} {
		if f := fieldByName[name]; m.get(f).lo == ones(48) {
			g.macs = append(g.macs, v.get(f).lo)
		}
	}
	for _, name := range []string{"ip_src", "ip_dst"} {
		if f := fieldByName[name]; m.get(f).lo != 0 {
			g.addrs = append(g.addrs, v.get(f).lo|g.r.Uint64()&^m.get(f).lo&ones(32), v.get(f).lo)
		}
	}
	for _, name := range []string{"ipv6_src", "ipv6_dst", "nd_target"} {
		if f := fieldByName[name]; m.get(f) != (u128{}) {
			g.addrs6 = append(g.addrs6, v.get(f))
		}
	}
	if m[slotEthSrc]&0xfff == 0xfff {
		g.vlans = append(g.vlans, uint16(v[slotEthSrc]&0xfff))
	}
	if m[slotTunID] != 0 {
		g.tunnels = append(g.tunnels, v[slotTunID])
	}
	if m[slotTP]>>32 != 0 {
		g.ports = append(g.ports, uint16(v[slotTP]>>48), uint16(v[slotTP]>>32))
	}
	if m[slotCT]>>32 != 0 {
		g.states = append(g.states, uint32(v[slotCT]>>32)|stateTracked)
	}
}

func pick[T any](g *guesser, list []T) (v T) {
	if len(list) == 0 {
		return v
	}
	return list[g.r.IntN(len(list))]
}

func (g *guesser) question() question {
	b := &g.ovs.Bridges[g.r.IntN(len(g.ovs.Bridges))]
	for len(g.flows[b.Name]) < 5 && g.r.IntN(10) > 0 {
		b = &g.ovs.Bridges[g.r.IntN(len(g.ovs.Bridges))]
	}
	q := question{bridge: b.Name}
	port := pick(g, b.Ports)
	var w words
	w[slotEthSrc], w[slotEthDst] = pick(g, g.macs)<<16, pick(g, g.macs)<<16
	w[slotIP] = pick(g, g.addrs)<<32 | pick(g, g.addrs)
	s, d, n := pick(g, g.addrs6), pick(g, g.addrs6), pick(g, g.addrs6)
	w[slotSrc6], w[slotSrc6+1], w[slotDst6], w[slotDst6+1], w[slotTarget], w[slotTarget+1] = s.hi, s.lo, d.hi, d.lo, n.hi, n.lo
	w[slotSHA], w[slotTHA] = pick(g, g.macs)<<16, pick(g, g.macs)<<16|64<<8
	w[slotTP] = uint64(pick(g, g.ports))<<48 | uint64(pick(g, g.ports))<<32
	w[slotCT] = pick(g, []uint64{packet.IPv4, packet.IPv4, packet.IPv4, packet.ARP, packet.IPv6, packet.IPv6, 0x88cc})
	w[slotEthDst] |= pick(g, []uint64{packet.TCP, packet.UDP, packet.ICMP, packet.ICMPv6, sctp}) << 8
	if w.etherType() == packet.ARP {
		w[slotEthDst] = w[slotEthDst]&^0xff00 | uint64(1+g.r.IntN(2))<<8
	}
	w[slotTunID] = pick(g, g.tunnels)
	if g.r.IntN(3) == 0 {
		w[slotEthSrc] |= presentTCI | uint64(pick(g, g.vlans))
	}
	if g.r.IntN(4) == 0 {
		w[slotTHA] = w[slotTHA]&^0xff00 | uint64(g.r.IntN(3))<<8
	}
	w.setPort(port.OFPort)
	for range g.r.IntN(8) {
		g.overlay(&w, b)
	}
	port = pick(g, b.Ports)
	if p := b.PortAt(w.inPort()); p != nil {
		port = *p
	}
	w.setPort(port.OFPort)
	q.port = port.OFPort
	q.packet = g.make(&w)
	if tunnels[port.Type] {
		q.packet.Tunnel = packet.Tunnel{Kind: port.Type, ID: uint32(w[slotTunID]), Src: addressOf(port.Options["remote_ip"]), Dst: addressOf(port.Options["local_ip"])}
	}
	q.flow = flowText(q.port, q.packet)
	for range g.r.IntN(4) {
		st := pick(g, g.states)
		if st&stateNew != 0 {
			st &^= stateEstablished | stateReply
		}
		if st&stateInvalid != 0 {
			st = stateInvalid | stateTracked
		}
		if st == stateTracked {
			st |= stateNew
		}
		q.states = append(q.states, st)
		q.options = append(q.options, "--ct-next", stateText(st))
	}
	return q
}

func addressOf(s string) netip.Addr {
	a, _ := netip.ParseAddr(s)
	return a
}

// overlay makes the packet one that a random flow of the bridge, or of another, is about.
func (g *guesser) overlay(w *words, b *facts.Bridge) {
	flows := g.flows[b.Name]
	if g.r.IntN(4) == 0 {
		flows = g.flows[g.ovs.Bridges[g.r.IntN(len(g.ovs.Bridges))].Name]
	}
	if len(flows) == 0 {
		return
	}
	f := &flows[g.r.IntN(len(flows))]
	for _, t := range f.Match.terms {
		w[t.word] = w[t.word]&^t.mask | t.value
		if t.word == slotCT && t.mask&0xffff == 0xffff && uint16(t.value) == packet.ARP && w.proto() > 2 {
			w[slotEthDst] = w[slotEthDst]&^0xff00 | 1<<8
		}
	}
}

// make returns a packet as it could be, of the words' headers.
func (g *guesser) make(w *words) packet.Packet {
	p := packet.Packet{Type: w.etherType(), Proto: 0, Size: 84}
	if p.IsIP() {
		p.Proto = w.proto()
		if p.Proto == 0 || p.Type == packet.IPv4 && p.Proto == packet.ICMPv6 || p.Proto == 44 || p.Proto == 43 || p.Proto == 51 || p.Proto == 60 {
			p.Proto = packet.ICMP
		}
		w[slotEthDst] = w[slotEthDst]&^0xff00 | uint64(p.Proto)<<8
		switch p.Proto {
		case packet.ICMP, packet.ICMPv6:
			kind := w[slotTP] >> 48
			if kind > 255 || g.r.IntN(2) == 0 {
				kind = pick(g, []uint64{0, 8, 3, 128, 129, 135, 136, 134, 133})
			}
			w[slotTP] = kind << 48
		}
	}
	q := w.store(&p)
	if p.Proto == packet.TCP {
		q.Flags = pick(g, []uint8{2, 18, 16, 17, 4})
	}
	if q.Type == packet.IPv6 && q.Proto == packet.ICMP {
		q.ICMPType, q.ICMPCode = 0, 0
	}
	if q.ICMPType == 135 {
		q.ARPDst = packet.MAC{}
	} else if q.ICMPType == 136 && q.Type == packet.IPv6 {
		q.ARPSrc = packet.MAC{}
	}
	return q
}

func stateText(s uint32) string {
	var names []string
	for name, bit := range flagBits[ctState] {
		if uint64(s)&bit != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// flowText writes a packet as ofproto/trace reads it.
func flowText(port int, p packet.Packet) string {
	var b strings.Builder
	fmt.Fprintf(&b, "in_port=%d,dl_src=%s,dl_dst=%s,dl_type=0x%04x", port, p.Src, p.Dst, p.Type)
	if p.VLAN != 0 {
		fmt.Fprintf(&b, ",vlan_tci=0x%04x", presentTCI|p.VLAN)
	}
	if p.Tunnel.Kind != "" {
		fmt.Fprintf(&b, ",tun_id=%d,tun_src=%s,tun_dst=%s", p.Tunnel.ID, p.Tunnel.Src, p.Tunnel.Dst)
	}
	switch p.Type {
	case packet.ARP:
		fmt.Fprintf(&b, ",arp_op=%d,arp_spa=%s,arp_tpa=%s,arp_sha=%s,arp_tha=%s", p.Op, p.IPSrc, p.IPDst, p.ARPSrc, p.ARPDst)
		return b.String()
	case packet.IPv4:
		fmt.Fprintf(&b, ",nw_src=%s,nw_dst=%s", p.IPSrc, p.IPDst)
	case packet.IPv6:
		fmt.Fprintf(&b, ",ipv6_src=%s,ipv6_dst=%s", p.IPSrc, p.IPDst)
	default:
		return b.String()
	}
	fmt.Fprintf(&b, ",nw_proto=%d,nw_ttl=%d,nw_tos=%d", p.Proto, p.TTL, p.TOS&^3)
	switch {
	case p.Proto == packet.TCP, p.Proto == packet.UDP, p.Proto == sctp:
		name := map[uint8]string{packet.TCP: "tcp", packet.UDP: "udp", sctp: "sctp"}[p.Proto]
		fmt.Fprintf(&b, ",%s_src=%d,%s_dst=%d", name, p.SrcPort, name, p.DstPort)
		if p.Proto == packet.TCP {
			fmt.Fprintf(&b, ",tcp_flags=0x%x", p.Flags)
		}
	case p.Proto == packet.ICMP && p.Type == packet.IPv4, p.Proto == packet.ICMPv6 && p.Type == packet.IPv6:
		name := map[uint8]string{packet.ICMP: "icmp", packet.ICMPv6: "icmpv6"}[p.Proto]
		fmt.Fprintf(&b, ",%s_type=%d,%s_code=%d", name, p.ICMPType, name, p.ICMPCode)
		if p.Type == packet.IPv6 && (p.ICMPType == 135 || p.ICMPType == 136) {
			fmt.Fprintf(&b, ",nd_target=%s", p.Target)
			if p.ICMPType == 135 {
				fmt.Fprintf(&b, ",nd_sll=%s", p.ARPSrc)
			} else {
				fmt.Fprintf(&b, ",nd_tll=%s", p.ARPDst)
			}
		}
	}
	return b.String()
}
