package move

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Switch is what a switchover is asked for.
type Switch struct {
	To    string // empty: the best that is fit
	By    string
	Why   []string
	Grace time.Duration // that transactions under way get to end; 0: 100 ms
}

const (
	closeGrace  = 100 * time.Millisecond
	withdrawFor = time.Second
	closeTell   = 50 * time.Millisecond // for the others to hear of it, once all is ready
)

// Switchover moves the primary of r to a member on purpose and returns the record with which
// the move ended. Nothing is changed unless the member is fit: it applies what it receives,
// is no further behind than Policy.MaxLag, has nothing of its own, and enough others are
// well to acknowledge what it will write (fault.Conflict says what is not so). Any trouble
// before the new primary is opened leads back to the old one: the record that is returned then
// has the old primary, and Last.OK is false.
//
// Writes pause from Withdraw until Publish; in between stand the closing of the old
// primary, the last transactions on their way, one save and the opening.
func Switchover(ctx context.Context, h Hands, r *topology.Record, s Switch) (*topology.Record, error) {
	if r.Move != nil {
		return nil, fault.Conflict(fmt.Sprintf("a %s of topology %s from %s is in progress", r.Move.Kind, r.Name, r.Move.From)).Try("wait for its end: kaname mysql topology " + r.Name)
	}
	if r.Member(r.Primary) == nil {
		return nil, fault.NotFound("primary " + r.Primary + " of topology " + r.Name + " is not a member")
	}
	m := newMover(h, r)
	to, notes, err := m.fit(ctx, s.To)
	if err != nil {
		return nil, err
	}
	if s.By == "" {
		s.By = kaname
	}
	if s.Grace <= 0 {
		s.Grace = closeGrace
	}
	// The waiting side is told now what it will wait for, and is switched on by Promote.
	if m.r.Policy.Durability == topology.Lossless {
		tune := order.Order{Verb: order.Tune, Acks: m.r.Policy.Acks, Acker: true}
		if _, err := m.send(ctx, m.letter(m.r.Member(to), followFor, tune)); err != nil {
			return nil, fault.Unavailable("switchover of topology " + r.Name + " to " + to).Because(err)
		}
	}
	m.r.Epoch++
	m.r.Move = &topology.Move{
		Kind: topology.Switchover, From: r.Primary, To: to, Asked: s.To, Step: topology.Close, Started: time.Now(), By: s.By, Why: s.Why,
		Need: floor(m.r.Last, r.Primary),
	}
	for _, n := range notes {
		m.log(n)
	}
	m.log("switchover from " + r.Primary + " to " + to)
	if err := m.save(ctx); err != nil {
		return nil, m.stands(err)
	}
	return m.end(m.switchover(ctx, s.Grace))
}

// switchover closes the old primary, has the new one get all of it, and opens that.
func (m *mover) switchover(ctx context.Context, grace time.Duration) error {
	mv := m.r.Move
	err := m.handOver(ctx, grace)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return m.undo(ctx, err.Error())
	}
	m.log(mv.To + " has all of " + mv.From)
	return m.open(ctx)
}

// handOver is what happens while nobody is open, up to the point of no return.
func (m *mover) handOver(ctx context.Context, within time.Duration) error {
	mv := m.r.Move
	from, to := m.r.Member(mv.From), m.r.Member(mv.To)
	held, cancel := context.WithTimeout(ctx, withdrawFor)
	err := m.h.Withdraw(held, m.target(""))
	cancel()
	if err != nil {
		return fmt.Errorf("keep clients waiting: %w", err)
	}
	end, err := m.positions(ctx, m.letter(from, within+margin, order.Order{Verb: order.Close, Within: within}))
	if err != nil {
		return err
	}
	mv.Need, mv.Proven, mv.Fenced = end.Executed, true, "it was closed by consent"
	need, err := gtid.Parse(m.r.Flavour, end.Executed)
	if err != nil {
		return fmt.Errorf("where %s ended: %w", mv.From, err)
	}
	// The others learn of the epoch, so that nobody grants the old primary anything, while
	// the new one applies the rest. Who does not answer learns it later.
	others := m.r.Replicas(mv.From)
	others = slices.DeleteFunc(others, func(x topology.Member) bool { return x.Name == mv.To })
	answers := make([]answer, len(others))
	told, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i := range others {
		l := m.letter(&others[i], freezeFor, order.Order{Verb: order.Freeze})
		wg.Go(func() {
			f, err := m.positions(told, l)
			answers[i] = answer{l.to.Name, f, err}
		})
	}
	within = m.r.Policy.Drain
	f, err := m.positions(ctx, m.letter(to, within+margin, order.Order{Verb: order.Drain, Need: mv.Need, Within: within}))
	if err != nil {
		return err
	}
	has, err := gtid.Parse(m.r.Flavour, f.Executed)
	if err != nil {
		return err
	}
	if !has.Contains(need) {
		return fmt.Errorf("%s has applied %s, and %s ended at %s", mv.To, has, mv.From, need)
	}
	settled := make(chan struct{})
	go func() { defer close(settled); wg.Wait() }()
	t := time.NewTimer(closeTell)
	defer t.Stop()
	select {
	case <-settled:
	case <-t.C:
		cancel()
		<-settled
	}
	m.keep(answers, end)
	return nil
}

// keep notes what the members said, for those that are to follow.
func (m *mover) keep(answers []answer, end topology.Frozen) {
	mv := m.r.Move
	mv.Frozen = map[string]topology.Frozen{mv.From: end}
	m.answered[mv.From] = time.Now()
	for _, a := range answers {
		if a.err == nil {
			mv.Frozen[a.member], m.answered[a.member] = a.frozen, time.Now()
		}
	}
}
