package mysql

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/lab/mysql/load"
)

// scenario is a fault of the primary, and how it is healed.
type scenario struct {
	name string
	// fault breaks the primary p and returns the instant from which it is broken; heal
	// mends it, once another serves. A killed server is kaname's to start.
	fault func(b *bed, p *labmysql.Server) time.Time
	heal  func(b *bed, p *labmysql.Server)
	// stays: the primary must stay; it is watched for so long.
	stays time.Duration
	// may: the primary may stay, if kaname calls the failover off, and serves again then.
	may bool
	// errs is in the errors that clients may get.
	errs string
	// settle is how long the fault goes on after another serves; 0: 2 s.
	settle time.Duration
}

// outcome of a round.
type outcome struct {
	load.Result
	sight load.Sight
}

// round has a scenario happen once, and waits until all is well again.
func (b *bed) round(s scenario) outcome {
	b.t.Helper()
	before := b.fine(90 * time.Second)
	old := b.server(before.Primary)
	had := b.client.Acks()
	b.until("the client writes", 30*time.Second, func() bool { return b.client.Acks() > had+50 })
	from := time.Now()
	fault := s.fault(b, old)
	if s.stays > 0 {
		<-time.After(s.stays)
	} else {
		b.until("another server acknowledges", 90*time.Second, func() bool {
			_, ok := b.client.Elsewhere(fault, old.ID)
			return ok || s.may && b.calledOff(before)
		})
		<-time.After(max(s.settle, 2*time.Second))
	}
	if s.heal != nil {
		s.heal(b, old)
	}
	after := b.home(old)
	if s.stays > 0 && (after.Primary != before.Primary || after.Epoch != before.Epoch) {
		b.t.Errorf("%s: the primary was moved from %s to %s\n%s", s.name, before.Primary, after.Primary, b.story())
	}
	if s.stays == 0 && after.Primary != before.Primary {
		b.cli(nil, "mysql", "acknowledge", shop)
	}
	history := b.client.History()
	now := b.server(after.Primary)
	o := outcome{sight: b.watch.Sight(from), Result: load.Check(load.Evidence{
		History: history.Window(from, time.Now()), Kept: load.IDs(b.t, now), Fault: fault, Old: old.ID,
	})}
	b.t.Logf("%s of %s: %s; %s", s.name, old.Name, o.Result, strings.Join(o.sight.Story, ", "))
	o.Bad = slices.DeleteFunc(o.Bad, func(e string) bool { return s.errs != "" && strings.Contains(e, s.errs) })
	b.judge(s.name, o, after.Primary)
	return o
}

// calledOff reports whether the primary of before serves again after a failover that did not
// happen.
func (b *bed) calledOff(before status) bool {
	s := b.status()
	if s.State != "fine" || s.Primary != before.Primary || s.Epoch == before.Epoch || strings.Contains(s.Note, "at step") {
		return false
	}
	had := b.client.Acks()
	<-time.After(time.Second)
	return b.client.Acks() > had
}

// judge fails the test for what must never be.
func (b *bed) judge(name string, o outcome, primary string) {
	b.t.Helper()
	bad := len(o.Lost) > 0 || len(o.Doubles) > 0 || o.sight.Dual > 0 || len(o.Bad) > 0
	if diff := cmp.Diff([]string{primary}, o.sight.Open); diff != "" {
		bad = true
	}
	if bad {
		b.t.Errorf("%s: lost %v, by two servers %v, two open for %s, open at the end %v, errors %q\n%s",
			name, o.Lost, o.Doubles, o.sight.Dual, o.sight.Open, o.Bad, b.story())
	}
}

// rounds repeats a scenario.
func (b *bed) rounds(s scenario, n int) tally {
	b.t.Helper()
	var t tally
	for range n {
		t.add(b.round(s))
		if b.t.Failed() {
			break
		}
	}
	return t
}

// tally sums up rounds.
type tally struct {
	down, pause  []time.Duration
	lost, double int
	dual         time.Duration
}

func (t *tally) add(o outcome) {
	if o.Resumed {
		t.down = append(t.down, o.Downtime)
	}
	t.pause = append(t.pause, o.Pause)
	t.lost += len(o.Lost)
	t.double += len(o.Doubles)
	t.dual += o.sight.Dual
}

// join adds the rounds of another tally.
func (t *tally) join(o tally) {
	t.down, t.pause = append(t.down, o.down...), append(t.pause, o.pause...)
	t.lost, t.double, t.dual = t.lost+o.lost, t.double+o.double, t.dual+o.dual
}

// at returns the share-quantile of durations: 0.5 is the median.
func at(list []time.Duration, share float64) time.Duration {
	if len(list) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(list))
	return s[min(len(s)-1, int(share*float64(len(s))))]
}

func TestQuantiles(t *testing.T) {
	list := []time.Duration{5, 1, 4, 2, 3}
	if at(list, 0.5) != 3 || at(list, 0.95) != 5 || at(nil, 0.5) != 0 {
		t.Errorf("median %d, p95 %d", at(list, 0.5), at(list, 0.95))
	}
}

// killed is kill -9 of the primary. Its agent starts it again, as it is told to.
func killed() scenario {
	return scenario{name: "kill", fault: func(_ *bed, p *labmysql.Server) time.Time { return kill(p) }, heal: (*bed).back}
}

// kill returns the instant before the signal: the process takes a while to be gone.
func kill(p *labmysql.Server) time.Time {
	now := time.Now()
	p.Kill()
	return now
}

// hung is a primary whose sockets stay open and that does nothing.
func hung() scenario {
	return scenario{
		name: "hang", fault: func(_ *bed, p *labmysql.Server) time.Time { p.Stop(); return time.Now() },
		heal: func(b *bed, p *labmysql.Server) { p.Cont(); b.back(p) },
	}
}

// cutOff is a primary's host of which nobody hears any more.
func cutOff() scenario {
	return scenario{
		name: "cut", fault: func(_ *bed, p *labmysql.Server) time.Time { p.Host.CutSilently(); return time.Now() }, settle: 6 * time.Second,
		heal: func(b *bed, p *labmysql.Server) { p.Host.Restore(); b.back(p) },
	}
}

// back waits until the server runs: who killed it, or kaname, is to start it.
func (b *bed) back(s *labmysql.Server) {
	b.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for s.PID() == 0 {
		if time.Now().After(deadline) {
			b.t.Errorf("nobody has started %s", s.Name)
			s.Start(b.t)
			return
		}
		<-time.After(100 * time.Millisecond)
	}
}

// gone is a host that lost its power: nothing of it answers, and nothing is reset.
func gone() scenario {
	return scenario{
		name: "host gone",
		fault: func(b *bed, p *labmysql.Server) time.Time {
			p.Host.CutSilently()
			now := time.Now()
			b.agent(p).end(syscall.SIGKILL)
			p.Kill()
			return now
		},
		heal: func(b *bed, p *labmysql.Server) {
			p.Host.Restore()
			p.Start(b.t)
			b.agent(p).start()
		},
	}
}
