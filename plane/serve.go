package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane/trust"
)

// Call identifies one command on one host, as its server sees it.
type Call struct {
	ID    string       // the caller's ULID; the same id is never done twice on a host within 24 h
	Actor action.Actor // who asked, as signed by the core
	Epoch Epoch        // of the lease under which it was sent; 0 without
	Lease string       // its name; empty without
	// Progress streams a value back to the caller; at most 64 KiB as JSON.
	Progress func(v any)
}

// Limits of what travels with a command.
const (
	maxInput    = 512 << 10 // bytes of CallSpec.In as JSON
	maxProgress = 64 << 10  // bytes of one progress value as JSON
	maxResult   = 768 << 10 // bytes of a result as JSON
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

// command is one thing that this host serves.
type command struct {
	version int
	do      func(ctx context.Context, c *Call, in json.RawMessage) (json.RawMessage, error)
}

// served is the table of commands of this host and of the calls in progress.
type served struct {
	p       *Plane
	changed chan struct{} // something new is served

	mu      sync.Mutex // guards the fields below
	table   map[string]command
	running map[string]*running
}

// running is one call in progress here, and who listens to it.
type running struct {
	cancel context.CancelCauseFunc

	mu      sync.Mutex     // guards the fields below
	replies map[string]int // reply token to next frame number
}

func (p *Plane) openServed() (*served, error) {
	s := &served{p: p, changed: make(chan struct{}, 1), table: map[string]command{}, running: map[string]*running{}}
	_, err := p.link.nc.Subscribe(subjectHost+hostToken(p.o.Host)+".call", func(m *nats.Msg) {
		p.wg.Go(func() { s.take(m) })
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to commands: %w", err)
	}
	return s, nil
}

// Serve offers a command on this host under a name such as "release.stage".
// version rises when a required field is added. A command that is unknown here,
// of a newer version, badly signed, expired, not for this host or of an epoch
// lower than one seen before for its lease is answered with a clear fault.
func Serve[In, Out any](p *Plane, name string, version int, fn func(ctx context.Context, c *Call, in In) (Out, error)) error {
	if !topicName.MatchString(name) || version < 1 {
		return fault.Invalid(fmt.Sprintf("command %q version %d cannot be served", name, version))
	}
	do := func(ctx context.Context, c *Call, raw json.RawMessage) (json.RawMessage, error) {
		var in In
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &in); err != nil {
				return nil, fault.Invalid("the input of command " + name + " cannot be read").At(p.o.Host).Because(err)
			}
		}
		out, err := fn(ctx, c, in)
		if err != nil {
			return nil, err
		}
		b, err := json.Marshal(out)
		if err != nil {
			return nil, fmt.Errorf("encode the result of %s: %w", name, err)
		}
		if len(b) > maxResult {
			return nil, fault.Full(fmt.Sprintf("the result of command %s is %d bytes; the plane takes %d", name, len(b), maxResult)).At(p.o.Host)
		}
		return b, nil
	}
	return p.served.add(name, command{version, do})
}

func (s *served) add(name string, c command) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.table[name]; twice {
		return fault.Exists("command " + name + " is served already").At(s.p.o.Host)
	}
	s.table[name] = c
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return nil
}

// commands returns what is served, with versions.
func (s *served) commands() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int{}
	for name, c := range maps.All(s.table) {
		out[name] = c.version
	}
	return out
}

// take does an order that came in, or answers why not.
func (s *served) take(m *nats.Msg) {
	o, err := s.open(m)
	if err != nil {
		s.p.log.Warn("command refused", "command", o.Name, "call", o.Call, "core", o.Core, "err", err)
		s.answer(o.reply, 0, wireFrame{Fault: fault.Of(err)})
		return
	}
	if o.Name == commandCancel {
		s.mu.Lock()
		r := s.running[o.Call]
		s.mu.Unlock()
		if r != nil {
			r.cancel(fault.Of(context.Canceled))
		}
		return
	}
	s.mu.Lock()
	if r := s.running[o.Call]; r != nil { // asked again: join it
		s.mu.Unlock()
		r.join(o.reply)
		s.send(r, wireFrame{})
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
	r := &running{cancel: cancel, replies: map[string]int{o.reply: 0}}
	s.running[o.Call] = r
	s.mu.Unlock()
	s.send(r, wireFrame{}) // a sign of life: the order has arrived
	last := s.do(ctx, c, o, r)
	s.mu.Lock()
	delete(s.running, o.Call)
	s.mu.Unlock()
	s.send(r, last)
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
