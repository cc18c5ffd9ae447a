package watch

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/wire"
)

// A model of name servers stands here for the network, whose sockets know no virtual
// time; live_test.go has the real thing.

// model is a server: what it answers for each zone.
type model struct {
	mu    sync.Mutex
	zones map[name.Name]Answer
	dead  bool
	asked int
}

func (m *model) set(n name.Name, a Answer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.zones[n] = a
}

func (m *model) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked
}

func (m *model) kill(dead bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = dead
}

func (m *model) run(ctx context.Context) { <-ctx.Done() }

func (m *model) ask(n name.Name, done func(Answer)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	a, ok := m.zones[n]
	if !ok {
		a.Kind = Refused
	}
	after := time.Millisecond
	if m.dead {
		a, after = Answer{Kind: NoAnswer}, patience
	}
	time.AfterFunc(after, func() { done(a) })
}

var (
	ownAddress     = netip.MustParseAddrPort("192.0.2.1:53")
	primaryAddress = netip.MustParseAddrPort("192.0.2.2:53")
	from           = Zone{Group: "default", Primaries: []server.Primary{{Address: primaryAddress}}}
)

// world is a watcher of a model server below a model primary.
type world struct {
	*Watcher
	own, primary *model
	served, gone map[name.Name]time.Duration
}

// inWorld runs a test in virtual time.
func inWorld(t *testing.T, o Options, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			own: &model{zones: map[name.Name]Answer{}}, primary: &model{zones: map[name.Name]Answer{}},
			served: map[name.Name]time.Duration{}, gone: map[name.Name]time.Duration{},
		}
		o.Server, o.Name = ownAddress, "ns1"
		o.asker = func(p wire.Peer) asker {
			if p.Address == ownAddress {
				return w.own
			}
			return w.primary
		}
		if o.diagnose == nil {
			o.diagnose = func(context.Context, wire.Peer, name.Name) string { return "cause found" }
		}
		var mu sync.Mutex
		o.OnServed = func(n name.Name, took time.Duration) { mu.Lock(); w.served[n] = took; mu.Unlock() }
		o.OnGone = func(n name.Name, took time.Duration) { mu.Lock(); w.gone[n] = took; mu.Unlock() }
		w.Watcher = New(o)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.Run(ctx) }()
		test(t, w)
		cancel()
		<-done
	})
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// see returns what is known of a zone.
func (w *world) see(t *testing.T, n name.Name) Seen {
	t.Helper()
	for s := range w.Snapshot() {
		if s.Name == n {
			return s
		}
	}
	t.Fatalf("%s is not in the snapshot", n)
	return Seen{}
}

func soa(serial uint32) Answer {
	return Answer{Kind: Authoritative, Serial: serial, Refresh: 3600, Expire: 604800}
}

func (w *world) want(names ...name.Name) {
	zones := map[name.Name]Zone{}
	for _, n := range names {
		zones[n] = from
	}
	w.Set(zones)
}

func TestAnAddedZoneIsSeenWithinMilliseconds(t *testing.T) {
	inWorld(t, Options{}, func(t *testing.T, w *world) {
		w.want("a.test.", "b.test.")
		w.Added([]name.Name{"a.test.", "b.test."})
		w.own.set("a.test.", Answer{Kind: Failing})
		w.own.set("b.test.", Answer{Kind: Failing})
		pass(300 * time.Millisecond)
		if s := w.see(t, "a.test."); s.State != Loading || s.Note == "" {
			t.Errorf("before its transfer it is %+v", s)
		}
		if got := len(w.Waiting()); got != 2 {
			t.Errorf("%d wait, want 2", got)
		}
		w.own.set("a.test.", soa(7))
		w.primary.set("a.test.", soa(7))
		pass(300 * time.Millisecond)
		if s := w.see(t, "a.test."); s.State != Serving || s.Serial != 7 || s.Primary != 7 || s.Note != "" {
			t.Errorf("once transferred it is %+v", s)
		}
		if took := w.served["a.test."]; took < 300*time.Millisecond || took > 600*time.Millisecond {
			t.Errorf("it was seen after %s", took)
		}
		if left := w.Waiting(); len(left) != 1 || left[0].Name != "b.test." || left[0].Age < 500*time.Millisecond {
			t.Errorf("waiting are %v", left)
		}
		pass(10 * time.Second)
		if s := w.see(t, "b.test."); s.State != Loading || s.Note != "cause found" {
			t.Errorf("what is never transferred is %+v", s)
		}
		before := w.own.count()
		pass(10 * time.Minute)
		if n := w.own.count() - before; n > 200 {
			t.Errorf("it was asked for %d times in ten minutes", n)
		}
	})
}

