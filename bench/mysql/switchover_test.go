package mysql

import (
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/lab/mysql/load"
)

// switchover moves the primary to the next server, and returns what the client noticed.
func (b *bed) switchover() outcome {
	b.t.Helper()
	before := b.fine(time.Minute)
	old := b.server(before.Primary)
	next := b.db[0]
	if old == next {
		next = b.db[1]
	}
	from := time.Now()
	b.cli(nil, "mysql", "switchover", shop, "--to", next.Name, "--yes")
	had := b.client.Acks()
	b.until("the client writes", 30*time.Second, func() bool { return b.client.Acks() > had+50 })
	after := b.fine(time.Minute)
	if after.Primary != next.Name {
		b.t.Errorf("moved to %s and not to %s\n%s", after.Primary, next.Name, b.story())
	}
	history := b.client.History()
	o := outcome{sight: b.watch.Sight(from), Result: load.Check(load.Evidence{
		History: history.Window(from, time.Now()), Kept: load.IDs(b.t, b.server(after.Primary)), Old: old.ID,
	})}
	b.t.Logf("switchover of %s: %s; %s", old.Name, o.Result, strings.Join(o.sight.Story, ", "))
	b.judge("switchover", o, after.Primary)
	if len(o.Errors) > 0 || len(o.Duplicates) > 0 {
		b.t.Errorf("the client behind the router noticed a switchover: %v", o.Errors)
	}
	return o
}

// TestSwitchover moves the primary under load again and again.
func TestSwitchover(t *testing.T) {
	full(t)
	var worst time.Duration
	flavours(t, func(t *testing.T, flavour string) {
		b := newBed(t, options{flavour: flavour})
		var sum tally
		for range *round {
			sum.add(b.switchover())
		}
		p95 := at(sum.pause, 0.95)
		record("mysql."+flavour+".switchover_p95_ms", float64(p95.Milliseconds()), "ms", "500 ms", p95.Seconds()/0.5)
		if worst = max(worst, p95); p95 > 500*time.Millisecond {
			t.Errorf("writes paused for %s: %v", p95, sum.pause)
		}
	})
	record("mysql.switchover_p95_ms", float64(worst.Milliseconds()), "ms", "the shortest that MHA's documentation says: 500 ms", worst.Seconds()/0.5)
}
