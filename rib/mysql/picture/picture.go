// Package picture draws a topology as its servers see it: a tree with the primary at its
// root and each replica below the server that it replicates from, as rows for programs and
// as text for people. It is made of what was reported; it asks nobody.
package picture

import (
	"slices"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/judge"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Scene is what is to be drawn.
type Scene struct {
	Record  *topology.Record
	Verdict judge.Verdict
	Members map[string]judge.Known
	// Details are what members said when they were asked for all, if they were: only with
	// it there are positions, and replicas that are no members.
	Details map[string]order.Details
}

// Row is one server.
type Row struct {
	// Tree is the name with the lines that lead to it from the server above.
	Tree   string `json:"tree"`
	Server string `json:"server"`           // the member's name, or the address of one that is none
	Depth  int    `json:"depth"`            // 0: replicates from nobody that is drawn
	Source string `json:"source,omitempty"` // the server above
	Role   string `json:"role"`             // primary, intermediate or replica, with its word in the record; stranger
	// State is in one or two words what it does: open, closed, replicates, stopped, gone...
	State    string `json:"state"`
	ReadOnly bool   `json:"read_only"`
	Version  string `json:"version,omitempty"`
	Position string `json:"position,omitempty"` // GTID set, shortened for people: see Short
	// Executed is the GTID set. Missing is how many transactions the primary had that
	// it had not; a few are on their way while there are writes.
	Executed string `json:"executed,omitempty"`
	Missing  uint64 `json:"missing,omitempty"`
	// Lag is what the applier is behind, beyond a delay on purpose; nil: unknown or no
	// replica.
	Lag      *time.Duration  `json:"lag,omitempty"`
	Delay    time.Duration   `json:"delay,omitempty"`
	SemiSync string          `json:"semi_sync,omitempty"` // waits for 1, 2 connected; acknowledges
	Findings []judge.Finding `json:"findings,omitempty"`
	Note     string          `json:"note,omitempty"` // the findings in one line

	below string // the lines that lead past it to what comes after
}

// Rows returns the servers from the root on, each followed by those below it, in the
// record's order. Servers that replicate from none of those come last, as further roots.
func Rows(s Scene) []Row {
	d := drawer{Scene: s, above: map[string]string{}}
	if s.Record == nil {
		return nil
	}
	if p := s.Details[s.Record.Primary].Executed; p != "" {
		d.primary, _ = gtid.Parse(s.Record.Flavour, p) // what cannot be read is not compared with
	}
	for _, m := range s.Record.Members {
		d.above[m.Name] = d.source(m)
	}
	if s.Record.Primary != "" {
		d.tree(s.Record.Primary, 0, "", "")
	}
	for _, m := range s.Record.Members {
		if up := d.above[m.Name]; s.Record.Member(up) == nil {
			d.tree(m.Name, 0, "", "")
		}
	}
	for _, m := range s.Record.Members { // those that replicate in a circle
		d.tree(m.Name, 0, "", "")
	}
	return d.rows
}

type drawer struct {
	Scene
	above   map[string]string // by member: the member, or address, that it replicates from
	primary gtid.Set
	rows    []Row
	drawn   []string
}

// source is what a member replicates from: by its own word if there is one, else as the
// record says.
func (d *drawer) source(m topology.Member) string {
	if r := d.Members[m.Name].Report; r != nil && (r.Self.Answers || r.Self.Replica != nil) {
		if r.Self.Replica == nil {
			return ""
		}
		for _, o := range d.Record.Members {
			if o.Address == r.Self.Replica.Source {
				return o.Name
			}
		}
		return r.Self.Replica.Source
	}
	if m.Name == d.Record.Primary {
		return ""
	}
	if m.Source != "" {
		return m.Source
	}
	return d.Record.Primary
}

// tree draws a member and what is below it. Branch leads to it, trunk past it.
func (d *drawer) tree(name string, depth int, branch, trunk string) {
	m := d.Record.Member(name)
	if m == nil || slices.Contains(d.drawn, name) {
		return
	}
	d.drawn = append(d.drawn, name)
	row := d.row(*m)
	row.Tree, row.Depth, row.below = branch+name, depth, trunk
	at := len(d.rows)
	d.rows = append(d.rows, row)
	var below []string
	for _, o := range d.Record.Members {
		if d.above[o.Name] == name && !slices.Contains(d.drawn, o.Name) {
			below = append(below, o.Name)
		}
	}
	strangers := d.strangers(name)
	if len(below)+len(strangers) > 0 {
		d.rows[at].below += "│  "
		if name != d.Record.Primary {
			d.rows[at].Role = "intermediate" + word(*m)
		}
	}
	for i, o := range append(below, strangers...) {
		next, past := "├─ ", "│  "
		if i == len(below)+len(strangers)-1 {
			next, past = "└─ ", "   "
		}
		if i < len(below) {
			d.tree(o, depth+1, trunk+next, trunk+past)
			continue
		}
		d.rows = append(d.rows, Row{Tree: trunk + next + o, Server: o, Depth: depth + 1, Source: name, Role: "stranger", State: "not a member", below: trunk + past})
	}
}

// strangers are the replicas below a member that are no members.
func (d *drawer) strangers(name string) []string {
	var list []string
	for _, f := range d.Verdict.Findings {
		if f.Member == name && f.Kind == judge.Stranger {
			list = d.Details[name].Below
		}
	}
	return slices.DeleteFunc(slices.Clone(list), func(at string) bool { return judge.IsMember(d.Record, at) })
}
