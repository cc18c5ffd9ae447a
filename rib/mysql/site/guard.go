package site

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"kaname.dev/kaname/rib/mysql/server"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Bounds of what the guard does by itself. Fencing by SQL and killing fit into
// topology.FenceBound, with something left for a busy machine.
const (
	fenceSQL  = 400 * time.Millisecond
	fenceKill = 400 * time.Millisecond
	openFor   = 3 * time.Second
	refence   = 500 * time.Millisecond // between attempts
)

// guard keeps the server open or closed as the lease has it, until ctx ends.
func (s *Site) guard(ctx context.Context) {
	var jobs sync.WaitGroup
	defer jobs.Wait()
	tick := time.NewTicker(refence)
	defer tick.Stop()
	var working atomic.Bool // at a job, beside which the lease is watched
	var due bool            // the lease was lost, and the server is not closed for certain
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.holder.Changed():
		case <-s.process.Changed():
		case <-s.local.Changed():
		case <-s.stir:
		case <-tick.C:
		}
		poke(s.news)
		c := s.scene()
		if due = s.lost(c, due); due {
			due = s.fence(ctx, "its lease is over"+because(c.lease)) != nil
			continue
		}
		if c.fresh {
			s.local.Commits(serves(c))
		}
		switch do, why := decide(c); do {
		case fence:
			_ = s.fence(ctx, why) // reported, and tried again
		case shut, open, tune:
			job := s.open
			if do == shut {
				job = s.shut
			}
			if working.CompareAndSwap(false, true) {
				jobs.Go(func() { defer working.Store(false); job(ctx, why) })
			}
		case nothing:
			s.found(c)
		}
	}
}

// scene gathers what is known.
func (s *Site) scene() scene {
	c := scene{
		member: s.o.Member, self: s.local.Self(), start: s.process.State().Start, lease: s.holder.State(),
		age: time.Since(s.began),
	}
	var last time.Time
	c.working, last = s.desk.busy()
	c.fresh = s.local.Fresh(last)
	s.mu.Lock()
	defer s.mu.Unlock()
	c.record, c.kept = s.record, s.kept
	if s.voter != nil {
		c.epoch = s.voter.Promise().Epoch
	}
	return c
}

// lost reports whether the server may be open and must not be: it was opened, and the lease
// by which it was is over. It does not ask the server, which may hang.
func (s *Site) lost(c scene, before bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.lease.Held || s.opened.IsZero() {
		return false
	}
	if c.self.Process == topology.Gone {
		s.opened = time.Time{}
		return false
	}
	return before || c.record != nil && c.kept.Armed && c.age > grace
}

// found takes note of a primary that is open and holds its lease.
func (s *Site) found(c scene) {
	if c.working || !serves(c) {
		return
	}
	s.mu.Lock()
	if s.opened.IsZero() {
		s.opened = time.Now()
	}
	s.mu.Unlock()
	err := s.keep(func(k *kept) { k.isOpen(c.start, c.record.Epoch) })
	if err != nil {
		s.o.Log.Error("that the server is open is not on disk", "error", err)
	}
}

// fence closes the server by SQL, or kills it if that fails and the policy allows it. It
// interrupts whatever is being done to it.
func (s *Site) fence(ctx context.Context, why string) error {
	since := s.holder.Heard()
	kill := func() bool {
		// By now the lease may be back, and then nobody else can have been opened.
		rec, _ := s.Record()
		return rec != nil && rec.Policy.Kill && !s.holder.State().Held
	}
	how, err := s.closeNow(ctx, why, kill)
	switch {
	case err == nil:
		s.o.Log.Warn("the server was closed", "why", why, "how", how, "granted", since)
		s.o.Metrics.fenced()
		return nil
	case ctx.Err() != nil:
	case s.holder.State().Held:
		s.o.Log.Warn("the server was about to be closed, and its lease came back", "why", why, "granted", since, "error", err)
		s.lead(ctx, s.o.Opened)
		return s.keep(func(k *kept) { k.Closed = why })
	default:
		s.o.Log.Error("the server cannot be closed", "why", why, "error", err)
	}
	return err
}

// closeNow is fence by the site's own decision or by an order; how says what was done.
func (s *Site) closeNow(ctx context.Context, why string, kill func() bool) (how string, err error) {
	asked := time.Now()
	s.closing.Lock() // two at once would cut each other
	defer s.closing.Unlock()
	if how := s.closedSince(asked); how != "" {
		return how, nil
	}
	s.setFencing(why)
	defer s.setFencing("")
	var away sync.WaitGroup // beside the server, which may hang
	defer away.Wait()
	away.Go(func() { s.lead(ctx, s.o.Closed) })
	done := s.desk.interrupt(ctx)
	defer s.lookAgain(ctx)
	defer done()
	if how, err = s.shutOut(ctx, kill); err != nil {
		return "", err
	}
	s.mu.Lock()
	s.opened, s.closed, s.closedHow = time.Time{}, time.Now(), how
	s.mu.Unlock()
	s.local.Commits(false)
	if err := s.keep(func(k *kept) { k.Closed = why + " (" + how + ")" }); err != nil {
		s.o.Log.Error("that the server was closed is not on disk", "error", err)
	}
	return how, nil
}

