package proxysql_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/endpoint/endpointtest"
	"kaname.dev/kaname/rib/mysql/endpoint/proxysql"
	"kaname.dev/kaname/rib/mysql/topology"
)

func passwordFile(t testing.TB, password string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func driver(t testing.TB, log io.Writer, address string, more map[string]string) endpoint.Driver {
	t.Helper()
	settings := map[string]string{"address": address, "password_file": passwordFile(t, "first"), "writer_hostgroup": "10", "reader_hostgroup": "20"}
	maps.Copy(settings, more)
	d, err := proxysql.New(endpoint.Options{Topology: "shop", Settings: settings, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func member(i int) topology.Member {
	return topology.Member{Name: fmt.Sprintf("db%d", i), Host: fmt.Sprintf("db%d", i), Address: fmt.Sprintf("192.0.2.%d:3306", i)}
}

func target(epoch uint64, primary int, replicas ...int) endpoint.Target {
	m := member(primary)
	t := endpoint.Target{Topology: "shop", Epoch: epoch, Primary: &m}
	for _, r := range replicas {
		t.Replicas = append(t.Replicas, member(r))
	}
	return t
}

func want(t *testing.T, s *standIn, lines ...string) {
	t.Helper()
	for _, table := range []string{"mysql_servers", "runtime_mysql_servers", "disk_mysql_servers"} {
		if diff := cmp.Diff(lines, s.table(table)); diff != "" {
			t.Errorf("%s: %s", table, diff)
		}
	}
}

func TestThePrimaryIsTheOnlyWriter(t *testing.T) {
	s := newStandIn(t)
	// As an operator may have set it up, with one that is nobody's.
	s.sql(`INSERT INTO mysql_servers (hostgroup_id, hostname, max_connections, use_ssl) VALUES (10, '192.0.2.1', 300, 1), (20, '192.0.2.2', 100, 1), (30, '192.0.2.99', 7, 0)`)
	d := driver(t, t.Output(), s.address, nil)
	for range 2 { // the second changes nothing
		if err := d.Publish(t.Context(), target(1, 1, 2, 3)); err != nil {
			t.Fatal(err)
		}
		want(t, s, "10 192.0.2.1:3306 ONLINE", "20 192.0.2.2:3306 ONLINE", "20 192.0.2.3:3306 ONLINE", "30 192.0.2.99:3306 ONLINE")
	}
	s.statements()

	// A switchover: first nobody writes, then another.
	if err := d.Withdraw(t.Context(), target(2, 1)); err != nil {
		t.Fatal(err)
	}
	want(t, s, "10 192.0.2.1:3306 OFFLINE_SOFT", "20 192.0.2.2:3306 ONLINE", "20 192.0.2.3:3306 ONLINE", "30 192.0.2.99:3306 ONLINE")
	if got, err := d.Current(t.Context()); err != nil || got.Primary != nil {
		t.Errorf("current is %+v, %v; want nowhere", got, err)
	}
	if err := d.Publish(t.Context(), target(2, 2, 1, 3)); err != nil {
		t.Fatal(err)
	}
	want(t, s, "10 192.0.2.1:3306 OFFLINE_HARD", "10 192.0.2.2:3306 ONLINE",
		"20 192.0.2.1:3306 ONLINE", "20 192.0.2.2:3306 OFFLINE_SOFT", "20 192.0.2.3:3306 ONLINE", "30 192.0.2.99:3306 ONLINE")
	got, err := d.Current(t.Context())
	if err != nil || got.Epoch != 2 || got.Primary == nil || got.Primary.Name != "db2" || got.Primary.Address != "192.0.2.2:3306" {
		t.Errorf("current is %+v, %v", got, err)
	}
	// A new row is used like the one before.
	if out := s.sql("SELECT max_connections, use_ssl FROM mysql_servers WHERE hostgroup_id=10 AND hostname='192.0.2.2'"); strings.TrimSpace(out) != `[{"max_connections":300,"use_ssl":1}]` {
		t.Errorf("the new writer's row: %s", out)
	}

	// With no replica fit for reads the primary serves them.
	if err := d.Publish(t.Context(), target(3, 3)); err != nil {
		t.Fatal(err)
	}
	want(t, s, "10 192.0.2.1:3306 OFFLINE_HARD", "10 192.0.2.2:3306 OFFLINE_HARD", "10 192.0.2.3:3306 ONLINE",
		"20 192.0.2.1:3306 OFFLINE_SOFT", "20 192.0.2.2:3306 OFFLINE_SOFT", "20 192.0.2.3:3306 ONLINE", "30 192.0.2.99:3306 ONLINE")
	if got := s.sql("SELECT DISTINCT comment FROM disk_mysql_servers WHERE hostgroup_id=10"); !strings.Contains(got, "kaname shop epoch 3 db3") {
		t.Errorf("comments: %s", got)
	}
}

func TestTheStatements(t *testing.T) {
	s := newStandIn(t)
	d := driver(t, t.Output(), s.address, map[string]string{"reader_hostgroup": ""})
	if err := d.Publish(t.Context(), target(7, 1)); err != nil {
		t.Fatal(err)
	}
	const guard = " AND NOT EXISTS (SELECT 1 FROM mysql_servers WHERE hostgroup_id=10 AND substr(comment, 1, 18)='kaname shop epoch ' AND CAST(substr(comment, 19) AS INTEGER) > 7)"
	load := []string{"LOAD MYSQL SERVERS TO RUNTIME", "SAVE MYSQL SERVERS TO DISK"}
	if diff := cmp.Diff(append([]string{
		"INSERT OR IGNORE INTO mysql_servers (hostgroup_id, hostname, port, status, weight, compression, max_connections, max_replication_lag, use_ssl, max_latency_ms, comment) VALUES (10, '192.0.2.1', 3306, 'OFFLINE_HARD', 1, 0, 1000, 0, 0, 0, '')",
		"UPDATE mysql_servers SET status=CASE WHEN hostgroup_id=10 AND hostname='192.0.2.1' AND port=3306 THEN 'ONLINE' WHEN hostgroup_id=10 THEN 'OFFLINE_HARD' ELSE 'OFFLINE_SOFT' END, comment=CASE hostgroup_id WHEN 10 THEN 'kaname shop epoch 7 db1' ELSE comment END WHERE hostgroup_id IN (10)" + guard,
	}, load...), s.statements()); diff != "" {
		t.Error(diff)
	}
	if err := d.Withdraw(t.Context(), target(7, 1)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(append([]string{
		"UPDATE mysql_servers SET status=CASE status WHEN 'OFFLINE_HARD' THEN status ELSE 'OFFLINE_SOFT' END, comment=CASE hostgroup_id WHEN 10 THEN 'kaname shop epoch 7' ELSE comment END WHERE hostgroup_id IN (10)" + guard,
	}, load...), s.statements()); diff != "" {
		t.Error(diff)
	}
}

func TestALowerEpochChangesNothing(t *testing.T) {
	s := newStandIn(t)
	if err := driver(t, t.Output(), s.address, nil).Publish(t.Context(), target(10, 1, 2)); err != nil {
		t.Fatal(err)
	}
	s.statements()
	late := driver(t, t.Output(), s.address, nil)
	if err := late.Publish(t.Context(), target(9, 2)); !errors.Is(err, endpoint.ErrOld) {
		t.Errorf("epoch 9 after 10: %v", err)
	}
	if err := late.Withdraw(t.Context(), target(9, 2)); !errors.Is(err, endpoint.ErrOld) {
		t.Errorf("withdrawn with epoch 9 after 10: %v", err)
	}
	if got := s.statements(); len(got) > 0 {
		t.Errorf("it said %q", got)
	}
	// One that comes between the look and the statement.
	s.before = func() {
		if err := driver(t, t.Output(), s.address, nil).Publish(t.Context(), target(12, 3)); err != nil {
			t.Error(err)
		}
	}
	if err := late.Publish(t.Context(), target(11, 2)); !errors.Is(err, endpoint.ErrOld) {
		t.Errorf("epoch 11, while 12 came: %v", err)
	}
	want(t, s, "10 192.0.2.1:3306 OFFLINE_HARD", "10 192.0.2.2:3306 OFFLINE_HARD", "10 192.0.2.3:3306 ONLINE", "20 192.0.2.2:3306 OFFLINE_SOFT", "20 192.0.2.3:3306 ONLINE")
}

func TestGuessingIsToldAndFoundOut(t *testing.T) {
	s := newStandIn(t)
	var log bytes.Buffer
	d := driver(t, &log, s.address, nil)
	if err := d.Publish(t.Context(), target(1, 1)); err != nil || log.Len() > 0 {
		t.Fatalf("%v; log: %s", err, &log)
	}
	s.sql("INSERT INTO mysql_replication_hostgroups (writer_hostgroup, reader_hostgroup) VALUES (10, 20)")
	if err := d.Publish(t.Context(), target(2, 2)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "read_only") || !strings.Contains(log.String(), "DELETE FROM mysql_replication_hostgroups WHERE writer_hostgroup=10") {
		t.Errorf("no warning in %s", &log)
	}
	s.guessing = "UPDATE runtime_mysql_servers SET status='ONLINE' WHERE hostgroup_id=10"
	if err := d.Publish(t.Context(), target(3, 1)); err == nil || !strings.Contains(err.Error(), "two writers") {
		t.Errorf("a second writer at run time: %v", err)
	}
	// What ProxySQL shuns is led to still.
	s.guessing = "UPDATE runtime_mysql_servers SET status='SHUNNED' WHERE hostgroup_id=10 AND status='ONLINE'"
	if err := d.Publish(t.Context(), target(4, 1)); err != nil {
		t.Error(err)
	}
}

func TestSeveralProxies(t *testing.T) {
	a, b := newStandIn(t), newStandIn(t)
	d := driver(t, t.Output(), a.address+", "+b.address, nil)
	if err := d.Publish(t.Context(), target(1, 1)); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*standIn{a, b} {
		want(t, s, "10 192.0.2.1:3306 ONLINE", "20 192.0.2.1:3306 ONLINE")
	}
	if err := driver(t, t.Output(), b.address, nil).Publish(t.Context(), target(2, 2)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Current(t.Context()); err == nil || !strings.Contains(err.Error(), "different servers") {
		t.Errorf("two that differ: %v", err)
	}
	gone := driver(t, t.Output(), a.address+",127.0.0.1:1", nil)
	if err := gone.Publish(t.Context(), target(3, 3)); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("one that does not answer: %v", err)
	}
	if got, err := driver(t, t.Output(), a.address, nil).Current(t.Context()); err != nil || got.Epoch != 3 {
		t.Errorf("the one that answers has %+v, %v", got, err)
	}
}

func TestPasswordIsReadForEachConnectionAndNeverShown(t *testing.T) {
	s := newStandIn(t)
	file := passwordFile(t, "first")
	var log bytes.Buffer
	d := driver(t, &log, s.address, map[string]string{"password_file": file})
	if err := d.Publish(t.Context(), target(1, 1)); err != nil {
		t.Fatal(err)
	}
	s.lock.Lock()
	s.password = "second"
	s.lock.Unlock()
	s.cut()
	err := d.Publish(t.Context(), target(1, 1))
	if err == nil || strings.Contains(err.Error()+log.String(), "first") {
		t.Errorf("with an old password: %v; log: %s", err, &log)
	}
	if err := os.WriteFile(file, []byte("second\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Publish(t.Context(), target(1, 1)); err != nil {
		t.Errorf("with the new password: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	s.cut()
	if err := d.Publish(t.Context(), target(1, 1)); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("without the file: %v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	s := newStandIn(t)
	const last = 8
	var all sync.WaitGroup
	for epoch := uint64(1); epoch <= last; epoch++ {
		d := driver(t, t.Output(), s.address, nil)
		all.Go(func() {
			// Another's writer may be there when this one looks whether its own is.
			_ = d.Publish(t.Context(), target(epoch, int(epoch)))
		})
	}
	all.Wait()
	got, err := driver(t, t.Output(), s.address, nil).Current(t.Context())
	if err != nil || got.Epoch != last {
		t.Errorf("current is %+v, %v; want epoch %d", got, err, last)
	}
}

func TestConform(t *testing.T) {
	s := newStandIn(t)
	settings := map[string]string{"address": s.address, "user": "admin", "password_file": passwordFile(t, "first"), "ca_file": "", "writer_hostgroup": "10", "reader_hostgroup": "20"}
	nobody := maps.Clone(settings)
	nobody["address"] = "127.0.0.1:1"
	endpointtest.Conform(t, endpointtest.Bench{
		New: proxysql.New, Settings: settings, Members: []topology.Member{member(1), member(2)},
		Epochs: endpointtest.Kept, Unreachable: nobody, Where: "proxysql 127.0.0.1",
		Reach: func(context.Context) (string, error) {
			for _, line := range s.table("runtime_mysql_servers") {
				if line == "10 192.0.2.1:3306 ONLINE" {
					return "db1", nil
				}
				if line == "10 192.0.2.2:3306 ONLINE" {
					return "db2", nil
				}
			}
			return "", errors.New("there is no writer")
		},
		Break: func(t *testing.T) func() {
			s.sql("ALTER TABLE mysql_servers RENAME TO away")
			return func() { s.sql("ALTER TABLE away RENAME TO mysql_servers") }
		},
		Stays: true, // nothing is behind the stand-in
	})
}

func TestSettings(t *testing.T) {
	good := map[string]string{"password_file": "/etc/kaname/proxysql", "writer_hostgroup": "10"}
	for _, c := range []struct{ key, value, want string }{
		{"writer_hostgroup", "ten", "number of a hostgroup"},
		{"writer_hostgroup", "", "number of a hostgroup"},
		{"reader_hostgroup", "10", "are the same"},
		{"password_file", "", "no setting password_file"},
		{"password", "x", "known are address, ca_file"},
		{"address", "127.0.0.1", "missing port"},
		{"ca_file", "/nowhere/ca.pem", "/nowhere/ca.pem"},
	} {
		settings := maps.Clone(good)
		settings[c.key] = c.value
		if _, err := proxysql.New(endpoint.Options{Topology: "shop", Settings: settings}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%q: %v, want %q", c.key, c.value, err, c.want)
		}
	}
	if _, err := proxysql.New(endpoint.Options{Topology: "shop'--", Settings: good}); err == nil {
		t.Error("a quote in the topology's name is taken")
	}
	d, err := proxysql.New(endpoint.Options{Topology: "shop", Settings: good})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, address := range []string{"192.0.2.1", "x'y:3306", "192.0.2.1:mysql", "192.0.2.1:70000"} {
		m := topology.Member{Name: "db1", Address: address}
		if err := d.Publish(t.Context(), endpoint.Target{Topology: "shop", Epoch: 1, Primary: &m}); err == nil || !strings.Contains(err.Error(), "db1") {
			t.Errorf("address %q: %v", address, err)
		}
	}
}
