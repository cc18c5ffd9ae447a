package linux

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/packet"
)

// test is a match of a rule, compiled. sure is false when it cannot be told from what is known.
type test func(v *view) (yes, sure bool)

// plain makes a test of a function that can always tell.
func plain(not bool, f func(v *view) bool) test {
	return func(v *view) (bool, bool) { return f(v) != not, true }
}

// unsure is the test of what nobody can tell.
func unsure(*view) (bool, bool) { return false, false }

var protocols = map[string]uint8{
	"icmp": packet.ICMP, "tcp": packet.TCP, "udp": packet.UDP, "ipv6-icmp": packet.ICMPv6, "icmpv6": packet.ICMPv6, "icmp6": packet.ICMPv6,
	"sctp": 132, "udplite": 136, "dccp": 33, "esp": 50, "ah": 51, "gre": 47, "igmp": 2, "vrrp": 112, "ipip": 4, "ipencap": 4, "ipv6": 41,
	"ospf": 89, "pim": 103, "egp": 8, "rsvp": 46, "pgm": 113, "ipv6-encap": 41,
}

// compileMatch compiles one match. An error means that it is not understood.
func compileMatch(o *Option) (test, error) {
	one := strings.Join(o.Args, " ")
	switch o.Name {
	case "-s", "--source":
		return address(o, one, func(v *view) netip.Addr { return v.p.IPSrc })
	case "-d", "--destination":
		return address(o, one, func(v *view) netip.Addr { return v.p.IPDst })
	case "-i", "--in-interface":
		return plain(o.Not, func(v *view) bool { return device(one, v.in) }), nil
	case "-o", "--out-interface":
		return plain(o.Not, func(v *view) bool { return device(one, v.out) }), nil
	case "-p", "--protocol", "--proto":
		return protocol(o, one)
	case "-f", "--fragment":
		return plain(o.Not, func(*view) bool { return false }), nil
	}
	if f := module(o.Module); f != nil {
		return f(o, one)
	}
	return nil, fmt.Errorf("%s is not understood", o)
}

// module returns what compiles the matches of a module, nil if it is not understood.
func module(name string) func(o *Option, one string) (test, error) {
	switch name {
	case "tcp", "udp", "sctp", "udplite", "dccp":
		return portMatch
	case "multiport":
		return multiport
	case "icmp", "icmp6", "icmpv6":
		return icmpMatch
	case "state":
		return stateMatch
	case "conntrack":
		return conntrackMatch
	case "mark", "connmark":
		return markMatch
	case "mac":
		return macMatch
	case "set":
		return setMatch
	case "physdev":
		return physdevMatch
	case "addrtype":
		return addrtypeMatch
	case "iprange":
		return rangeMatch
	case "length":
		return lengthMatch
	case "ttl", "hl":
		return ttlMatch
	case "pkttype":
		return pkttypeMatch
	case "dscp":
		return dscpMatch
	case "tos":
		return tosMatch
	}
	return nil
}

func protocol(o *Option, one string) (test, error) {
	if one == "all" || one == "0" {
		return plain(o.Not, func(*view) bool { return true }), nil
	}
	n, ok := protocols[one]
	if !ok {
		i, err := strconv.ParseUint(one, 10, 8)
		if err != nil {
			return nil, fmt.Errorf("protocol %s is not understood", one)
		}
		n = uint8(i)
	}
	return plain(o.Not, func(v *view) bool { return v.p.Proto == n }), nil
}

func address(o *Option, text string, of func(*view) netip.Addr) (test, error) {
	p, err := prefix(text)
	if err != nil {
		return nil, err
	}
	return plain(o.Not, func(v *view) bool { return p.Contains(of(v)) }), nil
}

// device compares an interface with a name of a rule, in which a + at the end stands for
// anything.
func device(pattern, name string) bool {
	if before, ok := strings.CutSuffix(pattern, "+"); ok {
		return strings.HasPrefix(name, before)
	}
	return pattern == name
}

// ports reads "80" or "1000:2000" with the separator given; an end left out is 0 or 65535.
func ports(text, separator string) (from, to uint16, ok bool) {
	a, b, both := strings.Cut(text, separator)
	if !both {
		b = a
	}
	if both && a == "" {
		a = "0"
	}
	if both && b == "" {
		b = "65535"
	}
	x, err1 := strconv.ParseUint(a, 10, 16)
	y, err2 := strconv.ParseUint(b, 10, 16)
	return uint16(x), uint16(y), err1 == nil && err2 == nil
}

