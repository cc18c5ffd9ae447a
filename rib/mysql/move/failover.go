package move

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Bounds of single orders. They are generous: what is slow is waited for, what is silent
// costs only who needs it.
const (
	freezeFor  = 5 * time.Second // STOP SLAVE IO_THREAD takes 2 s against a silent primary
	grace      = 200 * time.Millisecond
	graceAsync = time.Second
	again      = 500 * time.Millisecond // between rounds while nobody can be opened
	margin     = 2 * time.Second        // above what an order is told to take
	lookFor    = time.Second
)

// errCalledOff says that the old primary is not dead.
var errCalledOff = errors.New("called off")

// failover freezes, chooses and completes until somebody can be opened, and opens that one.
func (m *mover) failover(ctx context.Context) error {
	m.fence(ctx)
	defer m.fencing.leave()
	var without []string
	for {
		ready, failed, err := m.round(ctx, without)
		switch {
		case errors.Is(err, errCalledOff):
			m.fencing.leave() // else it would close what is to go on
			return m.undo(ctx, err.Error())
		case err != nil:
			return err
		case ready:
			return m.open(ctx)
		case failed == "":
			without = nil // perhaps it goes better the next time
		default:
			without = append(without, failed)
		}
	}
}

// round is one attempt to have somebody ready to be opened. It names a candidate that did
// not get there, so that another is tried at once; without one it has waited.
func (m *mover) round(ctx context.Context, without []string) (ready bool, failed string, err error) {
	if err := m.freeze(ctx); err != nil {
		return false, "", err
	}
	mv := m.r.Move
	c, err := Choose(m.r, mv.Frozen, m.h.Known, without...)
	if err != nil && !errors.Is(err, ErrNobody) {
		return false, "", err
	}
	why := m.hinders(c, err)
	if err != nil || why != "" && (c.Own != "" || !m.fencing.surely()) {
		return false, "", m.wait(ctx, c, why)
	}
	if why == "" {
		m.fencing.certain()
	}
	m.chosen(c)
	if err = m.complete(ctx, &c); err == nil && why != "" && !c.Proven {
		return false, "", m.wait(ctx, c, why) // the old primary's own binary logs could not be had
	}
	if err == nil {
		err = m.close(ctx)
	}
	if err == nil {
		mv.Need, mv.Proven, mv.Missing = c.Need, c.Proven, append(c.Missing, mv.Missing...)
		if c.Own != "" {
			mv.Missing = append(mv.Missing, "nothing, but somebody has to look at it: "+strange(c))
		}
		return true, "", nil
	}
	if ctx.Err() != nil || errors.As(err, new(*saveError)) {
		return false, "", err
	}
	m.log(c.To + " is not ready to be opened: " + err.Error())
	return false, c.To, nil
}

// hinders says why the choice cannot be opened yet; empty if it can.
func (m *mover) hinders(c Choice, err error) string {
	r := m.r
	if err != nil {
		return err.Error() + ": " + strings.Join(c.Reasons, "; ")
	}
	if m.may() {
		return ""
	}
	if c.Own != "" {
		return strange(c)
	}
	// Without acknowledgements nothing can be proved, and everybody knows.
	if !c.Proven && (r.Policy.Durability == topology.Lossless || len(c.Missing) > 1) {
		return "it cannot be proved that " + c.To + " has every acknowledged write: " + strings.Join(c.Missing, "; ")
	}
	if _, known := over(r, r.Move.Frozen, m.answered, m.since); !known && m.fencing.fenced() == "" && r.Move.Fenced == "" {
		return unsure(r.Move.From)
	}
	return ""
}

func strange(c Choice) string {
	return c.To + " is the only one that can be opened, and it has transactions of its own: " + c.Own
}

func unsure(from string) string {
	return "it is not certain that " + from + " is closed, and too few members answer"
}

// may reports whether a person or the policy has it that somebody is opened without proof.
func (m *mover) may() bool {
	p := m.r.Policy
	return m.r.Move.Forced || p.Unprovable == topology.PromoteAfter && time.Since(m.begun) >= p.PromoteAfter
}

