package move_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/move"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// hands are a controller's. They end when it dies; what is on its way goes on.
type hands struct {
	w    *world
	c    *controller
	rev  uint64
	step func(what string, effect func() error) error // hook of the crash test
}

func (h *hands) Known(member string) move.Fact {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	f := h.c.facts[member]
	if f.Granted = h.c.gave[member]; f.Granted.Before(h.c.began) {
		f.Granted = h.c.began
	}
	f.Self = []string{h.w.servers[h.w.index(member)].self()}
	return f
}

func (h *hands) Tell(text string) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.w.say("  %s", text)
}

func (h *hands) Order(ctx context.Context, m topology.Member, o order.Order) (order.Done, error) {
	var done order.Done
	err := h.step("order "+string(o.Verb), func() error {
		var err error
		done, err = h.order(ctx, m, o)
		return err
	})
	return done, err
}

func (h *hands) order(ctx context.Context, m topology.Member, o order.Order) (order.Done, error) {
	w := h.w
	type result struct {
		done order.Done
		err  error
	}
	to := w.index(m.Name)
	answer := make(chan result, 2)
	deliver := func() {
		w.mu.Lock()
		a := w.agents[to]
		for a.paused && !w.over && !a.dead {
			w.mu.Unlock()
			<-time.After(20 * time.Millisecond)
			w.mu.Lock()
		}
		if w.over || a.dead {
			w.mu.Unlock()
			return
		}
		done, err := a.do(o)
		w.spoil(o, &done)
		back := w.link(to, w.away())
		d := w.delay("answer", to, w.away())
		w.mu.Unlock()
		if back && nap(w.ctx, d) {
			answer <- result{done, err}
		}
	}
	w.mu.Lock()
	there, d := w.link(w.away(), to), w.delay("order", w.away(), to)
	if w.dup > 0 && d%97 < time.Duration(97*w.dup) {
		w.wg.Go(func() {
			if nap(w.ctx, d*400) {
				deliver()
			}
		})
	}
	w.mu.Unlock()
	if there {
		w.wg.Go(func() {
			if nap(w.ctx, d) {
				deliver()
			}
		})
	}
	select {
	case <-ctx.Done():
		return order.Done{}, ctx.Err()
	case r := <-answer:
		return r.done, r.err
	}
}

// spoil breaks what an agent answers, where a bug says so.
func (w *world) spoil(o order.Order, d *order.Done) {
	if d.Frozen == nil {
		return
	}
	if w.bug.byName {
		d.Frozen.Received, d.Frozen.Executed = "", ""
	}
	if w.bug.early && o.Verb == order.Freeze && d.Frozen != nil {
		s := w.servers[w.index(o.Member)]
		d.Frozen.Executed = d.Frozen.Received // it says that it is done, and follows
		s.purge()
	}
}

func (h *hands) Save(ctx context.Context, r *topology.Record) error {
	return h.step("save "+string(stepOf(r)), func() error { return h.save(ctx, r) })
}

func stepOf(r *topology.Record) topology.Step {
	if r.Move == nil {
		return topology.Done
	}
	return r.Move.Step
}

func (h *hands) save(ctx context.Context, r *topology.Record) error {
	w := h.w
	if !nap(ctx, w.delay("save", 0, 0)) {
		return ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	luck := 1.0
	if w.trouble > 0 {
		luck = w.rng.Float64()
	}
	if luck < w.trouble/2 {
		return fault.Timeout("the store does not answer") // and has not stored it
	}
	if w.rev != h.rev {
		return fault.Conflict("somebody else has stored the record")
	}
	r = r.Clone()
	r.Policy = w.policy
	if w.bug.noFloor && r.Last != nil {
		r.Last.Move.Need = ""
	}
	if l := r.Last; l != nil && r.Move == nil && w.doc.Move != nil {
		w.ends[fmt.Sprintf("%s, ok %t, proven %t", l.Move.Kind, l.OK, l.Move.Proven)]++
	}
	w.doc, w.rev = r, w.rev+1
	w.say("saved: epoch %d, primary %q, step %s", r.Epoch, r.Primary, stepOf(r))
	if luck < w.trouble {
		return fault.Timeout("the store does not answer") // but has stored it
	}
	h.rev = w.rev
	h.c.rec, h.c.rev = r.Clone(), w.rev
	return nil
}

func (h *hands) Publish(ctx context.Context, t endpoint.Target) error {
	return h.step("publish", func() error { return h.lead(ctx, t) })
}

func (h *hands) Withdraw(ctx context.Context, t endpoint.Target) error {
	return h.step("withdraw", func() error { return h.lead(ctx, t) })
}

func (h *hands) lead(ctx context.Context, t endpoint.Target) error {
	w := h.w
	if !nap(ctx, w.delay("lead", 0, 0)) {
		return ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.Epoch < w.led.Epoch {
		return endpoint.ErrOld
	}
	w.led = t
	return nil
}

func (h *hands) FenceCommand(ctx context.Context, m topology.Member) error {
	return h.step("fence", func() error {
		w := h.w
		if len(w.policy.FenceCommand) == 0 {
			return errors.ErrUnsupported
		}
		if !nap(ctx, w.delay("power", 0, 0)) {
			return ctx.Err()
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		i := w.index(m.Name)
		w.servers[i].crash(time.Now().Add(10 * time.Second))
		w.agents[i].end(time.Now().Add(10 * time.Second))
		return nil
	})
}
