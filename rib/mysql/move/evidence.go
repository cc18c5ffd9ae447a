package move

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/topology"
)

// known is what Choose works on: the members of a topology but the old primary, and what
// they have.
type known struct {
	record  *topology.Record
	zone    string // of the old primary
	before  gtid.Set
	members []*member
}

// member is one of them. Without said it has not answered.
type member struct {
	topology.Member
	fact     Fact
	said     bool
	frozen   topology.Frozen
	received gtid.Set // all that it has, applied or not
	own      gtid.Set // what it has written itself: nobody acknowledged that to a client of the primary
	part     gtid.Set // received without own
	hidden   bool     // its own transactions hide what it has received
}

func evidence(r *topology.Record, frozen map[string]topology.Frozen, facts func(string) Fact) (*known, error) {
	e := &known{record: r}
	if p := r.Member(r.Move.From); p != nil {
		e.zone = p.Zone
	}
	var err error
	if e.before, err = gtid.Parse(r.Flavour, r.Move.Need); err != nil {
		return nil, fmt.Errorf("what topology %s is known to need: %w", r.Name, err)
	}
	had, err := gtid.Parse(r.Flavour, facts(r.Move.From).Executed)
	if err != nil {
		return nil, fmt.Errorf("what %s is known to have had: %w", r.Move.From, err)
	}
	had = had.Union(e.before)
	// A move that was called off has kept what was wanted then, which is more than a floor.
	opened := gtid.Set{}
	if l := r.Last; l != nil && l.Move.To == r.Move.From {
		if opened, err = gtid.Parse(r.Flavour, floor(l, r.Move.From)); err != nil {
			return nil, fmt.Errorf("what %s had when it was opened: %w", r.Move.From, err)
		}
	}
	for _, x := range r.Replicas(r.Move.From) {
		m := &member{Member: x, fact: facts(x.Name)}
		if m.frozen, m.said = frozen[x.Name]; m.said {
			// What it has executed it has, also where its relay log begins later.
			got, err := parseBoth(r.Flavour, m.frozen.Received, m.frozen.Executed)
			if err != nil {
				return nil, fmt.Errorf("what %s has received: %w", x.Name, err)
			}
			m.received = got
		}
		e.members = append(e.members, m)
	}
	for _, m := range e.members {
		if err := e.tell(m, had, opened); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func parseBoth(flavour, a, b string) (gtid.Set, error) {
	x, err := gtid.Parse(flavour, a)
	if err != nil {
		return x, err
	}
	y, err := gtid.Parse(flavour, b)
	if err != nil {
		return y, err
	}
	return x.Union(y), nil
}

// tell finds what a member has written itself: it began there, and neither the old primary
// nor any other member is known to have it. Positions of MariaDB cannot tell that of an
// earlier one; but since the old primary was opened nobody else should have written.
func (e *known) tell(m *member, had, opened gtid.Set) error {
	others := had
	for _, o := range e.members {
		if o != m {
			others = others.Union(o.received)
		}
	}
	before, err := gtid.Parse(e.record.Flavour, m.fact.Errant)
	if err != nil {
		return fmt.Errorf("errant transactions of %s: %w", m.Name, err)
	}
	m.own = gtid.Errant(m.received, others, m.fact.Self...).Own
	// A finding of before stands until others have it too, which positions cannot tell.
	if e.record.Flavour == gtid.MySQL {
		before = before.Minus(others)
	} else if !opened.Empty() {
		before = before.Union(gtid.Errant(m.received, opened, m.fact.Self...).Own)
	}
	if m.said {
		m.own = m.own.Union(before)
	}
	m.part = m.received.Minus(m.own)
	if !m.part.Empty() || m.own.Empty() {
		return nil
	}
	// A position of its own hides what came before it. One transaction more than others are
	// known to have hides nothing: before it the server had just what they have.
	one := others.Position()
	m.hidden = size(m.received.Minus(others)) != 1 || strings.Contains(one.String(), ",")
	if !m.hidden {
		m.part = one
	}
	return nil
}

// need is what the new primary must have: what was needed before, and what the ackers have
// received. Where acknowledgements do not matter, what anybody has received.
func (e *known) need() gtid.Set {
	need := e.before
	for _, m := range e.members {
		if m.said && (m.Acker() || e.record.Policy.Durability != topology.Lossless) {
			need = need.Union(m.part)
		}
	}
	return need
}

// doubts says why what is needed may not be all that was acknowledged.
func (e *known) doubts() []string {
	r := e.record
	from := r.Move.From
	if r.Policy.Durability != topology.Lossless {
		return []string{"writes that no replica had received from " + from + ", for it does not wait for acknowledgements"}
	}
	out := slices.Clone(r.Move.Doubt)
	frozen, silent := 0, []string{}
	for _, m := range e.members {
		switch {
		case !m.Acker():
		case !m.said:
			silent = append(silent, m.Name)
		case m.frozen.Short != "":
			silent = append(silent, m.Name+" ("+m.frozen.Short+")")
		case m.hidden:
			silent = append(silent, m.Name+" (transactions of its own hide what it has received)")
		default:
			frozen++
		}
	}
	if need := r.ToFreeze(from); frozen < need {
		out = append(out, fmt.Sprintf("writes that %s acknowledged with the help of %s alone: %d of the %d replicas that must have stopped receiving have",
			from, strings.Join(silent, " and "), frozen, need))
	}
	return out
}

// unfit says why a member is never chosen; empty if it can be.
func (e *known) unfit(m *member, without []string) string {
	switch {
	case slices.Contains(without, m.Name):
		return "did not get as far as this"
	case m.Role == topology.Never, m.Role == topology.Observer:
		return "never becomes primary, its role is " + string(m.Role)
	case m.Source != "":
		return "replicates from " + m.Source
	case !m.said:
		return "does not answer"
	case !m.frozen.Applies:
		return "cannot apply what it has received: " + m.frozen.Trouble
	}
	return ""
}

// against says why members are not chosen.
func (e *known) against(without []string) []string {
	var out []string
	for _, m := range e.members {
		if why := e.unfit(m, without); why != "" {
			out = append(out, m.Name+": "+why)
		}
	}
	return out
}

// level returns from whom a member gets what it lacks, and what nobody can give it.
func (e *known) level(to *member, need gtid.Set) (from []string, lacks gtid.Set) {
	lacks = need.Minus(to.received)
	have := to.received
	for !lacks.Empty() {
		best, left := (*member)(nil), lacks
		for _, m := range e.members {
			if !e.gives(m, to) || slices.Contains(from, m.Name) {
				continue
			}
			rest := need.Minus(have.Union(m.received))
			n, least := size(rest), size(left)
			// Transactions of a giver's own come along: only where nobody else has as much.
			if n < least || best != nil && n == least && m.own.Empty() && !best.own.Empty() {
				best, left = m, rest
			}
		}
		if best == nil {
			return from, lacks
		}
		from, have, lacks = append(from, best.Name), have.Union(best.received), left
	}
	return from, lacks
}

func size(s gtid.Set) uint64 {
	n, _ := s.Count()
	return n
}

// gives reports whether a member can be levelled from another. In MariaDB what a giver has
// written itself would take the place of what the old primary wrote under the same numbers;
// in MySQL it comes along as what it is.
func (e *known) gives(m, to *member) bool {
	clean := m.own.Empty() || e.record.Flavour == gtid.MySQL
	return m != to && m.said && m.frozen.Applies && m.fact.Delay == 0 && clean
}

// within is what a member can have of what is needed when all of it cannot be had.
func (e *known) within(to *member, from []string) gtid.Set {
	have := to.received
	for _, m := range e.members {
		if slices.Contains(from, m.Name) {
			have = have.Union(m.received)
		}
	}
	return have
}

func (m *member) version() string {
	if m.frozen.Version != "" {
		return m.frozen.Version
	}
	return m.fact.Version
}

// newer reports whether a member's version is above that of another that would replicate
// from it: servers replicate from older ones, not from newer ones.
func (e *known) newer(m *member) bool {
	mine := release(m.version())
	if mine == nil {
		return false
	}
	return slices.ContainsFunc(e.members, func(o *member) bool {
		theirs := release(o.version())
		return theirs != nil && slices.Compare(mine, theirs) > 0
	})
}

// release is the part of a version that decides who can replicate from whom: 10.11 of
// 10.11.19-MariaDB; nil when there is none.
func release(version string) []int {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return nil
	}
	var out []int
	for _, p := range parts[:2] {
		n, err := strconv.Atoi(p)
		if err != nil {
			return nil
		}
		out = append(out, n)
	}
	return out
}
