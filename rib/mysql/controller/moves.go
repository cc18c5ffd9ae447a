package controller

import (
	"context"
	"strings"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/judge"
	"kaname.dev/kaname/rib/mysql/move"
	"kaname.dev/kaname/rib/mysql/topology"
)

// mover is a function of package move with all but its first arguments.
type mover func(ctx context.Context, h move.Hands, rec *topology.Record) (*topology.Record, error)

// settle is what a new reign finds: a move in progress goes on, and clients are led to
// where the record says.
func (t *charge) settle(ctx context.Context) {
	if t.record().Move != nil {
		_ = t.move(ctx, "", move.Resume) // it has told why not
		return
	}
	rec := t.record()
	if rec.Primary == "" {
		return
	}
	within, cancel := context.WithTimeout(ctx, settleFor)
	defer cancel()
	if err := t.ways.publish(within, t.target(rec)); err != nil {
		t.r.c.o.Log.Warn("an endpoint may lead elsewhere", "topology", t.name, "why", err)
	}
}

// settleFor is how long endpoints may take at the beginning of a reign.
const settleFor = 5 * time.Second

// target is where clients are led in peace.
func (t *charge) target(rec *topology.Record) endpoint.Target {
	primary := rec.Member(rec.Primary)
	out := endpoint.Target{Topology: t.name, Epoch: rec.Epoch, Primary: primary}
	for _, m := range rec.Replicas(rec.Primary) {
		h, ok := t.heardOf(m.Name)
		if ok && fit(h.report, rec.Policy.MaxLag) {
			out.Replicas = append(out.Replicas, m)
		}
	}
	return out
}

func (t *charge) heardOf(member string) (heard, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h, ok := t.heard[member]
	return h, ok && time.Since(h.at) < 3*topology.Beat
}

// fit reports whether clients may read from a replica.
func fit(r *topology.Report, most time.Duration) bool {
	s := r.Self.Replica
	return r.Self.Answers && s != nil && s.Receiving && s.Applying && s.Delay == 0 && s.Lag >= 0 && s.Lag <= most
}

// lead tells routers which replicas are fit for reads now.
func (t *charge) lead() {
	rec := t.record()
	if rec.Move != nil || rec.Primary == "" {
		return
	}
	_, _ = t.ways.board.board.post(t.target(rec)) // an older epoch cannot be
}

// failover replaces the primary, for the verdict has it so.
func (t *charge) failover(ctx context.Context, v judge.Verdict) {
	c := move.Cause{Why: v.Reasons, Quiet: v.Quiet, Kill: v.Kill, Doubt: v.Doubt}
	_ = t.move(ctx, "", func(ctx context.Context, h move.Hands, rec *topology.Record) (*topology.Record, error) {
		return move.Failover(ctx, h, rec, c)
	})
}

// moveAsked moves the primary because a person wants it.
func (t *charge) moveAsked(ctx context.Context, w wish) error {
	word := w.word.Value
	if t.record().Move != nil {
		return fault.Conflict("the primary of " + t.name + " is moving already").Try("see: kaname mysql status " + t.name)
	}
	if word.Verb == Switchover {
		s := move.Switch{To: word.Member, By: word.By}
		return t.move(ctx, w.key, func(ctx context.Context, h move.Hands, rec *topology.Record) (*topology.Record, error) {
			return move.Switchover(ctx, h, rec, s)
		})
	}
	c := move.Cause{By: word.By, Forced: word.Force, Kill: t.record().Policy.Kill, Drill: word.Verb == Drill, Why: []string{string(word.Verb) + " asked for by " + word.By}, Doubt: judge.Doubt(t.know(time.Now()))}
	if word.Why != "" {
		c.Why = append(c.Why, word.Why)
	}
	return t.move(ctx, w.key, func(ctx context.Context, h move.Hands, rec *topology.Record) (*topology.Record, error) {
		return move.Failover(ctx, h, rec, c)
	})
}

// again is how long a move that stopped rests before it is taken up.
const again = time.Second

// move runs a move to its end, however often it has to be taken up; a person may force it
// meanwhile. The error is about the move as a whole.
func (t *charge) move(ctx context.Context, key string, run mover) error {
	t.stopMending()
	for {
		rec, err := t.attempt(ctx, key, run)
		switch {
		case ctx.Err() != nil:
			return fault.Unavailable("this core watches the databases no longer; the next one goes on").Because(context.Cause(ctx))
		case err == nil:
			return t.ended(rec)
		case t.record().Move == nil:
			return err // it did not begin
		}
		t.r.c.o.Log.Warn("a move stopped, and is taken up again", "topology", t.name, "why", err)
		run = move.Resume
		timer := time.NewTimer(again)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// attempt runs a move until it ends, stops, or a person forces it.
func (t *charge) attempt(ctx context.Context, key string, run mover) (*topology.Record, error) {
	type result struct {
		rec *topology.Record
		err error
	}
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan result, 1)
	go func() { // waited for below, in each case
		rec, err := run(within, hands{t: t, key: key}, t.record().Clone())
		done <- result{rec, err}
	}()
	for {
		select {
		case r := <-done:
			return r.rec, r.err
		case <-t.wake:
		}
		w, ok := t.forced()
		if !ok {
			continue
		}
		cancel()
		r := <-done
		begun := t.r.begin(ctx, w.word) // in any case, so that the word is not heard again
		switch {
		case r.err == nil && begun:
			t.r.answer(w.key, nil)
			fallthrough
		case r.err == nil:
			return r.rec, nil
		case !begun:
			return nil, fault.Conflict("a word was taken back")
		}
		err := t.save(ctx, func(rec *topology.Record) error {
			if rec.Move == nil {
				return fault.Conflict("the move has ended meanwhile")
			}
			rec.Move.Forced = true
			rec.Move.Why = append(rec.Move.Why, "forced by "+w.word.Value.By)
			return nil
		})
		t.r.answer(w.key, err)
		return nil, fault.Conflict("forced by " + w.word.Value.By)
	}
}

// forced takes a person's word to force the move that is under way.
func (t *charge) forced() (wish, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, w := range t.wishes {
		if w.word.Value.Verb == Failover && w.word.Value.Force {
			t.wishes = append(t.wishes[:i], t.wishes[i+1:]...)
			return w, true
		}
	}
	return wish{}, false
}

// ended tells how a move ended.
func (t *charge) ended(rec *topology.Record) error {
	t.mu.Lock()
	t.doing = ""
	t.verdict = judge.Verdict{} // of another time
	t.looked = map[string]looked{}
	t.nextLook = time.Now()
	t.mu.Unlock()
	t.stir()
	o := rec.Last
	if o == nil {
		return nil
	}
	t.r.c.meters.moved(t.name, *o)
	t.r.emit("mysql.move", Told{Topology: t.name, Outcome: o})
	t.r.c.o.Log.Warn("a primary was moved", "topology", t.name, "from", o.Move.From, "to", o.Move.To, "ok", o.OK, "took", o.Took, "proven", o.Move.Proven, "left", strings.Join(o.Problems, "; "))
	if !o.OK {
		return fault.Conflict("the primary of " + t.name + " stayed: " + strings.Join(o.Problems, "; ")).Try("see each step: kaname mysql history " + t.name + " --moves")
	}
	return nil
}
