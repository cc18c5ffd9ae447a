package plan

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"kaname.dev/kaname/rib/zone/guard"
	"kaname.dev/kaname/rib/zone/name"
)

// spot is what is known of one name while a plan is made.
type spot struct {
	template     string
	there, owned bool // on the server
	wanted       bool // desired, so decided already
}

// Make returns what is to be done to a server that has have so that it serves want. No
// name stands twice in either; of one that does the first counts. It takes time and
// memory in proportion to both, and the same answer for the same input in any order.
func Make(want iter.Seq[Want], have iter.Seq[Have], policy Policy) Plan {
	m := maker{policy: policy, spots: map[name.Name]spot{}}
	owned := 0
	for z := range have {
		if _, twice := m.spots[z.Name]; twice || !z.Present {
			continue
		}
		m.spots[z.Name] = spot{template: z.Template, there: true, owned: z.Owned}
		if z.Owned {
			owned++
		}
	}
	if m.policy.Total == 0 {
		m.policy.Total = owned
	}
	m.plan = Plan{Ops: []Op{}, Conflicts: []name.Name{}, Held: []Op{}}
	for w := range want {
		s := m.spots[w.Name]
		if s.wanted {
			continue
		}
		s.wanted = true
		m.spots[w.Name] = s
		m.want(w, s)
	}
	m.rest()
	slices.SortFunc(m.plan.Ops, func(a, b Op) int {
		return cmp.Or(cmp.Compare(order(a.Kind), order(b.Kind)), cmp.Compare(a.Name, b.Name))
	})
	slices.Sort(m.plan.Conflicts)
	return m.plan
}

type maker struct {
	policy Policy
	spots  map[name.Name]spot
	plan   Plan
}

// want decides about one desired zone.
func (m *maker) want(w Want, s spot) {
	switch {
	case w.Pin:
		return
	case !s.there:
		m.do(Add, w, "desired, not on the server")
		return
	case !s.owned && !w.Adopt:
		m.plan.Conflicts = append(m.plan.Conflicts, w.Name)
		return
	case !s.owned:
		m.do(Change, w, "there, not kaname's; an operator has it adopted")
	case !fits(w, s.template):
		m.do(Change, w, "there as "+s.template+", desired as "+w.Template)
	}
	if w.Reset != "" && m.policy.Resets[w.Name] != w.Reset {
		m.do(Reset, w, "its source wants its contents thrown away")
	}
}

// fits reports whether a zone is there as desired. A server that cannot tell the
// template is believed: otherwise the zone would be changed for ever.
func fits(w Want, template string) bool {
	switch {
	case template == "":
		return true
	case w.Rescue:
		return strings.HasPrefix(template, RescueTemplate+"-")
	default:
		return template == w.Template
	}
}

func (m *maker) do(kind OpKind, w Want, why string) {
	m.plan.Ops = append(m.plan.Ops, Op{Kind: kind, Name: w.Name, Why: why, Want: w})
}

// rest decides about what is there and not desired.
func (m *maker) rest() {
	var gone []name.Name
	for n, s := range m.spots {
		switch {
		case s.wanted:
		case !s.owned:
			m.plan.Foreign++
		case m.policy.Let != nil && m.policy.Let(n):
			m.plan.Ops = append(m.plan.Ops, removal(n))
		default:
			gone = append(gone, n)
		}
	}
	if len(gone) == 0 {
		return
	}
	slices.Sort(gone)
	ops := &m.plan.Ops
	limit := guard.Limit{Share: m.policy.Share, Least: m.policy.Least}
	if n := len(gone) + m.policy.Recent; limit.Exceeded(n, m.policy.Total+m.policy.Recent) {
		m.plan.Hash = guard.Hash(gone)
		if !slices.Contains(m.policy.Accepted, m.plan.Hash) {
			m.plan.Why = limit.Why(n, m.policy.Total+m.policy.Recent)
			ops = &m.plan.Held
		}
	}
	*ops = slices.Grow(*ops, len(gone))
	for _, n := range gone {
		*ops = append(*ops, removal(n))
	}
}

func removal(n name.Name) Op {
	return Op{Kind: Remove, Name: n, Why: "on the server, desired no longer"}
}

// order is the place of a kind among the kinds.
func order(k OpKind) int {
	switch k {
	case Add:
		return 0
	case Change:
		return 1
	case Reset:
		return 2
	default:
		return 3
	}
}
