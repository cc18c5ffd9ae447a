package router

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/rib/mysql/router/wire"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Numbers of errors that clients know. All are answers to what was not executed.
const (
	tooMany  = 1040
	refused  = 1045
	shutdown = 1053
)

// linger is how long a client may take to see that it was closed in peace.
const linger = 200 * time.Millisecond

// conn is the connection of one client.
type conn struct {
	r      *Router
	raw    net.Conn // the client's socket
	client *wire.Side
	born   time.Time

	// of a kept session; all but session belong to the goroutine that serves the client
	pumps sync.WaitGroup
	last  *back // the newest server, or the one before
	spare *back // has greeted, and nobody has logged in

	mu   sync.Mutex
	turn *sync.Cond // something below has changed
	why  string     // it ends, or will soon: the first reason
	over bool       // both sides are closed, or closing
	back *back      // nil while there is no server
	f    *wire.Follower
	// passing: the end of an answer is on its way to the client.
	passing bool
	rest    time.Time // since when it is between commands
	session *session  // nil: bytes are passed
}

// back is a connection to a server.
type back struct {
	*wire.Side
	member topology.Member
	f      *wire.Follower // of a kept session: as it stands when the session is set up
	done   chan struct{}  // closed when what passes its answers has ended
}

func newConn(r *Router, c net.Conn) *conn {
	x := &conn{r: r, raw: c, client: wire.NewSide(c), born: time.Now(), f: &wire.Follower{}}
	x.turn = sync.NewCond(&x.mu)
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4})
	}
	return x
}

// refuse tells a client that has not been greeted why it is not served.
func (c *conn) refuse(code uint16, text string) {
	_ = c.raw.SetWriteDeadline(time.Now().Add(linger))
	_ = c.client.Send(0, wire.Error(code, text, false))
	c.raw.Close()
}

// serve serves the client until it, the server, the view or ctx ends that.
func (c *conn) serve(ctx context.Context) {
	defer c.raw.Close()
	defer context.AfterFunc(ctx, func() { c.end(cut, stopped) })()
	if c.r.users != nil {
		c.keep(ctx)
		return
	}
	b, err := c.connect(ctx, c.greeted, c.attach)
	if err != nil {
		c.note(noPrimary)
		if !errors.Is(err, errLeft) {
			c.refuse(shutdown, err.Error())
		}
		return
	}
	var down sync.WaitGroup
	defer down.Wait()
	down.Go(func() { c.down(b) })
	c.up(b)
}

// attach takes a server, if the view still leads there.
func (c *conn) attach(b *back) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := c.r.view.Load(); c.over || !v.leads(&b.member) {
		return false
	}
	c.back = b
	return true
}

// up passes what the client sends.
func (c *conn) up(b *back) {
	for {
		h, err := c.client.Head()
		if err != nil {
			c.left(b, err)
			return
		}
		c.mu.Lock()
		for !c.over && !c.f.Client() && !c.f.Opaque() {
			c.turn.Wait()
		}
		if c.over {
			c.mu.Unlock()
			return
		}
		if !c.f.Opaque() {
			c.f.FromClient(h)
		}
		opaque, bye := c.f.Opaque(), c.f.Ended()
		c.mu.Unlock()
		if bye {
			c.note(byClient)
		}
		if opaque {
			if err = b.W.Flush(); err == nil {
				_, err = io.Copy(b.Conn, c.client.R)
			}
			c.left(b, err)
			return
		}
		if err = c.client.Forward(b.Side, h); err == nil && c.client.R.Buffered() < 4 {
			err = b.W.Flush()
		}
		if err != nil {
			c.end(cut, byServer)
			return
		}
	}
}

// left lets the server see that the client sends no more; what it still answers is passed.
func (c *conn) left(b *back, err error) {
	c.note(byClient)
	if t, ok := b.Conn.(*net.TCPConn); ok && (err == nil || errors.Is(err, io.EOF)) {
		_ = b.W.Flush()
		_ = t.CloseWrite()
		return
	}
	c.end(cut, byClient)
}

