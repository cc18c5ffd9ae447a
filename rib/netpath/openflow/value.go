package openflow

import (
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/packet"
)

// u128 is a value of up to 128 bits.
type u128 struct{ hi, lo uint64 }

func (v u128) and(o u128) u128 { return u128{v.hi & o.hi, v.lo & o.lo} }

// right shifts by n, 0 to 127.
func (v u128) right(n int) u128 {
	switch {
	case n == 0:
		return v
	case n >= 64:
		return u128{0, v.hi >> (n - 64)}
	}
	return u128{v.hi >> n, v.lo>>n | v.hi<<(64-n)}
}

// left shifts by n, 0 to 127.
func (v u128) left(n int) u128 {
	switch {
	case n == 0:
		return v
	case n >= 64:
		return u128{v.lo << (n - 64), 0}
	}
	return u128{v.hi<<n | v.lo>>(64-n), v.lo << n}
}

// ones128 returns a mask of n bits, 0 to 128.
func ones128(n int) u128 {
	if n > 64 {
		return u128{ones(n - 64), ^uint64(0)}
	}
	return u128{0, ones(n)}
}

// String writes it as a hexadecimal number.
func (v u128) String() string {
	if v.hi == 0 {
		return "0x" + strconv.FormatUint(v.lo, 16)
	}
	return fmt.Sprintf("0x%x%016x", v.hi, v.lo)
}

// get returns a field's value.
func (w *words) get(f *field) u128 {
	if f.wide() {
		return u128{w[f.word], w[f.word+1]}
	}
	return u128{0, w[f.word] >> f.shift & ones(int(f.bits)) &^ f.not}
}

// set writes the bits of v that mask has into a field.
func (w *words) set(f *field, v, mask u128) {
	if f.wide() {
		w[f.word] = w[f.word]&^mask.hi | v.hi&mask.hi
		w[f.word+1] = w[f.word+1]&^mask.lo | v.lo&mask.lo
		return
	}
	m := mask.lo & ones(int(f.bits)) &^ f.not << f.shift
	w[f.word] = w[f.word]&^m | v.lo<<f.shift&m | f.always
}

// span is bits of a field: n of them from bit from on.
type span struct {
	f    *field
	from int
	n    int
}

// String writes it as flows have it: "reg6[0..15]".
func (s span) String() string {
	switch {
	case s.from == 0 && s.n == int(s.f.size):
		return s.f.name + "[]"
	case s.n == 1:
		return fmt.Sprintf("%s[%d]", s.f.name, s.from)
	}
	return fmt.Sprintf("%s[%d..%d]", s.f.name, s.from, s.from+s.n-1)
}

func (w *words) read(s span) u128 { return w.get(s.f).right(s.from).and(ones128(s.n)) }

func (w *words) write(s span, v u128) {
	w.set(s.f, v.left(s.from), ones128(s.n).left(s.from))
}

// parseSpan reads "NXM_NX_REG6[0..15]", "reg6", "reg6[]", "reg6[3]".
func parseSpan(s string) (span, error) {
	name, rest, bracket := strings.Cut(s, "[")
	f := fieldByName[name]
	if f == nil {
		return span{}, fmt.Errorf("field %q is not known", name)
	}
	all := span{f, 0, int(f.size)}
	if !bracket {
		return all, nil
	}
	rest, closed := strings.CutSuffix(rest, "]")
	if !closed {
		return span{}, fmt.Errorf("%q lacks its ]", s)
	}
	if rest == "" {
		return all, nil
	}
	first, last, isRange := strings.Cut(rest, "..")
	if !isRange {
		last = first
	}
	a, err := strconv.ParseUint(first, 10, 8)
	if err != nil {
		return span{}, fmt.Errorf("bits of %q: %w", s, err)
	}
	b, err := strconv.ParseUint(last, 10, 8)
	if err != nil {
		return span{}, fmt.Errorf("bits of %q: %w", s, err)
	}
	if a > b || b >= uint64(f.size) {
		return span{}, fmt.Errorf("%q has bits that %s has not: it has %d", s, f.name, f.size)
	}
	return span{f, int(a), int(b-a) + 1}, nil
}

