package move

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Choice is who becomes primary, and what has to happen before.
type Choice struct {
	To   string
	Need string // GTID set that it must have executed before it opens
	// From are members from which it has to be levelled, in this order; each has to apply
	// what it has received before.
	From []string
	// Proven: Need has every acknowledged write. Missing says otherwise what may be missing.
	Proven  bool
	Missing []string
	// Wanted is the GTID set that Need would be if all could be had.
	Wanted string
	// Own are transactions that To has written itself, which nobody else has: they become part of
	// the history. Somebody has to agree to that.
	Own string
	// Reasons say for each member why it was chosen, or why not.
	Reasons []string
}

// ErrNobody is returned by Choose when no member can become primary. Choice.Reasons says of
// each why not.
var ErrNobody = errors.New("no member can become primary")

// Choose says who replaces r.Move.From, by what the frozen members have said. It does no
// I/O and reads no clock.
//
// What is needed is all that the frozen ackers have received, besides what the move and the
// one before are known to have needed, without what replicas have written themselves. First
// comes who has all of it, then who can get it, then who gets closest; among those
// as complete a Preferred member, one in the zone of the old primary, one whose version is
// not above another's, the one that is least behind in applying, the first by name. A member
// that is delayed on purpose, or that has transactions of its own, comes after all
// others. A member that does not apply what it receives,
// a replica of a replica, an Observer and a Never are never chosen, nor is one in without.
func Choose(r *topology.Record, frozen map[string]topology.Frozen, known func(member string) Fact, without ...string) (Choice, error) {
	e, err := evidence(r, frozen, known)
	if err != nil {
		return Choice{}, err
	}
	need := e.need()
	list := e.candidates(need, without)
	c := Choice{Wanted: need.String()}
	for _, x := range list {
		c.Reasons = append(c.Reasons, x.words())
	}
	c.Reasons = append(c.Reasons, e.against(without)...)
	c.Missing = e.doubts()
	c.Proven = len(c.Missing) == 0
	if len(list) == 0 {
		return c, ErrNobody
	}
	best := list[0]
	c.To, c.From, c.Need = best.Name, best.from, best.reach.String()
	if !best.lacks.Empty() {
		c.Proven = false
		c.Missing = append(c.Missing, fmt.Sprintf("%s cannot get %s, which a replica has acknowledged or known", best.Name, best.lacks))
	}
	if !best.own.Empty() {
		c.Own = best.own.String()
	}
	return c, nil
}

// candidate is a member that can become primary.
type candidate struct {
	*member
	from   []string // to be levelled from
	reach  gtid.Set // what it needs and can have
	lacks  gtid.Set // of need, and cannot be had
	count  uint64   // of lacks
	near   bool     // of the zone of the old primary
	newer  bool     // than another member
	ranked topology.Role
	slow   bool // applying what it has takes longer than the policy allows
}

// candidates returns who can become primary, the best first.
func (e *known) candidates(need gtid.Set, without []string) []candidate {
	var list []candidate
	for _, m := range e.members {
		if e.unfit(m, without) != "" {
			continue
		}
		x := candidate{member: m, ranked: m.Role, near: m.Zone == e.zone, newer: e.newer(m), slow: m.frozen.Behind > e.record.Policy.Drain}
		x.from, x.lacks = e.level(m, need)
		x.count, _ = x.lacks.Count()
		x.reach = need
		if !x.lacks.Empty() {
			x.reach = e.within(m, x.from)
		}
		list = append(list, x)
	}
	slices.SortFunc(list, compare)
	return list
}

func compare(a, b candidate) int {
	return cmp.Or(
		first(a.own.Empty(), b.own.Empty()),
		first(a.fact.Delay == 0, b.fact.Delay == 0),
		first(a.lacks.Empty(), b.lacks.Empty()),
		cmp.Compare(a.count, b.count),
		cmp.Compare(len(a.from), len(b.from)),
		first(!a.slow, !b.slow),
		first(a.ranked == topology.Preferred, b.ranked == topology.Preferred),
		first(a.near, b.near),
		first(!a.newer, !b.newer),
		cmp.Compare(a.frozen.Behind.Truncate(behind), b.frozen.Behind.Truncate(behind)),
		cmp.Compare(a.Name, b.Name),
	)
}

// behind is the grain of a lag: less says nothing about who is ready sooner.
const behind = 100 * time.Millisecond

// first sorts what holds before what does not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// words says what speaks for and against a candidate.
func (x *candidate) words() string {
	var w []string
	say := func(is bool, text string) {
		if is {
			w = append(w, text)
		}
	}
	say(x.lacks.Empty() && len(x.from) == 0, "has received all that is needed")
	say(len(x.from) > 0, "gets what it lacks from "+strings.Join(x.from, " and "))
	say(!x.lacks.Empty(), fmt.Sprintf("lacks %s", x.lacks))
	say(x.ranked == topology.Preferred, "is preferred")
	say(x.near, "stands in the zone of the old primary")
	say(x.newer, fmt.Sprintf("runs %s, newer than another", x.version()))
	say(x.frozen.Behind > 0, fmt.Sprintf("is %v behind in applying", x.frozen.Behind.Round(time.Millisecond)))
	say(x.fact.Delay > 0, fmt.Sprintf("is delayed by %v on purpose", x.fact.Delay))
	say(!x.own.Empty(), fmt.Sprintf("has transactions of its own: %s", x.own))
	return x.Name + ": " + strings.Join(w, ", ")
}
