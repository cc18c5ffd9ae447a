package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/packet"
)

// Set is a set of ipset.
type Set struct {
	Name    string
	Type    string   // "hash:net", "hash:ip,port", "list:set", ...
	Options []string // "family", "inet", ...
	Entries []Entry
	Unknown []string // entries, or its type, that are not understood; what does not match the rest may match these

	dims    []string
	nets    map[int]map[netip.Addr]bool // and networks, by length; false: nomatch
	lengths []int
}

// Entry is an element of a set.
type Entry struct {
	Text    string         // "10.0.0.0/8", "10.0.0.1,tcp:80"
	Nets    []netip.Prefix // one for each dimension that is an address
	Proto   uint8
	From    uint16 // ports, of a dimension "port"
	To      uint16
	MAC     packet.MAC
	Device  string
	Member  string // of list:set
	NoMatch bool
}

// ParseSets reads what ipset save writes; sets by name.
func ParseSets(text string) (map[string]*Set, []error) {
	sets := map[string]*Set{}
	var errs []error
	n := 0
	for line := range strings.Lines(text) {
		n++
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || f[0][0] == '#':
		case f[0] == "create" && len(f) >= 3:
			s := &Set{Name: f[1], Type: f[2], Options: f[3:]}
			_, dims, _ := strings.Cut(f[2], ":")
			s.dims = strings.Split(dims, ",")
			for _, d := range s.dims {
				if d != "ip" && d != "net" && d != "port" && d != "mac" && d != "iface" && d != "set" {
					s.Unknown = append(s.Unknown, "type "+f[2])
				}
			}
			sets[s.Name] = s
		case f[0] == "add" && len(f) >= 3 && sets[f[1]] != nil:
			s := sets[f[1]]
			if err := s.add(f[2], f[3:]); err != nil {
				s.Unknown = append(s.Unknown, f[2])
				errs = append(errs, fmt.Errorf("ipset line %d: %q: %w", n, clip(strings.TrimSpace(line)), err))
			}
		default:
			errs = append(errs, fmt.Errorf("ipset line %d: %q is neither a set nor an element of one above", n, clip(strings.TrimSpace(line))))
		}
	}
	for _, s := range sets {
		s.index()
	}
	return sets, errs
}

// add reads an element.
func (s *Set) add(text string, options []string) error {
	e := Entry{Text: text}
	for _, o := range options {
		e.NoMatch = e.NoMatch || o == "nomatch"
	}
	parts := strings.Split(text, ",")
	if len(parts) != len(s.dims) {
		return fmt.Errorf("it has %d parts, and %s has %d", len(parts), s.Type, len(s.dims))
	}
	for i, d := range s.dims {
		if err := e.part(d, parts[i]); err != nil {
			return err
		}
	}
	s.Entries = append(s.Entries, e)
	return nil
}

func (e *Entry) part(dimension, text string) (err error) {
	switch dimension {
	case "ip", "net":
		var p netip.Prefix
		if p, err = prefix(text); err == nil {
			e.Nets = append(e.Nets, p)
		}
	case "port":
		err = e.ports(text)
	case "mac":
		e.MAC, err = packet.ParseMAC(text)
	case "iface":
		e.Device = text
		if strings.HasPrefix(text, "physdev:") {
			return errors.New("physdev in sets is not understood")
		}
	case "set":
		e.Member = text
	default:
		err = fmt.Errorf("dimension %s is not understood", dimension)
	}
	return err
}

// ports reads "tcp:80", "80", "udp:1000-2000".
func (e *Entry) ports(text string) error {
	e.Proto = packet.TCP
	if name, rest, ok := strings.Cut(text, ":"); ok {
		proto, known := protocols[name]
		if n, err := strconv.ParseUint(name, 10, 8); err == nil {
			proto, known = uint8(n), true
		}
		if !known || proto == packet.ICMP || proto == packet.ICMPv6 {
			return fmt.Errorf("protocol %s in sets is not understood", name)
		}
		e.Proto, text = proto, rest
	}
	var ok bool
	e.From, e.To, ok = ports(text, "-")
	if !ok {
		return fmt.Errorf("%q is no port", text)
	}
	return nil
}

