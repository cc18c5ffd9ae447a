// Package exchange is what hosts of the plane tell each other about zones: a host
// with a source reports to the keeper, a host with a name server asks it what to
// serve and tells it what is served. It travels by HTTP between the peer listeners
// (mutual TLS), for it can be large.
package exchange

import (
	"net/http"
	"net/netip"
	"time"

	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/office"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/plan"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/source"
)

// The paths on a core's peer listener.
const (
	PathReport   = "/zone/report"   // POST Reported
	PathDesired  = "/zone/desired"  // POST Ask, answered with Feed when there is something new, or after Wait
	PathObserved = "/zone/observed" // POST Observed, answered with Heard
	PathView     = "/zone/view"     // POST Query, answered with View
)

// Office is the name of the keeper's office.
const Office = "zone"

// NewClient returns what talks to the keeper.
func NewClient(p *plane.Plane, peer func(host string) *http.Client) *office.Client {
	return &office.Client{Plane: p, Peer: peer, Office: Office, Within: Wait + 20*time.Second}
}

// Wait is how long a question for news may stay open.
const Wait = 25 * time.Second

// Reported is a source's report, with what the keeper must know about the source.
type Reported struct {
	Source  string           `json:"source"`
	Kind    string           `json:"kind"`
	View    string           `json:"view,omitempty"`
	Group   string           `json:"group,omitempty"`   // of members that name none
	Catalog name.Name        `json:"catalog,omitempty"` // of kind catalog
	Primary []server.Primary `json:"primary,omitempty"` // where members are transferred from unless their group says otherwise
	Report  source.Report    `json:"report"`
}

// Ask is a server's question for what it should serve.
type Ask struct {
	Server string   `json:"server"` // its name on the asking host
	Kind   string   `json:"kind"`
	View   string   `json:"view,omitempty"`
	Groups []string `json:"groups,omitempty"` // empty: all
	// Self is the server's own address: its host may take transfers from it, to keep the
	// contents of zones that are removed.
	Self netip.Addr `json:"self,omitzero"`
	Have string     `json:"have,omitempty"` // the Generation it has; empty: none
}

// Feed is the answer to Ask. With Full the zones are all; otherwise they replace
// those of the same names. Gone are known to be desired no longer: that the guard has
// let them go is known too, while a zone of which nothing is said is a riddle.
type Feed struct {
	Generation string            `json:"generation"`
	Full       bool              `json:"full,omitempty"`
	Templates  []server.Template `json:"templates,omitempty"` // all that the desired zones name
	Zones      []plan.Want       `json:"zones,omitempty"`
	Gone       []name.Name       `json:"gone,omitempty"`
	Policy     Policy            `json:"policy"`
}

// Policy is what the keeper tells servers besides the zones.
type Policy struct {
	Share      float64       `json:"share"` // a removal of more than this share of the zones is held
	Least      int           `json:"least"` // and of at least so many
	Window     time.Duration `json:"window"`
	Quarantine time.Duration `json:"quarantine"`         // how long contents of removed zones are kept
	Forced     []name.Name   `json:"forced,omitempty"`   // zones to be removed though their contents cannot be kept
	Accepted   []string      `json:"accepted,omitempty"` // hashes of plans that an operator let through
}

// Observed is what is served by one server.
type Observed struct {
	Server     string         `json:"server"`
	Kind       string         `json:"kind"`
	View       string         `json:"view,omitempty"`
	Version    string         `json:"version,omitempty"`
	Address    netip.AddrPort `json:"address"`
	Generation string         `json:"generation,omitempty"` // of the feed that it converges to
	Trouble    string         `json:"trouble,omitempty"`    // of the server as a whole
	Problems   []string       `json:"problems,omitempty"`   // of its configuration
	Held       *Held          `json:"held,omitempty"`       // removals that the guard stopped
	Converged  bool           `json:"converged"`            // nothing was left to do at the last look
	Looked     time.Time      `json:"looked,omitzero"`      // when its zones were listed last
	Foreign    int            `json:"foreign,omitempty"`    // zones that are not kaname's
	Full       bool           `json:"full,omitempty"`       // Cells are all; otherwise they replace those of their names
	Cells      []Cell         `json:"cells,omitempty"`
	Gone       []name.Name    `json:"gone,omitempty"`
}

