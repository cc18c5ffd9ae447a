package move_test

import (
	"errors"
	"fmt"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// How the model of an agent carries out orders.

func (a *agent) positions() order.Done {
	s := a.s
	f := &topology.Frozen{
		Received: s.received(), Executed: s.executed(), Applies: !s.broken, Version: "10.11.1",
		Behind: time.Duration(len(s.relay)) * 3 * time.Millisecond,
	}
	if s.broken {
		f.Trouble = "out of order"
	}
	if a.short {
		f.Short = "its server was started again"
	}
	return order.Done{Frozen: f}
}

var errDown = errors.New("the server does not answer")

// do carries out an order. It runs with the world's lock held and gives it away while it waits.
func (a *agent) do(o order.Order) (order.Done, error) {
	w, s := a.w, a.s
	if o.Epoch < a.promise.Epoch && !w.bug.anyEpoch {
		return order.Done{}, fault.Conflict(fmt.Sprintf("epoch %d is over, %d has begun", o.Epoch, a.promise.Epoch))
	}
	if o.Epoch < a.promise.Epoch {
		w.broke("S3: %s does %s of epoch %d, having seen %d", s.name, o.Verb, o.Epoch, a.promise.Epoch)
	}
	if o.Verb == order.Look {
		return a.look(), nil
	}
	if o.Verb == order.Freeze {
		return a.freeze(o)
	}
	if err := a.adopt(o.Epoch, o.Record); err != nil {
		return order.Done{}, err
	}
	if o.Verb == order.Fence {
		return a.fence(o)
	}
	if o.Verb == order.Close {
		a.closed = o.Epoch
	}
	if !s.alive() {
		return order.Done{}, errDown
	}
	now := time.Now()
	switch o.Verb {
	case order.Thaw:
		_ = a.voter.Thaw(o.Epoch)
		if s.source != nil {
			s.startApplierIfStopped(now)
			s.startReceiver(now)
		}
	case order.Drain:
		return a.drain(o)
	case order.Level:
		if _, err := a.drain(o); err != nil {
			return order.Done{}, err
		}
		return a.level(o)
	case order.Rescue:
		return a.rescue(o)
	case order.Promote, order.Reopen:
		return a.promote(o)
	case order.Follow:
		return a.follow(o)
	case order.Close:
		if !w.wait(o.Within, func() bool { return s.shut() || !s.alive() }) {
			s.cut()
		}
		if !s.alive() {
			return order.Done{}, errDown
		}
		return a.positions(), nil
	case order.Reclone:
		src := w.servers[w.index(o.Source.Name)]
		if !src.alive() || !w.link(a.i, src.i) || !w.link(src.i, a.i) {
			return order.Done{}, errDown
		}
		s.cut()
		s.exec, s.execd, s.seq, s.own = append([]trx(nil), src.exec...), append(set(nil), src.execd...), src.seq, 0
		for _, t := range s.exec {
			if t.origin == s.i {
				s.own = max(s.own, t.seq)
			}
		}
		clear(s.strays)
		a.short = false
		s.replies = o.Acker
		s.follow(src, now)
	}
	return order.Done{}, nil
}

func (s *server) startApplierIfStopped(now time.Time) {
	if !s.appl && !s.broken {
		s.startApplier(now)
	}
}

func (a *agent) stale(o order.Order) error {
	if o.Epoch < a.promise.Epoch && !a.w.bug.anyEpoch {
		return fault.Conflict("a higher epoch came meanwhile")
	}
	if !a.s.alive() || a.dead {
		return errDown
	}
	return nil
}

func (a *agent) freeze(o order.Order) (order.Done, error) {
	w, s := a.w, a.s
	now := time.Now()
	if o.Quiet && s.alive() && s.recv && now.Sub(s.news) < 500*time.Millisecond {
		return order.Done{}, fault.Conflict("events of " + s.source.name + " still arrive")
	}
	from := ""
	if o.Record.Move != nil {
		from = o.Record.Move.From
	}
	var granted time.Duration
	var err error
	if !w.bug.stillGrants {
		granted, err = a.voter.Freeze(o.Epoch, from)
	}
	if err != nil {
		if !w.bug.anyEpoch {
			return order.Done{}, fault.Conflict(err.Error())
		}
		granted = 0
	}
	frozenAt := now
	if (a.rec == nil || o.Record.Epoch >= a.rec.Epoch) && !w.bug.stillGrants {
		a.rec = o.Record
	}
	if !s.alive() {
		return order.Done{}, errDown
	}
	if s.recv && s.source != nil && !s.source.alive() {
		// Stopping the receiver of a silent primary takes its time.
		w.wait(w.some(2*time.Second), func() bool { return a.stale(o) != nil })
		if err := a.stale(o); err != nil {
			return order.Done{}, err
		}
	}
	if w.bug.stopFirst {
		s.stopReceiver()
		s.appl = false
	}
	s.startApplierIfStopped(time.Now())
	s.stopReceiver()
	done := a.positions()
	done.Frozen.Granted = granted + time.Since(frozenAt)
	return done, nil
}

func (a *agent) fence(o order.Order) (order.Done, error) {
	w, s := a.w, a.s
	a.closed = max(a.closed, o.Epoch)
	how := "its process has ended"
	blocked := func() bool { return s.up && (s.paused || !s.shut()) }
	if s.up {
		how = "read-only"
		if w.wait(400*time.Millisecond, func() bool { return !blocked() }); blocked() {
			if !o.Kill {
				return order.Done{}, errDown
			}
			s.crash(time.Now().Add(w.some(5 * time.Second)))
			how = "killed"
		}
	}
	return order.Done{How: how}, nil
}

func (a *agent) drain(o order.Order) (order.Done, error) {
	s := a.s
	s.startApplierIfStopped(time.Now())
	a.w.wait(o.Within, func() bool { return len(s.relay) == 0 || s.broken || a.stale(o) != nil })
	if err := a.stale(o); err != nil {
		return order.Done{}, err
	}
	if len(s.relay) > 0 {
		return order.Done{}, errors.New("it has not applied all")
	}
	return a.positions(), nil
}

func (a *agent) level(o order.Order) (order.Done, error) {
	s := a.s
	need, err := gtid.Parse(a.w.flavour, o.Need)
	if err != nil {
		return order.Done{}, err
	}
	s.follow(a.w.servers[a.w.index(o.Source.Name)], time.Now())
	a.w.wait(o.Within, func() bool {
		has, _ := gtid.Parse(a.w.flavour, s.executed())
		return has.Contains(need) || s.refused || a.stale(o) != nil
	})
	if err := a.stale(o); err != nil {
		return order.Done{}, err
	}
	s.stopReceiver()
	if has, _ := gtid.Parse(a.w.flavour, s.executed()); !has.Contains(need) {
		return order.Done{}, errors.New("it did not get what it needs")
	}
	return a.positions(), nil
}

// follow applies what the source is not known to have before the relay log goes.
func (a *agent) follow(o order.Order) (order.Done, error) {
	w, s := a.w, a.s
	s.cut()
	has, err := gtid.Parse(w.flavour, o.Need)
	if err != nil {
		return order.Done{}, err
	}
	if s.source != nil {
		s.startApplierIfStopped(time.Now())
	}
	s.stopReceiver()
	if !w.bug.dropAny && !s.within(has) {
		w.wait(5*time.Second, func() bool { return len(s.relay) == 0 || s.broken || a.stale(o) != nil })
		if len(s.relay) > 0 {
			return order.Done{}, errors.New("what it has received cannot be applied, and may be nowhere else")
		}
	}
	if err := a.stale(o); err != nil {
		return order.Done{}, err
	}
	_ = a.voter.Thaw(o.Epoch)
	s.replies = o.Acker
	s.follow(w.servers[w.index(o.Source.Name)], time.Now())
	return order.Done{}, nil
}

// within reports whether a set has all that waits in the relay log.
func (s *server) within(has gtid.Set) bool {
	all, err := gtid.Parse(s.w.flavour, s.received())
	return err == nil && (len(s.relay) == 0 || has.Contains(all))
}

func (a *agent) rescue(o order.Order) (order.Done, error) {
	w, s := a.w, a.s
	old := w.servers[w.index(o.Source.Name)]
	w.wait(w.some(200*time.Millisecond), func() bool { return a.stale(o) != nil })
	if err := a.stale(o); err != nil {
		return order.Done{}, err
	}
	if old.up || !w.agents[old.i].runs() || !w.link(a.i, old.i) || !w.link(old.i, a.i) {
		return order.Done{}, errors.New("its binary logs cannot be read")
	}
	if last, any := s.last(); any && w.flavour == gtid.MariaDB && !old.execd.has(last.num) {
		return order.Done{}, errors.New("they do not have this position")
	}
	for _, t := range old.exec {
		if !s.execd.has(t.num) {
			s.append(t)
		}
	}
	return a.positions(), nil
}

// promote opens the server as soon as it has the lease.
func (a *agent) promote(o order.Order) (order.Done, error) {
	w, s := a.w, a.s
	if o.Record.Primary != s.name {
		return order.Done{}, fault.Conflict("it is not the primary of this epoch")
	}
	_ = a.voter.Thaw(o.Epoch)
	a.closed = min(a.closed, o.Epoch-1)
	a.opened = o.Epoch
	a.claim()
	w.wait(2*time.Second, func() bool { return a.holder.State().Held || a.stale(o) != nil })
	if err := a.stale(o); err != nil {
		return order.Done{}, err
	}
	if !a.holder.State().Held {
		return order.Done{}, errors.New("nobody grants it the lease")
	}
	if !s.open || s.epoch != o.Epoch {
		a.open(o.Record)
	}
	return a.positions(), nil
}

func (a *agent) look() order.Done {
	s := a.s
	d := &order.Details{Self: topology.Self{Process: topology.Running, Answers: s.alive(), ReadOnly: !s.open}}
	if !s.up {
		d.Self.Process = topology.Gone
	}
	if s.alive() {
		d.Executed, d.Received = s.executed(), s.received()
		if s.source != nil {
			d.Self.Replica = &topology.Replica{
				Source: s.source.name, Receiving: s.recv && s.next >= 0, Applying: s.appl && !s.broken,
				Lag: time.Duration(len(s.relay)) * 3 * time.Millisecond,
			}
		}
	}
	return order.Done{Details: d}
}
