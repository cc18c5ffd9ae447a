package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/binlog"
	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/server"
)

// logs is where the server's binary logs are. It is learned while the server answers, for
// it is wanted when it does not any more.
type logs struct {
	Start string `json:"start,omitempty"` // of which process that is known
	Index string `json:"index,omitempty"` // @@log_bin_index
	Dir   string `json:"dir,omitempty"`   // @@datadir
}

// learn asks the server where its binary logs are, once for each start.
func (s *Site) learn(ctx context.Context) error {
	p := s.process.State()
	s.mu.Lock()
	known := s.kept.Logs
	s.mu.Unlock()
	if p.Start == "" || known.Start == p.Start || !s.local.Self().Answers {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := s.o.Server.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // only asked
	now := logs{Start: p.Start}
	if err := c.QueryRowContext(ctx, "SELECT COALESCE(@@log_bin_index, ''), @@datadir").Scan(&now.Index, &now.Dir); err != nil {
		return err
	}
	return s.keep(func(k *kept) { k.Logs = now })
}

// binlogs returns the binary logs of the server, running or not.
func (s *Site) binlogs() (binlog.Logs, error) {
	rec, _ := s.Record()
	s.mu.Lock()
	known := s.kept.Logs
	s.mu.Unlock()
	switch {
	case rec == nil:
		return binlog.Logs{}, fault.Conflict("server " + s.o.Member + " belongs to no topology")
	case known.Index != "":
		return binlog.Logs{Flavour: rec.Flavour, Index: known.Index, Dir: known.Dir}, nil
	}
	dir := s.process.State().Dir
	if dir == "" {
		return binlog.Logs{}, fault.Unavailable("where the binary logs of server " + s.o.Member + " are is not known").
			Try("start the server, if only once: its agent asks it")
	}
	return binlog.Find(rec.Flavour, dir)
}

// Tail writes the transactions that the server's binary logs have beyond a GTID set, as
// binlog.Receive reads them, and returns how many. The server need not run.
func (s *Site) Tail(ctx context.Context, have string, w io.Writer) (int, error) {
	l, err := s.binlogs()
	if err != nil {
		return 0, err
	}
	set, err := gtid.Parse(l.Flavour, have)
	if err != nil {
		return 0, fault.Invalid("the GTID set beyond which the tail begins").Because(err)
	}
	return binlog.Send(w, binlog.Tail(ctx, l, set))
}

// rescue applies what the binary logs of the source have and this server lacks.
func (s *Site) rescue(ctx context.Context, o order.Order) (order.Done, error) {
	if o.Source == nil {
		return order.Done{}, fault.Invalid("the order names no source")
	}
	executed, _, err := s.o.Server.Positions(ctx)
	if err != nil {
		return order.Done{}, err
	}
	flavour, err := s.o.Server.Flavour(ctx)
	if err != nil {
		return order.Done{}, err
	}
	tail, err := s.o.Rescue(ctx, *o.Source, executed.String())
	if err != nil {
		return order.Done{}, fmt.Errorf("read the binary logs of %s: %w", o.Source.Name, err)
	}
	defer tail.Close() //nolint:errcheck // only read
	// A receiver or applier beside it would be in the way; what they had is applied.
	if err := s.o.Server.Detach(ctx); err != nil {
		return order.Done{}, err
	}
	c, err := s.o.Server.Conn(ctx)
	if err != nil {
		return order.Done{}, err
	}
	n, err := binlog.Apply(ctx, c, flavour, binlog.Receive(tail))
	_ = c.Close() // it is at its end already
	if err != nil {
		return order.Done{}, fmt.Errorf("apply what %s had, after %d transactions: %w", o.Source.Name, n, err)
	}
	f, err := s.positions(ctx)
	return order.Done{Frozen: f, How: fmt.Sprintf("applied %d transactions that only %s had", n, o.Source.Name)}, err
}

// setAside writes transactions that only this server has to a file of SQL, for people to
// look at and to replay.
func (s *Site) setAside(ctx context.Context, o order.Order) (order.Done, error) {
	l, err := s.binlogs()
	if err != nil {
		return order.Done{}, err
	}
	extra, err := gtid.Parse(l.Flavour, o.Need)
	if err != nil {
		return order.Done{}, err
	}
	var primary gtid.Set
	rec, _ := s.Record()
	if p := rec.Member(rec.Primary); p != nil && p.Name != s.o.Member {
		r, err := s.o.Remote(*p)
		if err != nil {
			return order.Done{}, err
		}
		defer r.Close() //nolint:errcheck // only asked
		if primary, err = whole(ctx, r); err != nil {
			return order.Done{}, fmt.Errorf("ask %s what it has: %w", p.Name, err)
		}
	}
	name := fmt.Sprintf("aside-%d-%s.sql", o.Epoch, time.Now().UTC().Format("20060102T150405.000"))
	if err := s.o.Root.Mkdir(asideDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return order.Done{}, err
	}
	f, err := s.o.Root.Create(asideDir + "/" + name)
	if err != nil {
		return order.Done{}, err
	}
	n, err := binlog.WriteSQL(f, binlog.Extra(ctx, l, extra, primary), binlog.SQL{Flavour: l.Flavour})
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return order.Done{}, fmt.Errorf("write to %s/%s what only %s has: %w", asideDir, name, s.o.Member, err)
	}
	path := s.o.Root.Name() + "/" + asideDir + "/" + name
	if err := s.keep(func(k *kept) { k.Aside = &order.Aside{Need: o.Need, File: path, Transactions: n} }); err != nil {
		return order.Done{}, err
	}
	return order.Done{How: fmt.Sprintf("%d transactions are in %s", n, path)}, nil
}

// whole returns all that a server has executed. A MariaDB's position names only the last
// transaction of each domain; its state tells what it has of each server.
func whole(ctx context.Context, r *server.Server) (gtid.Set, error) {
	executed, _, err := r.Positions(ctx)
	if err != nil {
		return executed, err
	}
	flavour, err := r.Flavour(ctx)
	if err != nil || flavour != gtid.MariaDB {
		return executed, err
	}
	c, err := r.Conn(ctx)
	if err != nil {
		return executed, err
	}
	defer c.Close() //nolint:errcheck // only asked
	var state, pos string
	if err := c.QueryRowContext(ctx, "SELECT @@gtid_binlog_state, @@gtid_slave_pos").Scan(&state, &pos); err != nil {
		return executed, err
	}
	return gtid.ParseState(state, pos)
}

// asideDir holds the files of setAside, below the site's state.
const asideDir = "aside"
