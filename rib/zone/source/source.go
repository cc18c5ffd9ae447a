// Package source says where the desired set of zones comes from. Each kind has a
// folder below. A source reports what it knows to be so; what it cannot see is
// unknown, never empty.
package source

import (
	"context"
	"log/slog"
	"net/netip"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/wire"
)

// Source watches one primary, catalog or directory.
type Source interface {
	// Run watches until ctx ends and reports: a full list at first and at least every
	// minute, changes as soon as they are seen, and trouble when the set cannot
	// be seen. tell blocks until the report is taken, and returns an error when it
	// was not: the source then reports in full again, later.
	Run(ctx context.Context, tell func(context.Context, Report) error) error
	// Hear gives the source a NOTIFY that arrived at this host. It does not block.
	// It is only a hint: the source verifies it with what it was configured with.
	Hear(n Notify)
}

// Report is what a source has seen. Exactly one of Full, Delta and Trouble is set.
type Report struct {
	Full    *List  `json:"full,omitempty"`
	Delta   *Delta `json:"delta,omitempty"`
	Trouble string `json:"trouble,omitempty"` // the set is unknown now, and why; what to do
	// Notes come with Full: what somebody should look at though the set is known, such as
	// a zone file that cannot be read. They replace those of the report before.
	Notes []string `json:"notes,omitempty"`
}

// List is the whole set.
type List struct {
	Members []Member `json:"members"`          // sorted by name, no name twice
	Serial  *uint32  `json:"serial,omitempty"` // of a catalog
}

// Delta is a verified change.
type Delta struct {
	Add    []Member    `json:"add,omitempty"`
	Remove []name.Name `json:"remove,omitempty"`
	Serial *uint32     `json:"serial,omitempty"` // of a catalog, after it
}

// Member is one zone of the set.
type Member struct {
	Name  name.Name `json:"name"`
	Group string    `json:"group,omitempty"`
	Coo   name.Name `json:"coo,omitempty"` // RFC 9432 section 4.3.1: the catalog that may take it over
	ID    string    `json:"id,omitempty"`  // the member label in a catalog: another one means that the zone is to be reset
	// Primaries is where it is transferred from, if not from the group's.
	Primaries []netip.AddrPort `json:"primaries,omitempty"`
}

// Notify is a NOTIFY message (RFC 1996) that arrived.
type Notify struct {
	Zone   name.Name
	From   netip.AddrPort
	Key    string  // name of the TSIG key that signed it, verified; empty when unsigned
	Serial *uint32 // in its answer section, a hint
}

// Options say how a source is reached.
type Options struct {
	Name    string    // the source's name in kaname
	Kind    string    // catalog, bind, knot, pdns, directory, notify
	Peer    wire.Peer // the primary, for questions and transfers
	Catalog name.Name // of kind catalog; of kind bind, one that the primary produces, which is no member
	Control string    // as server.Options.Control
	KeyFile string    // of the control channel, or the API
	Config  string    // the primary's configuration file or directory
	Stats   string    // BIND's statistics channel, host:port
	View    string
	Native  bool           // kind pdns: zones of kind Native are members too, not those of kind Master alone
	Allow   []name.Name    // names at or below which members may be; empty: all but the root
	Names   []name.Name    // kind notify: names of ours, one of which the zone's NS set must have
	Froms   []netip.Prefix // kind notify: addresses that may notify
	Dir     string         // the source's own state, exists
	Log     *slog.Logger
}
