package judge

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

func TestMend(t *testing.T) {
	clean := all(looked("db1", Look{Contained: true}), looked("db2", Look{Contained: true}), looked("db3", Look{Contained: true}))
	// db1 was the primary before db2, and is back.
	returned := all(func(v *View) { v.Record.Primary, v.Record.Epoch = "db2", 8 },
		self("db1", func(s *topology.Self) { s.ReadOnly, s.SemiSync, s.Commit = true, topology.SemiSync{Loaded: true}, nil }),
		self("db2", func(s *topology.Self) {
			s.ReadOnly, s.Replica, s.SemiSync = false, nil, topology.SemiSync{Loaded: true, Waits: true, Active: true, Acks: 1, Clients: 1}
		}),
		repl("db3", func(r *topology.Replica) { r.Source = address("db2") }),
		func(v *View) {
			v.Members["db1"].Report.Lease, v.Members["db2"].Report.Lease = topology.Lease{}, topology.Lease{Held: true}
		})
	goneFor := func(name string, d time.Duration) change {
		return all(self(name, func(s *topology.Self) { s.Process, s.Answers, s.GoneFor = topology.Gone, false, d }), func(v *View) {
			v.Members[name].Report.Self.CanStart = true
		})
	}
	readOnly := self("db1", func(s *topology.Self) { s.ReadOnly = true })
	for _, c := range []struct {
		name   string
		change change
		want   string // verb member, in order
		says   string
	}{
		{"peace", clean, "", ""},
		{"a replica takes writes", self("db2", func(s *topology.Self) { s.ReadOnly = false }), "close db2", ""},
		{"the primary was moved by hand", all(readOnly, self("db2", func(s *topology.Self) { s.ReadOnly = false })), "", ""},
		{"the primary is read-only", readOnly, "reopen db1", ""},
		{"it is, and has no lease", all(readOnly, func(v *View) { v.Members["db1"].Report.Lease = topology.Lease{} }), "", ""},
		{"its agent closed it", fencedBecause("lease over"), "", ""},
		{"the disk made it so", all(readOnly, disk(topology.Disk{Full: true})), "", ""},
		{"a replica's process has ended", goneFor("db3", 20*time.Second), "start db3", "has been gone for 20 s"},
		{
			"it ended before its agent began",
			all(goneFor("db3", 0), self("db3", func(s *topology.Self) { s.Process, s.Silent = topology.Unseen, 20*time.Second })), "start db3", "no process is seen",
		},
		{"a moment ago", goneFor("db3", time.Second), "", ""},
		{"and nobody can start it", self("db3", func(s *topology.Self) { s.Process, s.Answers, s.GoneFor = topology.Gone, false, time.Hour }), "", ""},
		{"the primary's process, and nothing better can be done", all(goneFor("db1", time.Minute), self("db2", func(s *topology.Self) { s.ReadOnly = false })), "start db1", ""},
		{"stopped", all(clean, repl("db2", func(r *topology.Replica) { r.Receiver, r.Receiving = "No", false })), "follow db2", "has stopped replicating, with no error: follow db1"},
		{"stopped by an error", all(clean, repl("db2", func(r *topology.Replica) { r.Receiver, r.ReceiveErr = "No", "error 1236" })), "", ""},
		{"connecting", all(clean, repl("db2", func(r *topology.Replica) { r.Receiver, r.Receiving = "Connecting", false })), "", ""},
		{"wrong source", all(clean, repl("db2", func(r *topology.Replica) { r.Source = "old:3306" })), "follow db2", "replicates from old:3306"},
		{"wrong source, and it is not known what it has", repl("db2", func(r *topology.Replica) { r.Source = "old:3306" }), "look db2", ""},
		{"several sources", all(clean, repl("db2", func(r *topology.Replica) { r.Source, r.Channels = "old:3306", 2 })), "", ""},
		{"the old primary is back", all(returned, clean), "follow db1", "follow db2, which has all that it has"},
		{"with more than the new one", all(returned, clean, looked("db1", Look{Errants: gtid.Errants{All: set("0-1-99")}})), "set-aside db1", "do not let it follow"},
		{"they are set aside", all(returned, clean, looked("db1", Look{Errants: gtid.Errants{All: set("0-1-99")}, Aside: &order.Aside{Need: "0-1-99"}})), "", ""},
		{"others were set aside before", all(returned, clean, looked("db1", Look{Errants: gtid.Errants{All: set("0-1-99")}, Aside: &order.Aside{Need: "0-1-88"}})), "set-aside db1", ""},
		{
			"it follows and its source refuses it", all(clean, repl("db2", func(r *topology.Replica) { r.Receiver, r.ReceiveErr = "No", "error 1236" }), looked("db2", Look{Errants: gtid.Errants{All: set("0-2-9")}})),
			"set-aside db2", "cannot receive",
		},
		{"asked too early", all(returned, clean, looked("db1", Look{})), "look db1", "ask again"},
		{"and takes writes", all(returned, clean, self("db1", func(s *topology.Self) { s.ReadOnly = false })), "close db1, follow db1", ""},
		{"does not acknowledge", semi("db3", func(s *topology.SemiSync) { s.Replies = false }), "tune db3 acker", ""},
		{"nobody acknowledges, nobody waits", all(semi("db3", func(s *topology.SemiSync) { s.Replies = false }), semi("db2", func(s *topology.SemiSync) { s.Replies = false }),
			semi("db1", func(s *topology.SemiSync) { s.Waits = false })), "tune db2 acker, tune db3 acker, tune db1 waits 1", ""},
		{"another number", policy(func(p *topology.Policy) { p.Acks = 2 }), "tune db1 waits 2", ""},
		{
			"a stranger acknowledges, another does not", all(func(v *View) { v.Record.Members[2].Role = topology.Observer }, semi("db2", func(s *topology.SemiSync) { s.Replies = false })),
			"tune db3, tune db2 acker", "",
		},
		{"a replica waits", semi("db2", func(s *topology.SemiSync) { s.Waits = true }), "tune db2 acker", ""},
		{"asynchronous now", async, "tune db1", ""},
		{"below a replica that is down", all(clean, below("db3", "db2"), semi("db3", func(s *topology.SemiSync) { s.Replies = false }), goneFor("db2", time.Second)), "follow db3", "follow db1"},
		{"below a replica that is well", all(clean, below("db3", "db2"), semi("db3", func(s *topology.SemiSync) { s.Replies = false })), "", ""},
		{"asynchronous, and an observer acknowledges", all(async, semi("db1", func(s *topology.SemiSync) { s.Waits = false }), func(v *View) { v.Record.Members[2].Role = topology.Observer }), "", ""},
		{"the primary has heard of a later epoch", all(self("db2", func(s *topology.Self) { s.ReadOnly = false }), func(v *View) { v.Members["db1"].Report.Epoch = 9 }), "", ""},
		{"paused", all(self("db2", func(s *topology.Self) { s.ReadOnly = false }), func(v *View) { v.Record.Paused = &topology.Pause{} }), "", ""},
		{"moving", all(self("db2", func(s *topology.Self) { s.ReadOnly = false }), func(v *View) { v.Record.Move = &topology.Move{} }), "", ""},
		{"old news", all(self("db2", func(s *topology.Self) { s.ReadOnly = false }), mute("db2", 2*time.Second)), "", ""},
		{"the primary is silent", all(self("db2", func(s *topology.Self) { s.ReadOnly = false }), mute("db1", 2*time.Second)), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := peace(2)
			c.change(&v)
			var got []string
			var text strings.Builder
			for _, r := range Mend(v) {
				o := r.Order
				line := fmt.Sprintf("%s %s", o.Verb, o.Member)
				if o.Verb == "tune" && o.Acker {
					line += " acker"
				}
				if o.Waits {
					line += fmt.Sprintf(" waits %d", o.Acks)
				}
				got = append(got, line)
				text.WriteString(r.Why + "\n")
				if o.Topology != "shop" || o.Epoch != v.Record.Epoch || r.Once != (o.Verb == "set-aside") {
					t.Errorf("order %+v, once %t", o, r.Once)
				}
				if o.Verb == "follow" && (o.Source == nil || o.Acker != v.Record.Member(o.Member).Acker()) {
					t.Errorf("order %+v", o)
				}
			}
			if diff := cmp.Diff(c.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("repairs (-want +got):\n%s%s", diff, text.String())
			}
			if !strings.Contains(text.String(), c.says) {
				t.Errorf("they do not say %q:\n%s", c.says, text.String())
			}
		})
	}
}
