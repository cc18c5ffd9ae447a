package mysql

import (
	"testing"
	"time"

	labmysql "kaname.dev/kaname/lab/mysql"
)

// flavours are those that can be had here.
func flavours(t *testing.T, each func(t *testing.T, flavour string)) {
	for _, f := range []string{labmysql.FlavourMariaDB, labmysql.FlavourMySQL} {
		t.Run(f, func(t *testing.T) {
			if f == labmysql.FlavourMySQL {
				labmysql.NeedMySQL(t)
			}
			each(t, f)
		})
	}
}

// full ends tests that are for make bench.
func full(t *testing.T) {
	t.Helper()
	if figures() == "" {
		t.Skip("takes minutes; make bench runs it")
	}
}

// TestFailover is the whole flow once: a primary that is moved on purpose, one that is
// killed and comes back.
func TestFailover(t *testing.T) {
	b := newBed(t, options{flavour: labmysql.FlavourMariaDB})
	b.switchover()
	b.round(killed())
}

// TestKill is the crash of the primary's process, again and again.
func TestKill(t *testing.T) {
	full(t)
	flavours(t, func(t *testing.T, flavour string) {
		b := newBed(t, options{flavour: flavour})
		sum := b.rounds(killed(), *round)
		prefix := "mysql." + flavour + "."
		p50, p95 := at(sum.down, 0.5), at(sum.down, 0.95)
		record(prefix+"downtime_p50_s", p50.Seconds(), "s", "orchestrator at its defaults, measured in another run on a like lab: 4.92 s", p50.Seconds()/4.92)
		record(prefix+"downtime_p95_s", p95.Seconds(), "s", "3 s", p95.Seconds()/3)
		record(prefix+"lost_acks", float64(sum.lost), "writes", "", 0)
		record(prefix+"double_acks", float64(sum.double), "writes", "", 0)
		if flavour == labmysql.FlavourMariaDB {
			record("mysql.vs_orchestrator", p50.Seconds(), "s", "orchestrator at its defaults, measured in another run on a like lab: 4.92 s", p50.Seconds()/4.92)
		}
		if p50 > 1500*time.Millisecond || p95 > 3*time.Second {
			t.Errorf("down for %s in the median, %s at most: %v", p50, p95, sum.down)
		}
	})
}

// TestSilence is a primary that hangs, and one that nobody hears of.
func TestSilence(t *testing.T) {
	full(t)
	flavours(t, func(t *testing.T, flavour string) {
		b := newBed(t, options{flavour: flavour})
		var all tally
		for _, c := range []struct {
			scenario
			against float64
		}{{hung(), 11.33}, {cutOff(), 11.31}} {
			sum := b.rounds(c.scenario, max(*round/2, 1))
			worst := at(sum.down, 1)
			record("mysql."+flavour+"."+c.name+"_s", worst.Seconds(), "s", "orchestrator at its defaults, measured in another run on a like lab", worst.Seconds()/c.against)
			if worst > 5*time.Second {
				t.Errorf("%s: down for up to %s: %v", c.name, worst, sum.down)
			}
			all.join(sum)
		}
		record("mysql."+flavour+".dual_writable_s", all.dual.Seconds(), "s", "orchestrator in the same lab: 4 to 8.5 s", 0)
	})
}
