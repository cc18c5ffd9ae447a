package judge

import (
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/rib/mysql/topology"
)

func commit(c topology.Commit) change {
	return self("db1", func(s *topology.Self) { s.Commit = &c })
}

func disk(d topology.Disk) change { return self("db1", func(s *topology.Self) { s.Disk = d }) }

func fencedBecause(why string) change {
	return all(self("db1", func(s *topology.Self) { s.ReadOnly = true }),
		func(v *View) { v.Members["db1"].Report.Lease = topology.Lease{Fenced: why} })
}

// below: the member replicates from another replica.
func below(name, source string) change {
	return all(func(v *View) { v.Record.Member(name).Source = source },
		self(name, func(s *topology.Self) { s.Replica.Source = address(source) }))
}

func TestPrimaryThatLives(t *testing.T) {
	gone := func(name string) change {
		return self(name, func(s *topology.Self) { s.Process, s.Answers, s.GoneFor = topology.Gone, false, time.Minute })
	}
	both := all(parted("db2", "db1", 4*time.Second), parted("db3", "db1", 4*time.Second))
	for _, c := range []struct {
		name   string
		n      int
		change change
		state  State
		act    bool
		quiet  bool
		says   string
	}{
		{name: "a commit takes long", change: commit(topology.Commit{Stuck: 2 * time.Second}), state: Fine},
		{name: "disk full", change: all(commit(topology.Commit{Stuck: 2600 * ms}), disk(topology.Disk{Full: true, Free: 4096})), state: CannotCommit, act: true, says: "4096 bytes are free"},
		{name: "stuck again after failing, and why is not known", change: commit(topology.Commit{Stuck: 11 * time.Second, Failing: time.Minute, Trouble: "i/o timeout"}), state: CannotCommit},
		{name: "disk full, but it commits", change: disk(topology.Disk{Full: true, FullFor: 2 * time.Second}), state: Fine},
		{name: "disk full for long", change: disk(topology.Disk{Full: true, FullFor: 2600 * ms, Free: 4096}), state: CannotCommit, act: true, says: "4096 bytes are free"},
		{name: "all disks full for long", change: all(disk(topology.Disk{Full: true, FullFor: 2600 * ms}), self("db2", func(s *topology.Self) { s.Disk.Full = true }), self("db3", func(s *topology.Self) { s.Disk.Full = true })), state: Fine},
		{name: "file system read-only", change: all(commit(topology.Commit{Failing: 2600 * ms, Trouble: "Error writing file"}), disk(topology.Disk{ReadOnly: true})), state: CannotCommit, act: true, says: "commits of its agent have failed for 2.7 s"},
		{name: "the server says that the disk is full", change: commit(topology.Commit{Failing: 3 * time.Second, Trouble: `Error writing file '/x/bin.1' (Errcode: 28 "No space left on device")`}), state: CannotCommit, act: true},
		{name: "stuck for no known cause", change: commit(topology.Commit{Stuck: time.Hour}), state: CannotCommit, says: "an operator must decide"},
		{name: "stuck, and the server says in what", change: commit(topology.Commit{Stuck: 5 * time.Second, Trouble: "Waiting for handler commit"}), state: CannotCommit},
		{name: "stuck, and the server says in what, for long", change: commit(topology.Commit{Stuck: 11 * time.Second, Trouble: "Waiting for handler commit"}), state: CannotCommit, act: true},
		{
			name: "the replicas that should acknowledge hang, and it counts them yet", change: all(commit(topology.Commit{Stuck: time.Hour, Trouble: "Waiting for handler commit"}),
				self("db2", func(s *topology.Self) { s.Answers, s.Replica.NoNews = false, time.Hour }), self("db3", func(s *topology.Self) { s.Answers, s.Replica.NoNews = false, time.Hour })),
			state: Stalled, says: "it counts 2 as connected, 0 of them say that they hear it",
		},
		{name: "stuck behind a backup's lock", change: commit(topology.Commit{Stuck: time.Hour, Trouble: "Waiting for backup lock"}), state: CannotCommit, says: "as a backup does"},
		{name: "failing for no cause of the server", change: commit(topology.Commit{Failing: time.Hour, Trouble: "Table 'kaname.beat' doesn't exist"}), state: CannotCommit},
		{name: "what is stuck is old news", change: all(commit(topology.Commit{Stuck: 11 * time.Second}), mute("db1", 1200*ms)), state: Fine},
		{name: "both replicas are down", change: all(commit(topology.Commit{Stuck: time.Hour, Acks: true}), gone("db2"), gone("db3")), state: Stalled, says: "it waits for the acknowledgements of 1 replicas"},
		{name: "both replicas' hosts are down", change: all(commit(topology.Commit{Stuck: time.Hour, Acks: true}), mute("db2", time.Hour), mute("db3", time.Hour)), state: Stalled},
		{name: "replicas are well, and hear it", change: commit(topology.Commit{Stuck: time.Hour, Acks: true}), state: Stalled},
		{name: "replicas are well, and cannot reach it, which it has not noticed", change: all(commit(topology.Commit{Stuck: 3 * time.Second}), both), state: CutOff, act: true, quiet: true},
		{name: "replicas are well, and cannot reach it", change: all(commit(topology.Commit{Stuck: 3 * time.Second, Acks: true}), both), state: CutOff, act: true, quiet: true, says: "can never commit"},
		{name: "no policy has it wait", change: all(async, commit(topology.Commit{Stuck: 3 * time.Second, Acks: true}), both), state: Stalled},
		{name: "one is well and cannot reach it, the other is down", change: all(commit(topology.Commit{Stuck: time.Hour, Acks: true}), both, gone("db3")), state: Stalled},
		{name: "read only", change: self("db1", func(s *topology.Self) { s.ReadOnly = true }), state: ReadOnly},
		{name: "read only, so that its agent cannot write", change: all(self("db1", func(s *topology.Self) { s.ReadOnly = true }), commit(topology.Commit{Failing: time.Hour, Trouble: "--read-only"})), state: ReadOnly},
		{name: "fenced itself", change: fencedBecause("lease over"), state: Fenced, says: "its agent closed it: lease over"},
		{name: "fenced itself, cut off from its replicas", change: all(fencedBecause("lease over"), both), state: Fenced, act: true, quiet: true},
		{name: "fenced once, and holds its lease again", change: all(fencedBecause("lease over"), func(v *View) { v.Members["db1"].Report.Lease.Held = true }), state: ReadOnly},
		{name: "two take writes while the primary moves", change: all(self("db2", func(s *topology.Self) { s.ReadOnly = false }), func(v *View) { v.Record.Move = &topology.Move{} }), state: Fine},
		{name: "a replica takes writes", change: self("db2", func(s *topology.Self) { s.ReadOnly = false }), state: Split, says: "db2: takes writes"},
		{name: "the primary was moved by hand", change: all(self("db1", func(s *topology.Self) { s.ReadOnly = true }), func(v *View) { v.Members["db1"].Report.Lease.Held = false },
			self("db2", func(s *topology.Self) { s.ReadOnly = false })), state: Split, says: "though it takes no writes"},
		{name: "two hold the lease", change: func(v *View) { v.Members["db2"].Report.Lease = topology.Lease{Held: true} }, state: Split, says: "db2: holds the primary's lease in epoch 7"},
		{name: "an intermediate's process ended", n: 3, change: all(below("db3", "db2"), gone("db2")), state: DeadIntermediate, says: "db2: others replicate from it, and its process has ended"},
		{name: "an intermediate is silent", n: 3, change: all(below("db3", "db2"), mute("db2", time.Hour)), state: DeadIntermediate},
		{name: "a replica is down", change: gone("db2"), state: Fine},
		{name: "a replica below another one hears nothing of the primary itself", change: all(below("db3", "db2"), mute("db1", 2*time.Second), parted("db2", "db1", 2*time.Second),
			blind("db3", "db1", 2*time.Second), self("db3", func(s *topology.Self) { s.Replica.NoNews = 100 * ms })), state: CutOff, act: true, quiet: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := peace(max(c.n, 2))
			c.change(&v)
			got := Judge(v)
			why := strings.Join(got.Reasons, "\n")
			if got.State != c.state || got.Act != c.act || got.Quiet != c.quiet {
				t.Errorf("Judge = %s, act %t (%s), quiet %t; want %s, %t, %t\n%s", got.State, got.Act, got.Blocked, got.Quiet, c.state, c.act, c.quiet, why)
			}
			if !strings.Contains(why, c.says) {
				t.Errorf("the reasons do not say %q:\n%s", c.says, why)
			}
		})
	}
}

