package move_test

import (
	"context"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/lease"
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