func hasPorts(p *packet.Packet) bool {
	switch p.Proto {
	case packet.TCP, packet.UDP, 132, 136, 33:
		return true
	}
	return false
}

func portMatch(o *Option, one string) (test, error) {
	switch o.Name {
	case "--sport", "--source-port", "--dport", "--destination-port":
		from, to, ok := ports(one, ":")
		if !ok {
			return nil, fmt.Errorf("port %s is not understood", one)
		}
		source := strings.HasPrefix(o.Name, "--s")
		return plain(o.Not, func(v *view) bool {
			n := v.p.DstPort
			if source {
				n = v.p.SrcPort
			}
			return n >= from && n <= to
		}), nil
	case "--tcp-flags", "--syn":
		return flagsMatch(o)
	}
	return nil, fmt.Errorf("%s is not understood", o)
}

var tcpFlags = map[string]uint8{"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ALL": 63, "NONE": 0}

func flagsMatch(o *Option) (test, error) {
	mask, want := uint8(1|2|4|16), uint8(2)
	if o.Name == "--tcp-flags" {
		if len(o.Args) != 2 {
			return nil, fmt.Errorf("%s is not understood", o)
		}
		var of [2]uint8
		for i, list := range o.Args {
			for name := range strings.SplitSeq(list, ",") {
				bits, ok := tcpFlags[name]
				if n, err := strconv.ParseUint(name, 0, 8); err == nil {
					bits, ok = uint8(n), true
				}
				if !ok {
					return nil, fmt.Errorf("flag %s is not understood", name)
				}
				of[i] |= bits
			}
		}
		mask, want = of[0], of[1]
	}
	return plain(o.Not, func(v *view) bool { return v.p.Flags&mask == want }), nil
}

func multiport(o *Option, one string) (test, error) {
	type span struct{ from, to uint16 }
	var spans []span
	for s := range strings.SplitSeq(one, ",") {
		from, to, ok := ports(s, ":")
		if !ok {
			return nil, fmt.Errorf("ports %s are not understood", one)
		}
		spans = append(spans, span{from, to})
	}
	in := func(n uint16) bool {
		return slices.ContainsFunc(spans, func(s span) bool { return n >= s.from && n <= s.to })
	}
	var f func(p *packet.Packet) bool
	switch o.Name {
	case "--sports", "--source-ports":
		f = func(p *packet.Packet) bool { return in(p.SrcPort) }
	case "--dports", "--destination-ports":
		f = func(p *packet.Packet) bool { return in(p.DstPort) }
	case "--ports":
		f = func(p *packet.Packet) bool { return in(p.SrcPort) || in(p.DstPort) }
	default:
		return nil, fmt.Errorf("%s is not understood", o)
	}
	return func(v *view) (bool, bool) { return hasPorts(&v.p) && f(&v.p) != o.Not, true }, nil
}

var icmpNames = map[string]int{
	"echo-reply": 0, "pong": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8, "ping": 8,
	"time-exceeded": 11, "ttl-exceeded": 11, "parameter-problem": 12, "timestamp-request": 13, "timestamp-reply": 14,
}

var icmp6Names = map[string]int{
	"destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4, "echo-request": 128, "echo-reply": 129,
	"router-solicitation": 133, "router-advertisement": 134, "neighbour-solicitation": 135, "neighbor-solicitation": 135,
	"neighbour-advertisement": 136, "neighbor-advertisement": 136, "redirect": 137,
}

func icmpMatch(o *Option, one string) (test, error) {
	names, proto := icmpNames, uint8(packet.ICMP)
	if o.Name == "--icmpv6-type" {
		names, proto = icmp6Names, packet.ICMPv6
	} else if o.Name != "--icmp-type" {
		return nil, fmt.Errorf("%s is not understood", o)
	}
	if one == "any" || one == "255" && proto == packet.ICMP {
		return plain(o.Not, func(v *view) bool { return v.p.Proto == proto }), nil
	}
	kind, code, both := strings.Cut(one, "/")
	t, ok := names[kind]
	if !ok {
		n, err := strconv.ParseUint(kind, 10, 8)
		if err != nil {
			return nil, fmt.Errorf("%s is not understood", o)
		}
		t = int(n)
	}
	c, err := strconv.ParseUint(code, 10, 8)
	if both && err != nil {
		return nil, fmt.Errorf("%s is not understood", o)
	}
	return func(v *view) (bool, bool) {
		hit := int(v.p.ICMPType) == t && (!both || uint64(v.p.ICMPCode) == c)
		return v.p.Proto == proto && hit != o.Not, true
	}, nil
}

