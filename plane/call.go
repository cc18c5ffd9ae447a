package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/oklog/ulid/v2"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane/trust"
)

// CallSpec is one command to some hosts.
type CallSpec struct {
	ID      string        // a ULID; made when empty
	Command string        // "release.stage"
	Version int           // the version that In was written for; 1 when 0
	Hosts   []string      // the addressed hosts
	In      any           // marshalled to JSON; at most 512 KiB
	Timeout time.Duration // until a host counts as silent after its last frame; 30 s when 0
	Lease   *Lease        // the lease under which it is sent, if any; its epoch goes along
	Actor   action.Actor  // who asked
}

// Frame is one message of a call on its way back.
type Frame struct {
	Host     string
	Progress json.RawMessage // set for progress
	Result   json.RawMessage // set for the last frame of a host that succeeded
	Fault    *fault.Fault    // set for the last frame of a host that failed or fell silent
}

// Last reports whether no more frames come from the host.
func (f Frame) Last() bool { return f.Progress == nil }

// Call sends a command and yields the frames of all hosts as they come, each
// host ending with exactly one last frame. It ends when all have, or with ctx.
// A host that works shows signs of life by itself, so Timeout is about the host,
// not about the length of the work. When ctx ends or the loop is left early, the
// hosts that still work are told to stop.
func (p *Plane) Call(ctx context.Context, c CallSpec) iter.Seq[Frame] {
	return func(yield func(Frame) bool) {
		if len(c.Hosts) == 0 {
			return
		}
		x, err := p.begin(c)
		if err != nil {
			for _, h := range c.Hosts {
				if !yield(Frame{Host: h, Fault: fault.Of(err)}) {
					return
				}
			}
			return
		}
		defer x.end()
		x.run(ctx, yield)
	}
}

// exchange is one call in progress, seen from the core.
type exchange struct {
	p       *Plane
	order   []byte        // signed
	o       trust.Command // what is signed
	reply   string
	alive   string // milliseconds
	timeout time.Duration
	frames  chan *nats.Msg
	sub     *nats.Subscription
	hosts   map[string]*waiting // those without a last frame yet, by host
}

// waiting is what is known of a host that has not ended yet.
type waiting struct {
	heard time.Time // last frame, or when the order was sent
	seq   int       // of the next frame
	sent  time.Time // when the order was sent last
	lost  bool      // a frame is missing
}

