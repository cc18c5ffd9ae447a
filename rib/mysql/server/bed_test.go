package server_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/server"
)

// pair is a primary and its replica, real ones, and how their agents work them.
type pair struct {
	bed  *labmysql.Bed
	p, r *one
	next int // row to be written
}

type one struct {
	*server.Server

	lab *labmysql.Server
}

// TestServers runs all that needs two servers, on one bed for each flavour.
func TestServers(t *testing.T) {
	for _, flavour := range []string{labmysql.FlavourMariaDB, labmysql.FlavourMySQL} {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			if flavour == labmysql.FlavourMySQL {
				labmysql.NeedMySQL(t)
			} else {
				lab.Need(t, "mariadbd")
			}
			f := &pair{bed: labmysql.Topology(t, flavour, 2)}
			f.p, f.r = f.open(t, f.bed.Servers[0]), f.open(t, f.bed.Servers[1])
			for _, test := range []struct {
				name string
				run  func(*testing.T, *pair)
				soak bool // MySQL only then: it is MariaDB's test with no statement of its own
			}{
				{name: "prepare", run: testPrepare},
				{name: "details", run: testDetails},
				{name: "check", run: testCheck},
				{name: "probe", run: testProbe},
				{name: "close", run: testClose},
				{name: "close cuts", run: testCloseCuts, soak: true},
				{name: "close gives up", run: testCloseGivesUp, soak: true},
				{name: "fence", run: testFence},
				{name: "fence isolated", run: testFenceIsolated, soak: true},
				{name: "fence full", run: testFenceFull, soak: true},
				{name: "freeze silent", run: testFreezeSilent},
				{name: "both stopped", run: testBothStopped, soak: true},
				{name: "broken", run: testBroken, soak: true},
				{name: "delayed", run: testDelayed, soak: true},
				{name: "channels", run: testChannels},
				{name: "rotate", run: testRotate, soak: true},
				{name: "secrets", run: testSecrets, soak: true},
				{name: "refuses", run: testRefuses, soak: true},
				{name: "hung", run: testHung, soak: true},
				{name: "backlog", run: testBacklog, soak: true},
			} {
				if test.soak && !f.maria() && !lab.Soak() {
					continue
				}
				began := time.Now()
				t.Run(test.name, func(t *testing.T) { test.run(t, f.ready(t)) })
				t.Logf("%s took %v", test.name, time.Since(began).Round(time.Millisecond))
				if t.Failed() {
					return
				}
			}
		})
	}
}

func (f *pair) maria() bool { return f.p.lab.Flavour == labmysql.FlavourMariaDB }

// open returns the server as its agent works it, over the unix socket.
func (f *pair) open(t *testing.T, l *labmysql.Server) *one {
	return &one{open(t, server.Options{Name: l.Name, Socket: l.Socket, Credentials: admin}), l}
}

func admin() (string, string, error) { return labmysql.UserAdmin, labmysql.PasswordAdmin, nil }

func open(t testing.TB, o server.Options) *server.Server {
	t.Helper()
	s, err := server.Open(o)
	ok(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ready makes p a lossless primary and r its acker, as every test begins.
func (f *pair) ready(t *testing.T) *pair {
	t.Helper()
	ctx := within(t, 30*time.Second)
	for _, s := range []*one{f.p, f.r} {
		if s.lab.PID() == 0 {
			s.lab.Start(t)
		}
	}
	ok(t, f.p.SemiSync(ctx, true, 1, false))
	ok(t, f.p.Writable(ctx))
	self, err := f.r.Look(ctx)
	ok(t, err)
	// A replica that connects anew costs a MySQL a second, until its receiver of
	// acknowledgements listens to it.
	if r := self.Replica; r == nil || !r.Receiving || !r.Applying || r.Source != f.p.lab.Address() || !self.ReadOnly || !self.SemiSync.Replies {
		ok(t, f.r.Follow(ctx, source(f.p), true))
	}
	f.bed.Prove(t, f.p.lab)
	return f
}

// within returns a context of the test with a deadline.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// took fails when what began then has taken longer.
func took(t testing.TB, what string, began time.Time, most time.Duration) {
	t.Helper()
	d := time.Since(began)
	t.Logf("%s took %v", what, d.Round(100*time.Microsecond))
	if d > most {
		t.Errorf("%s took %v, want at most %v", what, d, most)
	}
}

// source returns a server as others replicate from it.
func source(s *one) server.Source {
	host, port, _ := net.SplitHostPort(s.lab.Address())
	n, _ := strconv.Atoi(port)
	return server.Source{Host: host, Port: n, User: labmysql.UserRepl, Password: labmysql.PasswordRepl}
}

// write commits n rows on the primary over several connections and returns the first.
func (f *pair) write(t *testing.T, n int) int {
	t.Helper()
	from := f.next
	f.next += n
	var work sync.WaitGroup
	for w := range min(n, 8) {
		work.Go(func() {
			for i := from + w; i < from+n; i += 8 {
				if _, err := f.p.lab.DB(labmysql.UserApp).ExecContext(t.Context(), "INSERT INTO app.acks (id, writer) VALUES (?, ?)", i, w); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	return from
}

// count returns how many rows of app.acks there are from a number on.
func count(t testing.TB, s *one, from int) int {
	t.Helper()
	n, err := strconv.Atoi(s.lab.Value(t, "SELECT COUNT(*) FROM app.acks WHERE id >= ?", from))
	ok(t, err)
	return n
}

// client is a connection of an application.
func (f *pair) client(t *testing.T, s *one) *sql.Conn {
	t.Helper()
	c, err := s.lab.DB(labmysql.UserApp).Conn(t.Context())
	ok(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// insert begins to write a row and returns where its outcome comes.
func (f *pair) insert(ctx context.Context, c *sql.Conn) <-chan error {
	f.next++
	done := make(chan error, 1)
	q := fmt.Sprintf("INSERT INTO app.acks (id, writer) VALUES (%d, 99)", f.next-1)
	go func() { // ends with the statement: ctx is the test's
		_, err := c.ExecContext(ctx, q)
		done <- err
	}()
	return done
}

func (f *pair) swap() { f.p, f.r = f.r, f.p }

// thread makes a statement on one of a replica's threads.
func (f *pair) thread(verb, which string) string {
	if f.maria() {
		return verb + " SLAVE " + which
	}
	return verb + " REPLICA " + which
}

func epoch(n uint64, to, from *one) order.Row {
	return order.Row{Epoch: n, Primary: to.lab.Name, From: from.lab.Name, Frozen: to.lab.Name + " of 1", Proven: true}
}