// parseNumber reads a decimal or 0x number of up to 128 bits.
func parseNumber(s string) (u128, error) {
	digits, isHex := strings.CutPrefix(s, "0x")
	if !isHex {
		n, err := strconv.ParseUint(s, 10, 64)
		return u128{0, n}, err
	}
	if len(digits) <= 16 {
		n, err := strconv.ParseUint(digits, 16, 64)
		return u128{0, n}, err
	}
	if len(digits) > 32 {
		return u128{}, errors.New("a number has 128 bits at most")
	}
	cut := len(digits) - 16
	hi, err := strconv.ParseUint(digits[:cut], 16, 64)
	if err != nil {
		return u128{}, err
	}
	lo, err := strconv.ParseUint(digits[cut:], 16, 64)
	return u128{hi, lo}, err
}

// Numbers of ports with a meaning (OpenFlow 1.0's, which Open vSwitch uses inside).
const (
	portMax        = 0xff00
	portUnset      = 0xfff7
	portInPort     = 0xfff8
	portTable      = 0xfff9
	portNormal     = 0xfffa
	portFlood      = 0xfffb
	portAll        = 0xfffc
	portController = 0xfffd
	portLocal      = 0xfffe
	portNone       = 0xffff
)

var portNames = map[string]int{
	"in_port": portInPort, "table": portTable, "normal": portNormal, "flood": portFlood, "all": portAll,
	"controller": portController, "local": portLocal, "any": portNone, "none": portNone, "unset": portUnset,
}

func parsePort(s string) (int, error) {
	if n, err := strconv.ParseUint(s, 0, 32); err == nil {
		if n >= 0xffffff00 { // OpenFlow 1.1's
			n &= 0xffff
		}
		if n <= portNone {
			return int(n), nil
		}
	}
	if n, ok := portNames[strings.ToLower(s)]; ok {
		return n, nil
	}
	return 0, fmt.Errorf("port %q is no number; flows are read with ports as numbers (ovs-ofctl --no-names)", s)
}

func macValue(m packet.MAC) uint64 {
	return uint64(m[0])<<40 | uint64(m[1])<<32 | uint64(m[2])<<24 | uint64(m[3])<<16 | uint64(m[4])<<8 | uint64(m[5])
}

func valueMAC(v uint64) packet.MAC {
	return packet.MAC{byte(v >> 40), byte(v >> 32), byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
}

// parseHardware reads "fa:16:3e:00:00:01" without allocating.
func parseHardware(s string) (uint64, error) {
	if len(s) != 17 {
		return 0, fmt.Errorf("%q is no hardware address", s)
	}
	var v uint64
	for i := range 17 {
		c := s[i]
		if i%3 == 2 {
			if c != ':' {
				return 0, fmt.Errorf("%q is no hardware address", s)
			}
			continue
		}
		d := hexDigit(c)
		if d > 15 {
			return 0, fmt.Errorf("%q is no hardware address", s)
		}
		v = v<<4 | uint64(d)
	}
	return v, nil
}

func hexDigit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

func addrValue(a netip.Addr) u128 {
	if a.Is4() || a.Is4In6() {
		b := a.Unmap().As4()
		return u128{0, uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])}
	}
	if !a.IsValid() {
		return u128{}
	}
	b := a.As16()
	var v u128
	for i := range 8 {
		v.hi, v.lo = v.hi<<8|uint64(b[i]), v.lo<<8|uint64(b[i+8])
	}
	return v
}

func valueAddr4(v uint64) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

func valueAddr6(v u128) netip.Addr {
	var b [16]byte
	for i := range 8 {
		b[i], b[i+8] = byte(v.hi>>(56-8*i)), byte(v.lo>>(56-8*i))
	}
	return netip.AddrFrom16(b)
}

// flagBits names the bits of fields that are written as flags.
var flagBits = map[form]map[string]uint64{
	ctState:  {"new": 1, "est": 2, "rel": 4, "rpl": 8, "inv": 0x10, "trk": 0x20, "snat": 0x40, "dnat": 0x80},
	tcpFlags: {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 0x10, "urg": 0x20, "ece": 0x40, "cwr": 0x80, "ns": 0x100},
	tunFlags: {"oam": 1},
}

