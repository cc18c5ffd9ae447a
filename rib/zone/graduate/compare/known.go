package compare

import (
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
)

// perClass is how many names of each special class are asked for besides the sample.
const perClass = 2

// classes of names whose answers are made differently from others'.
const (
	classAny = iota
	classWildcard
	classCNAME
	classDNAME
	classDelegation
	classSigned // a delegation with DS
	classes
)

// known are the names of a zone that questions are made of: a sample of all, and of
// each class. Which names a sample has follows from the names alone, so both
// servers' samples agree, and a zone's next comparison asks the same.
type known struct {
	zone string
	pick [classes]bottom
}

// entry is a name with the types that it was seen with.
type entry struct {
	name  string
	types []uint16
}

// bottom keeps the k names with the least hashes; all of them when k is negative.
type bottom struct {
	k     int
	names map[string]*entry
	sums  map[string]uint64
	last  string // of the greatest hash
}

func newKnown(zone name.Name, sample int, all bool) known {
	k := known{zone: text(zone)}
	for i := range k.pick {
		k.pick[i] = bottom{k: min(perClass, sample), names: map[string]*entry{}, sums: map[string]uint64{}}
	}
	k.pick[classAny].k = sample
	if all {
		k.pick[classAny].k = -1
	}
	return k
}

// see takes a record of the zone.
func (k *known) see(rr dns.RR) {
	owner, kind := strings.ToLower(rr.Header().Name), rr.Header().Rrtype
	switch kind {
	case dns.TypeNSEC3, typeSigning:
		return // its owner is no name that anybody asks for
	case dns.TypeRRSIG, dns.TypeNSEC:
		return // of another record, which is seen too
	}
	if owner == k.zone {
		return // asked for anyway, but for types that are rare at the top
	}
	k.pick[classAny].see(owner, kind)
	if strings.HasPrefix(owner, "*.") {
		k.pick[classWildcard].see(owner, kind)
	}
	switch kind {
	case dns.TypeCNAME:
		k.pick[classCNAME].see(owner, kind)
	case dns.TypeDNAME:
		k.pick[classDNAME].see(owner, kind)
	case dns.TypeNS:
		k.pick[classDelegation].see(owner, kind)
	case dns.TypeDS:
		k.pick[classSigned].see(owner, kind)
	}
}

func (b *bottom) see(owner string, kind uint16) {
	if e, ok := b.names[owner]; ok {
		if !slices.Contains(e.types, kind) {
			e.types = append(e.types, kind)
		}
		return
	}
	if b.k < 0 {
		b.names[owner] = &entry{owner, []uint16{kind}}
		return
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(owner))
	sum := mix(h.Sum64())
	if len(b.names) >= b.k {
		if b.k == 0 || sum >= b.sums[b.last] {
			return
		}
		delete(b.names, b.last)
		delete(b.sums, b.last)
	}
	b.names[owner], b.sums[owner] = &entry{owner, []uint16{kind}}, sum
	b.last = owner
	for n, s := range b.sums {
		if s > b.sums[b.last] {
			b.last = n
		}
	}
}

// mix spreads a hash, whose high bits hardly depend on the last octets.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return x
}

// merge adds what the other server has.
func (k *known) merge(o *known) {
	for i := range k.pick {
		for _, e := range o.pick[i].names {
			for _, t := range e.types {
				k.pick[i].see(e.name, t)
			}
		}
	}
}

// entries returns the names in a fixed order, each once.
func (k *known) entries() []*entry {
	all := map[string]*entry{}
	for i := range k.pick {
		for n, e := range k.pick[i].names {
			have, ok := all[n]
			if !ok {
				all[n] = e
				continue
			}
			for _, t := range e.types {
				if !slices.Contains(have.types, t) {
					have.types = append(have.types, t)
				}
			}
		}
	}
	list := make([]*entry, 0, len(all))
	for _, n := range slices.Sorted(maps.Keys(all)) {
		list = append(list, all[n])
	}
	return list
}
