package gtid_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/gtid"
)

// quick servers do not wait for the disk.
var quick = labmysql.Options{Args: []string{"--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2"}}

// TestMySQLAgrees asks a real server for the same sums.
func TestMySQLAgrees(t *testing.T) {
	t.Parallel()
	s := labmysql.MySQL(t, labmysql.Options{})
	ask := func(query string, args ...any) string {
		return strings.TrimSpace(s.Value(t, query, args...))
	}
	some := someSet(gtid.MySQL, false)
	for i := range 200 {
		a, b := some.Example(2*i), some.Example(2*i+1)
		if got, want := a.Minus(b).String(), ask("SELECT GTID_SUBTRACT(?, ?)", a.String(), b.String()); got != want {
			t.Fatalf("%q without %q is %q; the server says %q", a, b, got, want)
		}
		if got, want := a.Contains(b), ask("SELECT GTID_SUBSET(?, ?)", b.String(), a.String()) == "1"; got != want {
			t.Fatalf("%q contains %q: %t; the server says %t", a, b, got, want)
		}
		if got, want := a.Union(b).String(), ask("SELECT GTID_SUBTRACT(?, '')", a.String()+","+b.String()); got != want {
			t.Fatalf("%q with %q is %q; the server says %q", a, b, got, want)
		}
	}
	t.Run("texts", func(t *testing.T) {
		for _, text := range []string{
			"", " ", ",", u1, u1 + ":1", u1 + ":1-3:5-7", u1 + ":5-3", u1 + ":7-7", u1 + ":0", u1 + ":1-0", u1 + ":", u1 + ":1:", u1 + ":1-",
			" " + strings.ToUpper(u1) + " : 1 - 3 , " + u2 + ":4\n,\n" + u1 + ":9", "," + u1 + ":1,,", u1 + ":1 2", u1 + ":1;2",
			u1 + ":Tag:1", u1 + ":_t9:1", u1 + ":9t:1", u1 + ":t", u1 + ":t:", u1 + ":t:u:1", u1 + ":1:t", u1 + ":t-u:1", u1 + ": t : 1 : 2 : u : 3",
			u1 + ":" + strings.Repeat("x", 32) + ":1", u1 + ":" + strings.Repeat("x", 33) + ":1",
			u1 + ":9223372036854775806", u1 + ":9223372036854775807", u1 + ":01-002", "x" + u1 + ":1", u1[:35] + ":1", strings.ReplaceAll(u1, "-", "") + ":1",
			u1 + ":+1", u1 + ":1--2", u1 + ":t:1," + u1 + ":t:2:3," + u1 + ":4",
		} {
			var want string
			err := s.DB().QueryRowContext(t.Context(), "SELECT GTID_SUBTRACT(?, '')", text).Scan(&want)
			got, perr := gtid.Parse(gtid.MySQL, text)
			if (err == nil) != (perr == nil) {
				t.Errorf("%q: the server says %v, this says %v", text, err, perr)
			} else if got.String() != want {
				t.Errorf("%q is %q for the server, %q here", text, want, got)
			}
		}
	})
}

// TestMariaDBAgrees asks a real server which positions it has reached.
func TestMariaDBAgrees(t *testing.T) {
	t.Parallel()
	s := labmysql.MariaDB(t, quick)
	for i := range 40 {
		at, want := someSet(gtid.MariaDB, false).Example(2*i), someSet(gtid.MariaDB, false).Example(2*i+1)
		if doubled(at) || doubled(want) {
			continue // a server is at one position of a domain
		}
		s.Exec(t, fmt.Sprintf("SET GLOBAL gtid_slave_pos = '%s'", at))
		reached := s.Value(t, "SELECT MASTER_GTID_WAIT(?, 0)", want.String()) == "0"
		// The server waits for the number alone: it takes another server's for it.
		if at.Contains(want) && !reached {
			t.Fatalf("a server at %q has not reached %q", at, want)
		}
		if reached && !at.Contains(want) && at.Union(want).String() == at.String() {
			t.Fatalf("a server at %q has reached %q", at, want)
		}
		if got := s.Value(t, "SELECT @@gtid_slave_pos"); got != at.String() {
			t.Fatalf("the server prints %q for %q", got, at)
		}
	}
	for i := range 20 {
		state := someSet(gtid.MariaDB, true).Example(i)
		if doubled(state.Position()) {
			continue
		}
		s.Exec(t, "RESET MASTER", fmt.Sprintf("SET GLOBAL gtid_binlog_state = '%s'", state))
		back := set(t, gtid.MariaDB, s.Value(t, "SELECT @@gtid_binlog_state"))
		if back.String() != state.String() {
			t.Fatalf("the server gives %q back for %q", back, state)
		}
		pos := set(t, gtid.MariaDB, s.Value(t, "SELECT @@gtid_binlog_pos"))
		if pos.String() != state.Position().String() {
			t.Fatalf("the position of %q is %q for the server, %q here", state, pos, state.Position())
		}
	}
}

