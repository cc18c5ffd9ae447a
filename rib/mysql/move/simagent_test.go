package move_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/lease"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// A model of a database host's agent. The lease is the real one.
type agent struct {
	w *world
	s *server
	i int

	paused bool
	dead   bool
	backAt time.Time
	awake  time.Time // when it last began to run again

	promise lease.Promise // on disk
	rec     *topology.Record
	rev     uint64
	closed  uint64 // it was told to close in this epoch: it opens only by an order of a later one, or Reopen
	opened  uint64 // it was told to open in this epoch

	voter    *lease.Voter
	holder   *lease.Holder
	stop     context.CancelFunc
	lapsed   time.Time // the lease is gone, and the server open
	patience time.Duration
	short    bool
	boots    int
	beatAt   time.Time
}

func (w *world) clock() lease.Now {
	d := time.Since(w.began)
	return lease.Now{Boot: d, Mono: d}
}

// begin starts the agent's process.
func (a *agent) begin() {
	a.dead, a.paused, a.awake, a.lapsed = false, false, time.Now(), time.Time{}
	a.voter = lease.NewVoter("shop", a.promise, func(p lease.Promise) error { a.promise = p; return nil }, a.w.clock)
	ctx, stop := context.WithCancel(a.w.ctx)
	a.stop = stop
	a.holder = lease.NewHolder(a.ask, a.w.clock)
	h := a.holder
	a.w.wg.Go(func() { h.Run(ctx) })
}

// end kills it.
func (a *agent) end(back time.Time) {
	a.dead, a.backAt = true, back
	a.stop()
}

func (a *agent) runs() bool { return !a.dead && !a.paused }

// ask asks another member's agent for a grant.
func (a *agent) ask(ctx context.Context, voter string, q lease.Ask) (lease.Answer, error) {
	w := a.w
	w.mu.Lock()
	v := w.agents[w.index(voter)]
	lost := !a.runs() || !w.link(a.i, v.i)
	w.mu.Unlock()
	if lost || !nap(ctx, w.delay("ask", a.i, v.i)) {
		<-ctx.Done()
		return lease.Answer{}, ctx.Err()
	}
	for {
		w.mu.Lock()
		if v.runs() {
			break
		}
		w.mu.Unlock()
		if !nap(ctx, 20*time.Millisecond) {
			return lease.Answer{}, ctx.Err()
		}
	}
	answer := v.voter.Vote(q)
	lost = !w.link(v.i, a.i)
	w.mu.Unlock()
	if lost {
		<-ctx.Done()
	}
	return answer, ctx.Err()
}

// adopt keeps a record and an epoch. Callers hold the lock.
func (a *agent) adopt(epoch uint64, r *topology.Record) error {
	primary := ""
	if r != nil && r.Epoch == epoch {
		primary = r.Primary
	}
	if err := a.voter.Adopt(epoch, primary); err != nil {
		if a.w.bug.anyEpoch {
			return nil
		}
		return fault.Conflict(err.Error())
	}
	if r != nil && (a.rec == nil || r.Epoch >= a.rec.Epoch) {
		a.rec = r
	}
	return nil
}

// claim says what the holder is to ask for.
func (a *agent) claim() {
	r := a.rec
	if r == nil || r.Primary != a.s.name || r.Epoch != a.promise.Epoch {
		a.holder.Set(lease.Claim{})
		return
	}
	a.holder.Set(lease.Claim{
		Ask: lease.Ask{Topology: "shop", Epoch: r.Epoch, Primary: a.s.name}, Rule: lease.Of(r, a.s.name), Counts: a.w.lease,
	})
}

// tick is what the agent does by itself.
func (a *agent) tick(now time.Time) {
	if !a.runs() {
		return
	}
	s := a.s
	if a.boots != s.boots && s.up {
		a.boots = s.boots
		a.short = a.w.flavour == gtid.MariaDB && !a.w.bug.neverShort
	}
	if a.short && s.source != nil && s.next >= len(s.source.exec) {
		a.short = false
	}
	a.claim()
	held := a.holder.State().Held
	switch {
	case !s.open || held:
		a.lapsed = time.Time{}
	case a.lapsed.IsZero():
		a.lapsed, a.patience = now, a.w.some(time.Duration(600)*time.Millisecond)
	case now.Sub(a.lapsed) >= a.patience:
		if s.paused || !s.shut() {
			s.crash(now.Add(a.w.some(3 * time.Second)))
		}
	}
	if r := a.rec; held && s.alive() && !s.open && r.Epoch > a.closed && (r.Move == nil || a.opened == r.Epoch) {
		a.open(r)
	}
}

// open opens the server.
func (a *agent) open(r *topology.Record) {
	s := a.s
	s.waits, s.epoch, s.open = 0, r.Epoch, true
	if r.Policy.Durability == topology.Lossless {
		s.waits = a.w.policy.Acks
	}
	s.recv, s.appl, s.source = false, false, nil
	s.purge()
	a.w.wasOpened(s, r)
}

// beat reports to the controller, which may grant, and send the record.
func (a *agent) beat(now time.Time) {
	w := a.w
	if !a.runs() || now.Before(a.beatAt) {
		return
	}
	a.beatAt = now.Add(topology.Beat)
	c := w.ctrl
	if c == nil || !w.link(a.i, w.away()) {
		return
	}
	c.hear(a, now)
	if !w.link(w.away(), a.i) {
		return
	}
	known := c.rec != nil && (c.rec.Move == nil || !w.bug.stillGrants) // a record of a move would stop it too
	if known && c.rev > a.rev && c.rec.Epoch >= a.promise.Epoch {
		if a.adopt(c.rec.Epoch, c.rec.Clone()) == nil {
			a.rev = c.rev
		}
		if a.s.open && c.rec.Primary != a.s.name && c.rec.Primary != "" && a.s.alive() {
			a.s.cut()
		}
	}
	if c.grants(a.s.name, a.promise.Epoch) {
		a.claim()
		c.gave[a.s.name] = now
		a.holder.Controller(a.promise.Epoch, w.clock())
	}
}

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
