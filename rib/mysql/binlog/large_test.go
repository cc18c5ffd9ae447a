package binlog_test

import (
	"io"
	"runtime"
	"strconv"
	"testing"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/binlog"
	"kaname.dev/kaname/rib/mysql/gtid"
)

// TestLargeTransaction carries a transaction that is far larger than the memory it may take.
func TestLargeTransaction(t *testing.T) {
	if !lab.Soak() {
		t.Skip("it takes a gigabyte of disk; make soak")
	}
	const rows, most = 200, 64 << 20
	mib := strconv.Itoa(3 * rows)
	from, to := labmysql.MariaDB(t, quick), labmysql.MariaDB(t, quick)
	from.Writable(t, true)
	from.Exec(t, "CREATE TABLE app.large (id INT AUTO_INCREMENT PRIMARY KEY, data LONGBLOB)")
	statements := []string{"BEGIN"}
	for range rows {
		statements = append(statements, "INSERT INTO app.large (data) VALUES (REPEAT('abcdefgh', 131072)), (REPEAT('abcdefgh', 131072)), (REPEAT('abcdefgh', 131072))")
	}
	from.Exec(t, append(statements, "COMMIT")...)
	from.Kill()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() { // ends with its transactions, or with r
		_, err := binlog.Send(w, binlog.Tail(t.Context(), logs(t, from), gtid.Set{}))
		sent <- err
		_ = w.Close()
	}()
	n, err := apply(t, to, binlog.Receive(r))
	_ = r.Close()
	if sendErr := <-sent; err != nil || sendErr != nil || n != 2 {
		t.Fatalf("applied %d: %v; sent: %v", n, err, sendErr)
	}
	runtime.ReadMemStats(&after)
	if got := to.Value(t, "SELECT SUM(LENGTH(data)) DIV 1048576 FROM app.large"); got != mib {
		t.Errorf("%s MiB arrived, want %s", got, mib)
	}
	grown := after.HeapSys - before.HeapSys
	t.Logf("a transaction of %s MiB grew the heap by %d MiB", mib, grown>>20)
	if grown > most {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}
