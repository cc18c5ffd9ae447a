package serve

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Bounds of connections.
const (
	defaultConns = 256
	waitRequest  = 10 * time.Second // for a whole request
	waitWrite    = 30 * time.Second // for the peer to take one message
	maxRequest   = 4096             // octets; nothing that is answered is longer
)

// conns are the TCP connections. When there are too many, one that is not in the middle
// of an answer goes, the oldest first, so that idle ones keep nobody out.
type conns struct {
	most int

	mu  sync.Mutex
	all map[net.Conn]*conn
	end bool
}

// conn is one connection.
type conn struct {
	net.Conn
	from  netip.Addr
	since time.Time // when it began to wait for a request
	busy  bool
}

func newConns(most int) *conns {
	if most <= 0 {
		most = defaultConns
	}
	return &conns{most: most, all: map[net.Conn]*conn{}}
}

// add takes a connection, or closes it and returns nil.
func (c *conns) add(n net.Conn, from netip.Addr) *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	here := 0
	var oldest *conn
	for _, x := range c.all {
		if x.from == from {
			here++
		}
		if !x.busy && (oldest == nil || x.since.Before(oldest.since)) {
			oldest = x
		}
	}
	full := len(c.all) >= c.most
	if c.end || here >= max(c.most/2, 1) || full && oldest == nil {
		_ = n.Close()
		return nil
	}
	if full {
		_ = oldest.Close()
		delete(c.all, oldest.Conn)
	}
	x := &conn{Conn: n, from: from, since: time.Now()}
	c.all[n] = x
	return x
}

func (c *conns) set(x *conn, busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x.busy, x.since = busy, time.Now()
}

func (c *conns) remove(x *conn) {
	_ = x.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, x.Conn)
}

func (c *conns) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end = true
	for n := range c.all {
		_ = n.Close()
	}
}

// accept takes connections until the listener is closed, and waits for them.
func (s *Server) accept(ctx context.Context, l *net.TCPListener) error {
	var open sync.WaitGroup
	defer open.Wait()
	for {
		n, err := l.AcceptTCP()
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			s.log.Warn("DNS connection not taken", "why", err) // of open files, mostly
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		from, err := netip.ParseAddrPort(n.RemoteAddr().String())
		if err != nil {
			_ = n.Close()
			continue
		}
		if x := s.conns.add(n, from.Addr().Unmap()); x != nil {
			open.Go(func() {
				defer s.conns.remove(x)
				s.converse(x, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
			})
		}
	}
}

// converse answers the requests of one connection, one after the other (RFC 7766).
func (s *Server) converse(x *conn, from netip.AddrPort) {
	var size [2]byte
	b := make([]byte, maxRequest)
	for {
		s.conns.set(x, false)
		_ = x.SetReadDeadline(time.Now().Add(waitRequest))
		if _, err := io.ReadFull(x, size[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(size[:]))
		if n > maxRequest {
			return
		}
		if _, err := io.ReadFull(x, b[:n]); err != nil {
			return
		}
		s.conns.set(x, true)
		if err := s.answer(b[:n], from, 0, x.send); err != nil {
			s.log.Debug("DNS connection ended", "peer", from, "why", err)
			return
		}
	}
}

// send writes one message.
func (x *conn) send(m []byte) error {
	_ = x.SetWriteDeadline(time.Now().Add(waitWrite))
	b := net.Buffers{binary.BigEndian.AppendUint16(nil, uint16(len(m))), m} //nolint:gosec // at most maxMessage
	_, err := b.WriteTo(x.Conn)
	return err
}

// datagrams answers what comes by UDP.
func (s *Server) datagrams(ctx context.Context, u *net.UDPConn) error {
	b := make([]byte, maxRequest)
	for {
		n, from, err := u.ReadFromUDPAddrPort(b)
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil //nolint:nilerr // the listener was closed for the end
		case err != nil:
			continue // an ICMP error of an earlier answer
		}
		send := func(m []byte) error {
			_, err := u.WriteToUDPAddrPort(m, from)
			return err
		}
		plain := netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if err := s.answer(b[:n], plain, minDatagram, send); err != nil {
			s.log.Debug("DNS answer not sent", "peer", plain, "why", fmt.Errorf("by UDP: %w", err))
		}
	}
}
