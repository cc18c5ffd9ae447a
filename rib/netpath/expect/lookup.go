package expect

import (
	"fmt"
	"net/netip"
	"slices"

	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// stations is who may have an address on a network: its port, and ports that are allowed to
// use it besides their own.
func (in *index) stations(network string) map[netip.Addr][]packet.MAC {
	in.mu.Lock()
	defer in.mu.Unlock()
	if m, ok := in.macs[network]; ok {
		return m
	}
	m := map[netip.Addr][]packet.MAC{}
	for _, p := range in.byNet[network] {
		for _, ip := range p.IPs {
			m[ip.Addr] = append(m[ip.Addr], p.MAC)
		}
	}
	for _, p := range in.byNet[network] {
		for _, pair := range p.Pairs {
			if !pair.Prefix.IsSingleIP() {
				continue
			}
			mac := pair.MAC
			if mac.Zero() {
				mac = p.MAC
			}
			if a := pair.Prefix.Addr(); !slices.Contains(m[a], mac) {
				m[a] = append(m[a], mac)
			}
		}
	}
	in.macs[network] = m
	return m
}

// whoHas is what Neutron says of an address of a network.
func (in *index) whoHas(network string, a netip.Addr) []trace.Proof {
	var out []trace.Proof
	for _, p := range in.byNet[network] {
		for _, ip := range p.IPs {
			if ip.Addr == a {
				out = append(out, intentPort(p))
			}
		}
		for _, pair := range p.Pairs {
			if pair.Prefix.IsSingleIP() && pair.Prefix.Addr() == a {
				out = append(out, neutron("port %s mac_address=%s allowed_address_pairs=%s", p.ID, p.MAC, a))
			}
		}
	}
	return out
}

// ownerOf is what people call who has an address behind a router; the address if nobody.
func (in *index) ownerOf(r *intent.Router, a netip.Addr) string {
	for _, leg := range in.interfaces(r) {
		for _, p := range in.byNet[leg.Network] {
			for _, ip := range p.IPs {
				if ip.Addr == a {
					return in.nameOf(p)
				}
			}
		}
	}
	return a.String()
}

// snatPort is the port on the SNAT host that packets of an interface's subnet go to; nil if
// the router has none there.
func (in *index) snatPort(r *intent.Router, leg *intent.Port) *intent.Port {
	for _, p := range in.byDevice[r.ID] {
		if p.Owner != intent.OwnerSNAT || p.Network != leg.Network || len(p.IPs) == 0 {
			continue
		}
		if s := in.subnets[p.IPs[0].Subnet]; s == nil || !s.CIDR.Addr().Is4() {
			continue
		}
		for _, ip := range leg.IPs {
			if ip.Subnet == p.IPs[0].Subnet {
				return p
			}
		}
	}
	return nil
}

// String of a rule as Neutron's client would show it.
func ruleText(r *intent.Rule) string {
	dir, family, proto := "egress", "IPv4", r.Proto
	if r.Ingress {
		dir = "ingress"
	}
	if r.V6 {
		family = "IPv6"
	}
	if proto == "" {
		proto = "any"
	}
	s := dir + " " + family + " " + proto
	if r.Ranged {
		s += fmt.Sprintf(" %d:%d", r.Low, r.High)
	}
	switch {
	case r.Prefix.IsValid():
		s += " " + r.Prefix.String()
	case r.Group != "":
		s += " group " + r.Group
	}
	return s
}

// rawAddrOf reads an address, zero if it is none.
func rawAddrOf(s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a
}