// parseSigned reads "+new-est+trk".
func parseSigned(f *field, s string) (v, m uint64, err error) {
	for s != "" {
		end := strings.IndexAny(s[1:], "+-") + 1
		if end == 0 {
			end = len(s)
		}
		bit, ok := flagBits[f.form][s[1:end]]
		if !ok || s[0] != '+' && s[0] != '-' {
			return 0, 0, fmt.Errorf("%s has no flag %q", f.name, s[1:end])
		}
		m |= bit
		if s[0] == '+' {
			v |= bit
		}
		s = s[end:]
	}
	return v, m, nil
}

// parseFlags reads "+new-est+trk", "new|trk" or a number with an optional mask.
func parseFlags(f *field, s string) (v, m uint64, err error) {
	names := flagBits[f.form]
	if s != "" && (s[0] == '+' || s[0] == '-') {
		return parseSigned(f, s)
	}
	if s != "" && s[0] >= 'a' && s[0] <= 'z' {
		for name := range strings.SplitSeq(s, "|") {
			bit, ok := names[name]
			if !ok {
				return 0, 0, fmt.Errorf("%s has no flag %q", f.name, name)
			}
			v |= bit
		}
		return v, ones(int(f.bits)), nil
	}
	a, b, masked := strings.Cut(s, "/")
	n, err := parseNumber(a)
	if err != nil {
		return 0, 0, err
	}
	m = ones(int(f.bits))
	if masked {
		k, err := parseNumber(b)
		if err != nil {
			return 0, 0, err
		}
		m &= k.lo
	}
	return n.lo, m, nil
}

// Bits of nw_frag.
const (
	fragAny   = 1
	fragLater = 2
)

func parseFragment(s string) (v, m uint64, err error) {
	switch s {
	case "no":
		return 0, 3, nil
	case "yes":
		return fragAny, fragAny, nil
	case "first":
		return fragAny, 3, nil
	case "later":
		return 3, 3, nil
	case "not_later":
		return 0, fragLater, nil
	}
	return 0, 0, fmt.Errorf("nw_frag has no value %q", s)
}

// parseValue reads a value of a field with an optional mask.
func parseValue(f *field, s string) (v, m u128, err error) {
	m = ones128(int(f.bits))
	m.lo &^= f.not
	switch f.form { //nolint:exhaustive // the others are dealt with below, or need nothing
	case ctState, tcpFlags, tunFlags:
		v.lo, m.lo, err = parseFlags(f, s)
		return v, m, err
	case fragment:
		v.lo, m.lo, err = parseFragment(s)
		return v, m, err
	}
	a, b, masked := strings.Cut(s, "/")
	if v, err = parseOne(f, a); err != nil || !masked {
		return v, m, err
	}
	k, err := parseMask(f, b)
	return v, m.and(k), err
}

func parseOne(f *field, s string) (u128, error) {
	switch f.form { //nolint:exhaustive // the others are dealt with below, or need nothing
	case mac:
		n, err := parseHardware(s)
		return u128{0, n}, err
	case ip4, ip6:
		a, err := netip.ParseAddr(s)
		if err != nil {
			return u128{}, fmt.Errorf("%q is no address", s)
		}
		if a.Is4() != (f.form == ip4) || a.Zone() != "" {
			return u128{}, fmt.Errorf("%s has no address such as %q", f.name, s)
		}
		return addrValue(a), nil
	case port:
		n, err := parsePort(s)
		return u128{0, uint64(n)}, err
	}
	v, err := parseNumber(s)
	if err != nil {
		return v, fmt.Errorf("%q is no value of %s", s, f.name)
	}
	return v, nil
}

func parseMask(f *field, s string) (u128, error) {
	if f.form == ip4 || f.form == ip6 {
		if n, err := strconv.ParseUint(s, 10, 8); err == nil {
			if n > uint64(f.bits) {
				return u128{}, fmt.Errorf("/%s is too long for %s", s, f.name)
			}
			return ones128(int(n)).left(int(f.bits) - int(n)&127).and(ones128(int(f.bits))), nil
		}
	}
	return parseOne(f, s)
}

// prefixLength returns the length of a mask of n bits that is one, -1 of another.
func prefixLength(m u128, n int) int {
	length := n - bits.TrailingZeros64(m.lo)
	if m.lo == 0 {
		length = n - 64 - bits.TrailingZeros64(m.hi)
	}
	if m == (u128{}) {
		return 0
	}
	if ones128(length).left(n-length) != m {
		return -1
	}
	return length
}
