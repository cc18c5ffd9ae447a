package picture

import (
	"fmt"
	"strings"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/judge"
	"kaname.dev/kaname/rib/mysql/topology"
)

// row describes a member.
func (d *drawer) row(m topology.Member) Row {
	row := Row{Server: m.Name, Source: d.above[m.Name], Role: "replica" + word(m), State: d.state(m)}
	if m.Name == d.Record.Primary {
		row.Role = "primary"
	}
	if r := d.Members[m.Name].Report; r != nil {
		s := &r.Self
		row.ReadOnly, row.Version, row.SemiSync = s.ReadOnly, s.Version, semiSync(&s.SemiSync)
		if rep := s.Replica; rep != nil {
			row.Delay = rep.Delay
			if rep.Lag >= 0 {
				lag := max(rep.Lag-rep.Delay, 0)
				row.Lag = &lag
			}
		}
	}
	if x, ok := d.Details[m.Name]; ok {
		row.Executed = x.Executed
		if set, err := gtid.Parse(d.Record.Flavour, x.Executed); err == nil {
			row.Position = Short(set.Position().String())
			if m.Name != d.Record.Primary {
				row.Missing, _ = d.primary.Minus(set).Count() // how exact does not matter for a picture
			}
		}
	}
	var notes []string
	for _, f := range d.Verdict.Findings {
		if f.Member == m.Name {
			row.Findings = append(row.Findings, f)
			notes = append(notes, f.What)
		}
	}
	row.Note = strings.Join(notes, "; ")
	return row
}

// word is a member's role as the record has it, where that says something.
func word(m topology.Member) string {
	if m.Role == topology.Candidate || m.Role == "" {
		return ""
	}
	return " (" + string(m.Role) + ")"
}

// state says what a member does.
func (d *drawer) state(m topology.Member) string {
	k := d.Members[m.Name]
	if k.Report == nil {
		return "unknown"
	}
	s := &k.Report.Self
	switch {
	case k.Age >= d.Record.Policy.Silence:
		return "silent"
	case s.Process == topology.Gone && !s.Answers:
		return "gone"
	case s.Refuses:
		return "refuses"
	case !s.Answers:
		return "no answer"
	case m.Name == d.Record.Primary:
		return d.primaryState(k.Report)
	case !s.ReadOnly:
		return "takes writes"
	case s.Replica == nil:
		return "no source"
	}
	return replicaState(s.Replica)
}

func (d *drawer) primaryState(r *topology.Report) string {
	switch v := d.Verdict.State; {
	case r.Lease.Fenced != "" && !r.Lease.Held:
		return "fenced"
	case r.Self.ReadOnly:
		return "closed"
	case v == judge.CannotCommit || v == judge.Stalled || v == judge.CutOff:
		return string(v)
	}
	return "open"
}

func replicaState(r *topology.Replica) string {
	switch {
	case r.ReceiveErr != "" || r.ApplyErr != "":
		return "broken"
	case r.Receiver == "No" || !r.Applying:
		return "stopped"
	case !r.Receiving:
		return "connecting"
	}
	return "replicates"
}

func semiSync(s *topology.SemiSync) string {
	switch {
	case s.Waits && !s.Active:
		return fmt.Sprintf("fell back, %d of %d connected", s.Clients, s.Acks)
	case s.Waits:
		return fmt.Sprintf("waits for %d, %d connected", s.Acks, s.Clients)
	case s.Replies:
		return "acknowledges"
	}
	return ""
}

// Short shortens a GTID set for people: of MySQL's, the first eight digits of each server's
// UUID are left; of one with many servers, the first three.
func Short(set string) string {
	const most = 3
	parts := strings.Split(strings.Join(strings.Fields(set), ""), ",")
	for i, p := range parts {
		if at := strings.IndexByte(p, ':'); at == 36 { // a UUID
			parts[i] = p[:8] + p[at:]
		}
	}
	if len(parts) > most {
		return strings.Join(parts[:most], ",") + fmt.Sprintf(",+%d", len(parts)-most)
	}
	return strings.Join(parts, ",")
}

// lag says a lag, or what there is instead.
func lag(r *Row) string {
	switch {
	case r.Lag == nil:
		return ""
	case r.Delay > 0:
		return fmt.Sprintf("%s + %s", r.Lag.Round(time.Second), r.Delay)
	}
	return r.Lag.Round(100 * time.Millisecond).String()
}
