package router_test

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/prometheus/client_golang/prometheus"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/endpoint/endpointtest"
	"kaname.dev/kaname/rib/mysql/router"
)

// counted returns the sum of a metric over a label's value.
func counted(t *testing.T, reg *prometheus.Registry, name, reason string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if reason == "" && l.GetName() == "topology" || l.GetValue() == reason {
					sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
	}
	return sum
}

// What a session cannot take with it closes it, and the reason is counted; what it can take
// goes on. A transaction ends where it began. All on one topology, for speed.
func (b *bed) keptStates(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, err := router.NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	b.on(t, router.Options{Users: usersFile(t), Metrics: m, Drain: time.Second})
	b.Servers[b.p].Exec(t, "CREATE PROCEDURE app.hides() SET @hidden = 1")
	db := b.open(t, labmysql.UserAdmin, labmysql.PasswordAdmin, func(c *mysql.Config) { c.MultiStatements = true })
	states := []struct{ set, ask, want, reason string }{
		{"SET @x = 7", "SELECT @x", "", "user-variable"},
		{"CREATE TEMPORARY TABLE app.tmp (a INT)", "SELECT COUNT(*) FROM app.tmp", "", "temporary-table"},
		{"DO GET_LOCK('router', 1)", "SELECT 1", "", "get-lock"},
		{"LOCK TABLES app.proof READ", "SELECT 1", "", "lock-tables"},
		{"LOCK TABLES app.proof READ; UNLOCK TABLES", "SELECT 1", "1", ""},
		{"SET SESSION sql_mode=''", "SELECT @@sql_mode", "", ""},
		{"SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci", "SELECT @@collation_connection", "utf8mb4_unicode_ci", ""},
		{"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SELECT 1", "1", ""},
		{"SET lock_wait_timeout=77, max_heap_table_size=1048576", "SELECT CONCAT(@@lock_wait_timeout, ' ', @@max_heap_table_size)", "77 1048576", ""},
		{"CALL app.hides()", "SELECT 1", "", "call"},
		{"USE mysql", "SELECT DATABASE()", "mysql", ""},
		{"SET autocommit=0", "SELECT @@autocommit", "0", ""},
	}
	conns := make([]*sql.Conn, len(states))
	for i, s := range states {
		if conns[i], err = db.Conn(t.Context()); err == nil {
			_, err = conns[i].ExecContext(t.Context(), s.set)
		}
		if err != nil {
			t.Fatalf("%s: %v", s.set, err)
		}
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err == nil {
		_, err = tx.Exec("INSERT INTO acks (id, writer) VALUES (1, 1)")
	}
	if err != nil {
		t.Fatal(err)
	}
	committed := make(chan error, 1)
	go func() {
		<-time.After(200 * time.Millisecond)
		committed <- tx.Commit()
	}()
	b.handover(t)
	if err := <-committed; err != nil {
		t.Errorf("a transaction that ends within Drain: %v", err)
	}
	for i, s := range states {
		var got string
		err := conns[i].QueryRowContext(t.Context(), s.ask).Scan(&got)
		if (err != nil) != (s.reason != "") || err == nil && got != s.want {
			t.Errorf("%s: %q, %v", s.set, got, err)
		}
		if s.reason != "" { // counted when the connection is gone for good
			lab.Eventually(t, s.set+" is counted as the reason "+s.reason, func() bool {
				return counted(t, reg, "kaname_mysql_router_closed_total", s.reason) == 1
			})
		}
	}
	b.count(t, 1)
}

// The primary is killed: sessions at rest do not notice, and those that ask meanwhile wait.
func (b *bed) keptFailover(t *testing.T) {
	b.on(t, router.Options{Users: usersFile(t)})
	db := b.open(t, labmysql.UserApp, labmysql.PasswordApp)
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ExecContext(t.Context(), "SET time_zone='+05:00'"); err != nil {
		t.Fatal(err)
	}
	b.Servers[b.p].Kill()
	got := make(chan error, 1)
	go func() {
		_, err := c.ExecContext(t.Context(), "INSERT INTO acks (id, writer) VALUES (1, 1)")
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("a command is answered while there is no primary: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	b.p, b.epoch = 1-b.p, 1
	b.Servers[b.p].Promote(t, false)
	b.publish(t)
	if err := <-got; err != nil {
		t.Errorf("a command that waited: %v", err)
	}
	var zone string
	if err := c.QueryRowContext(t.Context(), "SELECT @@time_zone").Scan(&zone); err != nil || zone != "+05:00" {
		t.Errorf("time zone %q, %v", zone, err)
	}
}

func (b *bed) denied(t *testing.T) {
	b.on(t, router.Options{Users: usersFile(t)})
	for _, c := range [][2]string{{labmysql.UserApp, "wrong"}, {"nobody", labmysql.PasswordApp}, {labmysql.UserApp, ""}} {
		err := b.open(t, c[0], c[1]).PingContext(t.Context())
		if e, ok := errors.AsType[*mysql.MySQLError](err); !ok || e.Number != 1045 {
			t.Errorf("%s: %v", c[0], err)
		}
	}
	err := b.open(t, labmysql.UserApp, labmysql.PasswordApp, func(c *mysql.Config) { c.DBName = "nothing" }).PingContext(t.Context())
	if e, ok := errors.AsType[*mysql.MySQLError](err); !ok || e.Number != 1044 && e.Number != 1049 {
		t.Errorf("an unknown database: %v", err)
	}
}

// No primary: a client waits for Hold, and is told; one that leaves is forgotten at once.
func TestHold(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, err := router.NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	_, addr := serve(t, router.Options{Hold: 400 * time.Millisecond, Limit: 3, Metrics: m})
	start := time.Now()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = endpointtest.Greeting(t.Context(), c)
	if took := time.Since(start); err == nil || !strings.Contains(err.Error(), "1053") || took < 400*time.Millisecond || took > 3*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
	conns := func() float64 { return counted(t, reg, "kaname_mysql_router_connections", "") }
	var list []net.Conn
	for range 4 {
		x, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, x)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := endpointtest.Greeting(ctx, list[3]); err == nil || !strings.Contains(err.Error(), "1040") {
		t.Errorf("one more than the limit: %v", err)
	}
	for _, x := range list {
		x.Close()
	}
	lab.Eventually(t, "no connection is left", func() bool { return conns() == 0 })
}

// A server that refuses, and one that accepts and is silent: clients wait for another.
func TestSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	m := endpointtest.Servers(t, "db2", "db3")
	m[1].Name, m[1].Address = "db3", gone.Addr().String()
	r, addr := serve(t, router.Options{})
	epoch := uint64(0)
	for _, old := range []string{l.Addr().String(), gone.Addr().String()} {
		epoch++
		dead := m[1]
		dead.Address = old
		if err := r.Publish(t.Context(), endpoint.Target{Epoch: epoch, Primary: &dead}); err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if name, err := endpointtest.Greeting(ctx, c); err == nil {
			t.Fatalf("greeted by %s", name)
		}
		_ = c.SetReadDeadline(time.Time{})
		epoch++
		if err := r.Publish(t.Context(), endpoint.Target{Epoch: epoch, Primary: &m[0]}); err != nil {
			t.Fatal(err)
		}
		if name, err := endpointtest.Greeting(t.Context(), c); name != "db2" {
			t.Errorf("greeted by %q, %v", name, err)
		}
	}
}
