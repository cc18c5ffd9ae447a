package server_test

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/server"
)

// testClose closes a primary under load and opens it again: all that was acknowledged is in
// what it says it ended with, and nothing comes after.
func testClose(t *testing.T, f *pair) {
	ctx := within(t, 20*time.Second)
	var work sync.WaitGroup
	stop := make(chan struct{})
	var mu sync.Mutex
	acked := 0
	from := f.next
	f.next += 1e6
	for w := range 4 {
		c := f.client(t, f.p)
		work.Go(func() {
			for i := from + w; ; i += 4 {
				if _, err := c.ExecContext(t.Context(), "INSERT INTO app.acks (id, writer) VALUES (?, 1)", i); err != nil {
					if !strings.Contains(err.Error(), "read") {
						t.Errorf("a writer sees %v", err)
					}
					return
				}
				mu.Lock()
				acked++
				mu.Unlock()
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	lab.Eventually(t, "writers write", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return acked > 100
	})
	began := time.Now()
	end, err := f.p.CloseWrites(ctx, time.Second)
	took(t, "closing", began, 400*time.Millisecond)
	close(stop)
	ok(t, err)
	work.Wait()
	executed, _, err := f.p.Positions(ctx)
	ok(t, err)
	if !executed.Equal(end) || count(t, f.p, from) < acked {
		t.Errorf("it ended with %s and now has %s; %d rows of %d", end, executed, count(t, f.p, from), acked)
	}
	ok(t, f.r.Drain(ctx, end))
	if n := count(t, f.r, from); n != count(t, f.p, from) {
		t.Errorf("%d rows on the replica", n)
	}
	ok(t, f.p.Reopen(ctx))
	f.write(t, 1)
}

// testCloseCuts has a transaction that sits there, and a statement that does not end.
func testCloseCuts(t *testing.T, f *pair) {
	ctx := within(t, 20*time.Second)
	sits, runs := f.client(t, f.p), f.client(t, f.p)
	tx, err := sits.BeginTx(ctx, nil)
	ok(t, err)
	_, err = tx.ExecContext(ctx, "INSERT INTO app.acks (id, writer) VALUES (?, 2)", f.next)
	ok(t, err)
	f.next++
	done := make(chan error, 1)
	go func() { // ends with the statement
		_, err := runs.ExecContext(ctx, "INSERT INTO app.acks (id, writer) SELECT -1, SLEEP(20)")
		done <- err
	}()
	lab.Eventually(t, "it runs", func() bool {
		return f.p.lab.Value(t, "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%SLEEP(20)%' AND user='app'") == "1"
	})
	began := time.Now()
	_, err = f.p.CloseWrites(ctx, 200*time.Millisecond)
	ok(t, err)
	took(t, "closing with a statement that runs for long", began, 700*time.Millisecond)
	if err := <-done; err == nil {
		t.Error("the statement has ended well")
	}
	if err := tx.Commit(); err == nil {
		t.Error("the transaction was committed")
	}
	f.open1(t)
}

func (f *pair) open1(t *testing.T) {
	t.Helper()
	ok(t, f.p.Reopen(within(t, 5*time.Second)))
	f.write(t, 1)
}

// testCloseGivesUp closes where commits wait for an acknowledgement, with no grace left
// before its time is over: it stays open.
func testCloseGivesUp(t *testing.T, f *pair) {
	ctx := within(t, 20*time.Second)
	ok(t, f.r.StopReceiver(ctx))
	waits := f.insert(t.Context(), f.client(t, f.p))
	f.awaitWaiters(t, 1)
	began := time.Now()
	if _, err := f.p.CloseWrites(within(t, 500*time.Millisecond), time.Minute); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("closed: %v", err)
	}
	took(t, "giving up", began, 700*time.Millisecond)
	began = time.Now()
	if err := f.p.ReadOnly(within(t, 300*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("read-only: %v", err)
	}
	took(t, "giving up", began, 500*time.Millisecond)
	ok(t, f.r.StartReceiver(ctx))
	ok(t, <-waits)
	// What ReadOnly left waiting may close it after all.
	lab.Eventually(t, "it can be opened again", func() bool { return f.p.Reopen(ctx) == nil })
	ok(t, f.p.Reopen(ctx))
}

func (f *pair) awaitWaiters(t *testing.T, n int) {
	t.Helper()
	name := "Rpl_semi_sync_source_wait_sessions"
	if f.maria() {
		name = "Rpl_semi_sync_master_wait_sessions"
	}
	lab.Eventually(t, "commits wait", func() bool {
		rows, err := f.p.lab.DB().QueryContext(t.Context(), "SHOW GLOBAL STATUS LIKE '"+name+"'")
		ok(t, err)
		defer rows.Close()
		var k string
		var v int
		for rows.Next() {
			ok(t, rows.Scan(&k, &v))
		}
		ok(t, rows.Err())
		return v >= n
	})
}

// testFence fences a healthy primary.
func testFence(t *testing.T, f *pair) {
	ctx := within(t, 20*time.Second)
	c := f.client(t, f.p)
	_, err := c.ExecContext(ctx, "DO 1")
	ok(t, err)
	began := time.Now()
	ok(t, f.p.Fence(ctx))
	took(t, "fencing", began, 400*time.Millisecond)
	self, err := f.p.Look(ctx)
	ok(t, err)
	if _, err := c.ExecContext(ctx, "DO 1"); err == nil || !self.ReadOnly || !self.SemiSync.Waits {
		t.Errorf("client: %v; %+v", err, self)
	}
	ok(t, f.p.Fence(ctx)) // again
	f.open1(t)
}

// testFenceIsolated fences a primary whose commits wait for ever, and which its clients
// storm: within the bound, and with no commit acknowledged.
func testFenceIsolated(t *testing.T, f *pair) {
	rounds := 3
	if lab.Soak() {
		rounds = 50
	}
	for range rounds {
		f.fenceIsolated(t)
	}
}

func (f *pair) fenceIsolated(t *testing.T) {
	t.Helper()
	ctx := within(t, 30*time.Second)
	ok(t, f.r.StopReceiver(ctx))
	from := f.next
	var waiting []<-chan error
	for range 8 {
		waiting = append(waiting, f.insert(t.Context(), f.client(t, f.p)))
	}
	f.awaitWaiters(t, 1)
	storm, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	first := f.next
	f.next += 1e6
	for w := range 4 {
		work.Go(func() {
			for i := first + w; storm.Err() == nil; i += 4 {
				if _, err := f.p.lab.DB(labmysql.UserApp).ExecContext(storm, "INSERT INTO app.acks (id, writer) VALUES (?, 3)", i); err == nil {
					t.Error("a write was acknowledged by an isolated primary")
				}
			}
		})
	}
	defer work.Wait()
	defer cancel()
	probe := make(chan error, 1)
	go func() { probe <- f.p.Probe(t.Context(), 99) }() // the agent's own commit waits as well
	lab.Eventually(t, "the probe is under way", func() bool {
		return f.p.lab.Value(t, "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'INSERT INTO kaname.beat%'") == "1"
	})
	began := time.Now()
	ok(t, f.p.Fence(within(t, time.Second)))
	took(t, "fencing an isolated primary", began, 900*time.Millisecond)
	for _, w := range waiting {
		if err := <-w; err == nil {
			t.Error("a commit that nobody else has was acknowledged")
		}
	}
	if err := <-probe; err == nil {
		t.Error("the probe was acknowledged")
	}
	self, err := f.p.Look(ctx)
	ok(t, err)
	if !self.ReadOnly || !self.SemiSync.Waits {
		t.Errorf("%+v", self)
	}
	end, _, err := f.p.Positions(ctx)
	ok(t, err)
	cancel()
	work.Wait()
	if now, _, err := f.p.Positions(ctx); err != nil || !now.Equal(end) {
		t.Errorf("it grew from %s to %s after the fence, %v", end, now, err)
	}
	ok(t, f.p.Reopen(ctx))
	ok(t, f.r.StartReceiver(ctx))
	f.write(t, 1)
	t.Logf("%d rows", count(t, f.p, from))
}

// testFenceFull fences a primary that has no connection left.
func testFenceFull(t *testing.T, f *pair) {
	ctx := within(t, 20*time.Second)
	before := f.p.lab.Value(t, "SELECT @@GLOBAL.max_connections")
	f.p.lab.Exec(t, "SET GLOBAL max_connections=12")
	defer func() { f.p.lab.Exec(t, "SET GLOBAL max_connections="+before) }()
	full := f.fill(t)
	s := open(t, server.Options{Name: "fresh", Socket: f.p.lab.Socket, Credentials: app})
	if err := s.Ping(ctx); !server.Refuses(err) || server.Refused(err) || !strings.Contains(err.Error(), "Too many connections") {
		t.Errorf("%v", err)
	}
	fresh := open(t, server.Options{Name: "fresh", Socket: f.p.lab.Socket, Credentials: admin})
	began := time.Now()
	ok(t, fresh.Fence(within(t, time.Second)))
	took(t, "fencing a full server", began, 700*time.Millisecond)
	for _, c := range full {
		_ = c.Close()
	}
	f.open1(t)
}

func app() (string, string, error) { return labmysql.UserApp, labmysql.PasswordApp, nil }

// fill takes every connection that an application can have.
func (f *pair) fill(t *testing.T) (all []*sql.Conn) {
	t.Helper()
	for {
		c, err := f.p.lab.DB(labmysql.UserApp).Conn(t.Context())
		if err != nil {
			return all
		}
		all = append(all, c)
	}
}

// testRefuses tells a server that refuses from one that is not there.
func testRefuses(t *testing.T, f *pair) {
	ctx := within(t, 20*time.Second)
	wrong := open(t, server.Options{Name: "w", Address: f.p.lab.Address(), Credentials: func() (string, string, error) { return "kaname", "very-wrong-word", nil }})
	self, err := wrong.Look(ctx)
	if !server.Refuses(err) || server.Refused(err) || !self.Refuses || self.Answers || strings.Contains(err.Error(), "very-wrong-word") {
		t.Errorf("%v, %+v", err, self)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	ok(t, l.Close())
	for _, o := range []server.Options{{Name: "gone", Address: l.Addr().String()}, {Name: "gone", Socket: f.p.lab.Dir + "/nothing"}} {
		o.Credentials = admin
		if err := open(t, o).Ping(ctx); !server.Refused(err) || server.Refuses(err) {
			t.Errorf("%v", err)
		}
	}
	f.p.lab.Kill()
	if err := f.p.Ping(ctx); !server.Refused(err) {
		t.Errorf("%v", err)
	}
	f.p.lab.Start(t)
	ok(t, f.p.Ping(ctx))
	if !f.maria() {
		return
	}
	if err := f.p.SemiSync(ctx, true, 2, false); err == nil || !strings.Contains(err.Error(), "1 acknowledgement") {
		t.Errorf("two acknowledgements: %v", err)
	}
}

// testHung asks a stopped server for everything: each ends with its context, and leaves no
// goroutine behind.
func testHung(t *testing.T, f *pair) {
	fresh := open(t, server.Options{Name: "fresh", Socket: f.p.lab.Socket, Credentials: admin})
	f.p.lab.Stop()
	defer f.p.lab.Cont()
	before := runtime.NumGoroutine()
	for _, s := range []*server.Server{f.p.Server, fresh} {
		for what, method := range methods(f, s) {
			began := time.Now()
			err := method(within(t, 50*time.Millisecond))
			if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errors.ErrUnsupported) { // what cannot be is said without asking
				t.Errorf("%s: %v", what, err)
			}
			if d := time.Since(began); d > 250*time.Millisecond {
				t.Errorf("%s took %v of 50 ms", what, d)
			}
			if server.Refuses(err) || server.Refused(err) {
				t.Errorf("%s: a hung server refuses: %v", what, err)
			}
		}
	}
	lab.Eventually(t, "its goroutines end", func() bool { return runtime.NumGoroutine() <= before+1 })
	f.p.lab.Cont()
	ok(t, f.p.Ping(within(t, 5*time.Second)))
}

func methods(f *pair, s *server.Server) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"ping":      s.Ping,
		"look":      func(ctx context.Context) error { _, err := s.Look(ctx); return err },
		"details":   func(ctx context.Context) error { _, err := s.Details(ctx); return err },
		"positions": func(ctx context.Context) error { _, _, err := s.Positions(ctx); return err },
		"check":     func(ctx context.Context) error { _, err := s.Check(ctx); return err },
		"prepare":   func(ctx context.Context) error { _, err := s.Prepare(ctx); return err },
		"freeze":    func(ctx context.Context) error { _, err := s.Freeze(ctx); return err },
		"stop":      s.StopReceiver, "start": s.StartReceiver, "apply": s.StartApplier, "detach": s.Detach, "abandon": s.Abandon,
		"drain":  func(ctx context.Context) error { return s.Drain(ctx, gtid.Set{}) },
		"follow": func(ctx context.Context) error { return s.Follow(ctx, source(f.r), true) },
		"semi":   func(ctx context.Context) error { return s.SemiSync(ctx, true, 1, false) },
		"epoch":  func(ctx context.Context) error { return s.WriteEpoch(ctx, epoch(1, f.p, f.r)) },
		"promote": func(ctx context.Context) error {
			return s.Promote(ctx, epoch(1, f.p, f.r), 1)
		},
		"open": s.Writable, "reopen": s.Reopen, "read-only": s.ReadOnly, "fence": s.Fence,
		"close": func(ctx context.Context) error { _, err := s.CloseWrites(ctx, time.Second); return err },
		"probe": func(ctx context.Context) error { return s.Probe(ctx, 1) },
		"clone": func(ctx context.Context) error { return s.Clone(ctx, source(f.r)) },
	}
}
