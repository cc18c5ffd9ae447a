package router

import (
	"context"
	"errors"
	"io"

	"kaname.dev/kaname/rib/mysql/router/wire"
)

// keep serves a client whose session is kept.
func (c *conn) keep(ctx context.Context) {
	defer c.pumps.Wait()
	defer c.end(cut, byClient)
	if !c.admit(ctx) {
		return
	}
	for {
		h, err := c.client.Head()
		if err != nil {
			c.goodbye()
			return
		}
		b := c.ready(ctx, h)
		if b == nil {
			return
		}
		if err := c.passOn(b, h); err != nil {
			c.end(cut, byServer)
			return
		}
		if c.ended() {
			return
		}
	}
}

// admit lets the client log in, here and at a server.
func (c *conn) admit(ctx context.Context) bool {
	var g wire.Greeting
	b, err := c.connect(ctx, c.greeted, func(*back) bool { return true })
	if err == nil {
		c.spare = b
		defer func() {
			if c.spare != nil {
				c.spare.Conn.Close()
			}
		}()
		var h wire.Head
		if h, err = b.Head(); err == nil {
			g, err = wire.ParseGreeting(h.Start)
		}
		if code := wire.ErrorCode(h.Start); code != 0 {
			c.note(byServer)
			_ = b.Forward(c.client, h)
			_ = c.client.W.Flush()
			return false
		}
	}
	if err != nil {
		c.note(noPrimary)
		if !errors.Is(err, errLeft) {
			c.refuse(shutdown, err.Error())
		}
		return false
	}
	s, seq, err := c.welcome(g)
	if err != nil {
		c.note(byClient)
		if errors.Is(err, errDenied) {
			c.deny(seq+1, refused, err)
		}
		return false
	}
	c.mu.Lock()
	c.session = s
	c.mu.Unlock()
	if err := c.obtain(ctx); err != nil {
		c.fail(seq, err)
		return false
	}
	c.mu.Lock()
	status := c.f.Status()
	c.mu.Unlock()
	return c.client.Send(seq, wire.Done(status)) == nil
}

func (c *conn) deny(seq byte, code uint16, err error) {
	c.note(denied)
	_ = c.client.Send(seq, wire.Error(code, err.Error(), true))
}

// fail answers a command or login that no server takes, and parts from the client.
func (c *conn) fail(seq byte, err error) {
	why := noPrimary
	packet := wire.Error(shutdown, err.Error(), true)
	if r, ok := errors.AsType[*wire.Refusal](err); ok {
		why, packet = byServer, r.Packet
	}
	if errors.Is(err, errImmovable) {
		why, packet = notMovable, wire.Error(shutdown, err.Error(), true)
		c.r.o.Log.Warn("session lost", "topology", c.r.o.Topology, "user", c.session.login.User, "err", err)
	}
	if !errors.Is(err, errLeft) {
		_ = c.client.Send(seq, packet)
	}
	c.end(part, why)
}

// ready waits until it is the client's turn and there is a server for what it says; nil
// when the connection has ended.
func (c *conn) ready(ctx context.Context, h wire.Head) *back {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.over {
		switch {
		case c.back == nil || c.atRest() && !c.leads() && h.Seq == 0:
			c.mu.Unlock()
			err := c.obtain(ctx)
			if err != nil {
				c.fail(h.Seq+1, err)
			}
			c.mu.Lock()
		case c.f.Idle() && c.passing: // the client is faster than the note that it was answered
			c.turn.Wait()
		case c.f.Idle() && c.session.retrack:
			c.retrack()
		case c.atRest() && spent(c.back):
			c.leave() // its end has not been read yet; the command would go into nothing
		case c.f.Client() || c.f.Opaque():
			return c.back
		default:
			c.turn.Wait()
		}
	}
	return nil
}

// spent reports whether a server that owes no answer has said something, which is goodbye,
// or has gone.
func spent(b *back) bool {
	n, ended := peek(b.Conn)
	return n > 0 || ended
}

// atRest reports whether the session can be carried over now. It is called with mu held.
func (c *conn) atRest() bool {
	return c.session != nil && c.session.movable() && c.f.Idle() && !c.passing && !c.f.InTransaction()
}

func (c *conn) leads() bool {
	v := c.r.view.Load()
	return v.leads(&c.back.member)
}

