package judge

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

func set(s string) gtid.Set {
	v, err := gtid.Parse(gtid.MariaDB, s)
	if err != nil {
		panic(err)
	}
	return v
}

// looked: the member was asked for all, and the primary after it.
func looked(name string, l Look) change {
	return func(v *View) {
		k := v.Members[name]
		k.Look = &l
		v.Members[name] = k
	}
}

func semi(name string, f func(*topology.SemiSync)) change {
	return self(name, func(s *topology.Self) { f(&s.SemiSync) })
}

func repl(name string, f func(*topology.Replica)) change {
	return self(name, func(s *topology.Self) { f(s.Replica) })
}

func TestFindings(t *testing.T) {
	for _, c := range []struct {
		name   string
		change change
		want   string // member kind, in order
		says   string
	}{
		{"peace", all(), "", ""},
		{"the controller began a moment ago", all(never("db3"), func(v *View) { v.Now = time.Second }), "", ""},
		{"never heard", never("db3"), "db1 acker-missing, db3 agent-silent", "has not reported yet"},
		{"agent silent", mute("db3", time.Hour), "db1 acker-missing, db3 agent-silent", "the last report came 60 min ago"},
		{"gone", self("db3", func(s *topology.Self) { s.Process, s.Answers, s.GoneFor = topology.Gone, false, 20*time.Second }), "db1 acker-missing, db3 server-gone", "20 s ago"},
		{"hangs", self("db3", func(s *topology.Self) { s.Answers, s.Silent = false, 20*time.Second }), "db1 acker-missing, db3 no-answer", ""},
		{"refuses", self("db1", func(s *topology.Self) { s.Refuses, s.Trouble = true, "Too many connections" }), "db1 refuses", "Too many connections"},
		{"cut off alone", parted("db2", "db1", time.Minute), "db1 acker-missing, db2 cut-from-primary", "db1 has not answered it for 60 s"},
		{"its agent alone is", blind("db2", "db1", time.Minute), "db2 agent-blind", "db1 has not answered it for 60 s; last event or heartbeat 0.3 s ago"},
		{"cannot receive", repl("db2", func(r *topology.Replica) { r.Receiving, r.Receiver, r.ReceiveErr = false, "No", "error 1236: purged" }), "db1 acker-missing, db2 receive-error", "error 1236"},
		{"cannot apply", repl("db2", func(r *topology.Replica) { r.Applying, r.ApplyErr = false, "error 1062: duplicate" }), "db2 apply-error", "error 1062"},
		{"receiver stopped", repl("db2", func(r *topology.Replica) { r.Receiving, r.Receiver = false, "No" }), "db1 acker-missing, db2 stopped", ""},
		{"applier stopped", repl("db2", func(r *topology.Replica) { r.Applying = false }), "db2 stopped", "it receives, and falls behind"},
		{"no source", self("db2", func(s *topology.Self) { s.Replica = nil }), "db1 acker-missing, db2 no-source", ""},
		{"wrong source", repl("db2", func(r *topology.Replica) { r.Source = "old:3306" }), "db2 wrong-source", "from old:3306 instead of db1"},
		{"several sources", repl("db2", func(r *topology.Replica) { r.Channels = 2 }), "db2 channels", "2 sources"},
		{"by position", repl("db2", func(r *topology.Replica) { r.ByGTID = false }), "db2 not-by-gtid", ""},
		{"lags", repl("db2", func(r *topology.Replica) { r.Lag = time.Minute }), "db2 lagging", "60 s behind"},
		{"lag unknown", repl("db2", func(r *topology.Replica) { r.Lag = -1 }), "", ""},
		{"delayed", repl("db2", func(r *topology.Replica) { r.Lag, r.Delay = time.Hour+time.Second, time.Hour }), "db2 delayed", "by 60 min"},
		{"delayed and lagging besides", repl("db2", func(r *topology.Replica) { r.Lag, r.Delay = 2*time.Hour, time.Hour }), "db2 delayed, db2 lagging", ""},
		{"takes writes", self("db2", func(s *topology.Self) { s.ReadOnly = false }), "db2 writable", ""},
		{"fell back", semi("db1", func(s *topology.SemiSync) { s.Active, s.Timeout = false, 10*time.Second }), "db1 semi-sync-fell-back", "gave up after 10 s"},
		{"does not wait", semi("db1", func(s *topology.SemiSync) { s.Waits = false }), "db1 semi-sync-settings", ""},
		{"not loaded", semi("db1", func(s *topology.SemiSync) { *s = topology.SemiSync{} }), "db1 semi-sync-settings", "not loaded"},
		{"gives up soon", semi("db1", func(s *topology.SemiSync) { s.Timeout = 10 * time.Second }), "db1 semi-sync-settings", "gives up after 10 s"},
		{"asynchronous", all(async, semi("db1", func(s *topology.SemiSync) { *s = topology.SemiSync{} })), "", ""},
		{"does not acknowledge", semi("db3", func(s *topology.SemiSync) { s.Replies = false }), "db1 acker-missing", "missing: db3"},
		{"acknowledges, and should not", func(v *View) { v.Record.Members[2].Role = topology.Observer }, "db3 strange-acker", ""},
		{"waits, and is a replica", semi("db3", func(s *topology.SemiSync) { s.Waits = true }), "db3 semi-sync-settings", ""},
		{"restarted", self("db3", func(s *topology.Self) { s.Uptime = 12 * time.Second }), "db3 restarted", "started 12 s ago"},
		{"newer", self("db3", func(s *topology.Self) { s.Version = "11.8.2-MariaDB-log" }), "db3 newer-version", ""},
		{"older", self("db3", func(s *topology.Self) { s.Version = "10.6.1" }), "db3 older-version", ""},
		{"another patch", self("db3", func(s *topology.Self) { s.Version = "10.11.1" }), "", ""},
		{"disk full", disk(topology.Disk{Full: true, Free: 12}), "db1 disk", "12 bytes"},
		{"old epoch", func(v *View) { v.Members["db3"].Report.Epoch = 3 }, "db3 old-epoch", "it knows epoch 3, the record is at 7"},
		{"errant", looked("db3", Look{Errants: gtid.Errants{All: set("0-3-77"), Own: set("0-3-77")}}), "db3 errant", "somebody wrote to it directly: 0-3-77"},
		{"errant, and in a file", looked("db3", Look{Errants: gtid.Errants{All: set("0-3-77")}, Aside: &order.Aside{Need: "0-3-77", File: "/x/aside.sql", Transactions: 1}}), "db3 errant", ""},
		{
			"errant, and refused", all(repl("db2", func(r *topology.Replica) {
				r.Receiving, r.Receiver, r.ReceiveErr = false, "No", "error 1236: not there"
			}), looked("db2", Look{Errants: gtid.Errants{All: set("0-2-9")}})),
			"db1 acker-missing, db2 receive-error, db2 errant", "its source refuses it",
		},
		{"strangers below", looked("db1", Look{Below: []string{address("db2"), "db3:0", "db3:3307", "bi:3306"}}), "db1 unknown-replica", "db3:3307 replicates from it"},
		{"what its agent found", looked("db1", Look{Findings: []order.Finding{{What: "its clock is an hour ahead", Why: "figures of time are wrong"}, {What: "names do not resolve"}}}), "db1 noted, db1 noted", "an hour ahead"},
		{"below a replica that is down", all(below("db3", "db2"), mute("db2", time.Hour)), "db1 acker-missing, db2 agent-silent, db3 strange-acker, db3 wrong-source", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := peace(2)
			c.change(&v)
			var got []string
			var text strings.Builder
			for _, f := range Judge(v).Findings {
				got = append(got, f.Member+" "+string(f.Kind))
				text.WriteString(f.What + ": " + f.Why + "\n")
				if f.What == "" || f.Why == "" && f.Kind != Noted {
					t.Errorf("%s does not say what or why", f.Kind)
				}
			}
			if diff := cmp.Diff(c.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("findings (-want +got):\n%s%s", diff, text.String())
			}
			if !strings.Contains(text.String(), c.says) {
				t.Errorf("they do not say %q:\n%s", c.says, text.String())
			}
		})
	}
}
