package mysql

import (
	"fmt"
	"testing"
	"time"

	lab "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/lab/mysql/load"
	"kaname.dev/kaname/rib/mysql/judge"
)

// A killed primary is replaced, nothing acknowledged is lost, and it comes back as a
// replica by itself.
func TestAKilledPrimaryIsReplaced(t *testing.T) {
	for _, flavour := range []string{lab.FlavourMariaDB, lab.FlavourMySQL} {
		t.Run(flavour, func(t *testing.T) { killed(t, newBed(t, flavour)) })
	}
}

func killed(t *testing.T, b *bed) {
	t.Helper()
	b.adopt(nil)
	c := b.load()
	w := load.Watch(t, b.servers.Servers...)
	old := b.server("db1")
	fault := time.Now()
	old.Kill()
	b.eventually(15*time.Second, func() string {
		if _, ok := c.Elsewhere(fault, old.ID); ok {
			return ""
		}
		v := b.look()
		return fmt.Sprintf("no write elsewhere: %s %s %+v", v.Verdict.State, v.Doing, v.Record.Move)
	})
	b.eventually(40*time.Second, func() string { // kaname starts it after a while, and it follows
		v := b.look()
		if r := v.Members["db1"].Report; r != nil && r.Self.Answers && r.Self.Replica != nil && r.Self.Replica.Receiving {
			return ""
		}
		for _, f := range v.Verdict.Findings {
			if f.Kind == judge.Errant {
				return "" // a transaction that nobody had acknowledged is set aside instead
			}
		}
		return fmt.Sprintf("db1 is not back: %+v %+v", v.Members["db1"].Report, v.Verdict.Findings)
	})
	h := c.Stop()
	v := b.look()
	r := load.Check(load.Evidence{History: h, Kept: load.IDs(t, b.server(v.Record.Primary)), Fault: fault, Old: old.ID})
	sight := w.Sight(time.Time{})
	t.Logf("%s; dual %v, open at the end %v", r, sight.Dual, sight.Open)
	if len(r.Lost) > 0 || len(r.Doubles) > 0 || sight.Dual > 0 || len(sight.Open) != 1 {
		t.Errorf("lost %v, doubles %v, dual %v, open at the end %v", r.Lost, r.Doubles, sight.Dual, sight.Open)
	}
	if v.Record.Last == nil || !v.Record.Last.OK || !v.Record.Last.Move.Proven {
		t.Errorf("outcome %+v", v.Record.Last)
	}
}
