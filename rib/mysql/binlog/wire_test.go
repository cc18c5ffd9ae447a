package binlog_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/binlog"
	"kaname.dev/kaname/rib/mysql/gtid"
)

// replayed writes a stream as SQL, which decodes all that can be decoded.
func replayed(flavour string, stream []byte) (string, int, error) {
	var out bytes.Buffer
	n, err := binlog.WriteSQL(&out, binlog.Receive(bytes.NewReader(stream)), binlog.SQL{Flavour: flavour, GTIDs: true})
	return out.String(), n, err
}

func TestStream(t *testing.T) {
	t.Parallel()
	s := labmysql.MariaDB(t, quick)
	s.Writable(t, true)
	s.Exec(t, "INSERT INTO app.proof VALUES (1), (2)", "CREATE TABLE app.made AS SELECT * FROM app.proof",
		"XA START 'far'", "INSERT INTO app.proof VALUES (3)", "XA END 'far'", "XA PREPARE 'far'", "XA COMMIT 'far'", "INSERT INTO app.proof VALUES (4)")
	s.Kill()
	tail := binlog.Tail(t.Context(), logs(t, s), gtid.Set{})
	var stream, direct bytes.Buffer
	if n, err := binlog.Send(&stream, tail); n != 5 || err != nil {
		t.Fatalf("sent %d: %v", n, err)
	}
	text, n, err := replayed(gtid.MariaDB, stream.Bytes())
	if n != 3 || err == nil || strings.Count(err.Error(), "(XA)") != 2 || strings.Count(text, "# NOT ALL IS HERE") != 2 {
		t.Fatalf("wrote %d, want 3 and two errors about XA: %v", n, err)
	}
	if _, err := binlog.WriteSQL(&direct, tail, binlog.SQL{Flavour: gtid.MariaDB, GTIDs: true}); err == nil || text != direct.String() {
		t.Error("what was sent is not what was read")
	}
	t.Run("skipped transactions", func(t *testing.T) {
		n := 0
		for tx, err := range binlog.Receive(bytes.NewReader(stream.Bytes())) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 2 { // look at one event only
				for range tx.Events() {
					break
				}
			}
		}
		if n != 5 {
			t.Errorf("received %d", n)
		}
	})
	t.Run("every length", func(t *testing.T) {
		for n := range stream.Len() {
			if _, _, err := replayed(gtid.MariaDB, stream.Bytes()[:n]); err == nil || !strings.Contains(err.Error(), "ends early") && !strings.Contains(err.Error(), "begins with") {
				t.Fatalf("%d of %d bytes: %v", n, stream.Len(), err)
			}
		}
	})
	t.Run("an error of the sender", func(t *testing.T) {
		broken := func(yield func(binlog.Transaction, error) bool) {
			for tx, err := range first(1, tail) {
				yield(tx, err)
			}
			yield(binlog.Transaction{}, errors.New("the disk is gone"))
		}
		var out bytes.Buffer
		if n, err := binlog.Send(&out, iter.Seq2[binlog.Transaction, error](broken)); n != 1 || err == nil {
			t.Fatalf("sent %d: %v", n, err)
		}
		if _, n, err := replayed(gtid.MariaDB, out.Bytes()); n != 1 || err == nil || !strings.Contains(err.Error(), "from the other host: the disk is gone") {
			t.Errorf("received %d: %v", n, err)
		}
	})
	t.Run("hostile", func(t *testing.T) {
		head := "kaname-binlog 1\n"
		huge := head + "E" + string(binary.BigEndian.AppendUint32(nil, 1<<31))
		for _, bad := range []string{"", "HTTP/1.1 200 OK\r\n\r\n", head, huge, head + "T\x00\x00\x00\x04rows", head + "Z\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x09", head + "F\x00\x00\x00\x01x"} {
			if _, n, err := replayed(gtid.MariaDB, []byte(bad)); err == nil || n != 0 {
				t.Errorf("%q: %d, %v", bad, n, err)
			}
		}
		if _, _, err := replayed(gtid.MySQL, stream.Bytes()); err == nil || !strings.Contains(err.Error(), "flavour") {
			t.Errorf("another flavour: %v", err)
		}
	})
}

// FuzzReceive begins with what Send wrote of real servers.
func FuzzReceive(f *testing.F) {
	streams, err := filepath.Glob("testdata/*.stream")
	if err != nil || len(streams) == 0 {
		f.Fatalf("no corpus: %v", err)
	}
	for _, name := range streams {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		for _, flavour := range []string{gtid.MariaDB, gtid.MySQL} {
			_, _, _ = replayed(flavour, stream)
		}
		var once, again bytes.Buffer
		if _, err := binlog.Send(&once, binlog.Receive(bytes.NewReader(stream))); err != nil {
			return
		}
		if _, err := binlog.Send(&again, binlog.Receive(bytes.NewReader(once.Bytes()))); err != nil || !bytes.Equal(once.Bytes(), again.Bytes()) {
			t.Errorf("what was sent twice differs: %v", err)
		}
	})
}
