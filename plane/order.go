package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane/trust"
)

// order is a signed command as it came in, with how to answer it. The answer's
// address and pace are not signed: they harm nobody, since a host can publish
// only as itself.
type order struct {
	trust.Command
	reply string        // token of the subject for the frames
	alive time.Duration // the host gives a sign of life this often
}

// What an order may carry besides the signed command.
const (
	headerAlive   = "Kn-Alive"     // milliseconds between signs of life
	commandCancel = "plane.cancel" // stop the command with the same call id
)

// wireFrame is one message on its way back.
type wireFrame struct {
	Seq      int             `json:"seq"` // from 0, without a gap
	Progress json.RawMessage `json:"progress,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
	Fault    *fault.Fault    `json:"fault,omitempty"`
}

// running is one call in progress here, and who listens to it.
type running struct {
	lease  string
	epoch  Epoch
	cancel context.CancelCauseFunc
	ended  chan struct{} // closed when it has ended

	mu      sync.Mutex     // guards the fields below
	replies map[string]int // reply token to next frame number
}

// take does an order that came in, or answers why not.
func (s *served) take(m *nats.Msg) {
	o, err := s.open(m)
	if err != nil {
		s.p.refuseCommand(o, err)
		s.p.log.Warn("command refused", "command", o.Name, "call", o.Call, "core", o.Core, "err", err)
		s.answer(o.reply, 0, wireFrame{Fault: fault.Of(err)})
		return
	}
	s.mu.Lock()
	old := s.running[o.Call]
	switch {
	case o.Name == commandCancel:
		s.mu.Unlock()
		if old != nil {
			old.cancel(fault.Of(context.Canceled))
		}
		return
	case old != nil: // asked again: join it
		s.mu.Unlock()
		old.join(o.reply)
		s.send(old, wireFrame{})
		return
	}
	if last, known := s.memory.recall(o.Call); known {
		s.mu.Unlock()
		s.answer(o.reply, 0, s.remembered(o, last))
		return
	}
	c, err := s.find(o)
	if err != nil {
		s.mu.Unlock()
		s.answer(o.reply, 0, wireFrame{Fault: fault.Of(err)})
		return
	}
	ctx, cancel := context.WithCancelCause(s.p.life)
	defer cancel(nil)
	r := &running{lease: o.Lease, epoch: Epoch(o.Epoch), cancel: cancel, ended: make(chan struct{}), replies: map[string]int{o.reply: 0}}
	s.running[o.Call] = r
	s.mu.Unlock()
	s.send(r, wireFrame{}) // a sign of life: the order has arrived
	last := s.accept(ctx, c, o, r)
	s.mu.Lock()
	delete(s.running, o.Call)
	s.mu.Unlock()
	close(r.ended)
	s.send(r, last)
}

// remembered is the answer to an order whose id is known from before.
func (s *served) remembered(o order, last *wireFrame) wireFrame {
	if last != nil {
		return *last
	}
	return wireFrame{Fault: fault.Timeout("command " + o.Name + " was begun and then interrupted by a stop of this host; it may have been done in part").
		At(s.p.o.Host).Try("look at what it has done, then call it again under a new id")}
}

// accept checks the epoch, remembers the call and does it.
func (s *served) accept(ctx context.Context, c command, o order, r *running) wireFrame {
	if o.Lease != "" {
		if err := s.fence.raise(o.Lease, r.epoch); err != nil {
			return wireFrame{Fault: fault.Of(err).At(s.p.o.Host)}
		}
		if err := s.outrank(ctx, r); err != nil {
			return wireFrame{Fault: fault.Of(err)}
		}
	}
	if !c.query {
		if err := s.memory.begin(o.Call, time.Now()); err != nil {
			return wireFrame{Fault: fault.Unavailable("the call cannot be written down, so it is not done").At(s.p.o.Host).Because(err).
				Try("is the disk full or read-only?")}
		}
	}
	last := s.do(ctx, c, o, r)
	if !c.query {
		if err := s.memory.end(o.Call, time.Now(), last); err != nil {
			s.p.log.Warn("the end of a call is not written down", "call", o.Call, "command", o.Name, "err", err)
		}
	}
	return last
}

// outrank stops what former holders of the lease have begun here, and waits for its end.
func (s *served) outrank(ctx context.Context, r *running) error {
	s.mu.Lock()
	var old []*running
	for _, x := range s.running {
		if x.lease == r.lease && x.epoch < r.epoch {
			old = append(old, x)
		}
	}
	s.mu.Unlock()
	for _, x := range old {
		x.cancel(fault.Conflict(fmt.Sprintf("lease %s has a new holder (epoch %d)", r.lease, r.epoch)))
	}
	for _, x := range old {
		select {
		case <-x.ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// find returns the command for an order; s.mu is held.
func (s *served) find(o order) (command, error) {
	c, ok := s.table[o.Name]
	me := s.p.o.Host + " runs kaname " + s.p.o.Version
	switch {
	case !ok:
		return c, fault.Unsupported("command " + o.Name + " is unknown here: " + me).At(s.p.o.Host).Try("upgrade kaname on " + s.p.o.Host)
	case o.Version > c.version:
		return c, fault.Unsupported(fmt.Sprintf("command %s version %d is not known here, only version %d: %s", o.Name, o.Version, c.version, me)).
			At(s.p.o.Host).Try("upgrade kaname on " + s.p.o.Host)
	}
	return c, nil
}

// do runs the command, with signs of life while it is silent.
func (s *served) do(ctx context.Context, c command, o order, r *running) (last wireFrame) {
	done := make(chan struct{})
	var beats sync.WaitGroup
	beats.Go(func() {
		t := time.NewTicker(o.alive)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-t.C:
				s.send(r, wireFrame{})
			}
		}
	})
	defer beats.Wait()
	defer close(done)
	call := &Call{ID: o.Call, Actor: actorOf(o.Actor), Epoch: Epoch(o.Epoch), Lease: o.Lease, Progress: func(v any) {
		b, err := json.Marshal(v)
		if err != nil || len(b) > maxProgress {
			s.p.log.Warn("progress is not sent", "command", o.Name, "bytes", len(b), "err", err)
			return
		}
		s.send(r, wireFrame{Progress: b})
	}}
	out, err := guarded(ctx, c, call, o)
	if err != nil {
		f := *fault.Of(err)
		if f.Kind == fault.KindCanceled && s.p.life.Err() != nil {
			f = *fault.Unavailable("command " + o.Name + " was cut off, because kaname on this host is stopping").Try("repeat it under a new id when the host is back")
		}
		if f.Where == "" {
			f.Where = s.p.o.Host
		}
		return wireFrame{Fault: &f}
	}
	if out == nil {
		out = json.RawMessage("null")
	}
	return wireFrame{Result: out}
}

// guarded turns a panic of a command into a fault: one bad command must not take
// the agent down with it.
func guarded(ctx context.Context, c command, call *Call, o order) (out json.RawMessage, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fault.Internal(fmt.Sprintf("command %s panicked: %v", o.Name, v)).Try("report it; this is a bug")
		}
	}()
	return c.do(ctx, call, o.Args)
}

func (r *running) join(reply string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.replies[reply]; !ok {
		r.replies[reply] = 0
	}
}

// send gives a frame to all who listen to the call, numbered for each.
func (s *served) send(r *running, f wireFrame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for reply, seq := range r.replies {
		s.answer(reply, seq, f)
		r.replies[reply] = seq + 1
	}
}

func (s *served) answer(reply string, seq int, f wireFrame) {
	if reply == "" {
		return
	}
	f.Seq = seq
	b, err := json.Marshal(f)
	if err != nil {
		b, _ = json.Marshal(wireFrame{Seq: seq, Fault: fault.Internal("frame cannot be encoded").Because(err)})
	}
	// What cannot be sent now is asked for again by the caller.
	_ = s.p.link.nc.Publish(subjectFrame+hostToken(s.p.o.Host)+"."+reply, b)
}

// open reads an order and checks its signature, addressee and time.
func (s *served) open(m *nats.Msg) (o order, err error) {
	o.reply = lastToken(m.Reply)
	ms, _ := strconv.Atoi(m.Header.Get(headerAlive)) // 0 when absent or senseless
	o.alive = time.Duration(max(ms, 100)) * time.Millisecond
	o.Command, err = s.p.o.Identity.Keys().Open(m.Data, s.p.o.Host, time.Now())
	return o, err
}

// actorOf reads the actor; what a newer core says in another form is left out.
func actorOf(raw json.RawMessage) (a action.Actor) {
	_ = json.Unmarshal(raw, &a)
	return a
}
