package site_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/lab"
	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// flavours are the servers that the tests run with; both, when there is time.
func flavours() []string {
	if lab.Soak() {
		return []string{labmysql.FlavourMariaDB, labmysql.FlavourMySQL}
	}
	return []string{labmysql.FlavourMariaDB}
}

// TestSite goes through the life of one topology: servers take long to start.
func TestSite(t *testing.T) {
	for _, f := range flavours() {
		t.Run(f, func(t *testing.T) {
			b := newBed(t, f, 3)
			agentRestarted(t, b)
			cutOff(t, b)
			stuck(t, b)
			hung(t, b)
			reports(t, b)
			failover(t, b)
			ownTransactions(t, b)
		})
	}
}

func reports(t *testing.T, b *bed) {
	t.Helper()
	db2, db3 := b.servers[1], b.servers[2]
	since := time.Now()
	db2.Kill()
	took := b.told(db2.Name, "gone", since, func(r topology.Report) bool { return r.Self.Process == topology.Gone && !r.Self.Answers })
	if took > 200*time.Millisecond {
		t.Errorf("a killed server was reported after %v", took)
	}
	t.Logf("a killed server was reported after %v", took)

	since = time.Now()
	db3.Stop()
	took = b.told(db3.Name, "silent", since, func(r topology.Report) bool { return r.Self.Process == topology.Running && !r.Self.Answers })
	if took > time.Second {
		t.Errorf("a halted server was reported after %v", took)
	}
	t.Logf("a halted server was reported after %v", took)
	since = time.Now()
	db3.Cont()
	took = b.told(db3.Name, "answers", since, func(r topology.Report) bool { return r.Self.Answers })
	t.Logf("one that goes on was reported after %v", took)

	// A replica that was started again says that it may be short, until it is not.
	since = time.Now()
	db2.Start(t)
	b.told(db2.Name, "receives again", since, func(r topology.Report) bool {
		return r.Self.Answers && r.Self.Replica != nil && r.Self.Replica.Receiving
	})
	// The others see it too.
	lab.Eventually(t, "the primary's agent sees all", func() bool {
		for _, s := range b.site(0).Report().Sights {
			if !s.Answers || !s.Agent {
				return false
			}
		}
		return true
	})
}

func cutOff(t *testing.T, b *bed) {
	t.Helper()
	p, r1, r2 := b.servers[0].Name, b.servers[1].Name, b.servers[2].Name
	if err := b.insert(0, 1); err != nil {
		t.Fatal(err)
	}
	// From the controller only: nothing happens.
	b.cuts(true, p+">controller")
	for end := time.Now().Add(2500 * time.Millisecond); time.Now().Before(end); <-time.After(50 * time.Millisecond) {
		if !b.writable(0) {
			t.Fatal("closed although the replicas' agents grant")
		}
	}
	since := time.Now()
	b.cuts(true, p+">"+r1, p+">"+r2)
	lab.Eventually(t, "it is closed", func() bool { return !b.writable(0) })
	took := time.Since(since)
	if limit := b.record.Policy.Lease + topology.FenceBound; took > limit {
		t.Errorf("closed after %v, later than %v", took, limit)
	}
	t.Logf("closed after %v", took)
	if b.servers[0].PID() == 0 {
		t.Error("it was killed")
	}
	if f := b.site(0).Report().Lease; f.Held || f.Fenced == "" {
		t.Errorf("lease %+v", f)
	}
	since = time.Now()
	b.cuts(false, p+">"+r1)
	lab.Eventually(t, "it is open again", func() bool { return b.writable(0) })
	t.Logf("open again after %v", time.Since(since))
	lab.Eventually(t, "those who lead clients hear of both", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		i := slices.Index(b.led, p+" closed")
		return i >= 0 && slices.Contains(b.led[i:], p+" opened")
	})
	b.cuts(false, p+">"+r2, p+">controller")
	if err := b.insert(0, 2); err != nil {
		t.Error(err)
	}
}

// stuck: a primary whose replicas receive nothing waits, and says for what.
func stuck(t *testing.T, b *bed) {
	t.Helper()
	for _, verb := range []string{"STOP", "START"} {
		since := time.Now()
		for _, s := range b.servers[1:] {
			s.Exec(t, verb+" "+word(b.flavour)+" IO_THREAD")
		}
		b.told(b.servers[0].Name, verb, since, func(r topology.Report) bool {
			c := r.Self.Commit
			if verb == "START" {
				return c != nil && c.Stuck == 0 && c.Took < time.Second
			}
			return c != nil && c.Stuck > time.Second && c.Acks && strings.Contains(c.Trouble, "semi-sync ACK")
		})
	}
}

