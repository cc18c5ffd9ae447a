package move_test

import (
	"context"
	"time"

	"kaname.dev/kaname/rib/mysql/move"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// controller is a small one: it looks, moves, and mends. It may be wrong about a death, for
// what it does must be safe all the same.
type controller struct {
	w      *world
	h      *hands
	stop   context.CancelFunc
	done   chan struct{}
	rec    *topology.Record // as it last saved or read it
	rev    uint64
	reads  map[int]seen
	facts  map[string]move.Fact
	wishes []wish
	mended map[string]time.Time
	began  time.Time
	gave   map[string]time.Time // when it last granted
}

type seen struct {
	at            time.Time
	down, answers bool
	news          time.Time
	fits          bool
}

type wish struct {
	failover bool
	quiet    bool
	to       string
}

// reign starts a controller; the caller holds the lock.
func (w *world) reign() *controller {
	ctx, stop := context.WithCancel(w.ctx)
	c := &controller{
		w: w, stop: stop, done: make(chan struct{}), reads: map[int]seen{}, facts: map[string]move.Fact{}, mended: map[string]time.Time{},
		began: time.Now(), gave: map[string]time.Time{},
	}
	c.h = &hands{w: w, c: c, step: func(_ string, effect func() error) error { return effect() }}
	c.read()
	w.ctrl = c
	w.say("a controller begins")
	w.wg.Go(func() { defer close(c.done); c.run(ctx) })
	return c
}

// read takes the record from the store; the caller holds the lock.
func (c *controller) read() {
	c.rec, c.rev = c.w.doc.Clone(), c.w.rev
	c.h.rev = c.rev
}

// die ends it, without a word; the caller holds the lock, and gives it away meanwhile.
func (c *controller) die() {
	c.w.say("the controller dies")
	c.w.ctrl = nil
	c.stop()
	c.w.mu.Unlock()
	<-c.done
	c.w.mu.Lock()
}

// hear takes an agent's report.
func (c *controller) hear(a *agent, now time.Time) {
	s := a.s
	c.reads[a.i] = seen{
		at: now, down: !s.up, answers: s.alive(), news: s.news,
		fits: s.alive() && s.recv && s.next >= 0 && c.rec.Primary != "" && s.source == c.w.servers[c.w.index(c.rec.Primary)],
	}
	if s.alive() && now.UnixNano()%3 == 0 {
		f := move.Fact{Executed: s.executed()}
		for num, at := range s.strays {
			if now.Sub(at) > time.Second && s.execd.has(num) {
				f.Errant = s.text(s.only(num))
			}
		}
		c.facts[s.name] = f
	}
}

func (c *controller) grants(member string, epoch uint64) bool {
	r := c.rec
	return r != nil && r.Primary == member && r.Epoch == epoch && (r.Move == nil || r.Move.From != member || r.Move.Step == topology.Close || r.Move.Step == topology.Undo)
}

func (c *controller) run(ctx context.Context) {
	for nap(ctx, 100*time.Millisecond) {
		c.w.mu.Lock()
		r := c.rec.Clone()
		var v *move.Cause
		var s *wish
		if r.Move == nil {
			v, s = c.judge(time.Now())
		}
		c.w.mu.Unlock()
		var err error
		bounded, cancel := context.WithTimeout(ctx, 60*time.Second)
		switch {
		case r.Move != nil:
			_, err = move.Resume(bounded, c.h, c.w.policed(r))
		case v != nil:
			_, err = move.Failover(bounded, c.h, c.w.policed(r), *v)
		case s != nil:
			_, err = move.Switchover(bounded, c.h, c.w.policed(r), move.Switch{To: s.to})
		default:
			c.mend(bounded, r)
		}
		cancel()
		if err != nil {
			c.w.mu.Lock()
			c.w.say("  error: %v", err)
			c.read()
			c.w.mu.Unlock()
		}
	}
}

// policed is the record as the moves see it, with the rules that bugs break.
func (w *world) policed(r *topology.Record) *topology.Record {
	r = r.Clone()
	if w.bug.noLease {
		r.Policy.Lease = -topology.FenceBound
	}
	if w.bug.oneTooFew {
		r.Policy.Acks++
	}
	return r
}

// judge says whether the primary is dead, by what was reported.
func (c *controller) judge(now time.Time) (*move.Cause, *wish) {
	if len(c.wishes) > 0 {
		x := c.wishes[0]
		c.wishes = c.wishes[1:]
		if x.failover {
			return &move.Cause{Why: []string{"a wish"}, Quiet: x.quiet, Kill: true}, nil
		}
		return nil, &x
	}
	p := c.w.index(c.rec.Primary)
	last, ok := c.reads[p]
	if ok && now.Sub(last.at) < time.Second {
		if last.down {
			return &move.Cause{Why: []string{"its process has ended"}, Kill: true}, nil
		}
		if last.answers {
			return nil, nil
		}
	}
	quiet, silent := 0, now.Add(-c.w.policy.Silence)
	for i, x := range c.reads {
		if i != p && now.Sub(x.at) < time.Second && x.news.Before(silent) {
			quiet++
		}
	}
	if quiet*2 > len(c.w.servers)-1 && (!ok || last.at.Before(silent) || !last.answers) {
		return &move.Cause{Why: []string{"silence"}, Quiet: true, Kill: true}, nil
	}
	return nil, nil
}

// mend has those follow that do not, and copies anew who cannot.
func (c *controller) mend(ctx context.Context, r *topology.Record) {
	for _, m := range r.Replicas(r.Primary) {
		c.w.mu.Lock()
		x, ok := c.reads[c.w.index(m.Name)]
		since, tried := c.mended[m.Name]
		c.w.mu.Unlock()
		if !ok || time.Since(x.at) > time.Second || !x.answers || x.fits {
			delete(c.mended, m.Name)
			continue
		}
		if !tried {
			c.mended[m.Name] = time.Now()
			_ = move.Rejoin(ctx, c.h, r, m.Name)
			continue
		}
		if time.Since(since) > 2*time.Second {
			delete(c.mended, m.Name)
			within, cancel := context.WithTimeout(ctx, 2*time.Second)
			_, _ = c.h.Order(within, m, order.Order{
				Topology: "shop", Member: m.Name, Epoch: r.Epoch, Verb: order.Reclone, Source: r.Member(r.Primary), Record: r,
				Acker: m.Acker() && r.Policy.Durability == topology.Lossless,
			})
			cancel()
		}
	}
}