func stateMatch(o *Option, one string) (test, error) {
	if o.Name != "--state" {
		return nil, fmt.Errorf("%s is not understood", o)
	}
	return ctstate(o, one)
}

func ctstate(o *Option, one string) (test, error) {
	var want state
	for s := range strings.SplitSeq(one, ",") {
		bit, ok := states[s]
		if !ok {
			return nil, fmt.Errorf("state %s is not understood", s)
		}
		want |= bit
	}
	return plain(o.Not, func(v *view) bool { return v.state()&want != 0 }), nil
}

func conntrackMatch(o *Option, one string) (test, error) {
	switch o.Name {
	case "--ctstate":
		return ctstate(o, one)
	case "--ctdir":
		return func(v *view) (bool, bool) {
			e := v.track.entry
			return v.track.done && !v.track.off && (one == "REPLY") == (e != nil && v.track.reply), true
		}, nil
	case "--ctproto":
		return protocol(o, one)
	case "--ctorigsrc", "--ctorigdst", "--ctreplsrc", "--ctrepldst":
		p, err := prefix(one)
		if err != nil {
			return nil, err
		}
		return func(v *view) (bool, bool) {
			a, ok := v.tupleAddr(o.Name)
			return ok && p.Contains(a) != o.Not, true
		}, nil
	case "--ctorigdstport", "--ctorigsrcport":
		from, to, ok := ports(one, ":")
		if !ok {
			return nil, fmt.Errorf("%s is not understood", o)
		}
		return func(v *view) (bool, bool) {
			t, known := v.original()
			n := t.Dport
			if o.Name == "--ctorigsrcport" {
				n = t.Sport
			}
			return known && (n >= from && n <= to) != o.Not, true
		}, nil
	}
	return nil, fmt.Errorf("%s is not understood", o)
}

// value reads "0x1/0xffff"; without a mask all bits count.
func value(text string) (n, mask uint32, err error) {
	a, b, both := strings.Cut(text, "/")
	x, err := strconv.ParseUint(a, 0, 32)
	y := uint64(0xffffffff)
	if err == nil && both {
		y, err = strconv.ParseUint(b, 0, 32)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("%q is no mark", clip(text))
	}
	return uint32(x), uint32(y), nil
}

func markMatch(o *Option, one string) (test, error) {
	n, mask, err := value(one)
	if err != nil || o.Name != "--mark" {
		return nil, fmt.Errorf("%s is not understood", o)
	}
	if o.Module == "connmark" {
		return func(v *view) (bool, bool) {
			return v.track.done && !v.track.off && (v.track.mark&mask == n) != o.Not, true
		}, nil
	}
	return plain(o.Not, func(v *view) bool { return v.mark&mask == n }), nil
}

func macMatch(o *Option, one string) (test, error) {
	m, err := packet.ParseMAC(one)
	if err != nil || o.Name != "--mac-source" {
		return nil, fmt.Errorf("%s is not understood", o)
	}
	return plain(o.Not, func(v *view) bool { return v.p.Src == m }), nil
}

func setMatch(o *Option, _ string) (test, error) {
	switch {
	case o.Name == "--return-nomatch" || o.Name == "--update-counters" || o.Name == "--update-subcounters":
		if o.Name == "--return-nomatch" {
			return nil, fmt.Errorf("%s is not understood", o)
		}
		return plain(false, func(*view) bool { return true }), nil
	case o.Name != "--match-set" || len(o.Args) != 2:
		return nil, fmt.Errorf("%s is not understood", o)
	}
	name, sides := o.Args[0], strings.Split(o.Args[1], ",")
	return func(v *view) (bool, bool) {
		s := v.sets[name]
		if s == nil || len(sides) < len(s.dims) {
			return false, false
		}
		in, sure := s.has(v, sides, 0)
		return in != o.Not, sure
	}, nil
}