func hung(t *testing.T, b *bed) {
	t.Helper()
	p := b.servers[0].Name
	b.servers[0].Stop()
	since := time.Now()
	b.cuts(true, p+">controller", p+">"+b.servers[1].Name, p+">"+b.servers[2].Name)
	lab.Eventually(t, "it is killed", func() bool { return b.servers[0].PID() == 0 })
	if took, limit := time.Since(since), b.record.Policy.Lease+topology.FenceBound; took > limit {
		t.Errorf("killed after %v, later than %v", took, limit)
	}
	// Started again it is closed, and opens by itself when the lease is back.
	b.servers[0].Start(t)
	<-time.After(500 * time.Millisecond)
	if b.writable(0) {
		t.Error("open without a lease")
	}
	b.cuts(false, p+">"+b.servers[1].Name, p+">"+b.servers[2].Name, p+">controller")
	lab.Eventually(t, "it is open again", func() bool { return b.writable(0) })
	if err := b.insert(0, 3); err != nil {
		t.Error(err)
	}
}

func failover(t *testing.T, b *bed) {
	t.Helper()
	old, next, other := b.servers[0], b.servers[1], b.servers[2]
	b.complete()
	for id := range int64(20) {
		if err := b.insert(0, 1000+id); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.try(next.Name, order.Order{Verb: order.Freeze, Quiet: true, Record: later(b, 1)}); !fault.Is(err, fault.KindConflict) {
		t.Fatalf("quiet freeze while the primary lives: %v", err)
	}
	if b.site(1).Report().Epoch != 1 {
		t.Fatal("the refused order left its epoch")
	}
	// A write that no replica receives any more is only in the binary log of the old one.
	for _, s := range []*labmysql.Server{next, other} {
		s.Exec(t, "STOP "+word(b.flavour)+" IO_THREAD")
	}
	unsent := make(chan error, 1)
	go func() { unsent <- b.insert(0, 77) }()
	lab.Eventually(t, "a commit waits", func() bool {
		return old.Value(t, "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for semi-sync ACK%'") != "0"
	})
	since := time.Now()
	old.Kill()
	if err := <-unsent; err == nil {
		t.Fatal("a write was acknowledged that no replica has")
	}
	b.set(func(r *topology.Record) {
		r.Epoch, r.Primary = 2, ""
		r.Move = &topology.Move{Kind: topology.Failover, From: old.Name, Step: topology.Freeze}
	})
	// An order that waits in vain gives way to Freeze.
	gone := member(b, old.Name)
	level := make(chan error, 1)
	go func() {
		_, err := b.try(other.Name, order.Order{Verb: order.Level, Source: &gone, Need: nowhere(b.flavour), Within: 8 * time.Second})
		level <- err
	}()
	<-time.After(300 * time.Millisecond)
	frozen := map[string]topology.Frozen{}
	for _, s := range []*labmysql.Server{next, other} {
		d := b.order(s.Name, order.Order{Verb: order.Freeze})
		frozen[s.Name] = *d.Frozen
		if d.Frozen.Short != "" || !d.Frozen.Applies || d.Frozen.Granted < 0 || d.Frozen.Granted > 5*time.Second {
			t.Errorf("%s: %+v", s.Name, d.Frozen)
		}
	}
	if err := <-level; !fault.Is(err, fault.KindConflict) {
		t.Errorf("the order that was interrupted: %v", err)
	}
	if d := b.order(old.Name, order.Order{Verb: order.Fence, Kill: true}); d.How == "" {
		t.Error("how the old primary was closed is not said")
	}
	b.order(next.Name, order.Order{Verb: order.Drain, Need: frozen[next.Name].Received, Within: 5 * time.Second})
	rescued := time.Now()
	d := b.order(next.Name, order.Order{Verb: order.Rescue, Source: &gone, Within: 5 * time.Second})
	t.Logf("%s in %v", d.How, time.Since(rescued))
	b.set(func(r *topology.Record) {
		r.Epoch, r.Primary = 3, next.Name
		r.Move.To, r.Move.Step, r.Move.Need = next.Name, topology.Promote, frozen[next.Name].Received
	})
	b.order(next.Name, order.Order{Verb: order.Promote, Need: frozen[next.Name].Received, Acks: 1, Waits: true, Row: &order.Row{Epoch: 3, Primary: next.Name, From: old.Name}})
	opened := time.Since(since)
	to := member(b, next.Name)
	b.order(other.Name, order.Order{Verb: order.Follow, Source: &to, Acker: true})
	if err := b.insert(1, 100); err != nil {
		t.Fatal(err)
	}
	t.Logf("open after %v, a write acknowledged after %v", opened, time.Since(since))
	b.set(func(r *topology.Record) { r.Move = nil })
	for id := range int64(20) {
		if !next.Has(t, 1000+id) {
			t.Errorf("acknowledged row %d is missing", id)
		}
	}
	if !next.Has(t, 77) {
		t.Error("the row that was only in the dead primary's binary log is not rescued")
	}
	// The old one comes back closed, stays so, and follows.
	old.Start(t)
	<-time.After(700 * time.Millisecond)
	if b.writable(0) {
		t.Error("the old primary is open")
	}
	b.order(old.Name, order.Order{Verb: order.Follow, Source: &to, Acker: true})
	lab.Eventually(t, "the old primary has the new row", func() bool { return old.Has(t, 100) })
	// What is late is refused.
	if _, err := b.try(old.Name, order.Order{Verb: order.Promote, Record: later(b, -1)}); !fault.Is(err, fault.KindConflict) {
		t.Errorf("an order of an epoch that is over: %v", err)
	}
	// A second primary is closed at once.
	old.Writable(t, true)
	lab.Eventually(t, "the second writable server is closed", func() bool { return !b.writable(0) })
}

// later returns the record with another epoch.
func later(b *bed, by int) *topology.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.record.Clone()
	r.Epoch = uint64(int(r.Epoch) + by)
	return r
}

