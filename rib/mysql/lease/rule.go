package lease

import (
	"slices"
	"time"

	"kaname.dev/kaname/rib/mysql/topology"
)

// Rule says whose grants keep a primary open: those of Need of the Voters, or that of the
// controller alone. The controller's word suffices because every move of the primary
// begins with its own: who controls grants nothing to an epoch that it has left. Without
// the controller the voters suffice, so that its absence changes nothing.
type Rule struct {
	Voters []string // members, of whose agents Need must grant
	Need   int      // at least 1
}

// Of returns the rule of a record for the given primary. Lossless: as many ackers as a
// write needs acknowledgements. Async: a majority of the replicas and the controller.
func Of(r *topology.Record, primary string) Rule {
	if r.Policy.Durability == topology.Lossless {
		return Rule{Voters: names(r.Ackers(primary)), Need: max(r.Policy.Acks, 1)}
	}
	voters := names(r.Replicas(primary))
	all := len(voters) + 1 // the controller is one
	// With one replica the majority would be both: but nobody else than it can become
	// primary, and it is frozen before it does, so that its word suffices.
	return Rule{Voters: voters, Need: max(min(all/2+1, len(voters)), 1)}
}

func names(members []topology.Member) []string {
	list := make([]string, 0, len(members))
	for _, m := range members {
		list = append(list, m.Name)
	}
	return list
}

// Enough reports whether the primary may stay open: who says whether a voter's grant is
// fresh, controller whether the controller's is.
func (u Rule) Enough(fresh func(voter string) bool, controller bool) bool {
	return controller || u.count(fresh) >= u.need()
}

// Impossible reports whether the voters that have not denied cannot suffice. It is meant
// for denials in favour of a higher epoch: such an epoch is the controller's doing, whose
// word for the lower one then counts no more.
func (u Rule) Impossible(denied func(voter string) bool) bool {
	return len(u.Voters)-u.count(denied) < u.need()
}

// ToFreeze returns how many voters must be frozen until the others cannot suffice: the
// same as topology.Record.ToFreeze under Lossless, but also right under Async. At least 1.
func (u Rule) ToFreeze() int { return max(len(u.Voters)-u.need()+1, 1) }

// Ends returns when the grants cease to be enough, given when each was asked for and
// how long it counts: the Need-th latest of the voters', or the controller's if that is
// later. False when there never were enough.
func (u Rule) Ends(asked map[string]time.Duration, controller *time.Duration, counts time.Duration) (time.Duration, bool) {
	var all []time.Duration
	for _, v := range u.Voters {
		if at, ok := asked[v]; ok {
			all = append(all, at)
		}
	}
	slices.Sort(all)
	var end time.Duration
	ok := false
	if need := u.need(); len(all) >= need {
		end, ok = all[len(all)-need]+counts, true
	}
	if controller != nil && (!ok || *controller+counts > end) {
		end, ok = *controller+counts, true
	}
	return end, ok
}

// need is Need; the zero Rule is not one by which nobody has to grant.
func (u Rule) need() int { return max(u.Need, 1) }

func (u Rule) count(is func(voter string) bool) int {
	n := 0
	for _, v := range u.Voters {
		if is(v) {
			n++
		}
	}
	return n
}
