package linux

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
)

// Tables with names (rtnetlink(7)).
const (
	tableDefault = 253
	tableMain    = 254
	tableLocal   = 255
)

// fib is the routing of one address family.
type fib struct {
	rules  []*facts.Rule
	custom bool // rules besides those that are always there
	tables map[uint32]*table
}

// table is a routing table, by prefix.
type table struct {
	lengths []int // that occur, longest first
	routes  map[netip.Prefix][]*facts.Route
}

// flow is what routes are looked up by.
type flow struct {
	src, dst netip.Addr
	in, out  string // devices; in is "lo" for packets made here
	mark     uint32
}

// found is the answer of a look-up.
type found struct {
	route *facts.Route
	rule  *facts.Rule
	also  []*facts.Route // further next hops of the same route
	fail  string         // Why..., "" when there is a route
	lacks string         // a rule that is not understood
}

// standard are the rules that a namespace has from the start; they stand in where none were
// collected.
var standard = []facts.Rule{
	{Priority: 0, Kind: "lookup", Table: tableLocal},
	{Priority: 32766, Kind: "lookup", Table: tableMain},
	{Priority: 32767, Kind: "lookup", Table: tableDefault},
}

func newFIB(n *facts.Namespace, v6 bool) *fib {
	f := &fib{tables: map[uint32]*table{}}
	for i := range n.Rules {
		if r := &n.Rules[i]; r.V6 == v6 {
			f.rules = append(f.rules, r)
			f.custom = f.custom || !slices.ContainsFunc(standard, func(s facts.Rule) bool { return sameRule(s, *r) })
		}
	}
	if len(f.rules) == 0 {
		for i := range standard {
			f.rules = append(f.rules, &standard[i])
		}
	}
	slices.SortStableFunc(f.rules, func(a, b *facts.Rule) int { return cmp.Compare(a.Priority, b.Priority) })
	up := map[string]bool{}
	for i := range n.Links {
		up[n.Links[i].Name] = n.Links[i].Up
	}
	for i := range n.Routes {
		r := &n.Routes[i]
		if !r.Dst.IsValid() || r.Dst.Addr().Is6() != v6 {
			continue
		}
		if on, known := up[r.Dev]; known && !on {
			continue // the kernel has no route by a device that is switched off
		}
		f.add(r)
	}
	for i := range n.Links {
		if l := &n.Links[i]; l.Up {
			f.own(l, v6)
		}
	}
	for _, t := range f.tables {
		t.sort()
	}
	return f
}

func sameRule(a, b facts.Rule) bool {
	b.V6 = false
	if b.From.IsValid() && b.From.Bits() == 0 {
		b.From = netip.Prefix{}
	}
	if b.To.IsValid() && b.To.Bits() == 0 {
		b.To = netip.Prefix{}
	}
	return a == b
}

func (f *fib) add(r *facts.Route) {
	t := f.tables[r.Table]
	if t == nil {
		t = &table{routes: map[netip.Prefix][]*facts.Route{}}
		f.tables[r.Table] = t
	}
	p := r.Dst.Masked()
	t.routes[p] = append(t.routes[p], r)
}

// own adds the local routes that the kernel keeps for a link's addresses, if they were not
// collected.
func (f *fib) own(l *facts.Link, v6 bool) {
	for _, p := range l.Addrs {
		if p.Addr().Is6() != v6 {
			continue
		}
		host := netip.PrefixFrom(p.Addr(), p.Addr().BitLen())
		if p.Addr().IsLoopback() && !v6 {
			host = p.Masked()
		}
		if t := f.tables[tableLocal]; t != nil && len(t.routes[host]) > 0 {
			continue
		}
		f.add(&facts.Route{Table: tableLocal, Dst: host, Kind: "local", Dev: l.Name, Src: p.Addr()})
	}
}

func (t *table) sort() {
	lengths := map[int]bool{}
	for p, routes := range t.routes {
		lengths[p.Bits()] = true
		slices.SortStableFunc(routes, func(a, b *facts.Route) int { return cmp.Compare(a.Metric, b.Metric) })
	}
	for n := range lengths {
		t.lengths = append(t.lengths, n)
	}
	slices.SortFunc(t.lengths, func(a, b int) int { return cmp.Compare(b, a) })
}

// lookup finds a route as fib_lookup of the kernel does: rule after rule, the longest prefix,
// then the lowest metric.
func (f *fib) lookup(q flow) found {
	for _, r := range f.rules {
		if !ruleMatches(r, q) {
			continue
		}
		switch r.Kind {
		case "lookup", "":
		case "unreachable":
			return found{rule: r, fail: WhyUnreachable}
		case "prohibit":
			return found{rule: r, fail: WhyProhibit}
		case "blackhole":
			return found{rule: r, fail: WhyBlackhole}
		case "nop":
			continue
		default:
			return found{rule: r, lacks: "rule " + ruleLine(r) + ": " + r.Kind + " is not understood"}
		}
		t := f.tables[r.Table]
		if t == nil {
			continue
		}
		route, also := t.find(q)
		if route == nil || route.Kind == "throw" {
			continue
		}
		out := found{route: route, rule: r, also: also}
		switch route.Kind {
		case "unreachable":
			out.fail = WhyUnreachable
		case "prohibit":
			out.fail = WhyProhibit
		case "blackhole":
			out.fail = WhyBlackhole
		}
		return out
	}
	return found{fail: WhyNoRoute}
}

