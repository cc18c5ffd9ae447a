package move

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// fit finds out who can become primary by consent, and refuses when nobody can. The notes
// say what was found.
func (m *mover) fit(ctx context.Context, asked string) (to string, notes []string, err error) {
	r := m.r
	if asked == r.Primary {
		return "", nil, fault.Conflict(asked + " is the primary of topology " + r.Name + " already")
	}
	if asked != "" && r.Member(asked) == nil {
		return "", nil, fault.NotFound("topology " + r.Name + " has no member " + asked).Try("see: kaname mysql topology " + r.Name)
	}
	looks := m.lookAll(ctx)
	old := looks[r.Primary]
	if old == nil || !old.Self.Answers || old.Partial {
		return "", nil, fault.Unavailable("primary " + r.Primary + " of topology " + r.Name + " does not answer").Try("if it is dead: kaname mysql failover " + r.Name)
	}
	well := 1 // the old primary acknowledges when it follows
	if !r.Member(r.Primary).Acker() {
		well = 0
	}
	var can []topology.Member
	var against []string
	for _, x := range r.Replicas(r.Primary) {
		why := m.unwell(&x, looks[x.Name], old)
		if why == "" && x.Acker() {
			well++
		}
		if why == "" {
			why = unasked(&x)
		}
		if why != "" {
			against = append(against, x.Name+": "+why)
			continue
		}
		can = append(can, x)
	}
	i := slices.IndexFunc(can, func(x topology.Member) bool { return x.Name == asked })
	if asked == "" && len(can) > 0 {
		i = slices.Index(can, slices.MinFunc(can, m.better(looks)))
	}
	if i < 0 {
		return "", nil, fault.Conflict("no switchover of topology " + r.Name + ": " + strings.Join(against, "; ")).Try("mend what is named, or choose another member")
	}
	to = can[i].Name
	if r.Policy.Durability == topology.Lossless {
		if others := well - 1; others < r.Policy.Acks {
			return "", nil, fault.Conflict(fmt.Sprintf("no switchover of topology %s to %s: %d members would be left to acknowledge its writes, and %d are needed", r.Name, to, others, r.Policy.Acks)).
				Try("mend the others first, or lower acks: " + strings.Join(against, "; "))
		}
	}
	return to, append(against, to+": is fit"), nil
}

func unasked(x *topology.Member) string {
	if x.Role == topology.Never || x.Role == topology.Observer {
		return "never becomes primary, its role is " + string(x.Role)
	}
	return ""
}

// better sorts those that are fit.
func (m *mover) better(looks map[string]*order.Details) func(a, b topology.Member) int {
	zone := m.r.Member(m.r.Primary).Zone
	return func(a, b topology.Member) int {
		for _, c := range []int{
			first(a.Role == topology.Preferred, b.Role == topology.Preferred),
			first(a.Zone == zone, b.Zone == zone),
			int(lag(looks[a.Name]).Truncate(behind) - lag(looks[b.Name]).Truncate(behind)),
		} {
			if c != 0 {
				return c
			}
		}
		return strings.Compare(a.Name, b.Name)
	}
}

func lag(d *order.Details) time.Duration {
	if d == nil || d.Self.Replica == nil {
		return 0
	}
	return d.Self.Replica.Lag
}

// unwell says why a replica does not replicate as it should; empty when it does.
func (m *mover) unwell(x *topology.Member, d, primary *order.Details) string {
	switch {
	case d == nil:
		return "does not answer"
	case !d.Self.Answers || d.Partial:
		return "its server does not answer: " + d.Self.Trouble
	case x.Source != "":
		return "replicates from " + x.Source
	case d.Self.Replica == nil:
		return "replicates from nobody"
	}
	rep := d.Self.Replica
	switch {
	case !rep.Receiving:
		return "does not receive: " + rep.ReceiveErr
	case !rep.Applying:
		return "does not apply: " + rep.ApplyErr
	case rep.Delay > 0:
		return fmt.Sprintf("is delayed by %v on purpose", rep.Delay)
	case rep.Lag < 0:
		return "its lag is unknown"
	case rep.Lag > m.r.Policy.MaxLag:
		return fmt.Sprintf("is %v behind, more than the %v that are allowed", rep.Lag.Round(time.Millisecond), m.r.Policy.MaxLag)
	}
	has, err := d.Has(m.r.Flavour)
	if err != nil {
		return err.Error()
	}
	had, err := primary.Has(m.r.Flavour)
	if err != nil {
		return "cannot be compared with the primary: " + err.Error()
	}
	if e := gtid.Errant(has, had, m.h.Known(x.Name).Self...); !e.All.Empty() {
		return "has transactions that the primary lacks: " + e.All.String()
	}
	return ""
}

// lookAll looks at all replicas, and at the primary after them, so that what comes
// meanwhile does not look like a replica's own.
func (m *mover) lookAll(ctx context.Context) map[string]*order.Details {
	looks := map[string]*order.Details{}
	var mu sync.Mutex
	look := func(l letter) {
		done, err := m.send(ctx, l)
		if err != nil || done.Details == nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		looks[l.to.Name] = done.Details
	}
	var wg sync.WaitGroup
	replicas := m.r.Replicas(m.r.Primary)
	for i := range replicas {
		l := m.letter(&replicas[i], margin, order.Order{Verb: order.Look})
		wg.Go(func() { look(l) })
	}
	wg.Wait()
	look(m.letter(m.r.Member(m.r.Primary), margin, order.Order{Verb: order.Look}))
	return looks
}
