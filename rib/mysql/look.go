package mysql

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/controller"
	"kaname.dev/kaname/rib/mysql/exchange"
	"kaname.dev/kaname/rib/mysql/judge"
	"kaname.dev/kaname/rib/mysql/topology"
	"kaname.dev/kaname/rib/office"
)

// view asks the controller.
func (r *service) view(ctx context.Context, q controller.Query) (controller.View, error) {
	return office.Do[controller.View](ctx, r.patient, exchange.PathView, q)
}

// one asks it for one topology.
func (r *service) one(ctx context.Context, name string, details bool) (controller.TopologyView, error) {
	v, err := r.view(ctx, controller.Query{Topology: name, Details: details})
	if err != nil {
		return controller.TopologyView{}, err
	}
	return v.Topologies[0], nil
}

type statusIn struct {
	Topology string `name:"topology" arg:"" help:"topology; by default all" ja:"トポロジー名" complete:"topologies"`
}

// statusOut is one topology.
type statusOut struct {
	Topology string      `json:"topology"`
	State    judge.State `json:"state"`
	Primary  string      `json:"primary"`
	Epoch    uint64      `json:"epoch"`
	Members  string      `json:"members"` // how many of how many are well
	Routers  string      `json:"routers,omitempty"`
	Note     string      `json:"note,omitempty"`
	Reasons  []string    `json:"reasons,omitempty"`
}

func (r *service) status(ctx context.Context, run *action.Run, in statusIn) ([]statusOut, error) {
	v, err := r.view(ctx, controller.Query{Topology: in.Topology})
	if err != nil {
		return nil, err
	}
	out := []statusOut{}
	for i := range v.Topologies {
		t := &v.Topologies[i]
		out = append(out, standing(t))
		if in.Topology == "" {
			continue
		}
		for _, reason := range t.Verdict.Reasons {
			run.Note(reason)
		}
		for _, f := range t.Verdict.Findings {
			run.Note(f.Member + ": " + f.What + ": " + f.Why + "; " + f.Try)
		}
	}
	if len(out) == 0 {
		run.Note("no topology is adopted yet: kaname mysql servers; kaname mysql adopt --help")
	}
	return out, nil
}

// standing is how a topology stands, in one line.
func standing(t *controller.TopologyView) statusOut {
	out := statusOut{Topology: t.Record.Name, State: t.Verdict.State, Primary: t.Record.Primary, Epoch: t.Record.Epoch, Reasons: t.Verdict.Reasons}
	well, total := 0, len(t.Record.Members)
	for _, m := range t.Record.Members {
		if k, ok := t.Members[m.Name]; ok && works(&k, m.Name == t.Record.Primary) {
			well++
		}
	}
	out.Members = fmt.Sprintf("%d/%d", well, total)
	if n := len(t.Routers); n > 0 {
		follow := 0
		for _, x := range t.Routers {
			if x.Follows && !x.Lost {
				follow++
			}
		}
		out.Routers = fmt.Sprintf("%d/%d", follow, n)
	}
	var notes []string
	if m := t.Record.Move; m != nil {
		notes = append(notes, fmt.Sprintf("%s from %s at step %s: %s", m.Kind, m.From, m.Step, t.Doing))
	}
	if p := t.Record.Paused; p != nil && time.Now().Before(p.Until) {
		notes = append(notes, "paused by "+p.By+" until "+p.Until.Local().Format(time.DateTime)+": "+p.Why)
	}
	if t.Verdict.Blocked != "" {
		notes = append(notes, t.Verdict.Blocked)
	}
	if l := t.Record.Last; l != nil && l.Move.Kind == topology.Failover && l.Move.By == "kaname" && l.Acked == "" {
		notes = append(notes, "the failover of "+l.Ended.Local().Format(time.DateTime)+" waits for: kaname mysql acknowledge "+t.Record.Name)
	}
	if n := len(t.Verdict.Findings); n > 0 {
		notes = append(notes, fmt.Sprintf("%d findings: kaname mysql status %s", n, t.Record.Name))
	}
	out.Note = strings.Join(notes, "; ")
	return out
}

// works reports whether a member does what it is there for: a replica receives and applies.
func works(k *judge.Known, primary bool) bool {
	if k.Report == nil || k.Age >= judge.Fresh || !k.Report.Self.Answers {
		return false
	}
	r := k.Report.Self.Replica
	return primary || r != nil && r.Receiving && r.Applying
}

// serverOut is a database server.
type serverOut struct {
	Server   string `json:"server"`
	Host     string `json:"host"`
	Address  string `json:"address"`
	Topology string `json:"topology,omitempty"`
	Note     string `json:"note,omitempty"`
}

