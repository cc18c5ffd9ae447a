package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/packet"
)

// kind is what a rule does with the packets that it matches.
type kind uint8

const (
	next kind = iota // on with the next rule
	accept
	drop
	back // RETURN
	jump
	doubt // not understood
)

// target is the target of a rule, compiled.
type target struct {
	kind kind
	to   string             // chain, of jump
	do   func(v *view) kind // of next and accept: what it does; it may drop after all
	why  string             // of doubt
}

// passing are targets that change nothing that matters to where a packet goes.
var passing = map[string]bool{
	"": true, "LOG": true, "NFLOG": true, "ULOG": true, "CHECKSUM": true, "TRACE": true, "AUDIT": true, "TCPMSS": true, "CLASSIFY": true,
	"SECMARK": true, "CONNSECMARK": true, "SET": true, "IDLETIMER": true, "LED": true, "RATEEST": true, "TCPOPTSTRIP": true, "TEE": true, "ACCOUNT": true, "ECN": true,
}

// compileTarget compiles the target of a rule; chain says which chains its table has.
func compileTarget(r *Rule, chain func(string) bool) target {
	if chain(r.Target) {
		return target{kind: jump, to: r.Target}
	}
	if passing[r.Target] {
		return target{}
	}
	switch r.Target {
	case "ACCEPT":
		return target{kind: accept}
	case "DROP", "REJECT":
		return target{kind: drop}
	case "RETURN":
		return target{kind: back}
	}
	f := targets[r.Target]
	if f == nil {
		return target{kind: doubt, why: "target " + r.Target + " is not understood"}
	}
	t, err := f(r)
	if err != nil {
		return target{kind: doubt, why: "target " + r.Target + ": " + err.Error()}
	}
	return t
}

var targets = map[string]func(r *Rule) (target, error){
	"MARK": markTarget, "CONNMARK": connmarkTarget, "CT": ctTarget,
	"NOTRACK": func(*Rule) (target, error) {
		return target{do: func(v *view) kind { v.track.off = true; return next }}, nil
	},
	"SNAT": natTarget, "DNAT": natTarget, "MASQUERADE": masquerade, "REDIRECT": redirect, "TPROXY": tproxy,
	"TTL": ttlTarget, "HL": ttlTarget, "DSCP": dscpTarget, "TOS": dscpTarget, "NETMAP": netmap,
}

// change returns what becomes of a mark.
func change(args []Option) (func(uint32) uint32, error) {
	for _, a := range args {
		if len(a.Args) != 1 {
			continue
		}
		n, mask, err := value(a.Args[0])
		if err != nil {
			return nil, err
		}
		switch a.Name {
		case "--set-xmark":
			return func(m uint32) uint32 { return m&^mask ^ n }, nil
		case "--set-mark":
			return func(m uint32) uint32 { return m&^mask | n }, nil
		case "--and-mark":
			return func(m uint32) uint32 { return m & n }, nil
		case "--or-mark":
			return func(m uint32) uint32 { return m | n }, nil
		case "--xor-mark":
			return func(m uint32) uint32 { return m ^ n }, nil
		}
	}
	return nil, errors.New("its options are not understood")
}

func markTarget(r *Rule) (target, error) {
	f, err := change(r.Args)
	if err != nil {
		return target{}, err
	}
	return target{do: func(v *view) kind {
		v.mark, v.marker = f(v.mark), r
		return next
	}}, nil
}

func connmarkTarget(r *Rule) (target, error) {
	nf, ct := uint32(0xffffffff), uint32(0xffffffff)
	var mode string
	for _, a := range r.Args {
		switch a.Name {
		case "--save-mark", "--restore-mark":
			mode = a.Name
			continue
		case "--nfmask", "--ctmask", "--mask":
		default:
			continue
		}
		if len(a.Args) != 1 {
			return target{}, fmt.Errorf("%s is not understood", a)
		}
		n, _, err := value(a.Args[0])
		if err != nil {
			return target{}, err
		}
		if a.Name != "--ctmask" {
			nf = n
		}
		if a.Name != "--nfmask" {
			ct = n
		}
	}
	// A packet that is not tracked has no connection to mark (xt_connmark.c).
	on := func(f func(v *view)) target {
		return target{do: func(v *view) kind {
			if v.track.done && !v.track.off && !v.track.invalid {
				f(v)
			}
			return next
		}}
	}
	switch mode {
	case "--save-mark":
		return on(func(v *view) { v.track.mark = v.track.mark&^ct ^ v.mark&nf }), nil
	case "--restore-mark":
		return on(func(v *view) { v.mark, v.marker = v.mark&^nf^v.track.mark&ct, r }), nil
	}
	f, err := change(r.Args)
	if err != nil {
		return target{}, err
	}
	return on(func(v *view) { v.track.mark = f(v.track.mark) }), nil
}

