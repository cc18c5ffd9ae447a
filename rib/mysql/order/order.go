// Package order has what the controller tells the agents of database hosts to do, and what
// they answer. An order goes to one member's agent, which works its server over the local
// socket. It carries the epoch of the topology: an agent that has seen a higher one
// refuses. Every order can be given again.
package order

import (
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Verb is what is to be done.
type Verb string

// The verbs.
const (
	Look     Verb = "look"      // say all about the server: Details
	Freeze   Verb = "freeze"    // stop receiving, go on applying, grant nobody of a lower epoch: Frozen
	Thaw     Verb = "thaw"      // receive again as before: the move was called off
	Drain    Verb = "drain"     // apply all that was received, at most Within: Frozen
	Level    Verb = "level"     // replicate from Source until Need is applied, at most Within: Frozen
	Rescue   Verb = "rescue"    // fetch what Source's binary logs have beyond Executed through its agent, and apply it: Frozen
	Promote  Verb = "promote"   // replicate from nobody, write the epoch, wait for acknowledgements from now on, open
	Follow   Verb = "follow"    // replicate from Source by GTID, closed for writes, acknowledging when Acker
	Close    Verb = "close"     // take no more writes, by consent: cut who goes on after Within: Frozen, Executed is the end
	Reopen   Verb = "reopen"    // undo Close
	Fence    Verb = "fence"     // take no more writes, whatever it takes; Kill allows killing the server: Done.How
	Start    Verb = "start"     // start the server's process
	Tune     Verb = "tune"      // set semi-synchronous replication as Acks, Acker and Waits say
	Prepare  Verb = "prepare"   // for Adopt: schema kaname, plugins, settings: Done.Notes
	SetAside Verb = "set-aside" // write transactions of Need that only this server has to a file of SQL: Done.How
	Reclone  Verb = "reclone"   // destroy this server's data, take a copy of Donor, follow Source as Acker says
	Leave    Verb = "leave"     // belong to no topology any more: keep no record, ask for no lease; the server stays as it is
)

// Order is one order.
type Order struct {
	Topology string `json:"topology"`
	Member   string `json:"member"`
	Epoch    uint64 `json:"epoch"`
	Verb     Verb   `json:"verb"`

	Source *topology.Member `json:"source,omitempty"`
	Donor  *topology.Member `json:"donor,omitempty"` // Reclone: whose data are copied; nil: those of Source
	Need   string           `json:"need,omitempty"`  // a GTID set
	Within time.Duration    `json:"within,omitempty"`
	Acks   int              `json:"acks,omitempty"` // Promote, Tune: to wait for; 0: asynchronous
	Waits  bool             `json:"waits,omitempty"`
	Acker  bool             `json:"acker,omitempty"`
	Kill   bool             `json:"kill,omitempty"`
	// Quiet: Freeze refuses (fault.Conflict) when events or heartbeats of the primary
	// still arrive, for then it is not dead.
	Quiet bool `json:"quiet,omitempty"`
	// Record is the new state of the topology, for the agent to keep.
	Record *topology.Record `json:"record,omitempty"`
	// Row is what Promote writes into kaname.epoch before it opens.
	Row *Row `json:"row,omitempty"`
}

// Row is a line of the table kaname.epoch: the story of a topology's primaries, in the data
// themselves.
type Row struct {
	Epoch    uint64 `json:"epoch"`
	Primary  string `json:"primary"`
	From     string `json:"from"`
	Position string `json:"position"` // GTID set that the new primary had when it opened
	Frozen   string `json:"frozen"`   // the ackers that had stopped receiving, and how many were needed: "db2 db3 of 2"
	Proven   bool   `json:"proven"`
}

// Done is what an agent answers.
type Done struct {
	Frozen  *topology.Frozen `json:"frozen,omitempty"`
	Details *Details         `json:"details,omitempty"`
	How     string           `json:"how,omitempty"` // what was done, in a few words
	Notes   []string         `json:"notes,omitempty"`
	Took    time.Duration    `json:"took,omitempty"`
}

// Details are all that can be said of a server without asking another.
type Details struct {
	Self     topology.Self     `json:"self"`
	Partial  bool              `json:"partial,omitempty"` // only Self is known: the server did not answer, or not all
	Executed string            `json:"executed"`          // GTID set
	Received string            `json:"received"`
	Purged   string            `json:"purged,omitempty"`   // no longer in the binary logs
	Own      string            `json:"own,omitempty"`      // transactions that began on this server
	State    string            `json:"state,omitempty"`    // MariaDB: gtid_binlog_state, which tells where transactions began
	Slave    string            `json:"slave,omitempty"`    // MariaDB: gtid_slave_pos, which may know of more than State
	Aside    *Aside            `json:"aside,omitempty"`    // what SetAside has written last
	Epochs   []Row             `json:"epochs,omitempty"`   // of kaname.epoch, the newest first, at most 10
	Sources  []string          `json:"sources,omitempty"`  // host:port of each channel
	Below    []string          `json:"below,omitempty"`    // host:port of replicas that are connected
	Settings map[string]string `json:"settings,omitempty"` // of those that matter
	Findings []Finding         `json:"findings,omitempty"`
}

// Has returns all that the server has executed, as gtid.Errant wants it: of a MariaDB with
// what tells where transactions began, if it said that.
func (d *Details) Has(flavour string) (gtid.Set, error) {
	if flavour == gtid.MariaDB && d.State+d.Slave != "" {
		return gtid.ParseState(d.State, d.Slave)
	}
	return gtid.Parse(flavour, d.Executed)
}

// Aside are transactions that only one server has, written to a file of SQL on its host.
type Aside struct {
	Need         string `json:"need"` // GTID set, as Order.Need named them
	File         string `json:"file"` // absolute path
	Transactions int    `json:"transactions"`
}

// Finding is something about a server that does not fit.
type Finding struct {
	Level string `json:"level"` // "error": cannot be adopted so; "warn": can, at a price
	What  string `json:"what"`
	Why   string `json:"why"`
	Try   string `json:"try"`
}