// physdevMatch does as xt_physdev.c: what is no bridged packet has no such device, and only a
// negated match is true of it.
func physdevMatch(o *Option, one string) (test, error) {
	switch o.Name {
	case "--physdev-in":
		return plain(o.Not, func(v *view) bool { return v.physIn != "" && device(one, v.physIn) }), nil
	case "--physdev-out":
		return plain(o.Not, func(v *view) bool { return v.physOut != "" && device(one, v.physOut) }), nil
	case "--physdev-is-in":
		return plain(o.Not, func(v *view) bool { return v.physIn != "" }), nil
	case "--physdev-is-out":
		return plain(o.Not, func(v *view) bool { return v.physOut != "" }), nil
	case "--physdev-is-bridged":
		return plain(o.Not, func(v *view) bool { return v.physOut != "" }), nil
	}
	return nil, fmt.Errorf("%s is not understood", o)
}

func addrtypeMatch(o *Option, one string) (test, error) {
	switch o.Name {
	case "--limit-iface-in", "--limit-iface-out":
		return nil, fmt.Errorf("%s is not understood", o)
	case "--src-type", "--dst-type":
	default:
		return nil, fmt.Errorf("%s is not understood", o)
	}
	kinds := strings.Split(strings.ToLower(one), ",")
	return plain(o.Not, func(v *view) bool {
		a := v.p.IPDst
		if o.Name == "--src-type" {
			a = v.p.IPSrc
		}
		return slices.Contains(kinds, v.space.addrType(a))
	}), nil
}

func rangeMatch(o *Option, one string) (test, error) {
	a, b, _ := strings.Cut(one, "-")
	from, err := netip.ParseAddr(a)
	to, err2 := netip.ParseAddr(b)
	if err != nil || err2 != nil || o.Name != "--src-range" && o.Name != "--dst-range" {
		return nil, fmt.Errorf("%s is not understood", o)
	}
	return plain(o.Not, func(v *view) bool {
		x := v.p.IPDst
		if o.Name == "--src-range" {
			x = v.p.IPSrc
		}
		return x.BitLen() == from.BitLen() && from.Compare(x) <= 0 && x.Compare(to) <= 0
	}), nil
}

func lengthMatch(o *Option, one string) (test, error) {
	from, to, ok := ports(one, ":")
	if !ok || o.Name != "--length" {
		return nil, fmt.Errorf("%s is not understood", o)
	}
	return func(v *view) (bool, bool) {
		n := v.p.Size
		return (n >= int(from) && n <= int(to)) != o.Not, n != 0
	}, nil
}

func ttlMatch(o *Option, one string) (test, error) {
	n, err := strconv.ParseUint(one, 10, 8)
	if err != nil {
		return nil, fmt.Errorf("%s is not understood", o)
	}
	switch o.Name {
	case "--ttl-eq", "--hl-eq", "--ttl":
		return plain(o.Not, func(v *view) bool { return uint64(v.p.TTL) == n }), nil
	case "--ttl-lt", "--hl-lt":
		return plain(o.Not, func(v *view) bool { return uint64(v.p.TTL) < n }), nil
	case "--ttl-gt", "--hl-gt":
		return plain(o.Not, func(v *view) bool { return uint64(v.p.TTL) > n }), nil
	}
	return nil, fmt.Errorf("%s is not understood", o)
}

func pkttypeMatch(o *Option, one string) (test, error) {
	if o.Name != "--pkt-type" {
		return nil, fmt.Errorf("%s is not understood", o)
	}
	return plain(o.Not, func(v *view) bool {
		kind := "unicast"
		switch {
		case v.p.Dst == packet.Broadcast:
			kind = "broadcast"
		case v.p.Dst.Group():
			kind = "multicast"
		}
		return kind == one
	}), nil
}

func dscpMatch(o *Option, one string) (test, error) {
	n, err := strconv.ParseUint(one, 0, 6)
	if err != nil || o.Name != "--dscp" {
		return nil, fmt.Errorf("%s is not understood", o)
	}
	return plain(o.Not, func(v *view) bool { return uint64(v.p.TOS>>2) == n }), nil
}

func tosMatch(o *Option, one string) (test, error) {
	n, mask, err := value(one)
	if err != nil || o.Name != "--tos" {
		return nil, fmt.Errorf("%s is not understood", o)
	}
	return plain(o.Not, func(v *view) bool { return uint32(v.p.TOS)&mask == n }), nil
}