func ctTarget(r *Rule) (target, error) {
	zone, off := -1, false
	for _, a := range r.Args {
		switch a.Name {
		case "--notrack":
			off = true
		case "--zone":
			n, err := strconv.ParseUint(strings.Join(a.Args, ""), 10, 16)
			if err != nil {
				return target{}, fmt.Errorf("%s is not understood", a)
			}
			zone = int(n)
		case "--helper", "--timeout", "--ctevents", "--expevents":
		default:
			return target{}, fmt.Errorf("%s is not understood", a)
		}
	}
	return target{do: func(v *view) kind {
		v.track.off = v.track.off || off
		if zone >= 0 {
			v.track.zone, v.track.zoner = zone, r
		}
		return next
	}}, nil
}

// goal is where NAT leads: an address, a port, each perhaps unset.
type goal struct {
	addr     netip.Addr
	from, to uint16
}

// goalOf reads "10.0.0.1", "10.0.0.1-10.0.0.9:80-90", ":80", "[2001:db8::1]:80".
func goalOf(text string) (g goal, err error) {
	addr, port := text, ""
	if rest, ok := strings.CutPrefix(text, "["); ok {
		addr, port, ok = strings.Cut(rest, "]")
		if !ok {
			return g, fmt.Errorf("%q is not understood", clip(text))
		}
		port = strings.TrimPrefix(port, ":")
	} else if strings.Count(text, ":") == 1 {
		addr, port, _ = strings.Cut(text, ":")
	}
	if port, _, _ = strings.Cut(port, "/"); port != "" {
		var ok bool
		if g.from, g.to, ok = ports(port, "-"); !ok {
			return g, fmt.Errorf("%q is not understood", clip(text))
		}
	}
	addr, _, _ = strings.Cut(addr, "-") // of a range the first, as the kernel's choice is a hash
	if addr != "" {
		if g.addr, err = netip.ParseAddr(addr); err != nil {
			return g, fmt.Errorf("%q is not understood", clip(text))
		}
	}
	return g, nil
}

// port returns the port that a packet gets: its own, if that is within the goal's.
func (g goal) port(n uint16) uint16 {
	if g.to == 0 || n >= g.from && n <= g.to {
		return n
	}
	return g.from
}

func natTarget(r *Rule) (target, error) {
	name := "--to-destination"
	if r.Target == "SNAT" {
		name = "--to-source"
	}
	o := find(r.Args, name)
	if o == nil || len(o.Args) != 1 {
		return target{}, fmt.Errorf("%s is not understood", name)
	}
	g, err := goalOf(o.Args[0])
	if err != nil {
		return target{}, err
	}
	if r.Target == "SNAT" {
		return target{kind: accept, do: func(v *view) kind { return v.source(g) }}, nil
	}
	return target{kind: accept, do: func(v *view) kind { return v.destination(g) }}, nil
}

func (v *view) source(g goal) kind {
	if g.addr.IsValid() {
		v.p.IPSrc = g.addr
	}
	if hasPorts(&v.p) {
		v.p.SrcPort = g.port(v.p.SrcPort)
	}
	return accept
}

func (v *view) destination(g goal) kind {
	if g.addr.IsValid() {
		v.p.IPDst = g.addr
	}
	if hasPorts(&v.p) {
		v.p.DstPort = g.port(v.p.DstPort)
	}
	return accept
}

// toPorts reads the option --to-ports, which may be missing.
func toPorts(r *Rule) (g goal, err error) {
	o := find(r.Args, "--to-ports")
	if o == nil {
		return g, nil
	}
	var ok bool
	if g.from, g.to, ok = ports(strings.Join(o.Args, ""), "-"); !ok {
		return g, fmt.Errorf("%s is not understood", o)
	}
	return g, nil
}

// masquerade gives the address that the outgoing device would use towards the next hop; if it
// has none the packet is dropped (nf_nat_masquerade.c).
func masquerade(r *Rule) (target, error) {
	g, err := toPorts(r)
	if err != nil {
		return target{}, err
	}
	return target{kind: accept, do: func(v *view) kind {
		g := g
		g.addr = v.space.pick(v.out, v.next)
		if !g.addr.IsValid() {
			return drop
		}
		return v.source(g)
	}}, nil
}

