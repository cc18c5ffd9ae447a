package binlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/binlog"
	"kaname.dev/kaname/rib/mysql/gtid"
)

// quick servers do not wait for the disk, whose contents outlive a kill -9 all the same.
var quick = labmysql.Options{Args: []string{"--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2"}}

// each runs a test for both flavours. MySQL is skipped aloud where it is not.
func each(t *testing.T, test func(t *testing.T, flavour string)) {
	for _, flavour := range []string{gtid.MariaDB, gtid.MySQL} {
		t.Run(flavour, func(t *testing.T) {
			if flavour == gtid.MySQL && !lab.Soak() {
				t.Skip("the same once more with MySQL, which takes longer: make soak")
			}
			t.Parallel()
			test(t, flavour)
		})
	}
}

func executed(t *testing.T, s *labmysql.Server) gtid.Set {
	t.Helper()
	q := "SELECT @@global.gtid_binlog_pos"
	if s.Flavour == gtid.MySQL {
		q = "SELECT @@global.gtid_executed"
	}
	set, err := gtid.Parse(s.Flavour, s.Value(t, q))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func logs(t *testing.T, s *labmysql.Server) binlog.Logs {
	t.Helper()
	l, err := binlog.Find(s.Flavour, s.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// first yields the first n of a sequence.
func first(n int, txs iter.Seq2[binlog.Transaction, error]) iter.Seq2[binlog.Transaction, error] {
	return func(yield func(binlog.Transaction, error) bool) {
		for tx, err := range txs {
			if n--; n < 0 || !yield(tx, err) {
				return
			}
		}
	}
}

func apply(t *testing.T, s *labmysql.Server, txs iter.Seq2[binlog.Transaction, error]) (int, error) {
	t.Helper()
	conn, err := s.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return binlog.Apply(t.Context(), conn, s.Flavour, txs)
}

// client replays a script as a person would.
func client(t *testing.T, s *labmysql.Server, script []byte) {
	t.Helper()
	var words []string
	if s.Flavour == gtid.MariaDB {
		words = []string{lab.Need(t, "mariadb")}
	} else {
		root := labmysql.NeedMySQL(t)
		lib := filepath.Join(root, "usr/lib/x86_64-linux-gnu")
		words = []string{filepath.Join(lib, "ld-linux-x86-64.so.2"), "--library-path", lib, filepath.Join(root, "usr/bin/mysql")}
	}
	words = append(words, "--no-defaults", "--binary-mode", "-uroot", "-S", s.Socket)
	cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
	cmd.Stdin = bytes.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the client says %v: %s", err, out)
	}
}

// same fails unless both servers have the same transactions and data.
func same(t *testing.T, a, b *labmysql.Server) {
	t.Helper()
	if x, y := executed(t, a), executed(t, b); x.String() != y.String() {
		t.Errorf("%s has %s, %s has %s", a.Name, x, b.Name, y)
	}
	sameData(t, checksums(t, a), checksums(t, b))
}

func sameData(t *testing.T, x, y map[string]string) {
	t.Helper()
	if len(x) < 5 {
		t.Fatalf("too few tables to compare: %v", x)
	}
	for table, sum := range x {
		if y[table] != sum {
			t.Errorf("%s: %q on the one, %q on the other", table, sum, y[table])
		}
	}
	if len(x) != len(y) {
		t.Errorf("%d tables and routines on the one, %d on the other", len(x), len(y))
	}
}

// checksums returns what CHECKSUM TABLE says of each table, and the texts of routines.
func checksums(t *testing.T, s *labmysql.Server) map[string]string {
	t.Helper()
	out := map[string]string{}
	rows, err := s.DB().QueryContext(t.Context(), `SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME), TABLE_TYPE FROM information_schema.TABLES
		WHERE TABLE_SCHEMA IN ('app', 'shop', 'müll')`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var table, kind string
		if err := rows.Scan(&table, &kind); err != nil {
			t.Fatal(err)
		}
		if kind == "BASE TABLE" {
			names = append(names, table)
		}
		out[table] = kind
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, table := range names {
		var name string
		quoted := "`" + strings.Replace(table, ".", "`.`", 1) + "`"
		var sum string
		if err := s.DB().QueryRowContext(t.Context(), "CHECKSUM TABLE "+quoted).Scan(&name, &sum); err != nil {
			t.Fatalf("checksum of %s: %v", table, err)
		}
		out[table] = sum
	}
	out["routines"] = s.Value(t, "SELECT GROUP_CONCAT(ROUTINE_NAME, ROUTINE_DEFINITION, SQL_MODE ORDER BY 1) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA='shop'")
	out["grants"] = s.Value(t, "SELECT GROUP_CONCAT(PRIVILEGE_TYPE ORDER BY 1) FROM information_schema.SCHEMA_PRIVILEGES WHERE GRANTEE LIKE '%clerk%'")
	return out
}

// TestRescue kills a primary whose last transactions no replica has, and brings them to the
// replica from its files.
func TestRescue(t *testing.T) {
	each(t, func(t *testing.T, flavour string) {
		b := labmysql.Topology(t, flavour, 2, quick)
		p, r := b.Primary(), b.Replicas()[0]
		p.SemiSync(t, false)
		story(t, p, 20)
		replica := map[string]string{gtid.MySQL: "REPLICA", gtid.MariaDB: "SLAVE"}[flavour]
		b.Prove(t, p)
		r.Exec(t, "STOP "+replica)
		have := executed(t, r)
		n := story(t, p, 500)
		want, sums := executed(t, p), checksums(t, p)
		p.Kill()

		tail := func() iter.Seq2[binlog.Transaction, error] { return binlog.Tail(t.Context(), logs(t, p), have) }
		found := 0
		var all gtid.Set
		for tx, err := range tail() {
			if err != nil {
				t.Fatal(err)
			}
			found++
			all = all.Union(tx.GTID)
		}
		if found != n || !have.Union(all).Equal(want) {
			t.Fatalf("%d transactions %s are in the files, want %d up to %s", found, all, n, want)
		}

		// By hand, as far as somebody got.
		var script bytes.Buffer
		if n, err := binlog.WriteSQL(&script, first(60, tail()), binlog.SQL{Flavour: flavour, GTIDs: true}); n != 60 || err != nil {
			t.Fatalf("wrote %d, %v", n, err)
		}
		if flavour == gtid.MySQL {
			r.Exec(t, "SET GLOBAL super_read_only=OFF")
		}
		client(t, r, script.Bytes())
		if flavour == gtid.MySQL {
			r.Exec(t, "SET GLOBAL super_read_only=ON")
		}

		// By a stream that breaks, then by one that does not.
		var stream bytes.Buffer
		if sent, err := binlog.Send(&stream, tail()); sent != n || err != nil {
			t.Fatalf("sent %d of %d: %v", sent, n, err)
		}
		half := io.LimitReader(bytes.NewReader(stream.Bytes()), int64(stream.Len()-60_000))
		began := time.Now()
		some, err := apply(t, r, binlog.Receive(half))
		if err == nil || !strings.Contains(err.Error(), "ends early") || some == 0 || some >= n-60 {
			t.Fatalf("applied %d of a stream that breaks: %v", some, err)
		}
		t.Logf("%d transactions applied in %v", some, time.Since(began))
		rest, err := apply(t, r, binlog.Receive(bytes.NewReader(stream.Bytes())))
		if err != nil || 60+some+rest != n {
			t.Fatalf("applied %d and %d of %d: %v", some, rest, n-60, err)
		}
		if again, err := apply(t, r, binlog.Receive(bytes.NewReader(stream.Bytes()))); again != 0 || err != nil {
			t.Fatalf("applied %d again: %v", again, err)
		}
		if got := executed(t, r); !got.Equal(want) {
			t.Fatalf("the replica has %s, want %s", got, want)
		}
		sameData(t, sums, checksums(t, r))
		if flavour == gtid.MySQL && r.Value(t, "SELECT @@super_read_only") != "1" {
			t.Error("the replica was left open")
		}

		// It goes on as the primary, and the old one as its replica.
		r.Exec(t, "RESET "+replica+" ALL")
		r.Writable(t, true)
		r.Exec(t, "INSERT INTO app.proof VALUES (77)")
		p.Start(t)
		if flavour == gtid.MariaDB {
			p.Exec(t, "SET GLOBAL gtid_slave_pos=@@global.gtid_binlog_pos")
		}
		p.Follow(t, r)
		b.Prove(t, r)
		same(t, p, r)
	})
}

// TestNewTransactions replays a server's log on an empty one as transactions of its own.
func TestNewTransactions(t *testing.T) {
	t.Parallel()
	packed := labmysql.Options{Args: []string{"--log-bin-compress=1", "--log-bin-compress-min-len=20", "--sync-binlog=0"}}
	from, to := labmysql.MariaDB(t, packed), labmysql.MariaDB(t, quick)
	from.Writable(t, true)
	story(t, from, 10)
	want := checksums(t, from)
	from.Kill()
	var script bytes.Buffer
	if _, err := binlog.WriteSQL(&script, binlog.Tail(t.Context(), logs(t, from), gtid.Set{}), binlog.SQL{Flavour: gtid.MariaDB}); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"# INSERT INTO `shop`.`goods` (", `'2026-11-24 10:11:12.345678'`, "-12345678901.123400", `"grüße 🎏"`, "UPDATE `shop`.`goods`", "DELETE FROM"} {
		if !strings.Contains(script.String(), line) {
			t.Errorf("the script does not say %s", line)
		}
	}
	to.Writable(t, true)
	client(t, to, script.Bytes())
	sameData(t, want, checksums(t, to))
	if pos := executed(t, to).String(); !strings.HasPrefix(pos, fmt.Sprintf("0-%d-", to.ID)) {
		t.Errorf("the transactions have GTIDs of %s", pos)
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	s := labmysql.MariaDB(t, quick)
	s.Writable(t, true)
	story(t, s, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range binlog.Tail(ctx, logs(t, s), gtid.Set{}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
}
