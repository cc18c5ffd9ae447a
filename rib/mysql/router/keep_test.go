package router_test

import (
	"context"
	"database/sql"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/router"
)

func TestMariaDB(t *testing.T) {
	lab.Need(t, "mariadbd")
	all(t, &bed{Bed: labmysql.Topology(t, labmysql.FlavourMariaDB, 2)})
}

func TestMySQL(t *testing.T) {
	labmysql.NeedMySQL(t)
	b := &bed{Bed: labmysql.Topology(t, labmysql.FlavourMySQL, 2)}
	if lab.Soak() {
		all(t, b)
		return
	}
	// What differs from MariaDB: how one logs in, and what a session tells of its state.
	t.Run("kept states", b.keptStates)
	t.Run("denied", b.denied)
}

// all runs all that needs real servers; the primary is killed at the end.
func all(t *testing.T, b *bed) {
	t.Helper()
	t.Run("kept sessions", b.keptSessions)
	t.Run("kept client", b.keptClient)
	t.Run("kept states", b.keptStates)
	t.Run("denied", b.denied)
	t.Run("plain pool", b.plainPool)
	t.Run("short connections", b.short)
	t.Run("plain transaction", b.plainTransaction)
	t.Run("kept failover", b.keptFailover)
}

// rounds of switchovers in a test.
func rounds() int {
	if lab.Soak() {
		return 20
	}
	return 3
}

// Eight clients with one connection each, half of them with a prepared statement, do not
// notice that the primary moves.
func (b *bed) keptSessions(t *testing.T) {
	b.on(t, router.Options{Users: usersFile(t)})
	db := b.open(t, labmysql.UserApp, labmysql.PasswordApp)
	conns := make([]*sql.Conn, 8)
	stmts := make([]*sql.Stmt, 8)
	for i := range conns {
		c, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c
		if stmts[i], err = c.PrepareContext(t.Context(), "INSERT INTO acks (id, writer) VALUES (?, ?)"); err != nil {
			t.Fatal(err)
		}
	}
	w := write(t, 8, func(ctx context.Context, i int, id int64) error {
		if i%2 == 0 {
			return insert(ctx, conns[i], i, id)
		}
		_, err := stmts[i].ExecContext(ctx, id, i)
		return err
	})
	var took []time.Duration
	for range rounds() {
		before := w.acked.Load()
		took = append(took, b.handover(t))
		lab.Eventually(t, "writes go on", func() bool { return w.acked.Load() > before+20 })
	}
	errs := w.stop()
	t.Logf("held %v, %d writes, %d errors", took, w.acked.Load(), len(errs))
	for _, err := range errs {
		t.Error(err)
	}
	b.count(t, w.acked.Load())
}

// count fails unless the primary has as many rows as were acknowledged.
func (b *bed) count(t *testing.T, want int64) {
	t.Helper()
	var n int64
	if err := b.Servers[b.p].DB().QueryRowContext(t.Context(), "SELECT COUNT(*) FROM app.acks").Scan(&n); err != nil || n != want {
		t.Errorf("%d rows (%v), %d were acknowledged", n, err, want)
	}
}

// The real client sees what it has set up, after the primary has moved.
func (b *bed) keptClient(t *testing.T) {
	lab.Need(t, "mariadb")
	b.on(t, router.Options{Users: usersFile(t)})
	host, port, _ := strings.Cut(b.addr, ":")
	cmd := exec.CommandContext(t.Context(), "mariadb", "--defaults-extra-file="+b.Servers[0].AppFile, "-h"+host, "-P"+port, "-N", "--unbuffered", "app")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out safe
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ask := "SELECT @@sql_mode, @@time_zone, @@autocommit, @@character_set_client, DATABASE(), LAST_INSERT_ID(), 'é';\n"
	_, _ = in.Write([]byte("USE information_schema; USE app; SET NAMES latin1; SET time_zone='+09:00', sql_mode='ANSI,NO_BACKSLASH_ESCAPES'; SET autocommit=0;\n" +
		"SELECT 1;\n" + ask))
	lab.Eventually(t, "the client has asked", func() bool { return strings.Contains(out.String(), "+09:00") })
	b.handover(t)
	_, _ = in.Write([]byte(ask + "SELECT @@server_id;\n"))
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 || lines[1] != lines[2] || !strings.Contains(lines[1], "+09:00") {
		t.Errorf("the client saw:\n%s", out.String())
	}
	if want := b.Servers[b.p].Value(t, "SELECT @@server_id"); lines[len(lines)-1] != want {
		t.Errorf("the client ends at server %s, not %s", lines[len(lines)-1], want)
	}
}

// safe is what a client has said, which can be read while it goes on.
type safe struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *safe) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safe) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