func (r *service) servers(ctx context.Context, run *action.Run, _ struct{}) ([]serverOut, error) {
	found, err := controller.Servers(ctx, r.node.Plane)
	if err != nil {
		return nil, err
	}
	out := []serverOut{}
	for _, f := range found {
		out = append(out, serverOut{Server: f.Name, Host: f.Host, Address: f.Address, Topology: f.Topology, Note: f.Trouble})
	}
	if len(out) == 0 {
		run.Note("no live host of the plane has database servers: name them under mysql.servers in the configuration of their hosts")
	}
	return out, nil
}

type historyIn struct {
	statusIn
	Moves bool          `name:"moves" help:"only moves, each step of them" ja:"切り替えの各段階だけを表示"`
	Since time.Duration `name:"since" default:"336h" help:"how far back" ja:"さかのぼる時間"`
}

// historyOut is one thing that happened.
type historyOut struct {
	Time     time.Time `json:"time"`
	Topology string    `json:"topology"`
	What     string    `json:"what"`
	Text     string    `json:"text"`
}

func (r *service) history(ctx context.Context, _ *action.Run, in historyIn) ([]historyOut, error) {
	out := []historyOut{}
	for e, err := range r.node.Plane.Kept(ctx, "mysql.", 1) {
		if err != nil {
			return out, err
		}
		var told controller.Told
		if err := json.Unmarshal(e.Data, &told); err != nil || in.Topology != "" && told.Topology != in.Topology || time.Since(e.Time) > in.Since {
			continue // an event of another version is no history
		}
		out = append(out, lines(e.Time, &told, in.Moves)...)
	}
	return out, nil
}

// lines are what history says of an event.
func lines(at time.Time, told *controller.Told, moves bool) []historyOut {
	line := func(at time.Time, what, text string) historyOut {
		return historyOut{Time: at.Truncate(time.Millisecond), Topology: told.Topology, What: what, Text: text}
	}
	var out []historyOut
	if o := told.Outcome; o != nil {
		if moves {
			for _, why := range o.Move.Why {
				out = append(out, line(o.Move.Started, "why", why))
			}
			for _, e := range o.Move.Log {
				out = append(out, line(o.Move.Started.Add(e.At), string(o.Move.Kind), e.Text))
			}
		}
		return append(out, line(at, "outcome", outcome(o)))
	}
	if moves {
		return out
	}
	switch {
	case told.Verdict != nil:
		text := "primary " + told.Verdict.Primary + ": " + strings.Join(told.Verdict.Reasons, "; ")
		if told.Verdict.Blocked != "" {
			text += "; not acted on: " + told.Verdict.Blocked
		}
		out = append(out, line(at, string(told.Verdict.State), text))
	case told.Word != nil:
		text := "by " + told.Word.By
		if told.Trouble != "" {
			text += ": refused: " + told.Trouble
		}
		out = append(out, line(at, string(told.Word.Verb), text))
	default:
		out = append(out, line(at, "mended", told.Text))
	}
	return out
}

// outcome says how a move ended.
func outcome(o *topology.Outcome) string {
	m := &o.Move
	text := fmt.Sprintf("%s from %s to %s by %s in %s", m.Kind, m.From, m.To, m.By, o.Took.Round(time.Millisecond))
	if !o.OK {
		text = fmt.Sprintf("%s from %s by %s did not happen", m.Kind, m.From, m.By)
	}
	if m.Fenced != "" {
		text += "; the old primary: " + m.Fenced
	}
	if o.OK && !m.Proven {
		text += "; what may be missing: " + strings.Join(m.Missing, ", ")
	}
	if len(o.Problems) > 0 {
		text += "; left to do: " + strings.Join(o.Problems, ", ")
	}
	return text
}

// completeTopologies finds topologies by how their names begin.
func (r *service) completeTopologies(ctx context.Context, prefix string) ([]string, error) {
	v, err := r.view(ctx, controller.Query{})
	if err != nil {
		return nil, err
	}
	var out []string
	for i := range v.Topologies {
		if n := v.Topologies[i].Record.Name; strings.HasPrefix(n, prefix) {
			out = append(out, n)
		}
	}
	return out, nil
}

// completeServers finds database servers.
func (r *service) completeServers(ctx context.Context, prefix string) ([]string, error) {
	found, err := controller.Servers(ctx, r.node.Plane)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range found {
		if strings.HasPrefix(f.Name, prefix) {
			out = append(out, f.Name)
		}
	}
	return out, nil
}

// unknownServer says that a topology has no such member.
func unknownServer(t *topology.Record, name string) error {
	var members []string
	for _, m := range t.Members {
		members = append(members, m.Name)
	}
	return fault.NotFound("topology " + t.Name + " has no member " + name).Try("it has " + strings.Join(members, ", "))
}
