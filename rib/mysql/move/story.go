package move

import (
	"context"
	"fmt"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// log adds a line to the move's story and shows it.
func (m *mover) log(text string) {
	mv := m.r.Move
	mv.Log = append(mv.Log, topology.Entry{At: max(time.Since(mv.Started), 0), Text: text})
	m.h.Tell(text)
}

// save stores the record as it is now.
func (m *mover) save(ctx context.Context) error {
	if err := m.h.Save(ctx, m.r.Clone()); err != nil {
		return &saveError{m.r.Epoch, err}
	}
	return nil
}

// saveError ends a move in this controller: what is stored is somebody else's, or unknown.
type saveError struct {
	epoch uint64
	err   error
}

func (e *saveError) Error() string { return fmt.Sprintf("save epoch %d: %v", e.epoch, e.err) }
func (e *saveError) Unwrap() error { return e.err }

// stands says where a move stopped, as what kind of fault.
func (m *mover) stands(err error) error {
	mv := m.r.Move
	if mv == nil {
		return err
	}
	f := *fault.Of(err)
	what := fmt.Sprintf("%s of topology %s from %s stopped at step %s of epoch %d", mv.Kind, m.r.Name, mv.From, mv.Step, m.r.Epoch)
	if m.told != "" && (f.Kind == fault.KindTimeout || f.Kind == fault.KindCanceled) {
		return (&fault.Fault{Kind: f.Kind, What: what + ": " + m.told}).Because(err).
			Try("bring back what is missing, or accept what may be lost: kaname mysql failover " + m.r.Name + " --force")
	}
	return (&fault.Fault{Kind: f.Kind, What: what, Remedy: f.Remedy}).Because(err)
}

// outcome is the end of the move in the record.
func (m *mover) outcome(ok bool, problems ...string) *topology.Outcome {
	return &topology.Outcome{
		Move: *m.r.Move, Ended: time.Now(), OK: ok, Took: max(time.Since(m.r.Move.Started), 0), Epoch: m.r.Epoch, Problems: problems,
	}
}

// letter is an order to a member, of the present epoch and with the record as it is now.
// Letters are written before goroutines carry them: the record belongs to the move's own.
type letter struct {
	to     topology.Member
	order  order.Order
	within time.Duration
}

func (m *mover) letter(to *topology.Member, within time.Duration, o order.Order) letter {
	o.Topology, o.Member, o.Epoch, o.Record = m.r.Name, to.Name, m.r.Epoch, m.r.Clone()
	return letter{to: *to, order: o, within: within}
}

// send has the order carried out.
func (m *mover) send(ctx context.Context, l letter) (order.Done, error) {
	ctx, cancel := context.WithTimeout(ctx, l.within)
	defer cancel()
	done, err := m.h.Order(ctx, l.to, l.order)
	if err != nil {
		return done, fmt.Errorf("%s: %s: %w", l.to.Name, l.order.Verb, err)
	}
	return done, nil
}

// positions is send for those that answer with what they have.
func (m *mover) positions(ctx context.Context, l letter) (topology.Frozen, error) {
	done, err := m.send(ctx, l)
	if err != nil {
		return topology.Frozen{}, err
	}
	if done.Frozen == nil {
		return topology.Frozen{}, fmt.Errorf("%s: %s was answered without positions", l.to.Name, l.order.Verb)
	}
	return *done.Frozen, nil
}

// target is where clients are led: to a member, or nowhere.
func (m *mover) target(primary string) endpoint.Target {
	t := endpoint.Target{Topology: m.r.Name, Epoch: m.r.Epoch}
	if p := m.r.Member(primary); p != nil {
		c := *p
		t.Primary = &c
		t.Replicas = m.r.Replicas(primary)
	}
	return t
}

// pause waits; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
