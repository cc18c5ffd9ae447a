package judge

import (
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/rib/mysql/topology"
)

const ms = time.Millisecond

// address of a member of the tests.
func address(name string) string { return name + ":3306" }

// peace is a topology of a primary, db1, and n replicas of which everything is well, as
// the controller sees it an hour after it began.
func peace(n int) View {
	r := &topology.Record{Name: "shop", Flavour: "mariadb", Epoch: 7, Primary: "db1", Policy: topology.DefaultPolicy()}
	v := View{Record: r, Members: map[string]Known{}, Now: time.Hour, Began: time.Unix(1_800_000_000, 0), Watched: 200}
	for i := range n + 1 {
		name := "db" + string(rune('1'+i))
		r.Members = append(r.Members, topology.Member{Name: name, Host: name, Address: address(name), Role: topology.Candidate})
	}
	for _, m := range r.Members {
		rep := &topology.Report{Topology: "shop", Member: m.Name, Epoch: 7}
		rep.Self = topology.Self{
			Process: topology.Running, Answers: true, Version: "10.11.9", ServerID: 1, ReadOnly: m.Name != "db1", Uptime: time.Hour,
			SemiSync: topology.SemiSync{Loaded: true, Replies: m.Name != "db1"},
		}
		for _, o := range r.Members {
			if o.Name != m.Name {
				rep.Sights = append(rep.Sights, topology.Sight{Of: o.Name, Answers: true, For: time.Hour, Agent: true})
			}
		}
		if m.Name == "db1" {
			rep.Self.Commit = &topology.Commit{Took: 3 * ms}
			rep.Self.SemiSync.Waits, rep.Self.SemiSync.Active, rep.Self.SemiSync.Acks, rep.Self.SemiSync.Clients = true, true, 1, n
			rep.Lease = topology.Lease{Held: true, Left: 1800 * ms}
		} else {
			rep.Self.Replica = &topology.Replica{Source: address("db1"), Channels: 1, Receiving: true, Receiver: "Yes", NoNews: 200 * ms, Applying: true, ByGTID: true}
		}
		v.Members[m.Name] = Known{Report: rep, Age: 100 * ms}
	}
	return v
}

// The changes of which the cases are made.
type change func(*View)

func self(name string, f func(*topology.Self)) change {
	return func(v *View) { f(&v.Members[name].Report.Self) }
}

// mute: the member's agent has not spoken to the controller for so long.
func mute(name string, age time.Duration) change {
	return func(v *View) {
		k := v.Members[name]
		k.Age = age
		v.Members[name] = k
	}
}

// never: the member's agent has never spoken.
func never(names ...string) change {
	return func(v *View) {
		for _, n := range names {
			delete(v.Members, n)
		}
	}
}

// blind: the member's agent has had no answer of the other's server for so long.
func blind(name, of string, d time.Duration) change {
	return func(v *View) {
		s := find(v.Members[name].Report.Sights, of)
		s.Answers, s.For = false, d
	}
}

// agentless: nor of the other's agent.
func agentless(name, of string, d time.Duration) change {
	return func(v *View) {
		s := find(v.Members[name].Report.Sights, of)
		s.Agent, s.Silent = false, d
	}
}

// deaf: the member has received nothing for so long.
func deaf(name string, d time.Duration) change {
	return self(name, func(s *topology.Self) {
		s.Replica.NoNews, s.Replica.Receiving, s.Replica.Receiver = d, false, "Connecting"
	})
}

// parted: all of it.
func parted(name, of string, d time.Duration) change {
	return all(blind(name, of, d), agentless(name, of, d), deaf(name, d))
}

func all(cs ...change) change {
	return func(v *View) {
		for _, c := range cs {
			c(v)
		}
	}
}

func probe(answers bool, d time.Duration) change {
	return func(v *View) {
		k := v.Members["db1"]
		k.Sight = &topology.Sight{Of: "db1", Answers: answers, For: d}
		v.Members["db1"] = k
	}
}

func policy(f func(*topology.Policy)) change { return func(v *View) { f(&v.Record.Policy) } }

var (
	exited = self("db1", func(s *topology.Self) { s.Process, s.GoneFor, s.Answers = topology.Gone, 50*ms, false })
	socket = func(d time.Duration) change {
		return self("db1", func(s *topology.Self) { s.Answers, s.Silent, s.Trouble = false, d, "i/o timeout" })
	}
	async = policy(func(p *topology.Policy) { p.Durability = topology.Async })
)

