package judge

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/rib/mysql/topology"
)

// later is a view after d in which nothing was heard.
func later(v View, d time.Duration) View {
	v.Now += d
	v.Members = maps.Clone(v.Members)
	for name, k := range v.Members {
		k.Age += d
		if k.Sight != nil && !k.Sight.Answers {
			s := *k.Sight
			s.For += d
			k.Sight = &s
		}
		v.Members[name] = k
	}
	return v
}

// broken says which law a verdict breaks; "" when none. It is written from the laws, not
// from the code that is under test.
func broken(v View, got Verdict) string {
	silence := v.Record.Policy.Silence
	justified := got.Act || got.Blocked != ""
	bySilence := got.State == Hung || got.State == CutOff || got.State == Fenced
	switch {
	case got.Act && got.Blocked != "":
		return "it acts though blocked"
	case justified && !bySilence && got.State != Dead && got.State != CannotCommit:
		return "it acts for a state that is no reason"
	case got.Quiet != (justified && bySilence):
		return "quiet is for silence, and for nothing else"
	case got.Wait < 0:
		return "a negative wait"
	}
	if !justified {
		return ""
	}
	p := v.Members[v.Record.Primary]
	silent, voices := 0, 0
	replicas := v.Record.Replicas(v.Record.Primary)
	for _, m := range replicas {
		k := v.Members[m.Name]
		if k.Report == nil {
			continue
		}
		if k.Age-v.Late < silence {
			voices++
		}
		r := k.Report.Self.Replica
		direct := r != nil && r.Source == address(v.Record.Primary)
		if bySilence && direct && r.NoNews+k.Age-v.Late < silence {
			return m.Name + " has received news"
		}
		s := find(k.Report.Sights, v.Record.Primary)
		if bySilence && s != nil && (s.Answers && k.Age-v.Late < silence || !s.Answers && s.For+k.Age-v.Late < silence) {
			return m.Name + " has seen it"
		}
		if s != nil && !s.Answers && k.Age < Fresh {
			silent++
		}
	}
	if got.Act && voices == 0 {
		return "it acts though no replica speaks"
	}
	if bySilence && p.Sight != nil && got.State != Fenced && (p.Sight.Answers || p.Sight.For < silence) && p.Report != nil && p.Report.Self.Commit == nil {
		return "the controller itself has seen it"
	}
	majority := len(replicas)/2 + 1
	if v.Record.Policy.Durability == topology.Async {
		majority = (len(replicas) + 1) / 2
	}
	if bySilence && silent < majority && v.Record.Policy.Unprovable == topology.Wait {
		return fmt.Sprintf("%d witnesses of silence are too few", silent)
	}
	if alive := p.Report != nil && p.Report.Self.Answers && p.Report.Self.Process == topology.Running && p.Age-v.Late < silence; alive &&
		p.Report.Lease.Fenced == "" && (p.Report.Self.Commit == nil || p.Report.Self.Commit.Stuck+p.Report.Self.Commit.Failing == 0) {
		return "the primary answers its agent, and commits"
	}
	return ""
}

// A dimension is a piece of evidence with its possible values; of those that are ordered,
// each shows more life than the one before.
type dimension struct {
	ordered bool
	values  []change
}

func ages(name string) []change {
	return []change{never(name), mute(name, 2*time.Second), mute(name, 1200*ms), mute(name, 100*ms)}
}

// unless skips a change of a report that is not there.
func unless(name string, c change) change {
	return func(v *View) {
		if v.Members[name].Report != nil {
			c(v)
		}
	}
}

func replicaDimensions(name string) []dimension {
	news := func(d time.Duration) change {
		return unless(name, self(name, func(s *topology.Self) { s.Replica.NoNews = d }))
	}
	return []dimension{
		{values: ages(name)},
		{ordered: true, values: []change{news(2 * time.Second), news(900 * ms), news(0)}},
		{ordered: true, values: []change{unless(name, blind(name, "db1", 2*time.Second)), unless(name, blind(name, "db1", 500*ms)), all()}},
	}
}

