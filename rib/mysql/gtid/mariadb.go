package gtid

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
)

// domain is what is known of one of MariaDB's streams of transactions.
type domain struct {
	id uint32
	// last has, by server, the newest sequence number; ascending, so that the end is
	// the position. Several with the highest number: they diverge.
	last []entry
	from uint64 // Minus, Errant: the number up to which the other has the domain; below seq
}

type entry struct {
	server uint32
	seq    uint64
}

func (e entry) compare(o entry) int {
	return cmp.Or(cmp.Compare(e.seq, o.seq), cmp.Compare(e.server, o.server))
}

func (d domain) seq() uint64 { return d.last[len(d.last)-1].seq }

// heads returns the entries with the highest number: one, or several that diverge.
func (d domain) heads() []entry {
	i := len(d.last) - 1
	for i > 0 && d.last[i-1].seq == d.seq() {
		i--
	}
	return d.last[i:]
}

func parseMariaDB(sc *scanner) (Set, error) {
	var all []domain
	if sc.space(); sc.end() {
		return Set{}, nil
	}
	for {
		id, e, err := parseEntry(sc)
		if err != nil {
			return Set{}, err
		}
		all = append(all, domain{id: id, last: []entry{e}})
		if sc.space(); sc.end() {
			return Set{domains: merged(all, nil)}, nil
		}
		if !sc.take(',') {
			return Set{}, sc.bad(`want ","`)
		}
	}
}

// merged sorts domains and keeps the newest of each server.
func merged(a, b []domain) []domain {
	newest := map[uint32]map[uint32]uint64{}
	for _, d := range slices.Concat(a, b) {
		of := newest[d.id]
		if of == nil {
			of = map[uint32]uint64{}
			newest[d.id] = of
		}
		for _, e := range d.last {
			of[e.server] = max(of[e.server], e.seq)
		}
	}
	var out []domain
	for id, of := range newest {
		d := domain{id: id}
		for server, seq := range of {
			d.last = append(d.last, entry{server, seq})
		}
		slices.SortFunc(d.last, entry.compare)
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b domain) int { return cmp.Compare(a.id, b.id) })
	return out
}

func parseEntry(sc *scanner) (id uint32, e entry, err error) {
	d, err := sc.number("a domain", math.MaxUint32)
	if err != nil {
		return 0, e, err
	}
	if !sc.take('-') {
		return 0, e, sc.bad(`want "-" and a server id`)
	}
	server, err := sc.number("a server id", math.MaxUint32)
	if err != nil {
		return 0, e, err
	}
	if !sc.take('-') {
		return 0, e, sc.bad(`want "-" and a sequence number`)
	}
	e.seq, err = sc.number("a sequence number", math.MaxUint64)
	e.server = uint32(server) //nolint:gosec // number has bounded it
	return uint32(d), e, err  //nolint:gosec // number has bounded it
}

func printMariaDB(b *strings.Builder, all []domain) {
	for i, d := range all {
		for j, e := range d.last {
			if i+j > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strconv.FormatUint(uint64(d.id), 10) + "-" + strconv.FormatUint(uint64(e.server), 10) + "-" +
				strconv.FormatUint(e.seq, 10))
		}
	}
}

// of returns the domain of a number, or nil.
func of(all []domain, id uint32) *domain {
	i, found := slices.BinarySearchFunc(all, id, func(d domain, id uint32) int { return cmp.Compare(d.id, id) })
	if !found {
		return nil
	}
	return &all[i]
}

func containsMariaDB(s, o []domain) bool {
	return len(minusMariaDB(o, s)) == 0
}

func minusMariaDB(s, o []domain) []domain {
	var out []domain
	for _, d := range s {
		rest := domain{id: d.id, last: d.heads()}
		if x := of(o, d.id); x != nil {
			if x.seq() > d.seq() {
				continue
			}
			if rest.from = x.seq(); x.seq() == d.seq() {
				rest.from = max(x.seq(), 1) - 1 // the number is the same, the transaction is another
				rest.last = slices.DeleteFunc(slices.Clone(rest.last), func(e entry) bool { return slices.Contains(x.heads(), e) })
			}
		}
		if len(rest.last) > 0 {
			out = append(out, rest)
		}
	}
	return out
}

func unionMariaDB(s, o []domain) []domain {
	var out []domain
	for len(s) > 0 || len(o) > 0 {
		var d domain
		switch {
		case len(o) == 0 || len(s) > 0 && s[0].id < o[0].id:
			d, s = s[0], s[1:]
		case len(s) == 0 || o[0].id < s[0].id:
			d, o = o[0], o[1:]
		default:
			d, s, o = later(s[0], o[0]), s[1:], o[1:]
		}
		out = append(out, domain{id: d.id, last: d.heads()})
	}
	return out
}

// later returns the domain that is further, or both of its positions where they diverge.
func later(a, b domain) domain {
	switch c := cmp.Compare(a.seq(), b.seq()); {
	case c > 0:
		return a
	case c < 0:
		return b
	}
	heads := slices.Concat(a.heads(), b.heads())
	slices.SortFunc(heads, entry.compare)
	return domain{id: a.id, last: slices.Compact(heads)}
}

func countMariaDB(s []domain) (n uint64) {
	for _, d := range s {
		n = addCapped(n, d.seq()-d.from)
	}
	return n
}