func TestBlocked(t *testing.T) {
	last := func(f func(*topology.Outcome)) change {
		return func(v *View) {
			v.Record.Last = &topology.Outcome{Move: topology.Move{Kind: topology.Failover, From: "db2", To: "db1", By: Kaname}, Ended: v.Began.Add(v.Now - 10*time.Minute), OK: true}
			f(v.Record.Last)
		}
	}
	for _, c := range []struct {
		name    string
		change  change
		blocked string
	}{
		{"nothing", all(), ""},
		{"paused", func(v *View) {
			v.Record.Paused = &topology.Pause{By: "mia", Why: "upgrade", Until: v.Began.Add(v.Now + time.Minute)}
		}, "paused by mia: upgrade"},
		{"paused for good", func(v *View) { v.Record.Paused = &topology.Pause{By: "mia", Why: "upgrade"} }, "paused by mia"},
		{"a pause that is over", func(v *View) { v.Record.Paused = &topology.Pause{By: "mia", Until: v.Began.Add(v.Now)} }, ""},
		{"manual", policy(func(p *topology.Policy) { p.Manual = true }), "to an operator"},
		{"moving", func(v *View) {
			v.Record.Move = &topology.Move{Kind: topology.Failover, From: "db1", Step: topology.Choose}
		}, "a failover from db1 is in progress, at step choose"},
		{"a failover ten minutes ago", last(func(*topology.Outcome) {}), "the failover from db2 to db1, 10 min ago, has not been acknowledged"},
		{"acknowledged", last(func(o *topology.Outcome) { o.Acked = "mia" }), ""},
		{"two hours ago", last(func(o *topology.Outcome) { o.Ended = o.Ended.Add(-2 * time.Hour) }), ""},
		{"asked for", last(func(o *topology.Outcome) { o.Move.By = "mia" }), ""},
		{"a drill", last(func(o *topology.Outcome) { o.Move.Drill = true }), ""},
		{"a switchover", last(func(o *topology.Outcome) { o.Move.Kind = topology.Switchover }), ""},
		{"many in trouble, but the kernel's word", func(v *View) { v.Troubled = 100 }, ""},
		{
			"no candidate", func(v *View) { v.Record.Members[1].Role, v.Record.Members[2].Role = topology.Never, topology.Observer },
			"no replica can become primary: db2 has the role never, db3 has the role observer",
		},
		{
			"candidates are not fit", all(self("db2", func(s *topology.Self) { s.Replica.ApplyErr = "duplicate key" }), mute("db3", time.Hour)),
			"db2 cannot apply what it received: duplicate key, db3 is silent",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := peace(2)
			exited(&v)
			c.change(&v)
			got := Judge(v)
			if got.State != Dead || got.Act != (c.blocked == "") || !strings.Contains(got.Blocked, c.blocked) || got.Blocked != "" && c.blocked == "" {
				t.Errorf("Judge = %s, act %t, blocked %q; want %q", got.State, got.Act, got.Blocked, c.blocked)
			}
		})
	}
	t.Run("few topologies, all in trouble", func(t *testing.T) {
		v := peace(2)
		all(mute("db1", 2*time.Second), parted("db2", "db1", 2*time.Second), parted("db3", "db1", 2*time.Second))(&v)
		v.Troubled, v.Watched = 4, 4
		if got := Judge(v); !got.Act {
			t.Errorf("%+v", got)
		}
	})
	t.Run("breaker", func(t *testing.T) {
		for _, n := range []int{1, 4, 39, 40, 200} {
			v := peace(2)
			all(mute("db1", 2*time.Second), parted("db2", "db1", 2*time.Second), parted("db3", "db1", 2*time.Second))(&v)
			v.Troubled = n
			if got := Judge(v); got.Act != (n < 40) {
				t.Errorf("%d of 200 in trouble: act %t, %s", n, got.Act, got.Blocked)
			}
		}
	})
}

