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
// For MySQL (gtid_executed of both) the answer is exact. For MariaDB give
// gtid_binlog_state of both: a transaction of a server counts as errant when it is later
// than all the primary has, when it has the number of the primary's position and another
// server, or when the primary's state reaches back before it and still does not have it.
// From positions alone (gtid_binlog_pos, gtid_slave_pos) only the first two can be told: a
// replica at 0-2-150 below a primary at 0-1-160 may have got 150 from it or have written
// it itself. So it is too of a primary that was seeded from a copy and whose own state begins
// later than the transaction.
func Errant(replica, primary Set, self ...string) Errants {
	all := Set{sources: minusMySQL(replica.sources, primary.sources), domains: errantMariaDB(replica.domains, primary.domains)}
	return Errants{All: all, Own: all.began(self)}
}

func errantMariaDB(replica, primary []domain) []domain {
	var out []domain
	for _, d := range replica {
		p := of(primary, d.id)
		if p == nil {
			out = append(out, d)
			continue
		}
		rest := domain{id: d.id}
		for _, e := range d.last {
			if p.lacks(e) {
				rest.last = append(rest.last, e)
				rest.from = p.until(e)
			}
		}
		if len(rest.last) > 0 {
			out = append(out, rest)
		}
	}
	return out
}

// lacks reports whether the domain is known not to have a transaction.
func (d domain) lacks(e entry) bool {
	for _, have := range d.last {
		if have.server == e.server && have.seq >= e.seq {
			return false
		}
	}
	return e.seq >= d.seq() || d.last[0].seq < e.seq
}

// until returns the highest number below a transaction that the domain lacks which it has
// of the same server, or of any when the transaction is beyond all.
func (d domain) until(e entry) uint64 {
	var at uint64
	for _, have := range d.last {
		if have.seq < e.seq && (have.server == e.server || d.seq() < e.seq) {
			at = max(at, have.seq)
		}
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
