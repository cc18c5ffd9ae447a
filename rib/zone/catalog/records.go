package catalog

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
)

// Records are the records of a catalog zone, as far as they mean anything: what a
// transfer adds and an incremental one (RFC 1995) adds and removes. It may be broken at
// any time; Catalog judges.
type Records struct {
	zone    name.Name
	soa     []soa
	version []string          // texts of the TXT records at "version"
	global  []extra           // custom properties at the apex
	nodes   map[string]node   // by member label
	alien   map[string]int    // records of another class, by owner
	badName map[string]string // owners of PTR records that hold no name, with the property
	ignored int
}

type soa struct {
	serial uint32
	times  [3]uint32 // refresh, retry, expire
}

// node is a member node; most have one PTR record and nothing else.
type node struct {
	member name.Name
	more   *more
}

type more struct {
	pointers []name.Name // beyond the first
	coo      []name.Name
	groups   []string
	extras   []extra
}

// extra is a record of BIND's "primaries" property: an address or the name of a key,
// together with others of the same sub label.
type extra struct {
	sub  string
	addr netip.Addr
	key  string
	old  bool // without "ext", as in version 1
}

// NewRecords returns no records of a catalog zone.
func NewRecords(zone name.Name) *Records {
	return &Records{zone: zone, nodes: map[string]node{}, alien: map[string]int{}, badName: map[string]string{}}
}

// errUnknown says that an incremental transfer removes what is not there.
var errUnknown = errors.New("the record that is to be removed is not there")

// Add adds a record. One that is there already counts once, except those that mean
// nothing.
func (r *Records) Add(rr dns.RR) { _ = r.step(rr, true) }

// Remove removes a record, or says that it is not there.
func (r *Records) Remove(rr dns.RR) error {
	if err := r.step(rr, false); err != nil {
		return fmt.Errorf("%s %s: %w", rr.Header().Name, dns.TypeToString[rr.Header().Rrtype], err)
	}
	return nil
}

// Serial returns the serial of the SOA record; false when there is none, or several.
func (r *Records) Serial() (uint32, bool) {
	if len(r.soa) != 1 {
		return 0, false
	}
	return r.soa[0].serial, true
}

// step adds or removes a record.
func (r *Records) step(rr dns.RR, add bool) error {
	h := rr.Header()
	if h.Class != dns.ClassINET {
		return r.count(r.alien, h.Name, add)
	}
	owner, err := canonical(h.Name)
	if err != nil || !owner.Under(r.zone) {
		return r.ignore(add)
	}
	if owner == r.zone {
		if v, ok := rr.(*dns.SOA); ok {
			return change(&r.soa, soa{v.Serial, [3]uint32{v.Refresh, v.Retry, v.Expire}}, add)
		}
		if h.Rrtype == dns.TypeNS {
			return nil // there must be some, and they say nothing (RFC 9432 section 4)
		}
		return r.ignore(add)
	}
	path := strings.TrimSuffix(string(owner), "."+string(r.zone))
	switch {
	case path == "version":
		if v, ok := rr.(*dns.TXT); ok {
			return change(&r.version, strings.Join(v.Txt, "\x00"), add)
		}
	case strings.HasSuffix(path, ".zones"):
		return r.member(rr, owner, strings.TrimSuffix(path, ".zones"), add)
	default:
		if x, ok := extraOf(path, rr); ok {
			return change(&r.global, x, add)
		}
	}
	return r.ignore(add)
}

// member adds or removes a record at or below a member node.
func (r *Records) member(rr dns.RR, owner name.Name, path string, add bool) error {
	at := strings.LastIndexByte(path, '.')
	label, property := path[at+1:], path[:max(at, 0)]
	n, had := r.nodes[label]
	var err error
	switch v, isPTR := rr.(*dns.PTR); {
	case property == "" && isPTR, property == "coo" && isPTR:
		target, bad := canonical(v.Ptr)
		if bad != nil {
			return r.bad(owner, property, add)
		}
		if property == "coo" {
			err = change(&n.extend().coo, target, add)
		} else {
			err = n.point(target, add)
		}
	case property == "group":
		txt, isTXT := rr.(*dns.TXT)
		if !isTXT {
			return r.ignore(add)
		}
		err = change(&n.extend().groups, strings.Join(txt.Txt, ""), add)
	default:
		x, ok := extraOf(property, rr)
		if !ok {
			return r.ignore(add)
		}
		err = change(&n.extend().extras, x, add)
	}
	if err != nil {
		return err
	}
	n.tidy()
	switch {
	case n == node{}:
		delete(r.nodes, label)
	case had:
		r.nodes[label] = n
	default:
		r.nodes[strings.Clone(label)] = n // lets go of the owner's text
	}
	return nil
}