func TestDoubt(t *testing.T) {
	for _, c := range []struct {
		name   string
		change change
		says   string
	}{
		{"none", all(), ""},
		{"fell back", self("db1", func(s *topology.Self) { s.SemiSync.Active = false }), "db1 had fallen back to asynchronous replication, as it said 0.1 s ago"},
		{"did not wait", self("db1", func(s *topology.Self) { s.SemiSync.Waits = false }), "did not wait"},
		{"not known any more", self("db1", func(s *topology.Self) { s.SemiSync = topology.SemiSync{} }), ""},
		{"too few", policy(func(p *topology.Policy) { p.Acks = 2 }), "waited for 1 acknowledgements instead of 2"},
		{"asynchronous by policy", all(async, self("db1", func(s *topology.Self) { s.SemiSync.Waits = false })), ""},
		{"a stranger acknowledged", func(v *View) { v.Record.Members[2].Role = topology.Observer }, "db3 acknowledged writes"},
	} {
		v := peace(2)
		exited(&v)
		c.change(&v)
		got := strings.Join(Judge(v).Doubt, "\n")
		if asked := strings.Join(Doubt(v), "\n"); asked != got {
			t.Errorf("%s: Doubt = %q, in the verdict %q", c.name, asked, got)
		}
		if !strings.Contains(got, c.says) || c.says == "" && got != "" {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

func TestPromoteAfter(t *testing.T) {
	v := peace(2)
	all(mute("db1", 20*time.Second), parted("db2", "db1", 20*time.Second), mute("db3", 20*time.Second))(&v)
	if got := Judge(v); got.State != Unknown || got.Act {
		t.Errorf("wait: %+v", got)
	}
	v.Record.Policy.Unprovable, v.Record.Policy.PromoteAfter = topology.PromoteAfter, 30*time.Second
	if got := Judge(v); got.State != Unknown || got.Act || got.Wait > 10*time.Second {
		t.Errorf("after 20 s: %+v", got)
	}
	mute("db1", 30*time.Second)(&v)
	if got := Judge(v); got.State != CutOff || !got.Act || !got.Quiet {
		t.Errorf("after 30 s: %+v", got)
	}
}
