package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// Source is a server to replicate from.
type Source struct {
	Host           string
	Port           int
	User, Password string // of an account with REPLICATION SLAVE
	TLS            bool
	CA             string // with TLS: path of the CA's certificate on the replica's host, and the source's is verified
	// Has is what the source is known to have. Received transactions that are not in it
	// are applied before the relay log goes; so the zero value means all of them.
	Has gtid.Set
}

// NetTimeout is how long a replica waits for a heartbeat until it connects anew.
const NetTimeout = 4 * time.Second

// Follow replicates from a source by GTID, closed for writes, without waiting for
// acknowledgements of its own replicas; acker says whether it acknowledges itself. What it
// wrote as a primary counts as its position. It can be called again, with a new password
// for one.
//
// It returns when the threads are started: Look says whether the source lets it in. The error
// has ErrUndrained when transactions that the source is not known to have are received and
// cannot be applied.
func (s *Server) Follow(ctx context.Context, src Source, acker bool) error {
	if err := s.closeFirst(ctx); err != nil {
		return err
	}
	what := fmt.Sprintf("replicate from %s:%d", src.Host, src.Port)
	err := s.with(ctx, what, func(x *session) error {
		if err := s.semiSync(ctx, x, false, 0, acker); err != nil {
			return err
		}
		// A MySQL that was fenced while commits waited could not close before.
		if err := s.shut(ctx, x); err != nil {
			return err
		}
		name, err := s.release(ctx, x, src.Has)
		if err != nil {
			return err
		}
		if x.d.flavour == gtid.MariaDB {
			if err := startFromOwn(ctx, x); err != nil {
				return err
			}
		}
		return s.point(ctx, x, name, src)
	})
	s.mu.Lock()
	clear(s.news)
	s.mu.Unlock()
	return err
}

// closeFirst closes a server that is open. Sessions that wait for an acknowledgement must be
// cut before waiting is switched off, for that would acknowledge their commits.
func (s *Server) closeFirst(ctx context.Context) error {
	waiting := 0
	open := false
	err := s.with(ctx, "look", func(x *session) error {
		vars, err := x.variables(ctx)
		if err != nil {
			return err
		}
		status, err := x.status(ctx)
		waiting = int(number(status["rpl_semi_sync_source_wait_sessions"]))
		open = !closedFor(vars)
		return err
	})
	switch {
	case err != nil:
		return err
	case waiting > 0:
		return s.Fence(ctx)
	case open:
		_, err = s.CloseWrites(ctx, poll)
	}
	return err
}

// release stops replication so that nothing is lost when the relay log goes, and returns
// the name of the channel.
func (s *Server) release(ctx context.Context, x *session, has gtid.Set) (string, error) {
	c, err := x.main(ctx)
	if err != nil || c == nil {
		return "", err
	}
	stuck := s.startApplier(ctx, x, c)
	if stuck != nil && !errors.Is(stuck, ErrUndrained) {
		return "", stuck
	}
	if err := s.stopReceiver(ctx, x, c); err != nil {
		return "", err
	}
	executed, received, err := positions(ctx, x)
	if err != nil {
		return "", err
	}
	if !has.Contains(received.Minus(executed)) {
		if err := s.drain(ctx, x, received); err != nil {
			return "", first(stuck, err)
		}
	}
	return c.name, x.do(ctx, x.d.replication("STOP", c.name, ""))
}

// startFromOwn makes gtid_slave_pos, where a MariaDB begins to replicate, what it has: a
// former primary has written transactions that are only in gtid_binlog_pos.
func startFromOwn(ctx context.Context, x *session) error {
	executed, err := x.d.executed(ctx, x)
	if err != nil {
		return err
	}
	v, err := x.value(ctx, "SELECT @@GLOBAL.gtid_slave_pos")
	if err != nil {
		return err
	}
	slave, err := x.set(v)
	if err != nil || slave.Equal(executed) {
		return err
	}
	_, err = x.ExecContext(ctx, "SET GLOBAL gtid_slave_pos=?", executed.Position().String())
	return err
}

// point makes a stopped channel replicate from a source.
func (s *Server) point(ctx context.Context, x *session, name string, src Source) error {
	// The statement has a password in it. Whoever may not keep a session out of the logs is
	// not kept from replicating.
	for _, q := range x.d.quiet {
		if err := x.do(ctx, q); err != nil && code(err) == 0 {
			return err
		}
	}
	if err := x.do(ctx, fmt.Sprintf("SET GLOBAL %s=%d", x.d.netTimeout, int(NetTimeout.Seconds()))); err != nil {
		return err
	}
	q, args := x.d.change(name, src)
	if _, err := x.ExecContext(ctx, q, args...); err != nil {
		return hide(err, src.Password)
	}
	for _, q := range x.d.loud {
		if err := x.do(ctx, q); err != nil && code(err) == 0 {
			return err
		}
	}
	if err := x.do(ctx, x.d.replication("START", name, "")); err != nil {
		return err
	}
	return x.do(ctx, x.d.uncut...)
}

// Detach replicates from nobody. It refuses, with ErrUndrained, when something is received
// that is not applied.
func (s *Server) Detach(ctx context.Context) error {
	return s.with(ctx, "stop replicating", func(x *session) error {
		executed, received, err := positions(ctx, x)
		if err != nil {
			return err
		}
		if !executed.Contains(received) {
			return fmt.Errorf("%s: %w; apply it (drain), or abandon it", received.Minus(executed), ErrUndrained)
		}
		return s.abandon(ctx, x)
	})
}

// Abandon replicates from nobody, and throws away what is received and not applied.
func (s *Server) Abandon(ctx context.Context) error {
	return s.with(ctx, "stop replicating", func(x *session) error { return s.abandon(ctx, x) })
}

func (s *Server) abandon(ctx context.Context, x *session) error {
	c, err := x.main(ctx)
	if err != nil || c == nil {
		return err
	}
	if err := s.stopReceiver(ctx, x, c); err != nil {
		return err
	}
	if err := x.do(ctx, x.d.replication("STOP", c.name, "")); err != nil {
		return err
	}
	return x.do(ctx, x.d.replication("RESET", c.name, "ALL"))
}
