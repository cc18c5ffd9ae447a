package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/mysql/exchange"
	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/judge"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Found is a database server somewhere in the plane.
type Found struct {
	exchange.Server
	Host string
	Peer string // host:port of its agent's peer listener
	Zone string // label of the host
}

// Servers asks all hosts of the plane for their database servers.
func Servers(ctx context.Context, p *plane.Plane) ([]Found, error) {
	members, err := p.Members(ctx)
	if err != nil {
		return nil, err
	}
	at := map[string]plane.Member{}
	var hosts []string
	for _, m := range members {
		if m.Alive && m.Commands[exchange.CommandServers] > 0 {
			at[m.Host] = m
			hosts = append(hosts, m.Host)
		}
	}
	var out []Found
	if len(hosts) == 0 {
		return nil, nil
	}
	for f := range p.Call(ctx, plane.CallSpec{Command: exchange.CommandServers, Hosts: hosts, In: struct{}{}, Timeout: silent}) {
		if !f.Last() || f.Fault != nil {
			continue // a host that is silent has no server that could be adopted now
		}
		var list []exchange.Server
		if err := json.Unmarshal(f.Result, &list); err != nil {
			return nil, fault.Unsupported("host " + f.Host + " lists its database servers in a way that cannot be read").Because(err).Try("upgrade kaname on this core")
		}
		for _, s := range list {
			out = append(out, Found{Server: s, Host: f.Host, Peer: at[f.Host].Address, Zone: at[f.Host].Labels["zone"]})
		}
	}
	slices.SortFunc(out, func(a, b Found) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// resolve fills in where members are.
func resolve(ctx context.Context, p *plane.Plane, names []topology.Member) ([]topology.Member, error) {
	found, err := Servers(ctx, p)
	if err != nil {
		return nil, err
	}
	out := slices.Clone(names)
	for i := range out {
		j := slices.IndexFunc(found, func(f Found) bool { return f.Name == out[i].Name })
		if j < 0 {
			return nil, fault.NotFound("no host of the plane has a database server named " + out[i].Name).
				Try("known are: " + list(found) + "; name it under mysql.servers of its host's configuration, and see that its agent runs")
		}
		f := found[j]
		out[i].Host, out[i].Address, out[i].Peer, out[i].Zone = f.Host, f.Address, f.Peer, f.Zone
	}
	return out, nil
}

func list(found []Found) string {
	var names []string
	for _, f := range found {
		names = append(names, f.Name)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// Surveyed is what servers look like that are to become a topology.
type Surveyed struct {
	Record  topology.Record
	Details map[string]order.Details
	// Errors keep them from being adopted, Warnings do not; one sentence each.
	Errors, Warnings []string
}

// Survey looks at servers that are to become a topology, and changes nothing.
func Survey(ctx context.Context, p *plane.Plane, name string, members []topology.Member, policy topology.Policy) (Surveyed, error) {
	s, err := survey(ctx, p, name, members, policy)
	if err == nil {
		s.policies()
	}
	return s, err
}

// survey is Survey without the policy: also of servers that are to join a topology, behind
// its primary.
func survey(ctx context.Context, p *plane.Plane, name string, members []topology.Member, policy topology.Policy) (Surveyed, error) {
	members, err := resolve(ctx, p, members)
	if err != nil {
		return Surveyed{}, err
	}
	s := Surveyed{Details: map[string]order.Details{}, Record: topology.Record{Name: name, Epoch: 1, Primary: members[0].Name, Members: members, Policy: policy}}
	for _, m := range members {
		done, err := plane.CallOne[order.Done](ctx, p, m.Host, plane.CallSpec{
			Command: exchange.CommandOrder, In: order.Order{Topology: name, Member: m.Name, Verb: order.Look}, Timeout: silent,
		}, nil)
		if err != nil {
			return s, fault.Of(err).At("server " + m.Name)
		}
		if d := done.Details; d == nil || d.Partial {
			return s, fault.Unavailable("server " + m.Name + " does not answer its agent").Try("see if it runs, and if its socket and the account are those that mysql.servers of host " + m.Host + " names")
		}
		s.Details[m.Name] = *done.Details
	}
	s.flavour()
	s.singles()
	s.replicas()
	return s, nil
}

func (s *Surveyed) wrong(format string, args ...any) {
	s.Errors = append(s.Errors, fmt.Sprintf(format, args...))
}

func (s *Surveyed) warn(format string, args ...any) {
	s.Warnings = append(s.Warnings, fmt.Sprintf(format, args...))
}

// flavourOf tells the flavour from a server's version.
func flavourOf(version string) string {
	if strings.Contains(version, "MariaDB") {
		return gtid.MariaDB
	}
	return gtid.MySQL
}

func (s *Surveyed) flavour() {
	for _, m := range s.Record.Members {
		f := flavourOf(s.Details[m.Name].Self.Version)
		if s.Record.Flavour == "" {
			s.Record.Flavour = f
		}
		if f != s.Record.Flavour {
			s.wrong("%s is %s and %s is %s; a topology has one flavour", s.Record.Primary, s.Record.Flavour, m.Name, f)
		}
	}
}

// singles looks at each server alone.
func (s *Surveyed) singles() {
	ids := map[uint32]string{}
	for _, m := range s.Record.Members {
		d := s.Details[m.Name]
		for _, f := range d.Findings {
			text := m.Name + ": " + f.What + ": " + f.Why + "; " + f.Try
			if f.Level == "error" {
				s.Errors = append(s.Errors, text)
				continue
			}
			s.Warnings = append(s.Warnings, text)
		}
		if other, taken := ids[d.Self.ServerID]; taken {
			s.wrong("%s and %s have the same server_id %d; give each its own", other, m.Name, d.Self.ServerID)
		}
		ids[d.Self.ServerID] = m.Name
		if d.Self.Replica != nil && d.Self.Replica.Channels > 1 {
			s.warn("%s replicates from %d sources; only the one of this topology is moved", m.Name, d.Self.Replica.Channels)
		}
		for _, e := range d.Epochs {
			s.Record.Epoch = max(s.Record.Epoch, e.Epoch+1) // an earlier life of the topology is written in its data
		}
	}
}

// replicas looks at how they stand to the primary.
func (s *Surveyed) replicas() {
	rec := &s.Record
	primary := s.Details[rec.Primary]
	if primary.Self.Replica != nil {
		s.wrong("%s replicates from %s itself, so it is not the primary", rec.Primary, primary.Self.Replica.Source)
	}
	if primary.Self.ReadOnly {
		s.warn("%s is read-only; it will be opened for writes", rec.Primary)
	}
	have, err := primary.Has(rec.Flavour)
	if err != nil {
		s.wrong("%s: its GTID set cannot be read: %v", rec.Primary, err)
		return
	}
	at := rec.Member(rec.Primary).Address
	for _, m := range rec.Replicas(rec.Primary) {
		d := s.Details[m.Name]
		above := at
		if m.Source != "" {
			above = rec.Member(m.Source).Address
		}
		switch r := d.Self.Replica; {
		case r == nil:
			s.wrong("%s does not replicate from anywhere; set it up as a replica of %s first", m.Name, above)
		case r.Source != above:
			s.wrong("%s replicates from %s and not from %s (%s)", m.Name, r.Source, above, rec.Primary)
		case !r.ByGTID:
			s.warn("%s replicates by file and position; it will be told to go by GTID", m.Name)
		case r.Delay > 0 && m.Role != topology.Observer && m.Role != topology.Never:
			s.warn("%s is %s behind on purpose; give it the role observer", m.Name, r.Delay)
		}
		if !d.Self.ReadOnly {
			s.warn("%s takes writes; it will be closed", m.Name)
		}
		set, err := d.Has(rec.Flavour)
		if err != nil {
			s.wrong("%s: its GTID set cannot be read: %v", m.Name, err)
			continue
		}
		if own := errant(rec.Flavour, set, have, d); own != "" {
			s.warn("%s has transactions that the primary has not: %s; it cannot become primary with them", m.Name, own)
		}
	}
}

// errant returns what a replica has and its primary surely has not, as text.
func errant(flavour string, set, primary gtid.Set, d order.Details) string {
	e := gtid.Errant(set, primary, d.Self.Origins(flavour)...)
	if e.Own.Empty() {
		return "" // what began elsewhere came from a primary that was asked a moment earlier
	}
	return e.Own.String()
}

// policies looks at what the policy asks of them all.
func (s *Surveyed) policies() {
	rec := &s.Record
	if err := judge.CheckRecord(rec); err != nil {
		s.Errors = append(s.Errors, strings.Split(err.Error(), "\n")...) // as errors.Join parts them
		return
	}
	p := rec.Policy
	switch n := len(rec.Ackers(rec.Primary)); {
	case p.Durability != topology.Lossless:
	case n == p.Acks:
		s.warn("writes stop while one of the %d replicas that acknowledge is down", n)
	case n == 2 && p.Acks == 1:
		s.warn("when the primary and a replica are lost together it cannot be proved that the other replica has every write; then policy %q decides", p.Unprovable)
	}
}
