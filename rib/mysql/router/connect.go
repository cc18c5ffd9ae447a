package router

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/rib/mysql/router/wire"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Times of connecting.
const (
	dialBound = 2 * time.Second        // for a server to accept; then it is tried again
	retry     = 100 * time.Millisecond // between tries, and between looks whether the client is still there
	vanished  = 5 * time.Second        // unacknowledged bytes to a server: it has vanished
)

var errLeft = errors.New("the client has left")

// dialer makes connections that notice a vanished host within some seconds, whether they
// are idle (keep-alive) or have sent something (TCP_USER_TIMEOUT, tcp(7)).
func dialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3},
		Control: func(_, _ string, raw syscall.RawConn) error {
			var err error
			if e := raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(vanished.Milliseconds()))
			}); e != nil {
				return e
			}
			return err
		},
	}
}

// opener opens a connection to a server.
type opener func(ctx context.Context, m topology.Member) (*back, error)

// connect waits for a server that greets, at most Hold. A server that refuses, is silent
// or shuts down is one that may soon be replaced: what arrives then waits for another.
func (c *conn) connect(ctx context.Context, open opener, take func(*back) bool) (*back, error) {
	start := time.Now()
	deadline := start.Add(c.r.o.Hold)
	trouble := errors.New("the topology has none at present")
	for {
		v := c.r.view.Load()
		if len(v.servers) > 0 {
			b, err := c.try(ctx, v, deadline, open)
			if err == nil && take(b) {
				c.r.o.Metrics.waited(c.r, time.Since(start))
				return b, nil
			}
			if b != nil {
				b.Conn.Close()
			}
			if final(err) {
				return nil, err
			}
			if err != nil && !errors.Is(err, errNews) {
				c.r.o.Metrics.undialled(c.r)
				trouble = err
			}
		}
		if err := c.pause(ctx, v, deadline); err != nil {
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("no %s of topology %s for %v: %w", c.r.o.Target, c.r.o.Topology, c.r.o.Hold, trouble)
		}
	}
}

// pause waits for another view, or a little.
func (c *conn) pause(ctx context.Context, v *view, deadline time.Time) error {
	t := time.NewTimer(min(retry, time.Until(deadline)))
	defer t.Stop()
	select {
	case <-v.news:
	case <-t.C:
		if c.gone() {
			return errLeft
		}
	case <-ctx.Done():
		return errLeft
	}
	return nil
}

var errNews = errors.New("clients are led elsewhere meanwhile")

// try connects to one of the servers and waits for its greeting, until deadline, or there
// is another view, or the client has left.
func (c *conn) try(ctx context.Context, v *view, deadline time.Time, open opener) (*back, error) {
	m := v.servers[rand.IntN(len(v.servers))]
	ctx, cancel := context.WithDeadlineCause(ctx, deadline, errSilent)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		c.watch(ctx, v, stop)
	}()
	b, err := open(ctx, m)
	stop(nil)
	<-watched
	if err == nil {
		return b, nil
	}
	if cause := context.Cause(ctx); cause != nil && !final(err) && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return nil, err
}

// watch stops the try when there is a reason, and ends with it.
func (c *conn) watch(ctx context.Context, v *view, stop context.CancelCauseFunc) {
	t := time.NewTicker(retry)
	defer t.Stop()
	for {
		select {
		case <-v.news:
			stop(errNews)
			return
		case <-ctx.Done():
			return
		case <-t.C:
			if c.gone() {
				stop(errLeft)
				return
			}
		}
	}
}

var errSilent = errors.New("it does not answer")

// greeted dials a server and waits for its first packet.
func (c *conn) greeted(ctx context.Context, m topology.Member) (*back, error) {
	dial, cancel := context.WithTimeout(ctx, dialBound)
	defer cancel()
	nc, err := c.r.o.Dial(dial, "tcp", m.Address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetReadDeadline(time.Unix(1, 0)) })
	b := &back{Side: wire.NewSide(nc), member: m, done: make(chan struct{})}
	h, err := b.Head()
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err == nil && wire.ErrorCode(h.Start) == shutdown {
		err = errors.New("it shuts down")
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("%s at %s: %w", m.Name, m.Address, err)
	}
	return b, nil
}

// gone reports whether a client that waits has closed its connection.
func (c *conn) gone() bool {
	n, ended := peek(c.raw)
	return ended && n == 0
}

// peek reports whether something can be read, and whether the other side has ended the
// stream or reset it. Nothing is taken from the socket.
func peek(c net.Conn) (n int, ended bool) {
	t, ok := c.(syscall.Conn)
	if !ok {
		return 0, false
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return 0, true
	}
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		var e error
		n, _, e = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		n = max(n, 0)
		ended = e == nil && n == 0 || e != nil && !errors.Is(e, unix.EAGAIN) && !errors.Is(e, unix.EINTR)
	})
	return n, ended || err != nil
}