func TestARemovedZoneIsAskedForUntilItIsGone(t *testing.T) {
	inWorld(t, Options{}, func(t *testing.T, w *world) {
		w.own.set("a.test.", soa(1))
		w.want("a.test.")
		pass(time.Second)
		w.want()
		w.Removed([]name.Name{"a.test."})
		pass(2 * time.Second)
		if left := w.Leaving(); len(left) != 1 || len(w.gone) != 0 {
			t.Errorf("still answered, and leaving are %v", left)
		}
		w.own.set("a.test.", Answer{Kind: Refused})
		pass(1500 * time.Millisecond)
		if took := w.gone["a.test."]; took < 2*time.Second || len(w.Leaving()) != 0 {
			t.Errorf("gone after %s; leaving are %v", took, w.Leaving())
		}
	})
}

func TestLagIsMeasured(t *testing.T) {
	inWorld(t, Options{}, func(t *testing.T, w *world) {
		w.own.set("a.test.", soa(1))
		w.primary.set("a.test.", soa(1))
		w.want("a.test.")
		pass(time.Minute)
		w.primary.set("a.test.", soa(4294967295))
		w.own.set("a.test.", soa(4294967290))
		pass(2 * time.Minute)
		s := w.see(t, "a.test.")
		if s.State != Stale || s.Behind.IsZero() || !strings.Contains(s.Note, "4294967295") || !strings.Contains(s.Note, "cause found") {
			t.Errorf("behind it is %+v", s)
		}
		w.own.set("a.test.", soa(4294967295))
		pass(11 * time.Second)
		if s := w.see(t, "a.test."); s.State != Serving || !s.Behind.IsZero() {
			t.Errorf("level again it is %+v", s)
		}
		w.primary.set("a.test.", soa(3)) // RFC 1982: newer
		pass(2 * time.Minute)
		if s := w.see(t, "a.test."); s.State != Stale {
			t.Errorf("over the wrap it is %+v", s)
		}
		w.primary.set("a.test.", soa(4294967000))
		pass(2 * time.Minute)
		if s := w.see(t, "a.test."); s.State != Ahead {
			t.Errorf("with a serial that went back it is %+v", s)
		}
	})
}

func TestASilentServerIsNotFlooded(t *testing.T) {
	inWorld(t, Options{}, func(t *testing.T, w *world) {
		names := many(2000)
		for _, n := range names {
			w.own.set(n, soa(1))
			w.primary.set(n, soa(1))
		}
		w.want(names...)
		pass(2 * time.Minute)
		for s := range w.Deviations() {
			t.Fatalf("%+v", s)
		}
		w.own.kill(true)
		pass(10 * time.Second)
		if s := w.see(t, names[0]); s.State != Silent || !strings.Contains(s.Note, "192.0.2.1:53") {
			t.Errorf("with a dead server it is %+v", s)
		}
		before := w.own.count()
		pass(time.Minute)
		if n := w.own.count() - before; n > 150 {
			t.Errorf("a dead server was asked %d times in a minute", n)
		}
		w.own.kill(false)
		pass(2 * time.Second)
		if s := w.see(t, names[0]); s.State != Serving {
			t.Errorf("with the server back it is %+v", s)
		}
	})
}

