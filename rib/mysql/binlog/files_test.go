package binlog_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/binlog"
	"kaname.dev/kaname/rib/mysql/gtid"
)

// read returns the GTIDs that Tail finds, and its error.
func read(t *testing.T, l binlog.Logs, have gtid.Set) (ids []string, err error) {
	t.Helper()
	for tx, err := range binlog.Tail(t.Context(), l, have) {
		if err != nil {
			return ids, err
		}
		for _, err := range tx.Events() {
			if err != nil {
				return ids, err
			}
		}
		ids = append(ids, tx.GTID.String())
	}
	return ids, nil
}

// TestFiles cuts, garbles and purges the logs of a dead server.
func TestFiles(t *testing.T) {
	t.Parallel()
	s := labmysql.MariaDB(t, labmysql.Options{Args: []string{"--log-bin-compress=1", "--log-bin-compress-min-len=10", "--sync-binlog=0"}})
	s.Writable(t, true)
	for i := range 4 {
		s.Exec(t, fmt.Sprintf("INSERT INTO app.proof VALUES (%d)", i), "INSERT INTO app.acks (id, writer) VALUES (0x7fffff, 1), (2, 3) ON DUPLICATE KEY UPDATE writer=writer+1",
			fmt.Sprintf("CREATE TABLE app.t%d (a INT)", i), "FLUSH BINARY LOGS")
	}
	s.Exec(t, "INSERT INTO app.proof VALUES (100)")
	s.Kill()
	l := logs(t, s)
	all, err := read(t, l, gtid.Set{})
	if err != nil || len(all) != 13 {
		t.Fatalf("read %v: %v", all, err)
	}
	names, err := filepath.Glob(filepath.Join(s.DataDir, "bin.0*"))
	if err != nil || len(names) != 5 {
		t.Fatalf("logs %v: %v", names, err)
	}
	last, middle := names[4], names[2]

	t.Run("from a position", func(t *testing.T) {
		for i, id := range all {
			have, _ := gtid.Parse(gtid.MariaDB, id)
			if got, err := read(t, l, have); err != nil || !slices.Equal(got, all[i+1:]) {
				t.Errorf("beyond %s: %v, %v", id, got, err)
			}
		}
	})
	t.Run("every length of the last log", func(t *testing.T) {
		raw := swap(t, last)
		for n := 0; n < len(raw); n += step(n, len(raw)) {
			write(t, last, raw[:n])
			got, err := read(t, l, gtid.Set{})
			if err != nil || !slices.Equal(got, all[:12]) {
				t.Fatalf("with %d of %d bytes: %v, %v", n, len(raw), got, err)
			}
		}
		write(t, last, append(slices.Clone(raw), make([]byte, 4096)...))
		if got, err := read(t, l, gtid.Set{}); err != nil || len(got) != 13 {
			t.Errorf("with zeros at its end: %v, %v", got, err)
		}
	})
	t.Run("every byte of a log in between", func(t *testing.T) {
		raw := swap(t, middle)
		for n := 0; n < len(raw); n += step(n, len(raw)) {
			bad := slices.Clone(raw)
			bad[n] ^= 0x41
			write(t, middle, bad)
			got, err := read(t, l, gtid.Set{})
			if n >= 4+17 && n <= 4+18 {
				continue // the flag that a log is in use is not in the checksum
			}
			if err == nil || !strings.Contains(err.Error(), middle+", byte ") || len(got) > 9 {
				t.Fatalf("byte %d of %d garbled: %v, %v", n, len(raw), got, err)
			}
		}
		write(t, middle, raw[:len(raw)-1])
		if _, err := read(t, l, gtid.Set{}); err == nil || !strings.Contains(err.Error(), "ends within an event") {
			t.Errorf("cut: %v", err)
		}
	})
	t.Run("purged", func(t *testing.T) {
		index := swap(t, l.Index)
		lines := bytes.SplitAfter(index, []byte("\n"))
		write(t, l.Index, bytes.Join(lines[2:], nil))
		_, err := read(t, l, gtid.Set{})
		var purged *binlog.PurgedError
		if !errors.As(err, &purged) || purged.Missing.String() != all[5] {
			t.Errorf("got %v", err)
		}
		have, _ := gtid.Parse(gtid.MariaDB, all[5])
		if got, err := read(t, l, have); err != nil || !slices.Equal(got, all[6:]) {
			t.Errorf("what is left: %v, %v", got, err)
		}
	})
	t.Run("encrypted", func(t *testing.T) {
		raw := swap(t, last)
		write(t, last, append([]byte{0xfd}, raw[1:]...))
		if _, err := read(t, l, gtid.Set{}); err == nil || !strings.Contains(err.Error(), "is encrypted (binlog_encryption)") {
			t.Errorf("MySQL's way: %v", err)
		}
		// MariaDB's way is an event after the format description; the plugin for it
		// is not everywhere.
		at := 4 + binary.LittleEndian.Uint32(raw[4+9:])
		event := slices.Clone(raw[at : at+binary.LittleEndian.Uint32(raw[at+9:])])
		event[4] = 164
		binary.LittleEndian.PutUint32(event[len(event)-4:], crc32.ChecksumIEEE(event[:len(event)-4]))
		write(t, last, slices.Concat(raw[:at], event, raw[at:]))
		if _, err := read(t, l, gtid.Set{}); err == nil || !strings.Contains(err.Error(), "is encrypted (encrypt_binlog)") {
			t.Errorf("MariaDB's way: %v", err)
		}
	})
	t.Run("missing", func(t *testing.T) {
		raw := swap(t, middle)
		if err := os.Remove(middle); err != nil {
			t.Fatal(err)
		}
		if _, err := read(t, l, gtid.Set{}); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v", err)
		}
		write(t, middle, raw)
	})
}