// prefix reads "10.0.0.0/8" or an address alone.
func prefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("%q is no address", clip(text))
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return masked(text)
	}
	return p.Masked(), nil
}

// masked reads "10.0.0.0/255.0.0.0".
func masked(text string) (netip.Prefix, error) {
	addr, mask, _ := strings.Cut(text, "/")
	a, err := netip.ParseAddr(addr)
	m, err2 := netip.ParseAddr(mask)
	if err != nil || err2 != nil || a.BitLen() != m.BitLen() {
		return netip.Prefix{}, fmt.Errorf("%q is no network", clip(text))
	}
	bits := 0
	ended := false
	for _, b := range m.AsSlice() {
		for i := 7; i >= 0; i-- {
			one := b>>i&1 == 1
			if one && ended {
				return netip.Prefix{}, fmt.Errorf("the mask of %q has holes", clip(text))
			}
			if one {
				bits++
			} else {
				ended = true
			}
		}
	}
	return netip.PrefixFrom(a, bits).Masked(), nil
}

// index makes sets of one dimension quick to ask.
func (s *Set) index() {
	if len(s.dims) != 1 || s.dims[0] != "ip" && s.dims[0] != "net" {
		return
	}
	s.nets = map[int]map[netip.Addr]bool{}
	for i := range s.Entries {
		e := &s.Entries[i]
		n := e.Nets[0]
		if s.nets[n.Bits()] == nil {
			s.nets[n.Bits()] = map[netip.Addr]bool{}
		}
		s.nets[n.Bits()][n.Addr()] = !e.NoMatch
	}
	for bits := 128; bits >= 0; bits-- {
		if s.nets[bits] != nil {
			s.lengths = append(s.lengths, bits)
		}
	}
}

// has reports whether the packet is in the set, looking at it in the given directions ("src",
// "dst", one for each dimension). sure is false when something of the set is not understood
// that might say otherwise.
func (s *Set) has(v *view, sides []string, depth int) (in, sure bool) {
	if s.nets != nil {
		in = s.hasAddr(v.side(sides[0]))
	} else {
		for i := range s.Entries {
			e := &s.Entries[i]
			hit, known := e.has(s, v, sides, depth)
			if !known {
				return false, false
			}
			if hit && e.NoMatch {
				return false, len(s.Unknown) == 0
			}
			in = in || hit
		}
	}
	return in, len(s.Unknown) == 0 || in && s.nets == nil
}

// hasAddr finds the longest network that holds the address.
func (s *Set) hasAddr(a netip.Addr) bool {
	for _, bits := range s.lengths {
		if bits > a.BitLen() {
			continue
		}
		p, err := a.Prefix(bits)
		if err != nil {
			continue
		}
		if yes, ok := s.nets[bits][p.Addr()]; ok {
			return yes
		}
	}
	return false
}

// has reports whether an element of several dimensions, or of list:set, holds the packet.
func (e *Entry) has(s *Set, v *view, sides []string, depth int) (in, sure bool) {
	nets := e.Nets
	for i, d := range s.dims {
		if i >= len(sides) {
			return false, false
		}
		var ok bool
		switch d {
		case "ip", "net":
			ok = nets[0].Contains(v.side(sides[i]))
			nets = nets[1:]
		case "port":
			port := v.p.SrcPort
			if sides[i] == "dst" {
				port = v.p.DstPort
			}
			ok = v.p.Proto == e.Proto && port >= e.From && port <= e.To
		case "mac":
			ok = v.p.Src == e.MAC
			if sides[i] == "dst" {
				ok = v.p.Dst == e.MAC
			}
		case "iface":
			ok = sides[i] == "src" && v.in == e.Device || sides[i] == "dst" && v.out == e.Device
		case "set":
			m := v.sets[e.Member]
			if m == nil || depth > 2 {
				return false, false
			}
			if ok, sure = m.has(v, sides, depth+1); !sure {
				return false, false
			}
		default:
			return false, false
		}
		if !ok {
			return false, true
		}
	}
	return true, true
}

// side returns the address that "src" or "dst" names.
func (v *view) side(name string) netip.Addr {
	if name == "dst" {
		return v.p.IPDst
	}
	return v.p.IPSrc
}