// down passes what the server sends.
func (c *conn) down(b *back) {
	for {
		h, err := b.Head()
		if err != nil {
			c.end(part, byServer)
			return
		}
		c.mu.Lock()
		if !c.f.Opaque() {
			c.f.FromServer(h)
		}
		opaque, rests := c.f.Opaque(), c.f.Idle()
		c.passing = true
		c.mu.Unlock()
		if opaque {
			_ = c.client.W.Flush()
			_, _ = io.Copy(c.client.Conn, b.R)
			c.end(part, byServer)
			return
		}
		if !c.answered(b, rests, b.Forward(c.client, h)) {
			return
		}
	}
}

// answered sends what was written to the client, err being how that went; rests: an answer
// ends with it. It returns false when the client is gone.
func (c *conn) answered(b *back, rests bool, err error) bool {
	corked := rests && c.parts()
	if err == nil && (rests || b.R.Buffered() < 4) {
		if corked {
			cork(c.raw, 1)
		}
		err = c.client.W.Flush()
	}
	if err != nil {
		c.end(cut, byClient)
		return false
	}
	if c.passed(); corked {
		cork(c.raw, 0) // nothing to do when it was closed
	}
	return true
}

// parts reports whether the connection is to end after the answer that ends now. Then the
// end of the stream travels with the answer, so that a pool of connections cannot
// take this one for good in between.
func (c *conn) parts() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.back == nil || c.over {
		return false
	}
	f, _ := c.fate(time.Now(), false, true)
	return f == part
}

// cork holds back what does not fill a segment (1) or lets it go (0): TCP_CORK of tcp(7).
func cork(c net.Conn, on int) {
	if t, ok := c.(*net.TCPConn); ok {
		if raw, err := t.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, on) })
		}
	}
}

// passed notes that a packet of the server is with the client.
func (c *conn) passed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passing = false
	if c.f.Idle() {
		c.rest = time.Now()
		c.judge(c.rest, true)
	}
	c.turn.Broadcast()
}

// settle does what follows from the view.
func (c *conn) settle(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.judge(now, false)
}

// judge is called with mu held.
func (c *conn) judge(now time.Time, ended bool) {
	if c.back == nil || c.over {
		return
	}
	switch f, why := c.fate(now, c.passing, ended); f {
	case stay:
	case leave:
		c.leave()
	default:
		if c.session != nil && c.session.why() != "" {
			c.r.o.Log.Info("session cannot be carried over", "topology", c.r.o.Topology, "user", c.session.login.User, "why", c.session.why())
			why = c.session.why()
		}
		c.close(f, why)
	}
}

// fate is called with mu held while there is a server.
func (c *conn) fate(now time.Time, passing, ended bool) (fate, string) {
	v := c.r.view.Load()
	return judge(standing{
		leads: v.leads(&c.back.member), opaque: c.f.Opaque(), loggedIn: c.f.LoggedIn(),
		command: passing || !c.f.Idle(), trans: c.f.InTransaction(),
		movable: c.session != nil && c.session.movable(),
		age:     now.Sub(c.born), idle: now.Sub(c.rest), ended: ended && c.f.Worked(),
	}, v.held, now.Sub(v.since), c.r.o.Drain)
}

// busy reports whether something is under way that Withdraw waits for.
func (c *conn) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.over && c.back != nil && !c.f.Opaque() && !(c.session != nil && c.atRest())
}

// note keeps the first reason.
func (c *conn) note(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why == "" {
		c.why = why
	}
}

func (c *conn) reason() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why
}

// end closes the connection.
func (c *conn) end(f fate, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.close(f, why)
}

// close is called with mu held. A client that is parted from gets some time to see the end
// of the stream, for closing at once what still has unread bytes would take away the last
// answer with it.
func (c *conn) close(f fate, why string) {
	if c.why == "" {
		c.why = why
	}
	if c.over {
		return
	}
	c.over = true
	if c.back != nil {
		c.back.Conn.Close()
	}
	t, ok := c.raw.(*net.TCPConn)
	if f == part && ok {
		_ = t.CloseWrite()
		_ = t.SetReadDeadline(time.Now().Add(linger))
	} else {
		c.raw.Close()
	}
	c.turn.Broadcast()
}