// dimensions of a topology of a primary and two replicas.
func dimensions() []dimension {
	local := func(f func(*topology.Self)) change { return unless("db1", self("db1", f)) }
	primary := []dimension{
		{values: []change{never("db1"), mute("db1", 2*time.Second), mute("db1", 1200*ms), mute("db1", 100*ms)}},
		{ordered: true, values: []change{
			local(func(s *topology.Self) { s.Process, s.GoneFor, s.Answers = topology.Gone, 50*ms, false }),
			local(func(s *topology.Self) { s.Answers, s.Silent = false, 2*time.Second }),
			local(func(s *topology.Self) { s.Answers, s.Silent = false, 500*ms }),
			local(func(s *topology.Self) { s.Answers, s.Refuses, s.Silent = false, true, time.Hour }),
			all(),
		}},
		{ordered: true, values: []change{unless("db1", probe(false, 2*time.Second)), unless("db1", probe(false, 500*ms)), unless("db1", probe(true, time.Hour))}},
		{values: []change{
			local(func(s *topology.Self) { s.Commit = nil }),
			local(func(s *topology.Self) { s.Commit.Stuck, s.Commit.Acks = time.Minute, true }),
			local(func(s *topology.Self) { s.Commit.Stuck, s.Disk.Full = time.Minute, true }),
		}},
		{values: []change{all(), unless("db1", fencedBecause("lease over"))}},
	}
	rest := []dimension{
		{values: []change{all(), async}},
		{values: []change{all(), func(v *View) { v.Late = time.Second }}},
	}
	return slices.Concat(rest, primary, replicaDimensions("db2"), replicaDimensions("db3"))
}

// Where the primary's commits and its lease stand, more life of it may well show more
// of its trouble; so they must be well for the comparison.
const (
	dimCommit = 5
	dimFenced = 6
)

// Every combination of a few values of each piece of evidence: no law is broken, nothing
// changes before Wait, and more life of the primary makes no failover.
func TestAllEvidence(t *testing.T) {
	dims := dimensions()
	total := 1
	for _, d := range dims {
		total *= len(d.values)
	}
	step := 97 // of the same combinations each time; prime to all counts, so that each value meets each
	if lab.Soak() {
		step = 1
	}
	acts := map[State]int{}
	pick := make([]int, len(dims))
	view := func() View {
		v := peace(2)
		for i, d := range dims {
			d.values[pick[i]](&v)
		}
		return v
	}
	for n := 0; n < total; n += step {
		for i, rest := 0, n; i < len(dims); i++ {
			pick[i], rest = rest%len(dims[i].values), rest/len(dims[i].values)
		}
		v := view()
		got := Judge(v)
		if why := broken(v, got); why != "" {
			t.Fatalf("%v: %s\n%+v", pick, why, got)
		}
		if got.Act {
			acts[got.State]++
		}
		if got.Wait > 0 {
			if then := Judge(later(v, got.Wait-1)); then.State != got.State || then.Act != got.Act {
				t.Fatalf("%v: %s, act %t, for %v; but within it %s, %t", pick, got.State, got.Act, got.Wait, then.State, then.Act)
			}
		}
		if got.Act || pick[dimCommit] != 0 || pick[dimFenced] != 0 {
			continue
		}
		for i, d := range dims {
			if !d.ordered || pick[i]+1 == len(d.values) {
				continue
			}
			pick[i]++
			if more := Judge(view()); more.Act {
				t.Fatalf("%v: with more life at %d than before it acts\n%+v\n%+v", pick, i, got, more)
			}
			pick[i]--
		}
	}
	t.Logf("%d combinations of %d; failovers: %v", total/step, total, acts)
	for _, s := range []State{Dead, Hung, CutOff, CannotCommit, Fenced} {
		if acts[s] == 0 {
			t.Errorf("no combination was %s: the laws were not tested", s)
		}
	}
}

