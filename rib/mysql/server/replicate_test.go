package server_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/server"
)

func mustReceived(t *testing.T, s *one) gtid.Set {
	t.Helper()
	_, received, err := s.Positions(within(t, 5*time.Second))
	ok(t, err)
	return received
}

// testFreezeSilent stops receiving from a primary that says nothing, and again later.
func testFreezeSilent(t *testing.T, f *pair) {
	ctx := within(t, 30*time.Second)
	from := f.write(t, 10)
	_, err := f.r.Look(ctx)
	ok(t, err)
	f.p.lab.Stop()
	defer f.p.lab.Cont()
	lab.Eventually(t, "its silence is seen", func() bool {
		self, err := f.r.Look(ctx)
		return err == nil && self.Replica.NoNews > 1200*time.Millisecond
	})
	began := time.Now()
	fz, err := f.r.Freeze(ctx)
	ok(t, err)
	took(t, "freezing a replica of a silent primary", began, time.Second)
	if !fz.Applies || fz.Trouble != "" || fz.Received != fz.Executed {
		t.Errorf("%+v", fz)
	}
	ok(t, f.r.Drain(ctx, gtid.Set{}))
	if n := count(t, f.r, from); n != 10 {
		t.Errorf("%d rows of 10", n)
	}
	// The order to freeze is taken back while the receiver may still be ending.
	f.p.lab.Cont()
	ok(t, f.r.StartReceiver(ctx))
	f.write(t, 1)
	f.bed.Prove(t, f.p.lab)
	lab.Eventually(t, "news come", func() bool {
		self, err := f.r.Look(ctx)
		return err == nil && self.Replica.NoNews < 700*time.Millisecond
	})
}

