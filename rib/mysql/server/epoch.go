package server

import (
	"context"
	"errors"
	"fmt"

	"kaname.dev/kaname/rib/mysql/order"
)

// The schema kaname, as Prepare makes it on a primary. Keys have names in them, so that
// several topologies can replicate to one server.
var schema = []string{
	"CREATE DATABASE IF NOT EXISTS kaname",
	"CREATE TABLE IF NOT EXISTS kaname.epoch (epoch BIGINT UNSIGNED NOT NULL, `primary` VARCHAR(255) NOT NULL, `from` VARCHAR(255) NOT NULL, " +
		"position LONGTEXT NOT NULL, frozen TEXT NOT NULL, proven BOOLEAN NOT NULL, at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), " +
		"PRIMARY KEY (epoch, `primary`)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
	"CREATE TABLE IF NOT EXISTS kaname.beat (name VARCHAR(255) NOT NULL PRIMARY KEY, n BIGINT NOT NULL, at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)) " +
		"ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
}

// WriteEpoch writes a line of the topology's story, on the primary to be: closed for
// clients, replicating from nobody, and not yet waiting for acknowledgements, which nobody
// can give before it is followed. A line that is there stays as it is.
func (s *Server) WriteEpoch(ctx context.Context, r order.Row) error {
	return s.with(ctx, "write the epoch", func(x *session) error {
		v, err := x.value(ctx, "SELECT COUNT(*) FROM kaname.epoch WHERE epoch=? AND `primary`=?", r.Epoch, r.Primary)
		if err != nil || v == "1" {
			return err
		}
		vars, err := x.variables(ctx)
		if err != nil {
			return err
		}
		if on(vars["rpl_semi_sync_source_enabled"]) && closedFor(vars) {
			return errors.New("it waits for acknowledgements, and while it is closed nobody follows who could give one; write the epoch before waiting is switched on")
		}
		if on(vars["super_read_only"]) {
			if err := x.do(ctx, x.d.half...); err != nil {
				return err
			}
		}
		_, err = x.ExecContext(ctx, "INSERT INTO kaname.epoch (epoch, `primary`, `from`, position, frozen, proven) VALUES (?,?,?,?,?,?)",
			r.Epoch, r.Primary, r.From, r.Position, r.Frozen, r.Proven)
		return err
	})
}

// Promote makes the server the primary, in the one order that loses and hangs nothing:
// detached, its own waiting off, the epoch written, waiting for acks acknowledgements (0:
// asynchronous), open. It can be called again.
func (s *Server) Promote(ctx context.Context, r order.Row, acks int) error {
	var open bool
	err := s.with(ctx, "look", func(x *session) error {
		vars, err := x.variables(ctx)
		open = !closedFor(vars)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.Detach(ctx); err != nil {
		return err
	}
	if !open { // waiting off would acknowledge the commits of clients
		if err := s.SemiSync(ctx, false, 0, false); err != nil {
			return err
		}
	}
	if err := s.WriteEpoch(ctx, r); err != nil {
		return err
	}
	if err := s.SemiSync(ctx, acks > 0, acks, false); err != nil {
		return err
	}
	return s.Writable(ctx)
}

// Probe commits a row of the server's own if it is open for writes; n tells one from the
// next. It ends when the commit does: under semi-synchronous replication when enough
// replicas have acknowledged it. A server that is closed meanwhile is not written to.
func (s *Server) Probe(ctx context.Context, n int64) error {
	return s.with(ctx, "commit a row", func(x *session) error {
		r, err := x.ExecContext(ctx, "INSERT INTO kaname.beat (name, n) SELECT ?, ? FROM DUAL WHERE @@GLOBAL.read_only=0 "+
			"ON DUPLICATE KEY UPDATE n=VALUES(n), at=CURRENT_TIMESTAMP(6)", s.name, n)
		switch {
		case code(err) == errReadOnly:
			return fmt.Errorf("%w: %w", ErrClosed, err)
		case err != nil:
			return err
		}
		if changed, err := r.RowsAffected(); err != nil || changed == 0 {
			return first(err, fmt.Errorf("row %d is not written: %w", n, ErrClosed))
		}
		return nil
	})
}

// ErrClosed is in the error of a Probe of a server that is closed for writes.
var ErrClosed = errors.New("it is read-only")