// errTail is why a server is killed although it could be closed.
var errTail = errors.New("clients wait for acknowledgements that nobody will give; a start drops what they wrote, closing would keep it")

// shutOut closes the server by SQL, or kills it where it may: when that fails, or would keep
// what makes it no replica of another any more.
func (s *Site) shutOut(ctx context.Context, kill func() bool) (how string, err error) {
	bounded, cancel := context.WithTimeout(ctx, fenceSQL)
	defer cancel()
	if tail, terr := s.o.Server.Tail(bounded); terr == nil && tail && kill() {
		err = errTail
	} else {
		err = s.o.Server.Fence(bounded)
	}
	switch p := s.process.State().Process; {
	case err == nil:
		return "closed for writes, clients cut", nil
	case p == topology.Gone:
		return "its process has ended", nil
	case p == topology.Unseen && server.Refused(err):
		return "nobody listens on its socket", nil
	}
	if !kill() {
		return "", err
	}
	within, stop := context.WithTimeout(ctx, fenceKill)
	defer stop()
	if killed := s.process.Kill(within); killed != nil {
		return "", errors.Join(err, killed)
	}
	return "killed: " + err.Error(), nil
}

// closedSince returns how the server was closed if that was after t.
func (s *Site) closedSince(t time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.After(t) {
		return s.closedHow
	}
	return ""
}

func (s *Site) setFencing(why string) {
	s.mu.Lock()
	s.fencing = why
	s.mu.Unlock()
	poke(s.news)
}

// shut closes a replica that takes writes.
func (s *Site) shut(ctx context.Context, why string) {
	ctx, cancel := context.WithTimeout(ctx, openFor)
	defer cancel()
	ctx, done, err := s.desk.take(ctx, false)
	if err != nil {
		return
	}
	defer done()
	if do, _ := decide(s.sceneOf(ctx)); do != shut {
		return // no longer
	}
	if _, err := s.o.Server.CloseWrites(ctx, 100*time.Millisecond); err != nil {
		s.o.Log.Error("a replica that takes writes cannot be closed", "why", why, "error", err)
		return
	}
	s.o.Log.Warn("the server was closed", "why", why)
	s.lookAgain(ctx)
}

// open opens the server as the primary that it is: waiting for acknowledgements first.
func (s *Site) open(ctx context.Context, why string) {
	ctx, cancel := context.WithTimeout(ctx, openFor)
	defer cancel()
	within, done, err := s.desk.take(ctx, true)
	if err != nil {
		return
	}
	defer done()
	if do, _ := decide(s.sceneOf(within)); do != open && do != tune {
		return // no longer
	}
	if err := s.reopen(within); err != nil {
		s.o.Log.Warn("the server cannot be opened again", "error", err)
		return
	}
	s.o.Log.Warn("the server was opened", "why", why)
	s.lead(within, s.o.Opened)
}

// lead tells those who lead clients here.
func (s *Site) lead(ctx context.Context, tell func(context.Context, *topology.Record)) {
	if rec, _ := s.Record(); rec != nil && tell != nil {
		tell(ctx, rec)
	}
}

// sceneOf is scene after a fresh look, by the one whose turn it is.
func (s *Site) sceneOf(ctx context.Context) scene {
	s.lookAgain(ctx)
	c := s.scene()
	c.working, c.fresh = false, true
	return c
}

// reopen opens the server if its lease is held still.
func (s *Site) reopen(ctx context.Context) error {
	rec, _ := s.Record()
	if rec == nil {
		return errors.New("it belongs to no topology")
	}
	if err := s.calm(ctx); err != nil {
		return err
	}
	acks := acksOf(rec)
	if err := s.o.Server.SemiSync(ctx, acks > 0, acks, false); err != nil {
		return err
	}
	if !s.holder.State().Held {
		return errors.New("its lease is over")
	}
	if err := s.setOpened(); err != nil {
		return err
	}
	if err := s.o.Server.Reopen(ctx); err != nil {
		return err
	}
	return s.nowOpen(ctx)
}

// setOpened notes that the server may be open from now on: a lease that ends closes it.
func (s *Site) setOpened() error {
	s.mu.Lock()
	s.opened = time.Now()
	s.mu.Unlock()
	return s.keep(func(k *kept) { k.Armed = true })
}

// nowOpen keeps that the server was opened.
func (s *Site) nowOpen(ctx context.Context) error {
	start := s.process.State().Start
	epoch := s.holder.State().Epoch
	err := s.keep(func(k *kept) { k.isOpen(start, epoch) })
	s.lookAgain(ctx)
	if !s.holder.State().Held {
		poke(s.stir)
		return errors.New("its lease ended while it was opened; it is closed again")
	}
	return err
}

// acksOf is how many acknowledgements a primary waits for; 0: none.
func acksOf(rec *topology.Record) int {
	if rec.Policy.Durability != topology.Lossless {
		return 0
	}
	return max(rec.Policy.Acks, 1)
}

// lookAgain makes what is known of the server fresh, for as long as that is quick.
func (s *Site) lookAgain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	_, _ = s.local.Look(ctx) // what is not answered is for the probes to tell
}

func words(epoch uint64) string { return strconv.FormatUint(epoch, 10) }