func doubled(s gtid.Set) bool {
	seen := map[string]bool{}
	for p := range strings.SplitSeq(s.String(), ",") {
		domain, _, _ := strings.Cut(p, "-")
		if seen[domain] {
			return true
		}
		seen[domain] = true
	}
	return false
}

func state(t *testing.T, s *labmysql.Server) gtid.Set {
	t.Helper()
	out, err := gtid.ParseState(s.Value(t, "SELECT @@gtid_binlog_state"), s.Value(t, "SELECT @@gtid_slave_pos"))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestDivergenceIsReal has two servers write the same number: the one must not replicate
// from the other, and neither contains the other.
func TestDivergenceIsReal(t *testing.T) {
	t.Parallel()
	b := labmysql.Topology(t, labmysql.FlavourMariaDB, 2, quick)
	p, r := b.Primary(), b.Replicas()[0]
	p.SemiSync(t, false)
	states := func() (primary, replica gtid.Set) {
		replica = state(t, r)
		return state(t, p), replica
	}
	ps, rs := states()
	if !ps.Equal(rs) || !gtid.Errant(rs, ps, strconv.Itoa(r.ID)).All.Empty() {
		t.Fatalf("in peace the primary has %s and the replica %s", ps, rs)
	}
	r.Exec(t, "STOP SLAVE", "SET GLOBAL read_only=0", "INSERT INTO app.proof VALUES (1)")
	p.Exec(t, "INSERT INTO app.proof VALUES (2)")
	ps, rs = states()
	if gtid.Best(ps, rs) != -1 {
		t.Errorf("one of %s and %s contains the other", ps, rs)
	}
	e := gtid.Errant(rs, ps, strconv.Itoa(r.ID))
	if n, _ := e.Own.Count(); n != 1 || !e.Own.Equal(e.All) {
		t.Errorf("errant is %s, of its own %s, want the one transaction", e.All, e.Own)
	}
	r.Exec(t, "CHANGE MASTER TO MASTER_USE_GTID=current_pos", "START SLAVE")
	lab.Eventually(t, "the replica refuses to replicate", func() bool { return r.Replica(t)["Last_IO_Errno"] == "1236" })
	p.Exec(t, "INSERT INTO app.proof VALUES (3)")
	ps, rs = states()
	if e := gtid.Errant(rs, ps, strconv.Itoa(r.ID)); e.Own.Empty() {
		t.Errorf("the write is forgotten once the primary (%s) is further than the replica (%s)", ps, rs)
	}
}

// TestSeededPrimary: a primary that was copied from another knows by gtid_slave_pos what its
// own binary log does not.
func TestSeededPrimary(t *testing.T) {
	t.Parallel()
	old, p := labmysql.MariaDB(t, quick), labmysql.MariaDB(t, quick)
	for _, s := range []*labmysql.Server{old, p} {
		s.Writable(t, true)
	}
	old.Exec(t, "INSERT INTO app.proof VALUES (1)")
	p.Exec(t, fmt.Sprintf("SET GLOBAL gtid_slave_pos='%s'", old.Value(t, "SELECT @@gtid_binlog_pos")), "INSERT INTO app.proof VALUES (2)")
	if e := gtid.Errant(state(t, old), state(t, p), strconv.Itoa(old.ID)); !e.All.Empty() {
		t.Errorf("%s is errant to a primary that was copied from there, at %s", e.All, state(t, p))
	}
	old.Exec(t, "INSERT INTO app.proof VALUES (3)")
	if e := gtid.Errant(state(t, old), state(t, p), strconv.Itoa(old.ID)); e.Own.Empty() {
		t.Errorf("what was written to %s after the copy does not count beside %s", state(t, old), state(t, p))
	}
}
