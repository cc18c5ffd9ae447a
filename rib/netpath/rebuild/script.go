package rebuild

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
)

// script is shell that makes a host what its facts say.
type script struct {
	strings.Builder
	h *facts.Host
}

func (s *script) line(format string, args ...any) { fmt.Fprintf(s, format+"\n", args...) }

// in is "ip" within a namespace.
func in(space string) string {
	if space == "" {
		return "ip"
	}
	return "ip -n " + space
}

// inside runs a program within a namespace.
func inside(space string) string {
	if space == "" {
		return ""
	}
	return "ip netns exec " + space + " "
}

// spaces makes the namespaces, and the links that no Open vSwitch makes.
func (s *script) spaces() {
	for i := range s.h.Namespaces {
		if n := s.h.Namespaces[i].Name; n != "" {
			s.line("ip netns add %s; ip -n %s link set lo up", n, n)
		}
	}
	for i := range s.h.Namespaces {
		n := &s.h.Namespaces[i]
		for j := range n.Links {
			l := &n.Links[j]
			switch l.Kind {
			case "bridge":
				s.line("%s link add %s type bridge", in(n.Name), l.Name)
			case "dummy":
				s.line("%s link add %s type dummy", in(n.Name), l.Name)
			case "veth":
				s.pair(n, l)
			}
		}
	}
}

// pair makes both ends of a veth, once.
func (s *script) pair(n *facts.Namespace, l *facts.Link) {
	far, p := other(s.h, n, l)
	if far == nil || slices.IndexFunc(s.h.Namespaces, is(n)) > slices.IndexFunc(s.h.Namespaces, is(far)) || far.ID == n.ID && l.Index > p.Index {
		return
	}
	to := ""
	if far.Name != n.Name {
		to = " netns " + far.Name
	}
	s.line("%s link add %s type veth peer name %s%s", in(n.Name), l.Name, p.Name, to)
	for _, e := range []struct{ space, name string }{{n.Name, l.Name}, {far.Name, p.Name}} {
		// User-space Open vSwitch does not finish checksums that the kernel left for hardware.
		s.line("%sethtool -K %s tx off >/dev/null 2>&1 || true", inside(e.space), e.name)
	}
}

func is(n *facts.Namespace) func(facts.Namespace) bool {
	return func(o facts.Namespace) bool { return o.ID == n.ID && o.Name == n.Name }
}

// addresses sets links up, with addresses, in the order in which routes can follow.
func (s *script) addresses() {
	for i := range s.h.Namespaces {
		n := &s.h.Namespaces[i]
		for j := range n.Links {
			s.link(n, &n.Links[j])
		}
	}
	for i := range s.h.Namespaces {
		n := &s.h.Namespaces[i]
		for j := range n.Links {
			if l := &n.Links[j]; l.Master != "" && n.Link(l.Master) != nil {
				s.line("%s link set %s master %s", in(n.Name), l.Name, l.Master)
			}
		}
	}
}

func (s *script) link(n *facts.Namespace, l *facts.Link) {
	if l.Name == "lo" || l.Name == "ovs-netdev" || l.Name == "ovs-system" {
		for _, a := range l.Addrs {
			if l.Name == "lo" && !a.Addr().IsLoopback() {
				s.line("%s addr add %s dev lo", in(n.Name), a)
			}
		}
		return
	}
	s.line("%s link set %s address %s mtu %d", in(n.Name), l.Name, l.MAC, l.MTU)
	if l.Promisc {
		s.line("%s link set %s promisc on", in(n.Name), l.Name)
	}
	for _, a := range l.Addrs {
		if !a.Addr().IsLinkLocalUnicast() || a.Addr().Is4() {
			nodad := ""
			if a.Addr().Is6() {
				nodad = " nodad"
			}
			s.line("%s addr add %s dev %s%s", in(n.Name), a, l.Name, nodad)
		}
	}
	state := "down"
	if l.Up {
		state = "up"
	}
	s.line("%s link set %s %s", in(n.Name), l.Name, state)
}

// routing writes sysctls, routes, rules and neighbours.
func (s *script) routing() {
	for i := range s.h.Namespaces {
		n := &s.h.Namespaces[i]
		s.sysctls(n)
		for _, direct := range []bool{true, false} { // a gateway must be reachable first
			for j := range n.Routes {
				if r := &n.Routes[j]; direct == !r.Via.IsValid() {
					s.route(n, r)
				}
			}
		}
		for j := range n.Rules {
			s.rule(n, &n.Rules[j])
		}
		for _, e := range n.Neighbours {
			if e.State == "permanent" && !e.Proxy {
				s.line("%s neigh replace %s lladdr %s dev %s nud permanent", in(n.Name), e.Addr, e.MAC, e.Dev)
			}
		}
	}
}