// wait waits for a while before the next round, and looks whether the old primary is back.
func (m *mover) wait(ctx context.Context, c Choice, why string) error {
	if why != m.told {
		m.told = why
		m.r.Move.Missing = c.Missing
		if c.Wanted != "" {
			m.r.Move.Need = c.Wanted // what was received once is needed, whoever forgets it
		}
		m.log("waits: " + why)
		if err := m.save(ctx); err != nil {
			return err
		}
	}
	if m.r.Move.Drill {
		return fmt.Errorf("%w: a drill must not take risks: %s", errCalledOff, why)
	}
	if from := m.r.Member(m.r.Move.From); from != nil {
		done, err := m.send(ctx, m.letter(from, lookFor, order.Order{Verb: order.Look}))
		if err == nil && lives(done.Details) {
			return fmt.Errorf("%w: %s is back, and nobody else can be opened: %s", errCalledOff, from.Name, why)
		}
	}
	if !pause(ctx, again) {
		return ctx.Err()
	}
	return nil
}

// lives reports whether a server answers its agent and can write.
func lives(d *order.Details) bool {
	return d != nil && d.Self.Process != topology.Gone && d.Self.Answers && !d.Self.Disk.Full && !d.Self.Disk.ReadOnly
}

// chosen keeps a choice in the move.
func (m *mover) chosen(c Choice) {
	mv := m.r.Move
	// All that was wanted stays wanted until somebody is opened, whoever forgets it.
	mv.To, mv.Need, mv.Proven, mv.Missing = c.To, c.Wanted, c.Proven, nil
	for _, reason := range c.Reasons {
		m.log(reason)
	}
	m.log("chooses " + c.To)
}

// answer is a member's word on Freeze.
type answer struct {
	member string
	frozen topology.Frozen
	err    error
}

// freeze has all replicas stop receiving, and keeps what they say. It returns when as many
// as are needed have answered, and the others have had a short grace. It calls the move off
// when one that was asked to be quiet about it still hears the old primary.
func (m *mover) freeze(ctx context.Context) error {
	bounded, cancel := context.WithCancel(ctx)
	defer cancel()
	mv := m.r.Move
	members := m.r.Replicas(mv.From)
	answers := make(chan answer, len(members))
	for i := range members {
		l := m.letter(&members[i], freezeFor, order.Order{Verb: order.Freeze, Quiet: mv.Quiet})
		go func() {
			f, err := m.positions(bounded, l)
			answers <- answer{l.to.Name, f, err}
		}()
	}
	mv.Frozen = map[string]topology.Frozen{}
	clear(m.answered)
	off, left := error(nil), len(members)
	take := func(a answer) {
		left--
		switch {
		case a.err == nil:
			mv.Frozen[a.member], m.answered[a.member] = a.frozen, time.Now()
		case mv.Quiet && fault.Is(a.err, fault.KindConflict):
			off = fmt.Errorf("%w: %w", errCalledOff, a.err)
		}
	}
	var enough <-chan time.Time
	for ended := false; left > 0 && off == nil && !ended; {
		select {
		case a := <-answers:
			take(a)
			if enough == nil && m.enough() {
				t := time.NewTimer(m.grace())
				defer t.Stop()
				enough = t.C
			}
		case <-enough:
			ended = true
		case <-ctx.Done():
			ended = true
		}
	}
	cancel()
	for left > 0 {
		take(<-answers) // they end with their context; what came in time counts
	}
	if off != nil {
		return off
	}
	return ctx.Err()
}

// enough reports whether as many have stopped receiving as are needed.
func (m *mover) enough() bool {
	frozen := 0
	for _, a := range m.r.Ackers(m.r.Move.From) {
		if f, ok := m.r.Move.Frozen[a.Name]; ok && f.Short == "" {
			frozen++
		}
	}
	_, known := over(m.r, m.r.Move.Frozen, m.answered, m.since)
	return known && frozen >= m.r.ToFreeze(m.r.Move.From)
}

// grace is how long the others are waited for. Without acknowledgements each may have
// received what nobody else has.
func (m *mover) grace() time.Duration {
	if m.r.Policy.Durability == topology.Lossless {
		return grace
	}
	return graceAsync
}
