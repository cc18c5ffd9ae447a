package catalog

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
)

// For is the software that consumes a catalog: each understands something else.
type For string

// The consumers.
const (
	ForAny  For = ""     // groups and coo, nothing of one vendor's
	ForBIND For = "bind" // primaries as custom properties; no groups, which it complains about
	ForKnot For = "knot" // never a coo: Knot purges a zone that moves
	ForNSD  For = "nsd"  // no coo
	ForPDNS For = "pdns"
)

// DefaultTimes let consumers look each minute and keep what they know for ever: a
// catalog that expires is processed no longer (RFC 9432 section 5.1).
func DefaultTimes() Times {
	return Times{Refresh: time.Minute, Retry: 10 * time.Second, Expire: (1<<31 - 2) * time.Second}
}

// Build yields the records of a catalog: its SOA, NS and version records, then those
// of the members in the order of their labels. A transfer repeats the SOA record at its
// end.
func Build(c *Catalog, to For) iter.Seq[dns.RR] {
	return func(yield func(dns.RR) bool) {
		zone := string(c.Zone)
		for _, rr := range []dns.RR{
			SOA(c),
			&dns.NS{Hdr: header(zone, dns.TypeNS), Ns: "invalid."},
			&dns.TXT{Hdr: header("version."+zone, dns.TypeTXT), Txt: []string{"2"}},
		} {
			if !yield(rr) {
				return
			}
		}
		for _, l := range byLabel(c.Members) {
			for _, rr := range MemberRecords(c.Zone, l.member, c.Members[l.member], to) {
				if !yield(rr) {
					return
				}
			}
		}
	}
}

// labelled is a member's label and its name.
type labelled struct {
	label  string
	member name.Name
}

// byLabel sorts members by their labels.
func byLabel(members map[name.Name]Member) []labelled {
	list := make([]labelled, 0, len(members))
	for n, m := range members {
		list = append(list, labelled{m.Label, n})
	}
	slices.SortFunc(list, func(a, b labelled) int {
		return cmp.Or(cmp.Compare(a.label, b.label), cmp.Compare(a.member, b.member))
	})
	return list
}

// SOA returns a catalog's SOA record.
func SOA(c *Catalog) *dns.SOA {
	return &dns.SOA{
		Hdr: header(string(c.Zone), dns.TypeSOA), Ns: "invalid.", Mbox: "hostmaster.invalid.", Serial: c.Serial,
		Refresh: whole(c.Times.Refresh), Retry: whole(c.Times.Retry), Expire: whole(c.Times.Expire),
	}
}

// MemberRecords returns the records of one member, for a consumer: an incremental
// transfer consists of those before and after.
func MemberRecords(zone, member name.Name, m Member, to For) []dns.RR {
	node := m.Label + ".zones." + string(zone)
	rrs := []dns.RR{&dns.PTR{Hdr: header(node, dns.TypePTR), Ptr: string(member)}}
	if m.Coo != "" && to != ForKnot && to != ForNSD {
		rrs = append(rrs, &dns.PTR{Hdr: header("coo."+node, dns.TypePTR), Ptr: string(m.Coo)})
	}
	if to == ForBIND {
		return append(rrs, primaryRecords(node, m.Primaries)...)
	}
	for _, g := range m.Groups {
		rrs = append(rrs, &dns.TXT{Hdr: header("group."+node, dns.TypeTXT), Txt: split(g)})
	}
	return rrs
}

// primaryRecords returns BIND's records of where a member is transferred from.
func primaryRecords(node string, list []Primary) []dns.RR {
	var rrs []dns.RR
	for i, p := range list {
		owner := "primaries.ext." + node
		if p.Key != "" {
			owner = fmt.Sprintf("p%d.%s", i, owner)
			rrs = append(rrs, &dns.TXT{Hdr: header(owner, dns.TypeTXT), Txt: split(p.Key)})
		}
		if p.Address.Is4() {
			rrs = append(rrs, &dns.A{Hdr: header(owner, dns.TypeA), A: p.Address.AsSlice()})
		} else {
			rrs = append(rrs, &dns.AAAA{Hdr: header(owner, dns.TypeAAAA), AAAA: p.Address.AsSlice()})
		}
	}
	return rrs
}

// Label returns the label of a zone's member node: always the same for a zone and an
// epoch, in whatever catalog. Another epoch makes consumers reset the zone (RFC 9432
// section 5.4), so it changes only on purpose.
func Label(n name.Name, epoch string) string {
	if epoch == "" {
		return name.Hash(n)
	}
	sum := sha256.Sum256(append(append(n.Wire(), 0), epoch...))
	return strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
}

func header(owner string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: kind, Class: dns.ClassINET}
}

func whole(d time.Duration) uint32 { return uint32(d / time.Second) }

// split cuts an escaped text into character strings of at most 255 octets (RFC 1035
// section 3.3).
func split(s string) []string {
	var list []string
	for start, i, n := 0, 0, 0; ; {
		if i >= len(s) {
			return append(list, s[start:])
		}
		if n == 255 {
			list, start, n = append(list, s[start:i]), i, 0
		}
		i += octet(s[i:])
		n++
	}
}

// octet returns how long the first octet of an escaped text is written.
func octet(s string) int {
	switch {
	case s[0] != '\\' || len(s) == 1:
		return 1
	case len(s) >= 4 && '0' <= s[1] && s[1] <= '9':
		return 4
	default:
		return 2
	}
}
