// Package packet is a packet's headers at one point of its way, as values: hops compare and
// rewrite them. It knows no wire format.
package packet

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Ethernet types.
const (
	IPv4 = 0x0800
	ARP  = 0x0806
	IPv6 = 0x86dd
)

// IP protocols.
const (
	ICMP   = 1
	TCP    = 6
	UDP    = 17
	ICMPv6 = 58
)

// MAC is a hardware address.
type MAC [6]byte

// Broadcast reaches each station of a segment.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ParseMAC reads "fa:16:3e:00:00:01".
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return MAC{}, fmt.Errorf("%q is no hardware address; it looks like fa:16:3e:00:00:01", s)
	}
	return MAC(hw), nil
}

// String writes the address as "fa:16:3e:00:00:01".
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// MarshalText writes the address as String does.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what ParseMAC does.
func (m *MAC) UnmarshalText(b []byte) (err error) {
	*m, err = ParseMAC(string(b))
	return err
}

// Group reports whether frames to the address go to more than one station.
func (m MAC) Group() bool { return m[0]&1 == 1 }

// Zero reports whether nothing is known of the address.
func (m MAC) Zero() bool { return m == MAC{} }

// Packet is the headers of a packet. The zero values of fields that its type does not have
// mean nothing.
type Packet struct {
	Src  MAC    `json:"src"`
	Dst  MAC    `json:"dst"`
	VLAN uint16 `json:"vlan,omitempty"` // 802.1Q identifier, 1 to 4095; 0: untagged
	Type uint16 `json:"type"`           // Ethernet type, that behind the tag

	// IPv4, IPv6; of an ARP packet the sender's and the target's protocol address.
	IPSrc netip.Addr `json:"ip_src,omitzero"`
	IPDst netip.Addr `json:"ip_dst,omitzero"`
	Proto uint8      `json:"proto,omitempty"`
	TTL   uint8      `json:"ttl,omitempty"`
	TOS   uint8      `json:"tos,omitempty"`
	Keep  bool       `json:"df,omitempty"`   // must not be fragmented: IPv4's DF, always with IPv6
	Size  int        `json:"size,omitempty"` // of the IP packet, bytes

	// TCP, UDP.
	SrcPort uint16 `json:"src_port,omitempty"`
	DstPort uint16 `json:"dst_port,omitempty"`
	Flags   uint8  `json:"flags,omitempty"` // of TCP: 2 is SYN, 18 SYN and ACK

	// ICMP, ICMPv6; 8/0 is an echo request, 0/0 its reply (128, 129 in ICMPv6).
	ICMPType uint8 `json:"icmp_type,omitempty"`
	ICMPCode uint8 `json:"icmp_code,omitempty"`

	// ARP: 1 asks, 2 answers. In neighbour discovery (ICMPv6 135, 136) ARPSrc and ARPDst are
	// the hardware addresses of its options, source and target.
	Op     uint8      `json:"op,omitempty"`
	ARPSrc MAC        `json:"arp_src,omitzero"`
	ARPDst MAC        `json:"arp_dst,omitzero"`
	Target netip.Addr `json:"nd_target,omitzero"` // that neighbour discovery is about

	// Tunnel is how it travels, or has come, between hosts; zero: not by a tunnel.
	Tunnel Tunnel `json:"tunnel,omitzero"`
}

// Tunnel is the outer header of a packet between hosts.
type Tunnel struct {
	Kind string     `json:"kind"` // "vxlan", "gre", "geneve"
	ID   uint32     `json:"id"`   // VNI or key
	Src  netip.Addr `json:"src"`
	Dst  netip.Addr `json:"dst"`
}

// IsIP reports whether it is an IPv4 or IPv6 packet.
func (p *Packet) IsIP() bool { return p.Type == IPv4 || p.Type == IPv6 }

// Reply returns the answer to it as the addressee would send it: addresses, ports and ICMP
// types turned round, TTL 64.
func (p Packet) Reply() Packet {
	r := p
	r.Src, r.Dst = p.Dst, p.Src
	r.IPSrc, r.IPDst = p.IPDst, p.IPSrc
	r.SrcPort, r.DstPort = p.DstPort, p.SrcPort
	r.TTL = 64
	r.Tunnel = Tunnel{}
	switch {
	case p.Type == ARP:
		r.Op, r.ARPSrc, r.ARPDst = 2, p.ARPDst, p.ARPSrc
	case p.Proto == ICMP && p.ICMPType == 8:
		r.ICMPType = 0
	case p.Proto == ICMPv6 && p.ICMPType == 128:
		r.ICMPType = 129
	case p.Proto == TCP && p.Flags == 2:
		r.Flags = 18
	}
	return r
}

// String writes the headers in a line, as a person reads them.
func (p Packet) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s > %s", p.Src, p.Dst)
	if p.VLAN != 0 {
		fmt.Fprintf(&b, " vlan %d", p.VLAN)
	}
	switch {
	case p.Type == ARP && p.Op == 1:
		fmt.Fprintf(&b, " arp who-has %s tell %s", p.IPDst, p.IPSrc)
	case p.Type == ARP:
		fmt.Fprintf(&b, " arp %s is-at %s", p.IPSrc, p.ARPSrc)
	case !p.IsIP():
		fmt.Fprintf(&b, " type 0x%04x", p.Type)
	case p.Proto == TCP || p.Proto == UDP:
		name := "udp"
		if p.Proto == TCP {
			name = "tcp"
		}
		fmt.Fprintf(&b, " %s %s > %s", name, netip.AddrPortFrom(p.IPSrc, p.SrcPort), netip.AddrPortFrom(p.IPDst, p.DstPort))
	case p.Proto == ICMP || p.Proto == ICMPv6:
		fmt.Fprintf(&b, " icmp %d/%d %s > %s", p.ICMPType, p.ICMPCode, p.IPSrc, p.IPDst)
	default:
		fmt.Fprintf(&b, " protocol %d %s > %s", p.Proto, p.IPSrc, p.IPDst)
	}
	if p.Tunnel != (Tunnel{}) {
		fmt.Fprintf(&b, " in %s %d %s > %s", p.Tunnel.Kind, p.Tunnel.ID, p.Tunnel.Src, p.Tunnel.Dst)
	}
	return b.String()
}
