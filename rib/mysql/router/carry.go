package router

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"kaname.dev/kaname/rib/mysql/router/wire"
	"kaname.dev/kaname/rib/mysql/topology"
)

// errImmovable says that a session could not be set up on another server.
var errImmovable = errors.New("the session cannot be carried over")

// Errors with which a server refuses a login that may soon succeed, there or elsewhere.
var passingRefusals = []uint16{tooMany, shutdown, 1203, 1226, 3032}

// final reports whether there is no sense in trying again.
func final(err error) bool {
	if errors.Is(err, errImmovable) || errors.Is(err, errLeft) {
		return true
	}
	r, ok := errors.AsType[*wire.Refusal](err)
	return ok && !slices.Contains(passingRefusals, r.Code())
}

// obtain gives the session a server, and waits for one at most Hold.
func (c *conn) obtain(ctx context.Context) error {
	c.mu.Lock()
	old := c.back
	if old != nil {
		c.leave()
	}
	first := c.f == nil || !c.f.LoggedIn()
	c.mu.Unlock()
	if c.last != nil {
		<-c.last.done // it no longer looks at what is between commands
	}
	b, err := c.connect(ctx, c.enter, c.settleIn)
	if err != nil {
		return err
	}
	c.last = b
	c.pumps.Go(func() { c.keepDown(b) })
	if !first {
		c.r.o.Metrics.moved(c.r)
	}
	return nil
}

// settleIn takes a server on which the session has been set up.
func (c *conn) settleIn(b *back) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := c.r.view.Load(); c.over || !v.leads(&b.member) {
		return false
	}
	c.session.moved, c.session.retrack = c.f.LoggedIn(), false
	c.back, c.f = b, b.f
	c.rest = time.Now()
	return true
}

// enter logs in to a server and sets up the session.
func (c *conn) enter(ctx context.Context, m topology.Member) (*back, error) {
	b := c.spare
	c.spare = nil
	if b != nil && (b.member.Name != m.Name || b.member.Address != m.Address) {
		b.Conn.Close()
		b = nil
	}
	if b == nil {
		var err error
		if b, err = c.greeted(ctx, m); err != nil {
			return nil, err
		}
	}
	nc := b.Conn
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	err := c.setUp(b)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("%s at %s: %w", m.Name, m.Address, err)
	}
	return b, nil
}

func (c *conn) setUp(b *back) error {
	s := c.session
	l := s.login
	if l.DB = s.db; l.DB != "" {
		l.Caps |= wire.CapConnectWithDB
	} else {
		l.Caps &^= wire.CapConnectWithDB
	}
	side, caps, status, err := wire.Enter(b.Side, l, s.password, c.r.o.ServerTLS)
	if err != nil {
		return err
	}
	b.Side = side
	b.f = wire.Follow(caps, status)
	for _, q := range s.setup() {
		if _, err := b.exchange(append([]byte{wire.ComQuery}, q...)); err != nil {
			return immovable(err, "a setting")
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.stmts)) {
		st := s.stmts[id]
		answer, err := b.exchange(append([]byte{wire.ComPrepare}, st.text...))
		if err != nil {
			return immovable(err, "a prepared statement")
		}
		if n := int(binary.LittleEndian.Uint16(answer[7:])); n != st.params {
			return fmt.Errorf("%w: a prepared statement has %d parameters here, and had %d", errImmovable, n, st.params)
		}
		st.id, st.told = binary.LittleEndian.Uint32(answer[1:]), false
	}
	return nil
}

// immovable marks what the server said no to; a broken connection is another thing.
func immovable(err error, what string) error {
	if r, ok := errors.AsType[*wire.Refusal](err); ok && !slices.Contains(passingRefusals, r.Code()) {
		return fmt.Errorf("%w: %s: %w", errImmovable, what, err)
	}
	return err
}

// exchange sends a command, waits for the end of the answer and returns its first packet.
func (b *back) exchange(command []byte) ([]byte, error) {
	b.f.FromClient(wire.Head{Len: len(command), Start: command})
	if err := b.Send(0, command); err != nil {
		return nil, err
	}
	var first []byte
	for !b.f.Idle() {
		h, err := b.Head()
		if err != nil {
			return nil, err
		}
		b.f.FromServer(h)
		p, err := b.Payload(h)
		if err != nil {
			return nil, err
		}
		if wire.ErrorCode(p) != 0 {
			return nil, &wire.Refusal{Packet: p}
		}
		if b.f.Opaque() {
			return nil, fmt.Errorf("%w: the server gives an unknown answer", errImmovable)
		}
		if first == nil {
			first = p
		}
	}
	if len(first) < 7 || command[0] == wire.ComPrepare && len(first) < 9 {
		return nil, fmt.Errorf("%w: the server gives an unknown answer", errImmovable)
	}
	return first, nil
}