// Held is a change that is not done until an operator accepts it.
type Held struct {
	Hash  string      `json:"hash"`
	Why   string      `json:"why"`
	Count int         `json:"count"` // zones that would go
	Names []name.Name `json:"names"` // the first ten of them
	Since time.Time   `json:"since"`
}

// Serving is the state of a zone that is as it should be; package watch has the others.
const Serving = "serving"

// Cell is one zone on one server.
type Cell struct {
	Name    name.Name `json:"name"`
	State   string    `json:"state"`             // see package watch
	Serial  uint32    `json:"serial,omitempty"`  // served
	Primary uint32    `json:"primary,omitempty"` // serial at the primary
	Since   time.Time `json:"since,omitzero"`    // of the state
	Behind  time.Time `json:"behind,omitzero"`   // since when the primary has a newer serial
	Note    string    `json:"note,omitempty"`
}

// Heard is the answer to Observed.
type Heard struct {
	Resend bool `json:"resend,omitempty"` // the keeper is new: send all cells
}

// Query asks the keeper for what people want to see.
type Query struct {
	Zone   string `json:"zone,omitempty"`   // one zone; or
	Under  string `json:"under,omitempty"`  // those at or below; or all
	Prefix string `json:"prefix,omitempty"` // those whose names begin so
	Bad    bool   `json:"bad,omitempty"`    // only zones that are not well somewhere
	Limit  int    `json:"limit,omitempty"`  // most zones; 0: all
	States bool   `json:"states,omitempty"` // zones too; otherwise only sources and servers
}

// View is what the keeper knows.
type View struct {
	Keeper     string       `json:"keeper"`
	Generation string       `json:"generation"`
	Zones      int          `json:"zones"` // desired
	Sources    []SourceView `json:"sources"`
	Servers    []ServerView `json:"servers"`
	States     []ZoneView   `json:"states,omitempty"`
	More       int          `json:"more,omitempty"` // zones beyond the limit
}

// SourceView is a source as the keeper knows it.
type SourceView struct {
	Name     string    `json:"name"`
	Host     string    `json:"host"`
	Kind     string    `json:"kind"`
	View     string    `json:"view,omitempty"`
	State    string    `json:"state"` // ok, held, trouble, silent, waiting
	Zones    int       `json:"zones"`
	Gone     int       `json:"gone,omitempty"` // in quarantine
	Serial   *uint32   `json:"serial,omitempty"`
	Heard    time.Time `json:"heard,omitzero"` // its last report
	Good     time.Time `json:"good,omitzero"`  // its last report of zones
	Note     string    `json:"note,omitempty"`
	Held     *Held     `json:"held,omitempty"`
	Admitted bool      `json:"admitted"`
}

// ServerView is a server as the keeper knows it.
type ServerView struct {
	Host  string         `json:"host"`
	Name  string         `json:"name"`
	Heard time.Time      `json:"heard"`
	Head  Observed       `json:"head"`  // without cells
	Count map[string]int `json:"count"` // zones by state
	Wants int            `json:"wants"` // zones that it should serve
}

// ZoneView is one zone everywhere.
type ZoneView struct {
	Name    name.Name `json:"name"`
	View    string    `json:"view,omitempty"`
	Source  string    `json:"source,omitempty"` // its owner
	Also    []string  `json:"also,omitempty"`   // other sources that have it
	Group   string    `json:"group,omitempty"`
	State   string    `json:"state"`          // desired, quarantined, restored, pinned
	Until   time.Time `json:"until,omitzero"` // end of the quarantine
	Pinned  bool      `json:"pinned,omitempty"`
	Adopted bool      `json:"adopted,omitempty"`
	Cells   []At      `json:"cells"`
	// Delegation says what is wrong with what the parent says of it; empty when nothing
	// is, or nothing is known.
	Delegation string `json:"delegation,omitempty"`
}

// At is a cell with its server.
type At struct {
	Server string `json:"server"` // host/name
	Cell
}