func member(b *bed, name string) topology.Member {
	b.mu.Lock()
	defer b.mu.Unlock()
	return *b.record.Member(name)
}

// nowhere is a transaction that no server has.
func nowhere(flavour string) string {
	if flavour == labmysql.FlavourMySQL {
		return "3e11fa47-71ca-11e1-9e33-c80aa9429562:1"
	}
	return "0-99-99"
}

func word(flavour string) string {
	if flavour == labmysql.FlavourMySQL {
		return "REPLICA"
	}
	return "SLAVE"
}

// ownTransactions: what a replica alone has is written as SQL.
func ownTransactions(t *testing.T, b *bed) {
	t.Helper()
	old := b.servers[0]
	if b.flavour == labmysql.FlavourMySQL {
		old.Exec(t, "SET GLOBAL super_read_only=OFF")
	}
	old.Exec(t, "INSERT INTO app.acks (id, writer) VALUES (4711, 9)")
	need := old.Value(t, "SELECT @@"+map[string]string{labmysql.FlavourMySQL: "gtid_executed", labmysql.FlavourMariaDB: "gtid_binlog_pos"}[b.flavour])
	if b.flavour == labmysql.FlavourMySQL {
		need = old.Value(t, "SELECT GTID_SUBTRACT(?, ?)", need, b.servers[1].Value(t, "SELECT @@gtid_executed"))
	}
	d := b.order(old.Name, order.Order{Verb: order.SetAside, Need: need})
	raw, err := os.ReadFile(d.How[strings.Index(d.How, "/"):])
	if err != nil || !strings.Contains(string(raw), "4711") || !strings.HasPrefix(d.How, "1 transactions") {
		t.Errorf("%s: %v\n%s", d.How, err, raw)
	}
}

func agentRestarted(t *testing.T, b *bed) {
	t.Helper()
	p := b.servers[0]
	b.site(0).stop()
	again := b.start(p, b.site(0).root)
	b.mu.Lock()
	b.sites[p.Name] = again
	b.mu.Unlock()
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		if !b.writable(0) {
			t.Fatal("closed by an agent that was started again")
		}
	}
	// And again while nobody grants: the new one does not leave it open.
	for _, r := range b.servers[1:] {
		b.cuts(true, p.Name+">"+r.Name)
	}
	b.cuts(true, p.Name+">controller")
	again.stop()
	last := b.start(p, again.root)
	since := time.Now()
	b.mu.Lock()
	b.sites[p.Name] = last
	b.mu.Unlock()
	lab.Eventually(t, "it is closed", func() bool { return !b.writable(0) })
	if took := time.Since(since); took > topology.FenceBound+500*time.Millisecond {
		t.Errorf("closed after %v", took)
	} else {
		t.Logf("an agent that starts without a lease closes the server after %v", took)
	}
	for _, r := range b.servers[1:] {
		b.cuts(false, p.Name+">"+r.Name)
	}
	b.cuts(false, p.Name+">controller")
	lab.Eventually(t, "it is open again", func() bool { return b.writable(0) })
}
