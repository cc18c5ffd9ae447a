package move

import (
	"context"
	"slices"
	"sync"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// undoFor is how long the way back tries to reach a member.
const undoFor = 3 * time.Second

// undo calls the move off. Nobody was opened, so that the old primary can go on: in an
// epoch of its own, which late orders of the move do not reach.
func (m *mover) undo(ctx context.Context, why string) error {
	mv := m.r.Move
	m.log("goes back to " + mv.From + ": " + why)
	mv.Step = topology.Undo
	mv.Missing = nil
	m.r.Epoch++
	m.r.Primary = mv.From
	if err := m.save(ctx); err != nil {
		return err
	}
	return m.goBack(ctx)
}

// goBack lets the old primary go on, and the others receive from it again.
func (m *mover) goBack(ctx context.Context) error {
	mv := m.r.Move
	var mu sync.Mutex
	var problems []string
	problem := func(text string, err error) {
		if err != nil {
			mu.Lock()
			defer mu.Unlock()
			problems = append(problems, text+": "+err.Error())
		}
	}
	var wg sync.WaitGroup
	back := m.target(mv.From)
	if from := m.r.Member(mv.From); from != nil {
		l := m.letter(from, undoFor, order.Order{Verb: order.Reopen})
		wg.Go(func() {
			problem("the old primary is not open again", m.insist(ctx, l))
			// Only now: those who are held back must not meet a closed server.
			problem("clients are not led to "+from.Name+" everywhere", m.publish(ctx, back))
		})
	}
	members := m.r.Replicas(mv.From)
	for i := range members {
		x := &members[i]
		thaw := m.letter(x, undoFor, order.Order{Verb: order.Thaw})
		// Who was being levelled replicates from another; receiving again is not enough.
		var f *follower
		if mv.Kind == topology.Failover && mv.To == x.Name {
			f = m.followed(x, gtid.Set{})
			f.received = nil
		}
		wg.Go(func() {
			if f != nil && f.follow(ctx, m) == nil {
				return
			}
			problem(x.Name+" does not receive again", m.insist(ctx, thaw))
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	slices.Sort(problems)
	m.r.Last = m.outcome(false, problems...)
	m.r.Move = nil
	if err := m.save(ctx); err != nil {
		m.r.Move = mv
		return err
	}
	m.h.Tell(mv.From + " stays primary")
	return nil
}

// insist sends a letter again and again for a while.
func (m *mover) insist(ctx context.Context, l letter) error {
	ctx, cancel := context.WithTimeout(ctx, l.within)
	defer cancel()
	for {
		_, err := m.send(ctx, l)
		if err == nil || !pause(ctx, soon) {
			return err
		}
	}
}
