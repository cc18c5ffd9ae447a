package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
)

// Writable opens the server for writes.
func (s *Server) Writable(ctx context.Context) error {
	return s.with(ctx, "open for writes", func(x *session) error { return x.do(ctx, x.d.open...) })
}

// Reopen undoes CloseWrites and Fence.
func (s *Server) Reopen(ctx context.Context) error { return s.Writable(ctx) }

// ReadOnly closes the server for writes and waits for statements and commits that are under
// way, however long they take. On a primary whose commits wait for acknowledgements that
// do not come it fails at the end of ctx, and the server stays open: see Fence.
func (s *Server) ReadOnly(ctx context.Context) error {
	_, err := s.CloseWrites(ctx, math.MaxInt64)
	return err
}

// shut closes the server in the session. The server gives up by itself soon after ctx: a
// connection that is dropped does not end a statement, and one that waits to close the
// server keeps all others from writing.
func (s *Server) shut(ctx context.Context, x *session) error {
	if end, ok := ctx.Deadline(); ok {
		wait := max(1, int(time.Until(end).Seconds()+1))
		if err := x.do(ctx, fmt.Sprintf("SET SESSION lock_wait_timeout=%d", wait)); err != nil {
			return err
		}
	}
	return x.do(ctx, x.d.closed...)
}

// thread is a line of the process list.
type thread struct {
	id             string
	user, host     string
	command, state string
	dump, idle     bool
	waits          bool // waits for an acknowledgement
	killed         bool
}

// threads lists the clients and the replicas that are connected; not the server's own
// threads and not the given ones.
func (x *session) threads(ctx context.Context, but ...string) ([]thread, error) {
	rows, err := x.rows(ctx, "SHOW PROCESSLIST")
	if err != nil {
		return nil, err
	}
	var out []thread
	for _, r := range rows {
		t := thread{id: r["id"], user: r["user"], host: r["host"], command: r["command"], state: r["state"]}
		t.waits, t.killed = strings.Contains(t.state, "semi-sync ACK"), t.command == "Killed"
		t.dump, t.idle = strings.HasPrefix(t.command, "Binlog Dump"), t.command == "Sleep"
		if t.user != "system user" && t.user != "event_scheduler" && t.command != "Daemon" && !slices.Contains(but, t.id) {
			out = append(out, t)
		}
	}
	return out, nil
}

// kill ends connections. One that has ended meanwhile is fine.
func (x *session) kill(ctx context.Context, all []thread) error {
	for _, t := range all {
		if err := x.do(ctx, "KILL "+t.id); err != nil && code(err) != errNoSuchThread {
			return err
		}
	}
	return nil
}

// pair is two sessions: one waits for the server to close while the other cuts whom it
// waits for.
type pair struct {
	shut, cut *session
	ids       []string
}

func (s *Server) pair(ctx context.Context, cutFirst bool) (*pair, error) {
	var p pair
	var err error
	if p.cut, err = s.soon(ctx); err != nil {
		return nil, err
	}
	id, err := p.cut.value(ctx, "SELECT CONNECTION_ID()")
	if err != nil {
		p.end()
		return nil, err
	}
	p.ids = []string{id}
	if cutFirst { // also makes room where there is no free connection
		if _, err = p.cutWho(ctx, client); err != nil {
			p.end()
			return nil, err
		}
	}
	if p.shut, err = s.soon(ctx); err == nil {
		id, err = p.shut.value(ctx, "SELECT CONNECTION_ID()")
	}
	if err != nil {
		p.end()
		return nil, err
	}
	p.ids = append(p.ids, id)
	return &p, nil
}

// soon takes a session, and where there is no free connection waits until one ends: of those
// that were just killed, or of one that was refused.
func (s *Server) soon(ctx context.Context) (*session, error) {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		x, err := s.session(ctx)
		if code(err) != errTooMany {
			return x, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
	}
}

func (p *pair) end() {
	for _, x := range []*session{p.shut, p.cut} {
		if x != nil {
			_ = x.Close()
		}
	}
}

// client tells whom a fence may cut at any time: see fence.
func client(t thread) bool { return !t.dump && !t.waits }

// cutWho cuts connections but the pair's own, and returns all that there were.
func (p *pair) cutWho(ctx context.Context, who func(thread) bool) ([]thread, error) {
	all, err := p.cut.threads(ctx, p.ids...)
	if err != nil {
		return nil, err
	}
	var out []thread
	for _, t := range all {
		if who(t) && !t.killed {
			out = append(out, t)
		}
	}
	return all, p.cut.kill(ctx, out)
}

// until shuts the server in one session and calls cut in the other, at once and then every
// 20 ms until that is done.
func (s *Server) until(ctx context.Context, p *pair, cut func(context.Context, time.Duration) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.shut(ctx, p.shut) }() // ends soon after ctx; waited for below
	began := time.Now()
	tick := time.NewTicker(2 * poll)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
		}
		if err := cut(ctx, time.Since(began)); err != nil {
			cancel()
			if <-done == nil {
				return nil // it has closed after all
			}
			return err
		}
	}
}

// CloseWrites closes the server for writes by consent and returns what it has executed,
// which no longer grows. Statements and commits that are under way end first; those that
// have not after grace are cut, and so are transactions that have written and are not
// committed: they no longer can be, and would hold locks. When ctx ends before that, the
// server stays open, and the error says so.
//
// Accounts that may write to a read-only MariaDB still can: Check names them.
func (s *Server) CloseWrites(ctx context.Context, grace time.Duration) (gtid.Set, error) {
	var executed gtid.Set
	p, err := s.pair(ctx, false)
	if err != nil {
		return executed, s.trouble(ctx, "close for writes", err)
	}
	defer p.end()
	// What is left of ctx at the end of inner serves to take back what waits.
	inner, cancel := ctx, context.CancelFunc(func() {})
	if end, ok := ctx.Deadline(); ok {
		inner, cancel = context.WithDeadline(ctx, end.Add(-min(100*time.Millisecond, time.Until(end)/4)))
	}
	defer cancel()
	err = s.until(inner, p, func(ctx context.Context, since time.Duration) error {
		if since < grace {
			return nil
		}
		return p.cutBusy(ctx)
	})
	if err != nil {
		back := p.cut.kill(ctx, []thread{{id: p.ids[1]}})
		return executed, s.trouble(ctx, "close for writes", errors.Join(err, back))
	}
	if err = p.cutOpen(ctx); err == nil {
		executed, err = p.cut.d.executed(ctx, p.cut)
	}
	return executed, s.trouble(ctx, "close for writes", err)
}

// cutBusy cuts who keeps the server from closing; not who waits for that, and not who waits
// for an acknowledgement: see fence.
func (p *pair) cutBusy(ctx context.Context) error {
	_, err := p.cutWho(ctx, func(t thread) bool { return !t.dump && !t.idle && !t.waits && !strings.Contains(t.state, " lock") })
	return err
}

// cutOpen cuts transactions that have written and can no longer commit.
func (p *pair) cutOpen(ctx context.Context) error {
	rows, err := p.cut.rows(ctx, "SELECT trx_mysql_thread_id AS id FROM information_schema.innodb_trx WHERE trx_rows_modified > 0 AND trx_mysql_thread_id > 0")
	if err != nil {
		return err
	}
	open := map[string]bool{}
	for _, r := range rows {
		open[r["id"]] = true
	}
	_, err = p.cutWho(ctx, func(t thread) bool { return open[t.id] && !t.dump })
	return err
}