// step goes through all offsets in a soak; else through those where parts of events meet, and
// some others.
func step(n, size int) int {
	if lab.Soak() || n < 4+19 || n >= 250 && n < 290 || n > size-40 {
		return 1
	}
	return 7
}

// swap returns the contents of a file and puts them back at the end of the test.
func swap(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { write(t, path, raw) })
	return raw
}

func write(t *testing.T, path string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestExtra finds what a replica wrote for itself, and no more.
func TestExtra(t *testing.T) {
	t.Parallel()
	b := labmysql.Topology(t, gtid.MariaDB, 2, quick)
	p, r := b.Primary(), b.Replicas()[0]
	p.SemiSync(t, false)
	r.Exec(t, "STOP SLAVE IO_THREAD")
	p.Exec(t, "INSERT INTO app.proof VALUES (9)")
	if n, err := apply(t, r, binlog.Tail(t.Context(), logs(t, p), executed(t, r))); n != 0 || err == nil || !strings.Contains(err.Error(), "replication must be stopped") {
		t.Errorf("applied %d while the replica's applier runs: %v", n, err)
	}
	r.Exec(t, "STOP SLAVE", "SET GLOBAL read_only=0", "INSERT INTO app.proof VALUES (1)", "INSERT INTO app.proof VALUES (2)")
	for i := range 5 {
		p.Exec(t, fmt.Sprintf("INSERT INTO app.proof VALUES (%d)", 10+i))
	}
	state := func(s *labmysql.Server) gtid.Set {
		out, err := gtid.ParseState(s.Value(t, "SELECT @@gtid_binlog_state"), s.Value(t, "SELECT @@gtid_slave_pos"))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	replica, primary := state(r), state(p)
	e := gtid.Errant(replica, primary, strconv.Itoa(r.ID))
	var ids []string
	for tx, err := range binlog.Extra(t.Context(), logs(t, r), e.All, primary) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, tx.GTID.String())
	}
	if want := []string{fmt.Sprintf("0-%d-2", r.ID), fmt.Sprintf("0-%d-3", r.ID)}; !slices.Equal(ids, want) {
		t.Errorf("found %v, want %v", ids, want)
	}
}