// testBothStopped has rows that only the relay log has, and both threads stopped.
func testBothStopped(t *testing.T, f *pair) {
	ctx := within(t, 30*time.Second)
	f.r.lab.Exec(t, f.thread("STOP", "SQL_THREAD"))
	from := f.write(t, 5)
	f.r.lab.Exec(t, f.thread("STOP", "IO_THREAD"))
	fz, err := f.r.Freeze(ctx)
	ok(t, err)
	if fz.Received == fz.Executed && count(t, f.r, from) == 0 {
		t.Errorf("what was received is not seen: %+v", fz)
	}
	if !f.maria() {
		ok(t, f.r.Drain(ctx, gtid.Set{}))
		ok(t, f.r.Detach(ctx))
		if n := count(t, f.r, from); n != 5 {
			t.Errorf("%d rows of 5", n)
		}
		return
	}
	if fz.Applies || !strings.Contains(fz.Trouble, "relay log") {
		t.Errorf("%+v", fz)
	}
	for what, err := range map[string]error{
		"drain": f.r.Drain(ctx, gtid.Set{}), "detach": f.r.Detach(ctx), "start the applier": f.r.StartApplier(ctx),
		"start the receiver": f.r.StartReceiver(ctx), "follow": f.r.Follow(ctx, source(f.p), true),
	} {
		if !errors.Is(err, server.ErrUndrained) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if again := mustReceived(t, f.r).String(); again != fz.Received {
		t.Errorf("received %s, before %s", again, fz.Received)
	}
	// A source that has it all makes good for the relay log.
	src := source(f.p)
	if src.Has, _, err = f.p.Positions(ctx); err != nil {
		t.Fatal(err)
	}
	ok(t, f.r.Follow(ctx, src, true))
	f.bed.Prove(t, f.p.lab)
	if n := count(t, f.r, from); n != 5 {
		t.Errorf("%d rows of 5", n)
	}
}

// testBroken has a row on the replica that the primary writes as well.
func testBroken(t *testing.T, f *pair) {
	ctx := within(t, 20*time.Second)
	id := f.next
	row := fmt.Sprintf("INSERT INTO app.acks (id, writer) VALUES (%d, 7)", id)
	f.r.lab.Exec(t, "SET SESSION sql_log_bin=0", "SET GLOBAL read_only=1", superOff(f), row, superOn(f), "SET SESSION sql_log_bin=1")
	f.write(t, 1)
	lab.Eventually(t, "the applier breaks", func() bool {
		self, err := f.r.Look(ctx)
		return err == nil && !self.Replica.Applying && strings.Contains(self.Replica.ApplyErr, "Duplicate")
	})
	all, err := f.r.Check(ctx)
	ok(t, err)
	if !hasLevel(all, "error") {
		t.Errorf("a broken applier is no error: %+v", all)
	}
	fz, err := f.r.Freeze(ctx)
	ok(t, err)
	if fz.Applies || !strings.Contains(fz.Trouble, "Duplicate") || fz.Received == fz.Executed {
		t.Errorf("%+v", fz)
	}
	began := time.Now()
	if err := f.r.Drain(ctx, gtid.Set{}); err == nil {
		t.Error("drained")
	}
	took(t, "seeing that it cannot be drained", began, time.Second)
	if err := f.r.Detach(ctx); !errors.Is(err, server.ErrUndrained) {
		t.Errorf("detach: %v", err)
	}
	ok(t, f.r.Abandon(ctx))
	f.r.lab.Exec(t, "SET SESSION sql_log_bin=0", superOff(f), fmt.Sprintf("DELETE FROM app.acks WHERE id=%d", id), superOn(f), "SET SESSION sql_log_bin=1")
}

func superOff(f *pair) string {
	if f.maria() {
		return "DO 1"
	}
	return "SET GLOBAL super_read_only=0"
}

func superOn(f *pair) string {
	if f.maria() {
		return "DO 1"
	}
	return "SET GLOBAL super_read_only=1"
}

// testChannels has a second source, which is left alone.
func testChannels(t *testing.T, f *pair) {
	ctx := within(t, 20*time.Second)
	if f.maria() {
		f.r.lab.Exec(t, "CHANGE MASTER 'other' TO MASTER_HOST='127.0.0.1', MASTER_PORT=1, MASTER_USER='x', MASTER_USE_GTID=no", "START SLAVE 'other'")
		defer func() { f.r.lab.Exec(t, "STOP SLAVE 'other'", "RESET SLAVE 'other' ALL") }()
	} else {
		f.r.lab.Exec(t, "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=1, SOURCE_USER='x' FOR CHANNEL 'other'", "START REPLICA FOR CHANNEL 'other'")
		defer func() {
			f.r.lab.Exec(t, "STOP REPLICA FOR CHANNEL 'other'", "RESET REPLICA ALL FOR CHANNEL 'other'")
		}()
	}
	d, err := f.r.Details(ctx)
	ok(t, err)
	if d.Self.Replica.Channels != 2 || d.Self.Replica.Source != f.p.lab.Address() || len(d.Sources) != 2 {
		t.Errorf("%+v %+v", d.Self.Replica, d.Sources)
	}
	_, err = f.r.Freeze(ctx)
	ok(t, err)
	ok(t, f.r.Detach(ctx))
	if d, err = f.r.Details(ctx); err != nil || len(d.Sources) != 1 || d.Sources[0] != "127.0.0.1:1" {
		t.Errorf("%+v, %v", d.Sources, err)
	}
	if f.maria() {
		f.r.lab.Exec(t, "STOP SLAVE 'other'")
	}
}

// testRotate changes both passwords.
func testRotate(t *testing.T, f *pair) {
	ctx := within(t, 20*time.Second)
	password := labmysql.PasswordAdmin
	s := open(t, server.Options{Name: "p", Address: f.p.lab.Address(), Credentials: func() (string, string, error) { return labmysql.UserAdmin, password, nil }})
	ok(t, s.Ping(ctx))
	user := func(name, password string) string {
		return fmt.Sprintf("ALTER USER '%s'@'%%' IDENTIFIED BY '%s'", name, strings.NewReplacer("'", "''", `\`, `\\`).Replace(password))
	}
	f.p.lab.Exec(t, user(labmysql.UserAdmin, `New'2\`), user(labmysql.UserRepl, `New'3\`))
	defer func() {
		f.p.lab.Exec(t, user(labmysql.UserAdmin, labmysql.PasswordAdmin), user(labmysql.UserRepl, labmysql.PasswordRepl))
	}()
	f.bed.Prove(t, f.p.lab) // accounts are replicated
	ok(t, s.Ping(ctx))      // the connection that is kept
	fresh := open(t, server.Options{Name: "p", Address: f.p.lab.Address(), Credentials: admin})
	if err := fresh.Ping(ctx); !server.Refuses(err) || strings.Contains(err.Error(), labmysql.PasswordAdmin) {
		t.Errorf("the old password: %v", err)
	}
	password = `New'2\`
	f.p.lab.Exec(t, "DO 1")
	fresh = open(t, server.Options{Name: "p", Address: f.p.lab.Address(), Credentials: func() (string, string, error) { return labmysql.UserAdmin, password, nil }})
	ok(t, fresh.Ping(ctx))
	// The old connections of this test's own servers live on; the replica's is made anew.
	src := source(f.p)
	src.Password = `New'3\`
	ok(t, f.r.Follow(ctx, src, true))
	f.bed.Prove(t, f.p.lab)
	f.p.lab.Exec(t, user(labmysql.UserRepl, labmysql.PasswordRepl), user(labmysql.UserAdmin, labmysql.PasswordAdmin))
	f.bed.Prove(t, f.p.lab)
	ok(t, f.r.Follow(ctx, src, true)) // with the password of before
	lab.Eventually(t, "the refusal is seen", func() bool {
		self, err := f.r.Look(ctx)
		return err == nil && !self.Replica.Receiving && strings.Contains(self.Replica.ReceiveErr, "Access denied")
	})
	ok(t, f.r.Follow(ctx, source(f.p), true))
	f.bed.Prove(t, f.p.lab)
}

// testSecrets looks for the replication password where it must not be.
func testSecrets(t *testing.T, f *pair) {
	ctx := within(t, 20*time.Second)
	file := filepath.Join(f.r.lab.Dir, "general.log")
	f.r.lab.Exec(t, "SET GLOBAL general_log_file='"+file+"'", "SET GLOBAL general_log=1")
	defer func() { f.r.lab.Exec(t, "SET GLOBAL general_log=0") }()
	ok(t, f.r.Follow(ctx, source(f.p), true))
	ok(t, f.r.Ping(ctx))
	raw, err := os.ReadFile(file)
	ok(t, err)
	if !strings.Contains(string(raw), "DO 1") || strings.Contains(string(raw), labmysql.PasswordRepl) {
		t.Errorf("the log of all statements:\n%s", raw)
	}
	bad := source(f.p)
	bad.Host = strings.Repeat("x", 300)
	if err := f.r.Follow(ctx, bad, true); err != nil && strings.Contains(err.Error(), bad.Password) {
		t.Errorf("a bad host: %v", err)
	}
}

// testBacklog kills the primary of a replica that has applied nothing of 2,000 rows: nothing
// of what was acknowledged is lost, and the dead one follows when it comes back.
func testBacklog(t *testing.T, f *pair) {
	ctx := within(t, 60*time.Second)
	n := 2000
	if !lab.Soak() {
		n = 300 // a loaded disk applies a hundred a second
	}
	f.r.lab.Exec(t, f.thread("STOP", "SQL_THREAD"))
	began := time.Now()
	from := f.write(t, n)
	t.Logf("%d rows took %v", n, time.Since(began))
	f.p.lab.Kill()
	began = time.Now()
	fz, err := f.r.Freeze(ctx)
	ok(t, err)
	took(t, "freezing", began, time.Second)
	if !fz.Applies {
		t.Errorf("%+v", fz)
	}
	need, err := gtid.Parse(f.r.lab.Flavour, fz.Received)
	ok(t, err)
	began = time.Now()
	ok(t, f.r.Drain(ctx, need))
	took(t, "draining", began, 30*time.Second)
	began = time.Now()
	ok(t, f.r.Promote(ctx, epoch(7, f.r, f.p), 1))
	took(t, "promoting", began, time.Second)
	ok(t, f.r.Promote(ctx, epoch(7, f.r, f.p), 1))
	if got := count(t, f.r, from); got != n {
		t.Errorf("%d rows of %d", got, n)
	}
	f.p.lab.Start(t)
	f.swap()
	ok(t, f.r.Follow(ctx, source(f.p), true))
	f.bed.Prove(t, f.p.lab)
	if got := count(t, f.r, from); got != n {
		t.Errorf("%d rows of %d", got, n)
	}
	d, err := f.r.Details(ctx)
	ok(t, err)
	if len(d.Epochs) != 1 || d.Epochs[0] != epoch(7, f.p, f.r) || !d.Self.ReadOnly || !d.Self.SemiSync.Replies {
		t.Errorf("%+v", d)
	}
}