// redirect leads to the first address of the device by which the packet came, or to the
// loopback's for those made here (nf_nat_redirect.c).
func redirect(r *Rule) (target, error) {
	g, err := toPorts(r)
	if err != nil {
		return target{}, err
	}
	return target{kind: accept, do: func(v *view) kind {
		g := g
		switch {
		case v.hook == "OUTPUT" && v.p.Type == packet.IPv6:
			g.addr = netip.IPv6Loopback()
		case v.hook == "OUTPUT":
			g.addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		default:
			g.addr = v.space.first(v.in, v.p.Type == packet.IPv6)
		}
		if !g.addr.IsValid() {
			return drop
		}
		return v.destination(g)
	}}, nil
}

func tproxy(r *Rule) (target, error) {
	mark := func(m uint32) uint32 { return m }
	port := uint16(0)
	for _, a := range r.Args {
		one := strings.Join(a.Args, "")
		switch a.Name {
		case "--on-port":
			n, err := strconv.ParseUint(one, 10, 16)
			if err != nil {
				return target{}, fmt.Errorf("%s is not understood", a)
			}
			port = uint16(n)
		case "--tproxy-mark":
			n, mask, err := value(one)
			if err != nil {
				return target{}, err
			}
			mark = func(m uint32) uint32 { return m&^mask ^ n }
		case "--on-ip":
		default:
			return target{}, fmt.Errorf("%s is not understood", a)
		}
	}
	return target{kind: accept, do: func(v *view) kind {
		v.mark, v.marker, v.proxied = mark(v.mark), r, port
		if port == 0 {
			v.proxied = v.p.DstPort
		}
		return accept
	}}, nil
}

func ttlTarget(r *Rule) (target, error) {
	for _, a := range r.Args {
		n, err := strconv.ParseUint(strings.Join(a.Args, ""), 10, 8)
		if err != nil {
			return target{}, fmt.Errorf("%s is not understood", a)
		}
		by := uint8(n)
		switch strings.TrimPrefix(strings.TrimPrefix(a.Name, "--ttl-"), "--hl-") {
		case "set":
			return target{do: func(v *view) kind { v.p.TTL = by; return next }}, nil
		case "inc":
			return target{do: func(v *view) kind { v.p.TTL += min(by, 255-v.p.TTL); return next }}, nil
		case "dec":
			return target{do: func(v *view) kind { v.p.TTL -= min(by, v.p.TTL); return next }}, nil
		}
	}
	return target{}, errors.New("its options are not understood")
}

func dscpTarget(r *Rule) (target, error) {
	for _, a := range r.Args {
		n, mask, err := value(strings.Join(a.Args, ""))
		if err != nil {
			return target{}, err
		}
		switch a.Name {
		case "--set-dscp":
			return target{do: func(v *view) kind { v.p.TOS = v.p.TOS&3 | uint8(n<<2); return next }}, nil
		case "--set-tos":
			return target{do: func(v *view) kind { v.p.TOS = v.p.TOS&^uint8(mask) ^ uint8(n); return next }}, nil
		}
	}
	return target{}, errors.New("its options are not understood")
}

// netmap replaces the network part of an address.
func netmap(r *Rule) (target, error) {
	o := find(r.Args, "--to")
	if o == nil || len(o.Args) != 1 {
		return target{}, errors.New("its options are not understood")
	}
	to, err := prefix(o.Args[0])
	if err != nil {
		return target{}, err
	}
	return target{kind: accept, do: func(v *view) kind {
		if v.hook == "PREROUTING" || v.hook == "OUTPUT" {
			return v.destination(goal{addr: graft(to, v.p.IPDst)})
		}
		return v.source(goal{addr: graft(to, v.p.IPSrc)})
	}}, nil
}

// graft puts the host part of a behind the network p.
func graft(p netip.Prefix, a netip.Addr) netip.Addr {
	if p.Addr().BitLen() != a.BitLen() {
		return a
	}
	n, h := p.Addr().AsSlice(), a.AsSlice()
	for i := range n {
		mask := byte(0xff)
		switch bits := p.Bits() - 8*i; {
		case bits >= 8:
			mask = 0
		case bits > 0:
			mask = 0xff >> bits
		}
		n[i] |= h[i] & mask
	}
	out, _ := netip.AddrFromSlice(n)
	return out
}
