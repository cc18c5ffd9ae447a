// Package catalog reads and writes catalog zones (RFC 9432), purely. It reads strictly
// and all or nothing: a catalog that breaks one rule is no catalog, and what was known
// before stays. It writes one canonical form, so that every consumer understands it.
package catalog

import (
	"net/netip"
	"time"

	"kaname.dev/kaname/rib/zone/name"
)

// Catalog is what a valid catalog zone says.
type Catalog struct {
	Zone    name.Name
	Serial  uint32
	Times   Times // of its SOA record
	Version int   // of the schema: 2, or 1 where that is allowed
	Members map[name.Name]Member
	// Ignored is how many records mean nothing here (RFC 9432 section 3).
	Ignored int
}

// Times are the SOA's; RFC 1035 section 3.3.13.
type Times struct {
	Refresh, Retry, Expire time.Duration
}

// Member is one zone of a catalog.
type Member struct {
	Label  string    // of the member node, in the canonical form of a label of name.Name
	Groups []string  // values of its group property, in the order of their octets; RFC 9432 section 4.3.2
	Coo    name.Name // the catalog that may take it over; section 4.3.1
	// Primaries is where the zone is transferred from, as BIND's custom properties say
	// (BIND 9 reference manual, "Catalog Zones"); sorted by address.
	Primaries []Primary
}

// Primary is where a zone is transferred from.
type Primary struct {
	Address netip.Addr // at port 53
	Key     string     // name of a TSIG key; empty for none
}

// Options say what may be in a catalog.
type Options struct {
	// Allow holds the names at or below which members may be; empty means all but the
	// root. RFC 9432 section 7 wants a consumer to limit this.
	Allow []name.Name
	// Version1 accepts the schema of BIND 9.11 too: version "1", "masters" without "ext".
	Version1 bool
}