func TestPrimary(t *testing.T) {
	for _, c := range []struct {
		name   string
		n      int // replicas; 2 unless told
		change change
		state  State
		act    bool
		quiet  bool
		says   string // in the reasons
	}{
		{name: "peace", change: all(), state: Fine},
		{name: "process ended", change: exited, state: Dead, act: true, says: "saw the server's process end, 0.1 s ago"},
		{
			name: "process ended, and replicas still hear what was on its way", change: all(exited, self("db2", func(s *topology.Self) { s.Replica.NoNews = 0 })),
			state: Dead, act: true,
		},
		{
			name:   "process ended, but replicas receive: the agent looks at another process",
			change: all(exited, self("db1", func(s *topology.Self) { s.GoneFor = 5 * time.Second })), state: Unknown, says: "another process",
		},
		{
			name: "process ended, then its host too", change: all(exited, mute("db1", 2*time.Second), parted("db2", "db1", 2*time.Second), parted("db3", "db1", 2*time.Second)),
			state: CutOff, act: true, quiet: true, says: "its last word was that the server's process had ended",
		},
		{name: "process ended, nobody else was ever heard", change: all(exited, never("db2", "db3")), state: Dead, says: "db2: its agent has not reported yet"},

		{
			name: "stopped process", change: all(socket(1600*ms), blind("db2", "db1", 1600*ms), deaf("db2", 1600*ms), blind("db3", "db1", 1600*ms), deaf("db3", 1600*ms)),
			state: Hung, act: true, quiet: true, says: "the local socket has been silent for 1.7 s: i/o timeout",
		},
		{name: "stopped process, too early", change: all(socket(800*ms), blind("db2", "db1", 800*ms), deaf("db2", 800*ms), blind("db3", "db1", 800*ms), deaf("db3", 800*ms)), state: Fine},
		{name: "stopped process, one replica still hears", change: all(socket(1600*ms), blind("db2", "db1", 1600*ms), deaf("db2", 1600*ms), blind("db3", "db1", 1600*ms)), state: Fine},
		{name: "local socket broken only", change: socket(time.Minute), state: Fine},
		{
			name: "stopped process, one witness missing", change: all(socket(1600*ms), blind("db2", "db1", 1600*ms), deaf("db2", 1600*ms), mute("db3", 4*time.Second)),
			state: Unknown, says: "1 of 2 replicas' agents say that db1 is silent, 2 are needed",
		},
		{name: "too many connections", change: all(self("db1", func(s *topology.Self) {
			s.Answers, s.Refuses, s.Silent, s.Trouble = false, true, time.Minute, "too many connections"
		})), state: Fine},

		{
			name: "host gone", change: all(mute("db1", 1700*ms), parted("db2", "db1", 1600*ms), parted("db3", "db1", 1600*ms)), state: CutOff, act: true, quiet: true,
			says: "its agent has been silent for 1.7 s (allowed: 1.5 s)",
		},
		{name: "host gone, too early", change: all(mute("db1", 1200*ms), parted("db2", "db1", 1200*ms), parted("db3", "db1", 1200*ms)), state: Fine},
		{name: "host gone, replicas not yet sure", change: all(mute("db1", 1700*ms), parted("db2", "db1", 1600*ms), parted("db3", "db1", 900*ms)), state: Fine},
		{name: "host gone, we see it", change: all(mute("db1", 1700*ms), parted("db2", "db1", 1600*ms), parted("db3", "db1", 1600*ms), probe(true, time.Hour)), state: Fine},
		{name: "host gone, nor do we see it", change: all(mute("db1", 1700*ms), parted("db2", "db1", 1600*ms), parted("db3", "db1", 1600*ms), probe(false, 1600*ms)), state: CutOff, act: true, quiet: true},
		{name: "host and one replica gone", change: all(mute("db1", 1700*ms), parted("db2", "db1", 1600*ms), mute("db3", 1700*ms)), state: Unknown, says: "2 are needed"},
		{
			name: "host and one replica gone, async: the old one has no majority of voters", change: all(async, mute("db1", 1700*ms), parted("db2", "db1", 1600*ms), mute("db3", 1700*ms)),
			state: CutOff, act: true, quiet: true,
		},
		{
			name: "host and one of three replicas gone", n: 3, change: all(mute("db1", 1700*ms), parted("db2", "db1", 1600*ms), parted("db3", "db1", 1600*ms), mute("db4", 1700*ms)),
			state: CutOff, act: true, quiet: true,
		},
		{name: "the only replica agrees", n: 1, change: all(mute("db1", 1700*ms), parted("db2", "db1", 1600*ms)), state: CutOff, act: true, quiet: true},
		{name: "host gone, a witness speaks late", change: all(mute("db1", 1700*ms), parted("db2", "db1", 1600*ms), parted("db3", "db1", 1600*ms), mute("db3", 1200*ms)), state: Unknown},
		{name: "host gone, while we were late ourselves", change: all(mute("db1", 1700*ms), parted("db2", "db1", 1600*ms), parted("db3", "db1", 1600*ms), func(v *View) { v.Late = time.Second }), state: Fine},

		{
			name:   "host gone, replicas sure, while we were late ourselves",
			change: all(mute("db1", 1700*ms), parted("db2", "db1", time.Minute), parted("db3", "db1", time.Minute), func(v *View) { v.Late = time.Second }), state: Fine,
		},
		{name: "an ended process that answers is another one", change: all(exited, self("db1", func(s *topology.Self) { s.Answers = true })), state: Fine},
		{
			name:   "we do not reach server nor agent, replicas do not reach the agent",
			change: all(mute("db1", time.Minute), probe(false, time.Minute), agentless("db2", "db1", time.Minute), agentless("db3", "db1", time.Minute)), state: Unreachable,
		},
		{name: "we alone are cut off from the primary", change: mute("db1", time.Minute), state: Unreachable, says: "db2: db1 answers it; last event or heartbeat 0.3 s ago"},
		{name: "we are, and one replica is", change: all(mute("db1", time.Minute), parted("db2", "db1", time.Minute)), state: Unreachable},
		{name: "we are, and replicas' agents, but events flow", change: all(mute("db1", time.Minute), probe(false, time.Minute), blind("db2", "db1", time.Minute), blind("db3", "db1", time.Minute)), state: Unreachable},
		{name: "only the agent died", change: all(mute("db1", time.Minute), agentless("db2", "db1", time.Minute), agentless("db3", "db1", time.Minute)), state: Fine, says: "only its agent is silent"},
		{name: "replicas are cut off from the primary, we are not", change: all(parted("db2", "db1", time.Minute), parted("db3", "db1", time.Minute)), state: Fine},
		{name: "one way: replicas hear, but their questions do not arrive", change: all(mute("db1", time.Minute), blind("db2", "db1", time.Minute), blind("db3", "db1", time.Minute), deaf("db3", time.Minute),
			agentless("db2", "db1", time.Minute)), state: Unreachable},

		{name: "all silent", change: all(mute("db1", 2*time.Second), mute("db2", 2*time.Second), mute("db3", 2*time.Second)), state: AllDown},
		{name: "just begun", change: all(never("db1", "db2", "db3"), func(v *View) { v.Now = time.Second }), state: Unknown, says: "the controller began 1.0 s ago"},
		{name: "begun three seconds ago, nobody speaks", change: all(never("db1", "db2", "db3"), func(v *View) { v.Now = 3 * time.Second }), state: Unknown},
		{name: "begun a minute ago, nobody speaks", change: all(never("db1", "db2", "db3"), func(v *View) { v.Now = time.Minute }), state: AllDown},
		{name: "begun after the primary was lost", change: all(never("db1"), func(v *View) { v.Now = 2600 * ms }, parted("db2", "db1", time.Minute), parted("db3", "db1", time.Minute)), state: CutOff, act: true, quiet: true},
		{name: "begun after the primary was lost, too early", change: all(never("db1"), func(v *View) { v.Now = 2 * time.Second }, parted("db2", "db1", time.Minute), parted("db3", "db1", time.Minute)), state: Unknown},
		{name: "no primary decided", change: func(v *View) { v.Record.Primary = "" }, state: Unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := c.n
			if n == 0 {
				n = 2
			}
			v := peace(n)
			c.change(&v)
			got := Judge(v)
			why := strings.Join(got.Reasons, "\n")
			if got.State != c.state || got.Act != c.act || got.Quiet != c.quiet {
				t.Errorf("Judge = %s, act %t (%s), quiet %t; want %s, %t, quiet %t\n%s", got.State, got.Act, got.Blocked, got.Quiet, c.state, c.act, c.quiet, why)
			}
			if !strings.Contains(why, c.says) {
				t.Errorf("the reasons do not say %q:\n%s", c.says, why)
			}
		})
	}
}