func (p *Plane) begin(c CallSpec) (*exchange, error) {
	if err := p.needCore("commanding hosts"); err != nil {
		return nil, err
	}
	in, err := json.Marshal(c.In)
	if err != nil {
		return nil, fault.Invalid("the input of command " + c.Command + " cannot be written as JSON").Because(err)
	}
	if len(in) > maxInput {
		return nil, fault.Full(fmt.Sprintf("the input of command %s is %d bytes; the plane takes %d", c.Command, len(in), maxInput)).
			Try("give hosts a digest and let them fetch the bytes from a peer")
	}
	if c.ID == "" {
		c.ID = ulid.Make().String()
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	hosts := slices.Compact(slices.Sorted(slices.Values(c.Hosts)))
	x := &exchange{p: p, timeout: c.Timeout, frames: make(chan *nats.Msg, 64+16*len(hosts)), hosts: map[string]*waiting{}}
	x.reply, x.alive = ulid.Make().String(), strconv.FormatInt(min(c.Timeout/4, 5*time.Second).Milliseconds(), 10)
	actor, err := json.Marshal(c.Actor)
	if err != nil {
		return nil, fmt.Errorf("encode the actor: %w", err)
	}
	x.o = trust.Command{
		Call: c.ID, Name: c.Command, Version: max(c.Version, 1), Hosts: hosts, Actor: actor, Args: in, Core: p.o.Host,
	}
	if c.Lease != nil {
		x.o.Lease, x.o.Epoch = c.Lease.Name(), uint64(c.Lease.Epoch())
	}
	for _, h := range hosts {
		if err := checkHost(h); err != nil {
			return nil, err
		}
		x.hosts[h] = &waiting{heard: time.Now(), sent: time.Now()}
	}
	if err := x.sign(); err != nil {
		return nil, err
	}
	if x.sub, err = p.link.nc.ChanSubscribe(subjectFrame+"*."+x.reply, x.frames); err != nil {
		return nil, fault.Unavailable("the plane cannot be reached").At(p.o.Host).Because(err)
	}
	return x, nil
}

// send gives the order to a host. The reply subject is that of the frames, so
// that the server's word that nobody is there comes the same way.
func (x *exchange) send(host string, data []byte) error {
	return x.p.link.nc.PublishMsg(&nats.Msg{
		Subject: subjectHost + hostToken(host) + ".call", Reply: subjectFrame + hostToken(host) + "." + x.reply,
		Header: nats.Header{headerAlive: {x.alive}}, Data: data,
	})
}

// sign signs the order anew, valid from now.
func (x *exchange) sign() (err error) {
	x.o.From = time.Now().UTC()
	x.o.Until = x.o.From.Add(max(x.timeout, time.Minute))
	x.order, err = x.p.o.Authority.Sign(x.o)
	return err
}

func (x *exchange) run(ctx context.Context, yield func(Frame) bool) {
	for _, h := range x.o.Hosts {
		if err := x.send(h, x.order); err != nil {
			delete(x.hosts, h)
			if !yield(Frame{Host: h, Fault: fault.Unavailable("the order was not sent").At(h).Because(err)}) {
				return
			}
		}
	}
	tick := time.NewTicker(max(x.timeout/20, 10*time.Millisecond))
	defer tick.Stop()
	for len(x.hosts) > 0 {
		select {
		case <-ctx.Done():
			x.abandon(fault.Of(context.Cause(ctx)), yield)
			return
		case <-x.p.life.Done():
			x.abandon(fault.Unavailable("this core is stopping"), yield)
			return
		case m := <-x.frames:
			if f, ok := x.frame(m); ok && !yield(f) {
				return
			}
		case <-tick.C:
			for _, f := range x.silent() {
				if !yield(f) {
					return
				}
			}
		}
	}
}

// frame takes a message; ok says whether there is something to tell.
func (x *exchange) frame(m *nats.Msg) (f Frame, ok bool) {
	token, _, _ := strings.Cut(strings.TrimPrefix(m.Subject, subjectFrame), ".")
	host := hostOfToken(token)
	w := x.hosts[host]
	if w == nil {
		return f, false // has ended already
	}
	f.Host = host
	if m.Header.Get("Status") == "503" {
		delete(x.hosts, host)
		f.Fault = x.absent(host)
		return f, true
	}
	var wf wireFrame
	if err := json.Unmarshal(m.Data, &wf); err != nil {
		x.p.log.Warn("frame cannot be read", "from", host, "call", x.o.Call, "err", err)
		return f, false
	}
	last := wf.Result != nil || wf.Fault != nil
	if wf.Seq < w.seq && !last {
		return f, false // a second answer to an order sent twice
	}
	if wf.Seq > w.seq && !w.lost {
		w.lost = true
		x.p.log.Warn("frames got lost on the way", "from", host, "call", x.o.Call, "first", w.seq, "next", wf.Seq)
	}
	w.heard, w.seq = time.Now(), wf.Seq+1
	f.Progress, f.Result, f.Fault = wf.Progress, wf.Result, wf.Fault
	if last {
		delete(x.hosts, host)
		f.Progress = nil
		return f, true
	}
	return f, f.Progress != nil // else a sign of life
}

// silent gives up the hosts that are silent for all of their time, and sends the
// order again to those that have not acknowledged it or are silent for half of
// it. Being asked again, a host that works or has done tells so and does nothing
// twice; one that is gone is found out by that nobody is there.
func (x *exchange) silent() (out []Frame) {
	for h, w := range x.hosts {
		quiet := time.Since(w.heard)
		if quiet > x.timeout {
			delete(x.hosts, h)
			f := fault.Timeout(fmt.Sprintf("host %s was silent for %s after command %s; it may have been done", h, x.timeout, x.o.Name)).
				At(h).Try("look at the agent there: systemctl status kaname")
			out = append(out, Frame{Host: h, Fault: f})
			continue
		}
		pace := x.timeout / 2
		if w.seq == 0 {
			pace = min(pace, time.Second)
		}
		if time.Since(w.sent) < pace || quiet < pace {
			continue
		}
		if err := x.again(h, w); err != nil {
			x.p.log.Warn("order is not repeated", "host", h, "call", x.o.Call, "err", err)
		}
	}
	return out
}

func (x *exchange) again(host string, w *waiting) error {
	w.sent = time.Now()
	if w.sent.After(x.o.Until) {
		if err := x.sign(); err != nil {
			return err
		}
	}
	return x.send(host, x.order)
}

func (x *exchange) absent(host string) *fault.Fault {
	m, known := x.p.roll.get(host)
	if !known {
		return fault.Unavailable("host " + host + " has never been heard of").At(host).Try("does it run kaname and has it joined? See: kaname host list")
	}
	return fault.Unavailable(fmt.Sprintf("host %s is not connected; last heard of %s", host, m.Seen.Format(time.RFC3339))).
		At(host).Try("look at the agent there: systemctl status kaname")
}

// abandon ends all hosts that have not, and tells them to stop.
func (x *exchange) abandon(why *fault.Fault, yield func(Frame) bool) {
	for _, h := range x.o.Hosts {
		if x.hosts[h] == nil {
			continue
		}
		f := *why
		f.Where = h
		x.cancel(h)
		delete(x.hosts, h)
		if !yield(Frame{Host: h, Fault: &f}) {
			return
		}
	}
}

func (x *exchange) cancel(host string) {
	o := x.o
	o.Name, o.Args, o.Hosts = commandCancel, nil, []string{host}
	o.From = time.Now().UTC()
	o.Until = o.From.Add(time.Minute)
	if data, err := x.p.o.Authority.Sign(o); err == nil {
		_ = x.send(host, data) // a host that is away has nothing to stop
	}
}

func (x *exchange) end() {
	for h := range x.hosts {
		x.cancel(h)
	}
	_ = x.sub.Unsubscribe() // fails only when the connection is closed
}

// CallOne sends a command to one host and waits for its result; progress, if not
// nil, is given each progress frame.
func CallOne[Out any](ctx context.Context, p *Plane, host string, c CallSpec, progress func(json.RawMessage)) (Out, error) {
	var out Out
	c.Hosts = []string{host}
	for f := range p.Call(ctx, c) {
		switch {
		case !f.Last():
			if progress != nil {
				progress(f.Progress)
			}
		case f.Fault != nil:
			return out, f.Fault
		default:
			if err := json.Unmarshal(f.Result, &out); err != nil {
				return out, fault.Unsupported("the result of command " + c.Command + " cannot be read").At(host).Because(err).Try("upgrade kaname on this core")
			}
			return out, nil
		}
	}
	return out, fault.Internal("command " + c.Command + " ended without a result").At(host)
}