func TestAZoneExpiresWhenThePrimaryIsGone(t *testing.T) {
	inWorld(t, Options{Period: 10 * time.Minute}, func(t *testing.T, w *world) {
		w.own.set("a.test.", soa(1))
		w.primary.set("a.test.", soa(1))
		w.want("a.test.")
		pass(time.Hour)
		w.primary.kill(true)
		pass(3 * 24 * time.Hour)
		if s := w.see(t, "a.test."); s.State != Serving {
			t.Errorf("after three of seven days it is %+v", s)
		}
		pass(2 * 24 * time.Hour)
		if s := w.see(t, "a.test."); s.State != Expiring || !strings.Contains(s.Note, "primary 192.0.2.2:53 does not answer") {
			t.Errorf("after five of seven days it is %+v", s)
		}
		w.own.set("a.test.", Answer{Kind: Failing})
		pass(time.Hour)
		if s := w.see(t, "a.test."); s.State != Expired {
			t.Errorf("given up by the server it is %+v", s)
		}
	})
}

func TestOneOddAnswerIsNotBelieved(t *testing.T) {
	inWorld(t, Options{}, func(t *testing.T, w *world) {
		w.own.set("a.test.", soa(1))
		w.want("a.test.")
		pass(time.Second)
		before := w.own.count()
		w.own.set("a.test.", Answer{Kind: Refused})
		for w.own.count() == before {
			pass(10 * time.Millisecond)
		}
		w.own.set("a.test.", soa(1))
		pass(5 * time.Second)
		if s := w.see(t, "a.test."); s.State != Serving {
			t.Errorf("after one refusal it is %+v", s)
		}
		w.own.set("a.test.", Answer{Kind: Refused})
		pass(2 * time.Minute)
		if s := w.see(t, "a.test."); s.State != Drift {
			t.Errorf("after many it is %+v", s)
		}
	})
}

func TestQuestionsAreSpread(t *testing.T) {
	inWorld(t, Options{Rate: 1000, Sweep: 100}, func(t *testing.T, w *world) {
		names := many(3000)
		for _, n := range names {
			w.own.set(n, soa(1))
			w.primary.set(n, soa(1))
		}
		w.want(names...)
		pass(10 * time.Second)
		if own, primary := w.own.count(), w.primary.count(); own < 3000 || own > 5000 || primary > 1100 {
			t.Errorf("in ten seconds the server was asked %d times and the primary %d", own, primary)
		}
		own := w.own.count()
		pass(time.Minute)
		if n := w.own.count() - own; n < 2900 || n > 3200 {
			t.Errorf("in a minute %d questions for 3000 zones", n)
		}
		w.Added(names)
		own = w.own.count()
		pass(time.Second)
		if n := w.own.count() - own; n > 1200 {
			t.Errorf("%d questions in a second at a rate of 1000", n)
		}
	})
}

func many(n int) []name.Name {
	names := make([]name.Name, n)
	for i := range names {
		names[i] = name.Name(fmt.Sprintf("zone-%06d.example.", i))
	}
	return names
}

func TestAZoneCostsLittleMemory(t *testing.T) {
	names := many(100_000)
	zones := make(map[name.Name]Zone, len(names))
	for _, n := range names {
		zones[n] = from
	}
	w := New(Options{Server: ownAddress})
	before := used()
	w.Set(zones)
	w.fresh = nil // as after the first questions
	if each := float64(used()-before) / float64(len(names)); each > 200 {
		t.Errorf("a zone costs %.0f octets", each)
	} else {
		t.Logf("a zone costs %.0f octets", each)
	}
	runtime.KeepAlive(w)
	runtime.KeepAlive(zones)
}