// uses reports whether one of the next hops is by that device.
func (f *found) uses(dev string) bool {
	return f.route.Dev == dev || slices.ContainsFunc(f.also, func(r *facts.Route) bool { return r.Dev == dev })
}

// find returns the best route of a table, nil if it has none, and the next hops it has besides.
func (t *table) find(q flow) (best *facts.Route, also []*facts.Route) {
	for _, bits := range t.lengths {
		if bits > q.dst.BitLen() {
			continue
		}
		p, err := q.dst.WithZone("").Prefix(bits)
		if err != nil {
			continue
		}
		for _, r := range t.routes[p] {
			if q.out != "" && r.Dev != q.out && r.Dev != "" {
				continue
			}
			if best == nil {
				best = r
			} else if r.Metric == best.Metric && r.Kind == best.Kind && r.Via.IsValid() && best.Via.IsValid() && r.Via != best.Via {
				also = append(also, r)
			}
		}
		if best != nil {
			return best, also
		}
	}
	return nil, nil
}

func ruleMatches(r *facts.Rule, q flow) bool {
	mask := r.Mask
	if mask == 0 && r.Mark != 0 {
		mask = 0xffffffff
	}
	hit := (!r.From.IsValid() || r.From.Bits() == 0 || r.From.Contains(q.src)) &&
		(!r.To.IsValid() || r.To.Bits() == 0 || r.To.Contains(q.dst)) &&
		(r.In == "" || r.In == q.in) && (r.Out == "" || r.Out == q.out) && (r.Mark^q.mark)&mask == 0
	return hit != r.Not
}

// dstOf names a destination as ip route does.
func dstOf(p netip.Prefix) string {
	switch {
	case p.Bits() == 0:
		return "default"
	case p.Bits() == p.Addr().BitLen():
		return p.Addr().String()
	}
	return p.String()
}

// tableName names a table as ip does.
func tableName(n uint32) string {
	switch n {
	case tableDefault:
		return "default"
	case tableMain:
		return "main"
	case tableLocal:
		return "local"
	}
	return strconv.FormatUint(uint64(n), 10)
}

// routeLine writes a route as ip route show table all does, but for what the facts do not hold.
func routeLine(r *facts.Route) string {
	var b strings.Builder
	if r.Kind != "unicast" && r.Kind != "" {
		b.WriteString(r.Kind + " ")
	}
	b.WriteString(dstOf(r.Dst))
	if r.Via.IsValid() {
		b.WriteString(" via " + r.Via.String())
	}
	if r.Dev != "" {
		b.WriteString(" dev " + r.Dev)
	}
	if r.Table != tableMain {
		b.WriteString(" table " + tableName(r.Table))
	}
	if r.Src.IsValid() {
		b.WriteString(" src " + r.Src.String())
	}
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	if r.MTU != 0 {
		fmt.Fprintf(&b, " mtu %d", r.MTU)
	}
	if r.Linked {
		b.WriteString(" linkdown")
	}
	if r.Onlink {
		b.WriteString(" onlink")
	}
	return b.String()
}

// ruleLine writes a rule as ip rule does.
func ruleLine(r *facts.Rule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d:\t", r.Priority)
	if r.Not {
		b.WriteString("not ")
	}
	end := func(p netip.Prefix) string {
		switch {
		case !p.IsValid() || p.Bits() == 0:
			return "all"
		case p.Bits() == p.Addr().BitLen():
			return p.Addr().String()
		}
		return p.String()
	}
	b.WriteString("from " + end(r.From))
	if r.To.IsValid() && r.To.Bits() != 0 {
		b.WriteString(" to " + end(r.To))
	}
	if r.Mark != 0 || r.Mask != 0 {
		fmt.Fprintf(&b, " fwmark 0x%x", r.Mark)
		if r.Mask != 0 && r.Mask != 0xffffffff {
			fmt.Fprintf(&b, "/0x%x", r.Mask)
		}
	}
	if r.In != "" {
		b.WriteString(" iif " + r.In)
	}
	if r.Out != "" {
		b.WriteString(" oif " + r.Out)
	}
	if r.Kind == "lookup" || r.Kind == "" {
		return b.String() + " lookup " + tableName(r.Table)
	}
	return b.String() + " " + r.Kind
}

// RouteLine writes a route as ip route show table all does.
func RouteLine(r facts.Route) string { return routeLine(&r) }

// RuleLine writes a rule as ip rule does.
func RuleLine(r facts.Rule) string { return ruleLine(&r) }

// NeighbourLine writes a neighbour as ip neigh does.
func NeighbourLine(n facts.Neighbour) string {
	var b strings.Builder
	b.WriteString(n.Addr.String() + " dev " + n.Dev)
	if !n.MAC.Zero() {
		b.WriteString(" lladdr " + n.MAC.String())
	}
	if n.Proxy {
		b.WriteString(" proxy")
	}
	return b.String() + " " + strings.ToUpper(n.State)
}