// sysctls are written to the files themselves: names of links may have dots. Forwarding
// comes first, because it resets others.
func (s *script) sysctls(n *facts.Namespace) {
	var first, then []string
	for k, v := range n.Sysctls {
		if strings.Contains(k, "nf_conntrack") || strings.Contains(k, "gc_thresh") {
			continue // of the machine, not of the host
		}
		path := sysctlPath(k)
		line := fmt.Sprintf("[ -w %[1]s ] && echo %[2]s 2>/dev/null >%[1]s || true", path, v)
		if k == "net.ipv4.ip_forward" || k == "net.ipv6.conf.all.forwarding" {
			first = append(first, line)
		} else {
			then = append(then, line)
		}
	}
	slices.Sort(first)
	slices.Sort(then)
	s.line("%sbash -e <<'SYSCTL'\n%s\nSYSCTL", inside(n.Name), strings.Join(append(first, then...), "\n"))
}

// sysctlPath finds the file of net.ipv4.conf.LINK.KEY, where LINK may have dots.
func sysctlPath(key string) string {
	for _, head := range []string{"net.ipv4.conf.", "net.ipv6.conf."} {
		if rest, is := strings.CutPrefix(key, head); is {
			i := strings.LastIndexByte(rest, '.')
			return "/proc/sys/" + strings.ReplaceAll(head, ".", "/") + rest[:i] + "/" + rest[i+1:]
		}
	}
	return "/proc/sys/" + strings.ReplaceAll(key, ".", "/")
}

func (s *script) route(n *facts.Namespace, r *facts.Route) {
	if r.Table == 255 || r.Kind == "local" || r.Kind == "broadcast" || r.Kind == "anycast" || r.Kind == "multicast" || r.Dst.Addr().IsMulticast() || r.Dst.Addr().Is6() && r.Dst.Addr().IsLinkLocalUnicast() {
		return
	}
	family := ""
	if r.Dst.Addr().Is6() {
		family = " -6"
	}
	words := []string{in(n.Name) + family, "route", "replace"}
	if r.Kind != "unicast" {
		words = append(words, r.Kind)
	}
	words = append(words, r.Dst.String())
	add := func(key, value string, is bool) {
		if is {
			words = append(words, key, value)
		}
	}
	add("via", r.Via.String(), r.Via.IsValid())
	add("dev", r.Dev, r.Dev != "" && r.Kind == "unicast")
	add("src", r.Src.String(), r.Src.IsValid())
	add("metric", strconv.Itoa(r.Metric), r.Metric != 0)
	add("mtu", strconv.Itoa(r.MTU), r.MTU != 0)
	add("table", strconv.FormatUint(uint64(r.Table), 10), r.Table != 254)
	if r.Onlink {
		words = append(words, "onlink")
	}
	s.line("%s", strings.Join(words, " "))
}

func (s *script) rule(n *facts.Namespace, r *facts.Rule) {
	if r.Priority == 0 || r.Priority == 32766 || r.Priority == 32767 {
		return // each namespace has these
	}
	family := ""
	if r.V6 {
		family = " -6"
	}
	words := []string{in(n.Name) + family, "rule", "add", "pref", strconv.Itoa(r.Priority)}
	if r.Not {
		words = append(words, "not")
	}
	prefix := func(key string, p netip.Prefix) {
		if p.IsValid() && p.Bits() > 0 {
			words = append(words, key, p.String())
		}
	}
	prefix("from", r.From)
	prefix("to", r.To)
	if !r.From.IsValid() && !r.To.IsValid() {
		words = append(words, "from", "all")
	}
	if r.In != "" {
		words = append(words, "iif", r.In)
	}
	if r.Out != "" {
		words = append(words, "oif", r.Out)
	}
	if r.Mark != 0 {
		words = append(words, "fwmark", fmt.Sprintf("%#x/%#x", r.Mark, r.Mask))
	}
	if r.Kind == "lookup" {
		words = append(words, "lookup", strconv.FormatUint(uint64(r.Table), 10))
	} else {
		words = append(words, r.Kind)
	}
	s.line("%s", strings.Join(words, " "))
}
