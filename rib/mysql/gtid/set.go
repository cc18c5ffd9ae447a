// Package gtid computes with sets of global transaction identifiers, as MySQL and
// MariaDB print them. It does no I/O.
//
// The flavours mean different things by their texts. MySQL prints true sets: each
// transaction is in it or is not, and everything here is exact. MariaDB prints
// positions: "0-1-100" is the last transaction of domain 0, and all before it in that
// domain are taken to be there too. That holds as long as one server at a time writes to
// a domain (gtid_strict_mode). What a position cannot tell is said at Errant.
//
// Sources: MySQL Reference Manual, "GTID Format and Storage"; MariaDB Knowledge Base,
// "Global Transaction ID".
package gtid

import (
	"fmt"
	"strings"
)

// The flavours of servers.
const (
	MySQL   = "mysql"
	MariaDB = "mariadb"
)

// Set is a set of transactions. It never changes; the zero value is the empty set, of
// either flavour. Sets of unlike flavours have nothing in common: neither contains the
// other unless that is empty.
type Set struct {
	sources []source // MySQL: by uuid and tag
	domains []domain // MariaDB: by number
	state   bool     // MariaDB: domains name every server whose transactions are known to be here
}

// Parse reads a set as a server prints it; the empty text is the empty set.
//
// For MySQL these are uuid:interval[:interval...][:tag:interval...], separated by commas,
// with white space and newlines between the parts, in either case, the same uuid or tag
// as often as one likes. For MariaDB these are domain-server-sequence, separated by
// commas: one for each domain (gtid_binlog_pos, gtid_slave_pos) or one for each domain and
// server (gtid_binlog_state).
//
// An error names the byte at which the text stops making sense. Texts of more than 16 MiB
// are refused.
func Parse(flavour, s string) (Set, error) {
	if len(s) > maxText {
		return Set{}, fmt.Errorf("gtid set of %d bytes is longer than %d bytes; a server's own text is far shorter", len(s), maxText)
	}
	sc := &scanner{text: s, flavour: flavour}
	switch flavour {
	case MySQL:
		return parseMySQL(sc)
	case MariaDB:
		return parseMariaDB(sc)
	}
	return Set{}, fmt.Errorf("gtid set of flavour %q is unknown; use %q or %q", flavour, MySQL, MariaDB)
}

// ParseState reads all that a MariaDB server tells of its transactions: gtid_binlog_state,
// and gtid_slave_pos, which may know more of what was there before the binary log began. The
// set knows then which servers' transactions are there, and Errant can tell more. What is
// made from the set does not know it any more, nor does its text.
func ParseState(binlogState, slavePos string) (Set, error) {
	b, err := Parse(MariaDB, binlogState)
	if err != nil {
		return Set{}, err
	}
	p, err := Parse(MariaDB, slavePos)
	if err != nil {
		return Set{}, err
	}
	return Set{domains: merged(b.domains, p.domains), state: true}, nil
}

// String prints the set as its server does: MySQL in lower case, by uuid and tag, with a
// comma and a newline between uuids; MariaDB by domain, with a comma between, and within a
// domain the newest last.
func (s Set) String() string {
	var b strings.Builder
	printMySQL(&b, s.sources)
	if len(s.sources) > 0 && len(s.domains) > 0 {
		b.WriteByte(',') // no server has both; this only keeps the text honest
	}
	printMariaDB(&b, s.domains)
	return b.String()
}

// Empty reports whether there is no transaction in the set.
func (s Set) Empty() bool { return len(s.sources) == 0 && len(s.domains) == 0 }

// Equal reports whether each set contains the other. Two binary log states of MariaDB are
// equal so when their positions are, whatever else they remember.
func (s Set) Equal(o Set) bool { return s.Contains(o) && o.Contains(s) }

// Contains reports whether all of o is in s. For MariaDB: whether in each domain of o the
// position of s is later, or is the same transaction. The same sequence number of another
// server is another transaction: then neither contains the other.
func (s Set) Contains(o Set) bool {
	return containsMySQL(s.sources, o.sources) && containsMariaDB(s.domains, o.domains)
}

// Union returns what is in s or in o. For MariaDB these are positions, in each domain the
// later one, and both where they diverge: a set that no server can contain.
func (s Set) Union(o Set) Set {
	return Set{sources: unionMySQL(s.sources, o.sources), domains: unionMariaDB(s.domains, o.domains)}
}

// Minus returns what is in s and not in o. For MariaDB these are the positions of s that o
// does not contain; Count then says how far they are beyond o.
func (s Set) Minus(o Set) Set {
	return Set{sources: minusMySQL(s.sources, o.sources), domains: minusMariaDB(s.domains, o.domains)}
}

// Position returns the set with one position for each domain, as MariaDB's
// MASTER_GTID_WAIT and gtid_slave_pos want it: of a binary log state the newest. MySQL's
// sets stay what they are.
func (s Set) Position() Set {
	return Set{sources: s.sources, domains: unionMariaDB(s.domains, nil)}
}

// Count returns the number of transactions. It is exact for MySQL, up to 2^64-1, where it
// stays. For MariaDB it is an estimate: the sum of the distances of sequence numbers in each
// domain, from what Minus or Errant compared with or else from 0.
func (s Set) Count() (n uint64, exact bool) {
	return addCapped(countMySQL(s.sources), countMariaDB(s.domains)), len(s.domains) == 0
}

// Best returns the index of the first of the sets that contains all others, and -1 when
// there is none: they diverge, or no set was given.
func Best(sets ...Set) int {
	if len(sets) == 0 {
		return -1
	}
	best := 0
	for i, s := range sets[1:] {
		if !sets[best].Contains(s) {
			best = i + 1
		}
	}
	for _, s := range sets {
		if !sets[best].Contains(s) {
			return -1
		}
	}
	return best
}

func addCapped(a, b uint64) uint64 {
	if a+b < a {
		return ^uint64(0)
	}
	return a + b
}