// retrack tells a server again to track the session, behind the client's back. It is called
// with mu held.
func (c *conn) retrack() {
	s, b := c.session, c.back
	q := append([]byte{wire.ComQuery}, track...)
	s.retrack, s.sent.stale = false, true
	c.f.FromClient(wire.Head{Len: len(q), Start: q})
	if b.Send(0, q) != nil {
		c.close(part, byServer)
		return
	}
	for !c.over && c.back == b && !c.f.Idle() {
		c.turn.Wait()
	}
	s.sent.stale = false
}

// passOn passes a packet of the client to the server.
func (c *conn) passOn(b *back, h wire.Head) error {
	c.mu.Lock()
	begins := c.f.Idle() && h.Seq == 0
	if begins && h.Len > 0 && h.Start[0] == wire.ComChangeUser {
		c.mu.Unlock()
		if _, err := c.client.Payload(h); err != nil {
			return err
		}
		return c.client.Send(h.Seq+1, wire.Error(1047, "the router keeps this session and cannot change its user; connect anew", true))
	}
	c.f.FromClient(h)
	opaque := c.f.Opaque()
	c.mu.Unlock()
	if opaque {
		return c.raws(b)
	}
	if !begins {
		if err := c.client.Forward(b.Side, h); err != nil || c.client.R.Buffered() >= 4 {
			return err
		}
		return b.W.Flush()
	}
	p, err := c.client.Payload(h)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if h.Len == wire.MaxPayload && (p[0] == wire.ComQuery || p[0] == wire.ComPrepare) {
		c.session.pin(pinLong)
	}
	p, looks := c.session.command(p)
	c.mu.Unlock()
	if looks {
		c.fail(h.Seq+1, errLooks)
		return nil
	}
	if err := b.Write(h.Seq, p); err != nil || c.client.R.Buffered() >= 4 {
		return err
	}
	return b.W.Flush()
}

var errLooks = errors.Join(errImmovable, errors.New("it asks about a statement that another server has executed"))

// raws passes bytes that cannot be followed, until either side ends.
func (c *conn) raws(b *back) error {
	if err := b.W.Flush(); err != nil {
		return err
	}
	_, _ = io.Copy(b.Conn, c.client.R)
	c.end(cut, byClient)
	return nil
}

// goodbye ends a connection whose client sends no more; what the server still answers is
// passed.
func (c *conn) goodbye() {
	c.note(byClient)
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.over && c.back != nil && (c.passing || !c.f.Idle()) {
		c.turn.Wait()
	}
}

func (c *conn) ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.f.Ended() {
		c.why = byClient
	}
	return c.f.Ended() || c.over
}

// leave lets go of the server only. It is called with mu held.
func (c *conn) leave() {
	c.back.Conn.Close()
	c.back = nil
	c.turn.Broadcast()
}

// keepDown passes what a server says.
func (c *conn) keepDown(b *back) {
	defer close(b.done)
	for {
		h, err := b.Head()
		c.mu.Lock()
		if c.back != b {
			c.mu.Unlock()
			return
		}
		if err != nil || c.f.Idle() { // an idle server that speaks says goodbye
			if c.atRest() && !c.over {
				c.leave()
			} else {
				c.close(part, byServer)
			}
			c.mu.Unlock()
			return
		}
		cmd, first := c.f.Answers()
		c.f.FromServer(h)
		c.passing = true
		opaque, rests, okay, stale := c.f.Opaque(), c.f.Idle(), c.f.OK(), c.session.sent.stale
		c.mu.Unlock()
		if opaque {
			_ = c.client.W.Flush()
			_, _ = io.Copy(c.client.Conn, b.R)
			c.end(part, byServer)
			return
		}
		switch {
		case stale:
			_, err = b.Payload(h)
		case okay || first && cmd == wire.ComPrepare && h.Start[0] == 0:
			err = c.learned(b, h, okay)
		default:
			err = b.Forward(c.client, h)
		}
		if !c.answered(b, rests, err) {
			return
		}
	}
}

// learned passes a packet that says something about the session.
func (c *conn) learned(b *back, h wire.Head, okay bool) error {
	p, err := b.Payload(h)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if !okay {
		c.session.prepare(p)
	} else if o, ok := wire.ParseOK(p); ok {
		c.session.learn(&o)
		if !c.session.tracks {
			p = o.Untracked()
		}
	} else {
		c.session.pin(pinState)
	}
	c.mu.Unlock()
	return c.client.Write(h.Seq, p)
}
