package move

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"kaname.dev/kaname/rib/mysql/lease"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// fencing closes the old primary beside everything else that a failover does.
type fencing struct {
	stop context.CancelFunc
	done chan struct{} // it ended
	// sure: replicas have stopped receiving, so that it cannot be called off any more, and
	// what cannot be taken back may be done.
	sure chan struct{}

	once   sync.Once
	mu     sync.Mutex
	how    string // it is closed
	closed chan struct{}
}

// fenceAgain is the time between two attempts to close the old primary.
const fenceAgain = 500 * time.Millisecond

// fence begins to close the old primary. Whoever calls it calls leave.
func (m *mover) fence(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	f := &fencing{stop: stop, done: make(chan struct{}), sure: make(chan struct{}), closed: make(chan struct{})}
	m.fencing = f
	mv := m.r.Move
	from := m.r.Member(mv.From)
	if mv.Fenced != "" || from == nil {
		f.is(mv.Fenced)
		close(f.done)
		return
	}
	gently := m.letter(from, topology.FenceBound+fenceAgain, order.Order{Verb: order.Fence, Kill: mv.Kill && !mv.Quiet, Within: topology.FenceBound})
	surely := gently
	surely.order.Kill = mv.Kill
	go func() {
		defer close(f.done)
		m.keepFencing(ctx, f, gently, surely)
	}()
}

// keepFencing tries until it is done or ctx ends: gently while the move may still be
// called off, then by all means that there are.
func (m *mover) keepFencing(ctx context.Context, f *fencing, gently, surely letter) {
	l, command := gently, true
	for {
		done, err := m.send(ctx, l)
		if err == nil {
			f.is(fmt.Sprintf("the agent of %s closed it: %s", l.to.Name, done.How))
			return
		}
		again := time.NewTimer(fenceAgain)
		select {
		case <-ctx.Done():
			again.Stop()
			return
		case <-f.sure:
			again.Stop()
		case <-again.C:
			continue
		}
		if l.order.Kill != surely.order.Kill {
			l = surely
			continue
		}
		if command {
			switch err := m.h.FenceCommand(ctx, l.to); {
			case err == nil:
				f.is("the fence command closed " + l.to.Name)
				return
			case errors.Is(err, errors.ErrUnsupported):
				command = false
			}
		}
		if !pause(ctx, fenceAgain) {
			return
		}
	}
}

func (f *fencing) is(how string) {
	if how == "" {
		return
	}
	f.once.Do(func() {
		f.mu.Lock()
		f.how = how
		f.mu.Unlock()
		close(f.closed)
	})
}

// fenced returns how the old primary was closed; empty while that is not certain.
func (f *fencing) fenced() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.how
}

// surely reports whether the old primary is closed.
func (f *fencing) surely() bool { return f.fenced() != "" }

// certain says that nothing stands any more against closing it by all means.
func (f *fencing) certain() {
	select {
	case <-f.sure:
	default:
		close(f.sure)
	}
}

// leave ends the attempts and waits for their end.
func (f *fencing) leave() {
	f.stop()
	<-f.done
}

// over returns when the grants by which the old primary stays open have run out for
// certain, and its agent has had the time to close it; false when that cannot be known,
// because too few voters have said that they grant no more.
//
// A voter that was frozen gave its last grant Granted before it answered, or earlier. A
// grant counts from when it was asked for, which was earlier still. What this controller or
// one before it granted ended at since.
func over(r *topology.Record, frozen map[string]topology.Frozen, answered map[string]time.Time, since time.Time) (time.Time, bool) {
	rule := lease.Of(r, r.Move.From)
	var ends []time.Time
	for _, v := range rule.Voters {
		if at, ok := answered[v]; ok {
			ends = append(ends, at.Add(-max(frozen[v].Granted, 0)))
		}
	}
	need := rule.ToFreeze()
	if len(ends) < need {
		return time.Time{}, false
	}
	slices.SortFunc(ends, time.Time.Compare)
	last := ends[need-1]
	if since.After(last) {
		last = since
	}
	return last.Add(r.Policy.Lease + topology.FenceBound), true
}

// close waits until the old primary is closed for certain, or may be taken for closed.
func (m *mover) close(ctx context.Context) error {
	mv := m.r.Move
	if err := m.settle(ctx); err != nil || mv.Fenced != "" {
		return err
	}
	if !m.may() {
		return errors.New(unsure(mv.From))
	}
	mv.Missing = append(mv.Missing, mv.From+" may still take writes: "+unsure(mv.From))
	m.log("goes on although " + mv.From + " may still be open")
	return nil
}

// settle waits until the old primary is closed for certain and says how in Move.Fenced. Where
// grants cannot tell, it waits as long as they would count, and leaves that empty.
func (m *mover) settle(ctx context.Context) error {
	f := m.fencing
	mv := m.r.Move
	if mv.Fenced != "" {
		return nil
	}
	end, known := over(m.r, mv.Frozen, m.answered, m.since)
	how := "its lease is over: enough of those who keep it open have stopped"
	if !known {
		how, end = "", m.begun.Add(m.r.Policy.Lease+topology.FenceBound)
	}
	wait := time.NewTimer(time.Until(end))
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-f.closed:
	case <-wait.C:
	}
	mv.Fenced = cmp.Or(f.fenced(), how)
	if mv.Fenced != "" {
		m.log(mv.From + " is closed: " + mv.Fenced)
	}
	return nil
}
