package linux

import (
	"net/netip"
	"strconv"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/trace"
)

var limited = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// addrType returns what kind of address it is here, as inet_addr_type of the kernel: "local",
// "broadcast", "multicast" or "unicast".
func (s *Space) addrType(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "unicast"
	case a.IsMulticast():
		return "multicast"
	case a == limited || a.IsUnspecified():
		return "broadcast"
	}
	t := s.compiled().fib(a.Is6()).tables[tableLocal]
	if t == nil {
		return "unicast"
	}
	r, _ := t.find(flow{dst: a})
	if r == nil {
		return "unicast"
	}
	return r.Kind
}

// first returns the first address of a device, invalid if it has none.
func (s *Space) first(dev string, v6 bool) netip.Addr {
	l := s.ns.Link(dev)
	if l == nil {
		return netip.Addr{}
	}
	for _, p := range l.Addrs {
		if p.Addr().Is6() == v6 {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// pick returns the address from which a device would speak to a next hop: one of the same
// network, else the first, else one of another device (inet_select_addr). Invalid: none at all.
func (s *Space) pick(dev string, next netip.Addr) netip.Addr {
	v6 := next.Is6()
	if l := s.ns.Link(dev); l != nil {
		var linkLocal netip.Addr
		for _, p := range l.Addrs {
			a := p.Addr()
			if a.Is6() == v6 && p.Contains(next) && a.IsLinkLocalUnicast() == next.IsLinkLocalUnicast() {
				return a
			}
		}
		for _, p := range l.Addrs {
			a := p.Addr()
			switch {
			case a.Is6() != v6:
			case v6 && a.IsLinkLocalUnicast():
				linkLocal = a
			default:
				return a
			}
		}
		if linkLocal.IsValid() {
			return linkLocal
		}
	}
	for i := range s.ns.Links {
		for _, p := range s.ns.Links[i].Addrs {
			if a := p.Addr(); a.Is6() == v6 && !a.IsLoopback() && (!v6 || !a.IsLinkLocalUnicast()) {
				return a
			}
		}
	}
	return netip.Addr{}
}

// deviceOf returns the device that has an address, "" if none has.
func (s *Space) deviceOf(a netip.Addr) string {
	for i := range s.ns.Links {
		for _, p := range s.ns.Links[i].Addrs {
			if p.Addr() == a {
				return s.ns.Links[i].Name
			}
		}
	}
	return ""
}

// sysctl returns a number; known is false when it was not collected. One that is not there is 0,
// as those that matter here are by default.
func (s *Space) sysctl(name string) (n int, known bool) {
	text, ok := s.ns.Sysctls[name]
	if !ok {
		return 0, s.lacks(facts.Sysctls) == ""
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}

// most returns the higher one of a device's setting and that of all (IN_DEV_MAXCONF).
func (s *Space) most(tree, name, dev string) int {
	a, _ := s.sysctl(tree + "all." + name)
	b, _ := s.sysctl(tree + dev + "." + name)
	return max(a, b)
}

// either reports whether a device's setting or that of all is on (IN_DEV_ORCONF).
func (s *Space) either(name, dev string) (on, known bool) {
	a, k1 := s.sysctl("net.ipv4.conf.all." + name)
	b, k2 := s.sysctl("net.ipv4.conf." + dev + "." + name)
	return a != 0 || b != 0, k1 && k2 || a != 0 || b != 0
}

// forwards reports whether packets that come in by a device are passed on, and which sysctl says
// so.
func (s *Space) forwards(dev string, v6 bool) (on, known bool, name string) {
	if v6 {
		name = "net.ipv6.conf.all.forwarding"
		n, known := s.sysctl(name)
		_, there := s.ns.Sysctls[name]
		return n != 0, known && there, name
	}
	name = "net.ipv4.conf." + dev + ".forwarding"
	if _, there := s.ns.Sysctls[name]; !there {
		name = "net.ipv4.ip_forward"
	}
	n, known := s.sysctl(name)
	_, there := s.ns.Sysctls[name]
	return n != 0, known && there, name
}

// sysctlProof writes a sysctl as sysctl(8) does; one that was not collected has no line.
func (s *Space) sysctlProof(name string) []trace.Proof {
	text, ok := s.ns.Sysctls[name]
	if !ok {
		return nil
	}
	return []trace.Proof{{Host: s.name(), Where: s.where("sysctl"), Line: name + " = " + text}}
}
