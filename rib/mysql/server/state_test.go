package server_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/server"
	"kaname.dev/kaname/rib/mysql/topology"
)

func testPrepare(t *testing.T, f *pair) {
	ctx := within(t, 10*time.Second)
	notes, err := f.p.Prepare(ctx)
	ok(t, err)
	t.Log(strings.Join(notes, "\n"))
	if !strings.Contains(strings.Join(notes, "\n"), "schema kaname") {
		t.Errorf("the schema is not noted: %q", notes)
	}
	if notes, err = f.p.Prepare(ctx); err != nil || len(notes) > 0 {
		t.Errorf("the second time it did %q, %v", notes, err)
	}
	notes, err = f.r.Prepare(ctx)
	ok(t, err)
	t.Log(strings.Join(notes, "\n"))
	f.bed.Prove(t, f.p.lab)
	d, err := f.r.Details(ctx)
	ok(t, err)
	if d.Own != "" {
		t.Errorf("prepared, the replica has transactions of its own: %s", d.Own)
	}
}

func testDetails(t *testing.T, f *pair) {
	ctx := within(t, 10*time.Second)
	if v, err := f.p.Flavour(ctx); err != nil || v != f.p.lab.Flavour {
		t.Errorf("flavour %q, %v", v, err)
	}
	p, err := f.p.Details(ctx)
	ok(t, err)
	r, err := f.r.Details(ctx)
	ok(t, err)
	semi := topology.SemiSync{Loaded: true, Waits: true, Active: true, Acks: 1, Clients: 1, Timeout: 4294967295 * time.Millisecond}
	if d := cmp.Diff(semi, p.Self.SemiSync); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{f.r.lab.Address()}, p.Below); d != "" {
		t.Error(d)
	}
	if p.Self.ReadOnly || !r.Self.ReadOnly || p.Self.Replica != nil || p.Own == "" || p.Own != p.Executed || p.Executed != r.Executed || r.Executed != r.Received {
		t.Errorf("primary %+v\nreplica %+v", p, r)
	}
	if len(r.Sources) != 1 || r.Sources[0] != f.p.lab.Address() || r.Self.ServerID != uint32(f.r.lab.ID) {
		t.Errorf("replica %+v", r)
	}
	rep := *r.Self.Replica
	rep.NoNews, rep.Lag = 0, 0
	want := topology.Replica{Source: f.p.lab.Address(), Channels: 1, Receiving: true, Receiver: "Yes", Applying: true, ByGTID: true}
	if d := cmp.Diff(want, rep); d != "" {
		t.Error(d)
	}
	if !f.maria() && (p.Self.UUID == "" || p.Self.UUID == r.Self.UUID) {
		t.Errorf("uuids %q %q", p.Self.UUID, r.Self.UUID)
	}
	began := time.Now()
	for range 20 {
		if _, err := f.r.Look(ctx); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("a look takes %v", time.Since(began)/20)
}

func testCheck(t *testing.T, f *pair) {
	ctx := within(t, 10*time.Second)
	what := func() string {
		all, err := f.r.Check(ctx)
		ok(t, err)
		var out strings.Builder
		for _, x := range all {
			out.WriteString(x.Level + " " + x.What + "; ")
			if x.Why == "" || x.Try == "" {
				t.Errorf("%+v lacks a reason or a remedy", x)
			}
		}
		return out.String()
	}
	before := what()
	t.Log(before)
	if strings.Contains(before, "error") || !strings.Contains(before, "sync_relay_log is 10000") || strings.Contains(before, "lacks") {
		t.Error(before)
	}
	f.r.lab.Exec(t, "SET GLOBAL sync_relay_log=1")
	if after := what(); strings.Contains(after, "sync_relay_log") {
		t.Error(after)
	}
	f.r.lab.Exec(t, "SET GLOBAL sync_relay_log=10000")
	app := open(t, server.Options{Name: "x", Socket: f.r.lab.Socket, Credentials: func() (string, string, error) { return labmysql.UserApp, labmysql.PasswordApp, nil }})
	if all, err := app.Check(ctx); err == nil && !hasLevel(all, "error") {
		t.Errorf("an account without privileges is fine: %+v", all)
	}
}

func hasLevel(all []order.Finding, level string) bool {
	for _, f := range all {
		if f.Level == level {
			return true
		}
	}
	return false
}

func testProbe(t *testing.T, f *pair) {
	ctx := within(t, 10*time.Second)
	ok(t, f.p.Probe(ctx, 1))
	ok(t, f.p.Probe(ctx, 2))
	if v := f.p.lab.Value(t, "SELECT n FROM kaname.beat"); v != "2" {
		t.Errorf("beat is %s", v)
	}
	if err := f.r.Probe(ctx, 3); !errors.Is(err, server.ErrClosed) {
		t.Errorf("a replica is written to: %v", err)
	}
	ok(t, f.r.StopReceiver(ctx))
	began := time.Now()
	if err := f.p.Probe(within(t, 300*time.Millisecond), 4); err == nil {
		t.Error("committed without an acknowledgement")
	}
	took(t, "a probe that waits", began, 500*time.Millisecond)
	ok(t, f.r.StartReceiver(ctx))
	ok(t, f.p.Probe(ctx, 5))
}

// testDelayed shows what is on purpose, and that counts of heartbeats are news.
func testDelayed(t *testing.T, f *pair) {
	ctx := within(t, 20*time.Second)
	if f.maria() {
		f.r.lab.Exec(t, "STOP SLAVE", "CHANGE MASTER TO MASTER_DELAY=60", "START SLAVE")
	} else {
		f.r.lab.Exec(t, "STOP REPLICA SQL_THREAD", "CHANGE REPLICATION SOURCE TO SOURCE_DELAY=60", "START REPLICA")
	}
	defer func() {
		if f.maria() {
			f.r.lab.Exec(t, "STOP SLAVE", "CHANGE MASTER TO MASTER_DELAY=0", "START SLAVE")
		} else {
			f.r.lab.Exec(t, "STOP REPLICA SQL_THREAD", "CHANGE REPLICATION SOURCE TO SOURCE_DELAY=0", "START REPLICA")
		}
	}()
	self, err := f.r.Look(ctx)
	ok(t, err)
	if self.Replica.Delay != time.Minute {
		t.Errorf("%+v", self.Replica)
	}
	lab.Eventually(t, "the receiver is back", func() bool {
		self, err := f.r.Look(ctx)
		return err == nil && self.Replica.Receiving
	})
	from := f.write(t, 1)
	began := time.Now()
	if err := f.r.Drain(within(t, 300*time.Millisecond), mustReceived(t, f.r)); err == nil {
		t.Error("a delayed replica has applied at once")
	}
	took(t, "draining a delayed replica", began, 500*time.Millisecond)
	if n := count(t, f.r, from); n != 0 {
		t.Errorf("%d rows", n)
	}
}
