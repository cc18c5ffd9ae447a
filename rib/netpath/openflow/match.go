package openflow

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/packet"
)

// Match is what a packet must have.
type Match struct {
	terms   []term   // by word, one each
	unknown []string // fields that are not understood, with their values
}

// term is what one word must have.
type term struct {
	word        uint8
	value, mask uint64 // value has no bit that mask lacks
}

// protocols are the words that stand for a type of packet.
var protocols = map[string]struct {
	etherType uint16
	proto     uint8 // 0: any
}{
	"ip": {packet.IPv4, 0}, "ipv6": {packet.IPv6, 0}, "arp": {packet.ARP, 0}, "rarp": {0x8035, 0}, "mpls": {0x8847, 0}, "mplsm": {0x8848, 0},
	"icmp": {packet.IPv4, packet.ICMP}, "tcp": {packet.IPv4, packet.TCP}, "udp": {packet.IPv4, packet.UDP}, "sctp": {packet.IPv4, 132},
	"icmp6": {packet.IPv6, packet.ICMPv6}, "tcp6": {packet.IPv6, packet.TCP}, "udp6": {packet.IPv6, packet.UDP}, "sctp6": {packet.IPv6, 132},
}

// add demands that a field has a value.
func (m *Match) add(f *field, v, mask u128) {
	if f.wide() {
		m.demand(f.word, v.hi, mask.hi)
		m.demand(f.word+1, v.lo, mask.lo)
		return
	}
	m.demand(f.word, v.lo<<f.shift, mask.lo<<f.shift&f.mask())
}

func (m *Match) demand(word uint8, value, mask uint64) {
	if mask == 0 {
		return
	}
	i, found := slices.BinarySearchFunc(m.terms, word, func(t term, w uint8) int { return cmp.Compare(t.word, w) })
	if !found {
		m.terms = slices.Insert(m.terms, i, term{word: word})
	}
	t := &m.terms[i]
	t.value = t.value&^mask | value&mask
	t.mask |= mask
}

// demandMask is mask of the tag's VID and its presence.
const tagMask = presentTCI | 0xfff

// parse adds a field with its value, or a protocol's word.
func (m *Match) parse(name, value string, hasValue bool) error {
	if !hasValue {
		p, ok := protocols[name]
		if !ok {
			if name != "eth" {
				m.unknown = append(m.unknown, name)
			}
			return nil
		}
		m.demand(slotCT, uint64(p.etherType), 0xffff)
		if p.proto != 0 {
			m.demand(slotEthDst, uint64(p.proto)<<8, 0xff00)
		}
		return nil
	}
	f := fieldByName[name]
	if f == nil {
		m.unknown = append(m.unknown, name+"="+value)
		return nil
	}
	switch name {
	case "dl_vlan":
		n, err := parseNumber(value)
		if err != nil {
			return fmt.Errorf("dl_vlan=%s: %w", value, err)
		}
		if n.lo == 0xffff {
			m.demand(slotEthSrc, 0, 0xffff)
		} else {
			m.demand(slotEthSrc, n.lo&0xfff|presentTCI, tagMask)
		}
		return nil
	case "dl_vlan_pcp", "vlan_pcp":
		m.demand(slotEthSrc, presentTCI, presentTCI)
	}
	v, mask, err := parseValue(f, value)
	if err != nil {
		return fmt.Errorf("%s=%s: %w", name, value, err)
	}
	m.add(f, v, mask)
	return nil
}

// fits reports whether a packet has what the match demands, unknown fields aside.
func (m *Match) fits(w *words) bool {
	for i := range m.terms {
		t := &m.terms[i]
		if w[t.word]&t.mask != t.value {
			return false
		}
	}
	return true
}

// Field returns what a match demands of a field, as "value" or "value/mask" in the way of
// ovs-ofctl; ok is false if it demands nothing of it, or the field is not known.
func (m *Match) Field(name string) (text string, ok bool) {
	f := fieldByName[name]
	if f == nil {
		return "", false
	}
	var v, mask words
	for _, t := range m.terms {
		v[t.word], mask[t.word] = t.value, t.mask
	}
	k := mask.get(f)
	if k == (u128{}) {
		return "", false
	}
	return format(f, v.get(f), k), true
}

// Unknown returns the fields that are not understood, with their values. A flow that has
// some is never met; packets that would meet it but for them say so in Result.Unknown.
func (m *Match) Unknown() []string { return m.unknown }

// String writes the match in one normal form: fields by their place, not by the order in
// which they were written; protocols and addresses as fields.
func (m *Match) String() string {
	var b strings.Builder
	var value, mask words
	for _, t := range m.terms {
		value[t.word], mask[t.word] = t.value, t.mask
	}
	for i := range canonical {
		f := canonical[i]
		k := mask.get(f)
		if k == (u128{}) {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(f.name)
		b.WriteByte('=')
		b.WriteString(format(f, value.get(f), k))
	}
	for _, u := range m.unknown {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(u)
	}
	return b.String()
}

// canonical are fields that cover each bit of words once.
var canonical = cover()

func cover() []*field {
	var list []*field
	var seen words
	take := func(f *field) {
		full := ones128(128)
		var w words
		w.set(f, full, full)
		for i := range w {
			if w[i]&^f.always&seen[i] != 0 {
				return
			}
		}
		for i := range w {
			seen[i] |= w[i]
		}
		list = append(list, f)
	}
	for n := range 16 {
		take(fieldByName["reg"+strconv.Itoa(n)])
	}
	take(&field{name: "nw_tos", word: slotEthDst, bits: 8, size: 8})
	for i := range fields {
		take(&fields[i])
	}
	return list
}

// format writes a value with its mask.
func format(f *field, v, mask u128) string {
	full := ones128(int(f.bits))
	full.lo &^= f.not
	text := formatOne(f, v)
	switch {
	case mask == full:
		return text
	case f.form == ip4 || f.form == ip6:
		if n := prefixLength(mask, int(f.bits)); n >= 0 {
			return text + "/" + strconv.Itoa(n)
		}
	}
	return text + "/" + formatOne(f, mask)
}

func formatOne(f *field, v u128) string {
	switch f.form { //nolint:exhaustive // the others are dealt with below, or need nothing
	case mac:
		return valueMAC(v.lo).String()
	case ip4:
		return valueAddr4(v.lo).String()
	case ip6:
		return valueAddr6(v).String()
	case number, port:
		return strconv.FormatUint(v.lo, 10)
	}
	return v.String()
}

// Prefix returns the network that a match demands of an address field ("nw_src",
// "ipv6_dst", "arp_spa", "tun_dst", ...).
func (m *Match) Prefix(name string) (netip.Prefix, bool) {
	text, ok := m.Field(name)
	if !ok {
		return netip.Prefix{}, false
	}
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		return netip.PrefixFrom(a, a.BitLen()), err == nil
	}
	p, err := netip.ParsePrefix(text)
	return p, err == nil
}
