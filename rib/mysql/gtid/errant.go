package gtid

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
)

// Errants is what a replica has that its primary has not.
type Errants struct {
	All Set // MariaDB: the newest of each domain and server
	Own Set // the part of All that began on the replica itself: somebody wrote there
}

// Errant finds what a replica has that its primary has not. Ask the replica first and the
// primary after it, else what has come meanwhile looks errant. Self are the replica's names
// in GTIDs: its server_uuid, or its server_id in decimal.
//
// For MySQL (gtid_executed of both) the answer is exact.
//
// For MariaDB give what ParseState returns, of both. A transaction counts as errant when
//   - it is later than all the primary has, or has the number of the primary's position and
//     another server, or
//   - the primary's state reaches back before it and does not have it, or
//   - it is the replica's position, began on the replica, and the primary's state does
//     not know it: who replicates from the primary in strict mode has gone beyond.
//
// Positions alone (gtid_binlog_pos, gtid_slave_pos) tell only the first: a replica at
// 0-2-150 below a primary at 0-1-160 may have got 150 to it, or have written it for
// itself. Nor can it be told whether a primary that was seeded from a copy has what is older
// than its own binary log, save by the last rule: a replica that stopped at its own
// transaction, before the primary was seeded, counts as errant. It cannot replicate from
// there either, for the primary has no such place in its binary log.
func Errant(replica, primary Set, self ...string) Errants {
	all := Set{sources: minusMySQL(replica.sources, primary.sources)}
	for _, d := range replica.domains {
		own := func(e entry) bool {
			return primary.state && e == d.last[len(d.last)-1] && slices.Contains(self, strconv.FormatUint(uint64(e.server), 10))
		}
		if rest := d.errant(of(primary.domains, d.id), own); len(rest.last) > 0 {
			all.domains = append(all.domains, rest)
		}
	}
	return Errants{All: all, Own: all.began(self)}
}

// errant returns what p, nil for nothing, is known not to have of the domain, or should have
// if it had ever got it.
func (d domain) errant(p *domain, should func(entry) bool) domain {
	if p == nil {
		return d
	}
	rest := domain{id: d.id}
	for _, e := range d.last {
		if !p.has(e) && (e.seq >= p.seq() || p.last[0].seq < e.seq || should(e)) {
			rest.last = append(rest.last, e)
			rest.from = p.until(e)
		}
	}
	return rest
}

// has reports whether the domain names a transaction, or a later one of its server.
func (d domain) has(e entry) bool {
	return slices.ContainsFunc(d.last, func(have entry) bool { return have.server == e.server && have.seq >= e.seq })
}

// until returns the number below a transaction that the domain lacks up to which it is known
// to have them: of the same server, or of any when the transaction is beyond all.
func (d domain) until(e entry) uint64 {
	at, known := uint64(0), false
	for _, have := range d.last {
		if have.seq < e.seq && (have.server == e.server || d.seq() < e.seq) {
			at, known = max(at, have.seq), true
		}
	}
	if !known {
		return max(e.seq, 1) - 1 // the one at least
	}
	return at
}

// began returns the part of a set that began on servers of the given names.
func (s Set) began(names []string) Set {
	var out Set
	for _, x := range s.sources {
		if slices.ContainsFunc(names, func(n string) bool {
			return strings.EqualFold(strings.ReplaceAll(n, "-", ""), hex.EncodeToString(x.uuid[:]))
		}) {
			out.sources = append(out.sources, x)
		}
	}
	for _, d := range s.domains {
		d.last = slices.DeleteFunc(slices.Clone(d.last), func(e entry) bool {
			return !slices.Contains(names, strconv.FormatUint(uint64(e.server), 10))
		})
		if len(d.last) > 0 {
			out.domains = append(out.domains, d)
		}
	}
	return out
}

// Among reports whether a transaction is one of extra, Errants.All of a server, and is not of
// primary. For MariaDB extra has the newest of each domain and server: those before it
// belong to it, back to the newest of that server that primary has.
func Among(transaction, extra, primary Set) bool {
	for _, d := range transaction.domains {
		x, p := of(extra.domains, d.id), of(primary.domains, d.id)
		for _, e := range d.last {
			if x == nil || !x.has(e) || p != nil && p.has(e) {
				return false
			}
		}
	}
	return !transaction.Empty() && containsMySQL(extra.sources, transaction.sources) &&
		(len(transaction.sources) == 0 || !containsMySQL(primary.sources, transaction.sources))
}
