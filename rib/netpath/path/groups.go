package path

import (
	"net/netip"
	"slices"
	"strconv"

	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/packet"
)

// protocols are the names that rules of security groups call IP protocols by.
var protocols = map[string]uint8{
	"icmp": packet.ICMP, "tcp": packet.TCP, "udp": packet.UDP, "icmpv6": packet.ICMPv6, "ipv6-icmp": packet.ICMPv6, "icmp6": packet.ICMPv6,
	"igmp": 2, "ipip": 4, "egp": 8, "dccp": 33, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "ospf": 89, "pgm": 113, "vrrp": 112, "sctp": 132, "udplite": 136,
}

// Admits reports whether the security groups of a port let a packet begin a connection, as
// Neutron says it: into the machine with ingress, else out of it. What the filters let pass
// whatever the groups say (ARP, a machine's own DHCP request, neighbour discovery) is
// admitted. The rule is the one that admits it, nil where none is needed.
func (w *World) Admits(port string, ingress bool, p packet.Packet) (*intent.Rule, bool) {
	at := w.index.ports[port]
	if at == nil || !at.Secured || !p.IsIP() || free(ingress, p) {
		return nil, true
	}
	for _, id := range at.Groups {
		g := w.index.groups[id]
		if g == nil {
			return nil, true // what cannot be read is not judged
		}
		for i := range g.Rules {
			if w.matches(&g.Rules[i], ingress, p) {
				return &g.Rules[i], true
			}
		}
	}
	return nil, false
}

func free(ingress bool, p packet.Packet) bool {
	switch {
	case p.Proto == packet.UDP && !ingress:
		return p.SrcPort == 68 && p.DstPort == 67 || p.SrcPort == 546 && p.DstPort == 547
	case p.Proto == packet.UDP:
		return p.SrcPort == 67 && p.DstPort == 68 || p.SrcPort == 547 && p.DstPort == 546
	case p.Proto == packet.ICMPv6:
		return p.ICMPType >= 130 && p.ICMPType <= 136 && (ingress || p.ICMPType != 134)
	}
	return false
}

func (w *World) matches(rule *intent.Rule, ingress bool, p packet.Packet) bool {
	if rule.Ingress != ingress || rule.V6 != (p.Type == packet.IPv6) || !sameProtocol(rule, p) {
		return false
	}
	if rule.Ranged {
		port := int(p.DstPort)
		if p.Proto == packet.ICMP || p.Proto == packet.ICMPv6 {
			if int(p.ICMPType) != rule.Low || rule.High != 0 && int(p.ICMPCode) != rule.High {
				return false
			}
		} else if port < rule.Low || port > rule.High {
			return false
		}
	}
	other := p.IPDst
	if ingress {
		other = p.IPSrc
	}
	switch {
	case rule.Group != "":
		return w.member(rule.Group, other)
	case rule.Prefix.IsValid():
		return rule.Prefix.Contains(other)
	}
	return true
}

func sameProtocol(rule *intent.Rule, p packet.Packet) bool {
	if rule.Proto == "" || rule.Proto == "0" {
		return true
	}
	if rule.V6 && rule.Proto == "icmp" {
		return p.Proto == packet.ICMPv6
	}
	if n, ok := protocols[rule.Proto]; ok {
		return n == p.Proto
	}
	n, err := strconv.Atoi(rule.Proto)
	return err == nil && n == int(p.Proto)
}

// member reports whether an address is one of a group's members', or one that a member may
// use besides its own.
func (w *World) member(group string, addr netip.Addr) bool {
	if w.index.members[group][addr] != "" {
		return true
	}
	return slices.ContainsFunc(w.index.paired[group], func(p netip.Prefix) bool { return p.Contains(addr) })
}