// extend returns what a node has besides its PTR record, to be written to.
func (n *node) extend() *more {
	if n.more == nil {
		n.more = &more{}
	}
	return n.more
}

// tidy makes two nodes with the same records equal.
func (n *node) tidy() {
	m := n.more
	if m != nil && len(m.pointers)+len(m.coo)+len(m.groups)+len(m.extras) == 0 {
		n.more = nil
	}
}

// point adds or removes the PTR record of a member node.
func (n *node) point(target name.Name, add bool) error {
	switch {
	case add && (n.member == "" || n.member == target):
		n.member = target
		return nil
	case add:
		return change(&n.extend().pointers, target, true)
	case n.member == target:
		n.member = ""
		if m := n.more; m != nil && len(m.pointers) > 0 {
			n.member = m.pointers[0]
			m.pointers = slices.Delete(m.pointers, 0, 1)
		}
		return nil
	case n.more == nil:
		return errUnknown
	default:
		return change(&n.more.pointers, target, false)
	}
}

// extraOf reads BIND's property of primaries: "primaries.ext" with addresses, or one
// label more, with addresses and the name of their key. "masters" is its old name;
// version 1 had no "ext".
func extraOf(property string, rr dns.RR) (extra, bool) {
	path, ext := strings.CutSuffix(property, ".ext")
	x := extra{old: !ext}
	switch sub, last, deep := cutLast(path); {
	case last != "primaries" && last != "masters":
		return x, false
	case deep && strings.Contains(sub, "."):
		return x, false
	default:
		x.sub = strings.Clone(sub)
	}
	switch v := rr.(type) {
	case *dns.A:
		x.addr, _ = netip.AddrFromSlice(v.A.To4())
	case *dns.AAAA:
		x.addr, _ = netip.AddrFromSlice(v.AAAA.To16())
	case *dns.TXT:
		x.key = strings.Join(v.Txt, "")
	}
	return x, x.addr.IsValid() || x.key != "" && x.sub != ""
}

// cutLast cuts the last label off.
func cutLast(path string) (before, last string, found bool) {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i], path[i+1:], true
	}
	return "", path, false
}

// bad notes a PTR record that holds no name.
func (r *Records) bad(owner name.Name, property string, add bool) error {
	if !add {
		delete(r.badName, string(owner))
		return nil
	}
	r.badName[string(owner)] = property
	return nil
}

func (r *Records) ignore(add bool) error {
	if add {
		r.ignored++
	} else if r.ignored > 0 {
		r.ignored--
	}
	return nil
}

func (r *Records) count(m map[string]int, key string, add bool) error {
	if add {
		m[key]++
		return nil
	}
	if m[key] == 0 {
		return errUnknown
	}
	if m[key]--; m[key] == 0 {
		delete(m, key)
	}
	return nil
}

// change adds a value to a set, or removes it.
func change[T comparable](set *[]T, v T, add bool) error {
	i := slices.Index(*set, v)
	switch {
	case add && i < 0:
		*set = append(*set, v)
	case !add && i < 0:
		return errUnknown
	case !add:
		*set = slices.Delete(*set, i, i+1)
	}
	return nil
}

// canonical is name.Parse, quick for names that are canonical already: most are.
func canonical(s string) (name.Name, error) {
	n := 0
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '.':
			if n == 0 || n > 63 {
				return name.Parse(s)
			}
			n = 0
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			n++
		default:
			return name.Parse(s)
		}
	}
	if n != 0 || len(s) > 254 || s == "" {
		return name.Parse(s)
	}
	return name.Name(s), nil
}