// anyView draws topologies of any size with any figures.
func anyView(t *rapid.T) View {
	v := peace(rapid.IntRange(0, 5).Draw(t, "replicas"))
	dur := func(what string) time.Duration {
		return time.Duration(rapid.SampledFrom([]int{0, 1, 100, 499, 500, 999, 1000, 1001, 1499, 1500, 1501, 2499, 2500, 3000, 10000, 60000}).Draw(t, what)) * ms
	}
	flip := func(what string) bool { return rapid.Bool().Draw(t, what) }
	if flip("async") {
		async(&v)
	}
	v.Now, v.Late = dur("now"), rapid.SampledFrom([]time.Duration{0, 0, 0, 700 * ms}).Draw(t, "late")
	v.Troubled = rapid.SampledFrom([]int{0, 1, 60}).Draw(t, "troubled")
	for i := range v.Record.Members {
		m := &v.Record.Members[i]
		m.Role = rapid.SampledFrom([]topology.Role{topology.Candidate, topology.Candidate, topology.Preferred, topology.Never, topology.Observer}).Draw(t, "role")
		if rapid.IntRange(0, 5).Draw(t, "never") == 0 {
			delete(v.Members, m.Name)
			continue
		}
		k := v.Members[m.Name]
		k.Age = dur("age")
		if rapid.IntRange(0, 2).Draw(t, "own sight") == 0 {
			k.Sight = &topology.Sight{Of: m.Name, Answers: flip("we see"), For: dur("we for")}
		}
		s := &k.Report.Self
		s.Process = rapid.SampledFrom([]topology.Process{topology.Running, topology.Running, topology.Gone, topology.Unseen}).Draw(t, "process")
		s.GoneFor, s.Silent, s.Answers = dur("gone"), dur("silent"), flip("answers") && s.Process != topology.Gone
		s.ReadOnly, s.Disk.Full = flip("read only"), flip("full")
		if s.Commit != nil {
			*s.Commit = topology.Commit{Stuck: dur("stuck"), Failing: dur("failing"), Acks: flip("acks")}
		}
		if s.Replica != nil {
			s.Replica.NoNews = dur("news")
			if i > 1 && flip("below") {
				below(m.Name, "db2")(&v)
			}
		}
		for j := range k.Report.Sights {
			o := &k.Report.Sights[j]
			o.Answers, o.For, o.Agent = flip("sees"), dur("for"), flip("agent")
		}
		if flip("fenced") {
			k.Report.Lease = topology.Lease{Fenced: "lease over"}
		}
		v.Members[m.Name] = k
	}
	return v
}

func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyView(t)
		got := Judge(v)
		if why := broken(v, got); why != "" {
			t.Fatalf("%s\n%+v", why, got)
		}
		if got.Wait > 0 {
			then := Judge(later(v, got.Wait-1))
			if then.State != got.State || then.Act != got.Act || then.Blocked == "" != (got.Blocked == "") {
				t.Fatalf("%+v, but within it\n%+v", got, then)
			}
		} else if then := Judge(later(v, 1000*time.Hour)); then.State != got.State || then.Act != got.Act {
			t.Fatalf("%+v for good, but then\n%+v", got, then)
		}
		for _, r := range Mend(v) {
			if m := v.Members[r.Order.Member]; m.Report == nil || m.Age >= Fresh {
				t.Fatalf("a repair at a member of which nothing fresh is known: %+v", r)
			}
		}
	})
}

// Whoever waits for Wait, judges again and so on, comes to the failover at the moment at
// which it is justified, and not a moment later.
func TestWaitLeadsToTheFailover(t *testing.T) {
	v := peace(2)
	all(mute("db1", 0), parted("db2", "db1", 0), parted("db3", "db1", 0))(&v)
	start, rounds := v.Now, 0
	for got := Judge(v); !got.Act; got = Judge(v) {
		if got.Wait <= 0 || rounds > 100 {
			t.Fatalf("after %v: %+v", v.Now-start, got)
		}
		v = later(v, got.Wait)
		rounds++
		for _, name := range []string{"db2", "db3"} { // they go on reporting that they see nothing
			mute(name, 0)(&v)
			parted(name, "db1", v.Now-start)(&v)
		}
	}
	if took := v.Now - start; took != v.Record.Policy.Silence {
		t.Errorf("it took %v, in %d rounds", took, rounds)
	}
}

func BenchmarkJudge(b *testing.B) {
	v := peace(2)
	for b.Loop() {
		Judge(v)
	}
}