func used() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestClassify(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	at := func(kind Kind) Answer { return Answer{Kind: kind, Serial: 5, Refresh: 3600, Expire: 604800} }
	day := 24 * time.Hour
	for _, c := range []struct {
		want State
		f    Facts
	}{
		{Missing, Facts{Desired: true}},
		{Drift, Facts{Desired: true, Ever: true}},
		{Conflict, Facts{Desired: true, Present: true}},
		{Foreign, Facts{Present: true}},
		{Extra, Facts{Present: true, Owned: true}},
		{Extra, Facts{Answer: at(Authoritative)}},
		{Held, Facts{Present: true, Owned: true, Held: true}},
		{Quarantined, Facts{Present: true, Owned: true, Quarantined: true}},
		{Unknown, Facts{Desired: true, Present: true, Owned: true}},
		{Silent, Facts{Desired: true, Present: true, Owned: true, Answer: at(NoAnswer)}},
		{Loading, Facts{Desired: true, Present: true, Owned: true, Answer: at(Failing)}},
		{Loading, Facts{Desired: true, Present: true, Owned: true, Answer: at(Refused)}},
		{Expired, Facts{Desired: true, Present: true, Owned: true, Ever: true, Answer: at(Failing)}},
		{Lame, Facts{Desired: true, Present: true, Owned: true, Ever: true, Answer: at(Referral)}},
		{Drift, Facts{Desired: true, Present: true, Owned: true, Ever: true, Answer: at(NotAuth)}},
		{Serving, Facts{Desired: true, Present: true, Owned: true, Answer: at(Authoritative)}},
		{Serving, Facts{Desired: true, Present: true, Owned: true, Answer: at(Authoritative), Expires: now.Add(6 * day)}},
		{Expiring, Facts{Desired: true, Present: true, Owned: true, Answer: at(Authoritative), Expires: now.Add(2 * day)}},
		{Expiring, Facts{Desired: true, Present: true, Owned: true, Answer: at(Authoritative), Fresh: now.Add(-6 * day), Alone: true}},
		{Serving, Facts{Desired: true, Present: true, Owned: true, Answer: Answer{Kind: Authoritative, Refresh: 3600, Expire: 86400}, Expires: now.Add(23 * time.Hour)}},
		{Stale, Facts{Desired: true, Present: true, Owned: true, Answer: at(Authoritative), Primary: Answer{Kind: Authoritative, Serial: 6}, Behind: now.Add(-time.Minute)}},
		{Serving, Facts{Desired: true, Present: true, Owned: true, Answer: at(Authoritative), Primary: Answer{Kind: Authoritative, Serial: 6}, Behind: now.Add(-time.Second)}},
		{Ahead, Facts{Desired: true, Present: true, Owned: true, Answer: at(Authoritative), Primary: Answer{Kind: Authoritative, Serial: 4}}},
	} {
		c.f.Now = now
		if got, note := Classify(c.f); got != c.want {
			t.Errorf("%+v is %s (%s), want %s", c.f, got, note, c.want)
		}
	}
}

func TestMetricsAreByServerAndGroup(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, err := NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	inWorld(t, Options{Metrics: m}, func(t *testing.T, w *world) {
		w.own.set("a.test.", soa(1))
		w.want("a.test.", "b.test.")
		w.Added([]name.Name{"a.test.", "b.test."})
		pass(10 * time.Second)
		got := map[string]float64{}
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, x := range f.GetMetric() {
				key := f.GetName()
				for _, l := range x.GetLabel() {
					if strings.Contains(l.GetValue(), "test") {
						t.Errorf("%s has a label %s", key, l)
					}
					key += " " + l.GetValue()
				}
				got[key] = x.GetGauge().GetValue() + float64(x.GetHistogram().GetSampleCount())
			}
		}
		for key, want := range map[string]float64{
			"kaname_zone_watched_zones default ns1 serving": 1, "kaname_zone_watched_zones default ns1 loading": 1, "kaname_zone_served_seconds default ns1": 1,
		} {
			if got[key] != want {
				t.Errorf("%s is %v, want %v", key, got[key], want)
			}
		}
	})
}
