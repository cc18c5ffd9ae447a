package keeper

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib"
	"kaname.dev/kaname/rib/office"
	"kaname.dev/kaname/rib/ribtest"
	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/guard"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/source"
)

// bench is a core with a keeper, and time that the test sets.
type bench struct {
	t      *testing.T
	core   rib.Node
	k      *Keeper
	client *office.Client
	stop   func()

	mu  sync.Mutex
	now time.Time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, core: ribtest.Core(t, "core1"), now: time.Now()}
	b.client = exchange.NewClient(b.core.Plane, b.core.PeerClient)
	k, err := New(Options{
		Plane: b.core.Plane, Log: slog.New(slog.DiscardHandler),
		Settings: func() Settings { return Settings{Guard: guard.Default(), Quarantine: time.Hour} },
		Now: func() time.Time {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.now
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Register(b.core.Peers); err != nil {
		t.Fatal(err)
	}
	b.k = k
	b.start()
	return b
}

// start runs the keeper, and waits until it reigns.
func (b *bench) start() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = b.k.Run(ctx)
	}()
	b.stop = func() { cancel(); <-done }
	b.t.Cleanup(b.stop)
	b.until("the keeper reigns", func() bool { _, err := b.k.current(); return err == nil })
}

func (b *bench) until(what string, cond func() bool) {
	b.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			b.t.Fatalf("waited in vain until %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

var primary = []server.Primary{{Address: netip.MustParseAddrPort("192.0.2.1:53"), Key: "xfr"}}

// full reports a whole set.
func (b *bench) full(src string, zones ...string) error {
	var list []source.Member
	for _, z := range zones {
		list = append(list, source.Member{Name: name.Name(z)})
	}
	return b.report(exchange.Reported{Source: src, Kind: "bind", Primary: primary, Report: source.Report{Full: &source.List{Members: list}}})
}

func (b *bench) report(in exchange.Reported) error {
	_, err := office.Do[struct{}](b.t.Context(), b.client, exchange.PathReport, in)
	return err
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// feed asks for all that is desired.
func (b *bench) feed(have string) exchange.Feed {
	b.t.Helper()
	f, err := office.Do[exchange.Feed](b.t.Context(), b.client, exchange.PathDesired, exchange.Ask{Server: "s", Kind: "bind", Have: have})
	b.must(err)
	return f
}

func (b *bench) desired() []string {
	b.t.Helper()
	var out []string
	for _, w := range b.feed("").Zones {
		out = append(out, string(w.Name))
	}
	return out
}

func (b *bench) view(q exchange.Query) exchange.View {
	b.t.Helper()
	v, err := office.Do[exchange.View](b.t.Context(), b.client, exchange.PathView, q)
	b.must(err)
	return v
}

func many(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("z%04d.test.", i))
	}
	return out
}

func TestWhatASourceReportsIsDesiredAndSurvives(t *testing.T) {
	b := newBench(t)
	zones := many(200)
	b.must(b.full("main", zones...))
	if got := b.desired(); !slices.Equal(got, zones) {
		t.Fatalf("%d zones desired, want %d", len(got), len(zones))
	}
	f := b.feed("")
	if len(f.Templates) != 1 || f.Templates[0].Primaries[0] != primary[0] || len(f.Templates[0].Transfer) != 2 || f.Zones[0].Template != f.Templates[0].ID("bind") {
		t.Errorf("templates are %+v, the first zone %+v", f.Templates, f.Zones[0])
	}
	b.stop()
	b.start()
	if got := b.desired(); !slices.Equal(got, zones) {
		t.Errorf("after a new reign %d zones are desired, want %d", len(got), len(zones))
	}
}

func TestAServerIsToldWhatIsNewAtOnce(t *testing.T) {
	b := newBench(t)
	b.must(b.full("main", many(100)...))
	have := b.feed("").Generation
	got := make(chan exchange.Feed, 1)
	go func() { got <- b.feed(have) }()
	b.must(b.report(exchange.Reported{Source: "main", Kind: "bind", Primary: primary, Report: source.Report{Delta: &source.Delta{
		Add: []source.Member{{Name: "new.test."}}, Remove: []name.Name{"z0001.test."},
	}}}))
	f := <-got
	if f.Full || len(f.Zones) != 1 || f.Zones[0].Name != "new.test." || !slices.Equal(f.Gone, []name.Name{"z0001.test."}) {
		t.Errorf("told %+v", f)
	}
}

func TestALossIsHeldUntilAccepted(t *testing.T) {
	b := newBench(t)
	zones := many(100)
	b.must(b.full("main", zones...))
	b.must(b.full("main")) // all gone
	b.must(b.full("main", append(zones[:50:50], "more.test.")...))
	if got := b.desired(); len(got) != 101 {
		t.Fatalf("%d zones desired while a loss is held, want 101", len(got))
	}
	s := b.view(exchange.Query{}).Sources[0]
	if s.State != "held" || s.Held == nil || s.Held.Count != 50 {
		t.Fatalf("source is %+v", s)
	}
	_, err := Words(b.core.Plane).Update(t.Context(), "main", func(w *Word) error {
		w.Accepted, w.At = s.Held.Hash, b.k.o.Now()
		return nil
	})
	b.must(err)
	b.until("the loss is done", func() bool { return len(b.desired()) == 51 })
	if s := b.view(exchange.Query{}).Sources[0]; s.Held != nil || s.Gone != 50 {
		t.Errorf("after it the source is %+v", s)
	}
}

func TestTroubleIsUnknownNotEmpty(t *testing.T) {
	b := newBench(t)
	b.must(b.full("main", "a.test.", "b.test."))
	b.must(b.report(exchange.Reported{Source: "main", Kind: "bind", Primary: primary, Report: source.Report{Trouble: "transfer refused"}}))
	if got := b.desired(); len(got) != 2 {
		t.Errorf("desired: %v", got)
	}
	if s := b.view(exchange.Query{}).Sources[0]; s.State != "trouble" || s.Note != "transfer refused" {
		t.Errorf("source is %+v", s)
	}
}

func TestOwnership(t *testing.T) {
	b := newBench(t)
	b.must(b.full("first", "a.test.", "both.test.", "x.test.", "y.test.", "z.test."))
	b.pass(time.Second)
	b.must(b.full("second", "both.test.", "c.test."))
	z := b.view(exchange.Query{Zone: "both.test"}).States[0]
	if z.Source != "first" || !slices.Equal(z.Also, []string{"second"}) {
		t.Errorf("owner %s, also %v", z.Source, z.Also)
	}
	b.pass(time.Second)
	b.must(b.full("first", "a.test.", "x.test.", "y.test.", "z.test."))
	z = b.view(exchange.Query{Zone: "both.test"}).States[0]
	if z.Source != "second" || z.State != "desired" {
		t.Errorf("after the owner dropped it: %+v", z)
	}
	// A catalog hands over by coo: no gap, whatever the order.
	b.must(b.report(exchange.Reported{Source: "cat1", Kind: "catalog", Catalog: "cat1.", Primary: primary, Report: source.Report{Full: &source.List{
		Members: []source.Member{{Name: "moved.test.", ID: "m1", Coo: "cat2."}},
	}}}))
	b.pass(time.Second)
	if z := b.view(exchange.Query{Zone: "moved.test"}).States[0]; z.Source != "cat1" {
		t.Errorf("a coo without a taker: %+v", z)
	}
	b.must(b.report(exchange.Reported{Source: "cat2", Kind: "catalog", Catalog: "cat2.", Primary: primary, Report: source.Report{Full: &source.List{
		Members: []source.Member{{Name: "moved.test.", ID: "m1"}},
	}}}))
	if z := b.view(exchange.Query{Zone: "moved.test"}).States[0]; z.Source != "cat2" {
		t.Errorf("after the coo: %+v", z)
	}
}

func TestQuarantineRestorePin(t *testing.T) {
	b := newBench(t)
	b.must(b.full("main", many(60)...))
	b.must(b.full("main", many(60)[1:]...))
	z := b.view(exchange.Query{Zone: "z0000.test"}).States[0]
	if z.State != "quarantined" {
		t.Fatalf("it is %+v", z)
	}
	mark := func(n string, m Mark) {
		_, err := Marks(b.core.Plane).Update(t.Context(), Key{Name: name.Name(n)}.String(), func(d *Mark) error { *d = m; return nil })
		b.must(err)
	}
	mark("z0000.test.", Mark{Restored: b.k.o.Now().Add(time.Second)})
	b.until("it is desired again", func() bool { return len(b.desired()) == 60 })
	if w := b.feed("").Zones[0]; !w.Rescue {
		t.Errorf("a restored zone is to come from what was kept: %+v", w)
	}
	b.must(b.full("main", many(60)...))
	if w := b.feed("").Zones[0]; w.Rescue {
		t.Error("though the source has it again, it comes from what was kept")
	}
	mark("z0001.test.", Mark{Pin: true})
	b.until("the pin is known", func() bool { return b.feed("").Zones[1].Pin })
	b.must(b.full("main", append([]string{"z0000.test."}, many(60)[2:]...)...))
	if got := b.desired(); len(got) != 60 {
		t.Errorf("a pinned zone went: %d desired", len(got))
	}
	b.must(b.full("main", append([]string{"z0000.test."}, many(60)[3:]...)...))
	b.pass(2 * time.Hour)
	r, err := b.k.current()
	b.must(err)
	b.must(r.sweep(t.Context()))
	if v := b.view(exchange.Query{Zone: "z0002.test"}); len(v.States) != 0 {
		t.Errorf("after the quarantine it is still known: %+v", v.States)
	}
}

func TestWishes(t *testing.T) {
	b := newBench(t)
	put := func(z string) {
		_, err := Wishes(b.core.Plane).Update(t.Context(), Key{Name: name.Name(z)}.String(), func(w *Wish) error {
			*w = Wish{By: "alice", Primaries: []netip.AddrPort{primary[0].Address}}
			return nil
		})
		b.must(err)
	}
	put("w1.test.")
	put("w2.test.")
	b.until("both are desired", func() bool { return slices.Equal(b.desired(), []string{"w1.test.", "w2.test."}) })
	b.stop()
	doc, err := Wishes(b.core.Plane).Get(t.Context(), "/w1.test.")
	b.must(err)
	b.must(Wishes(b.core.Plane).Delete(t.Context(), doc))
	b.start()
	b.until("the one that was taken back meanwhile is gone", func() bool { return slices.Equal(b.desired(), []string{"w2.test."}) })
}

func TestAHostMustBeAdmitted(t *testing.T) {
	b := newBench(t)
	web := ribtest.Host(t, b.core, "web1", nil)
	client := exchange.NewClient(web.Plane, web.PeerClient)
	send := func() error {
		_, err := office.Do[struct{}](t.Context(), client, exchange.PathReport, exchange.Reported{
			Source: "evil", Kind: "bind", Primary: primary, Report: source.Report{Full: &source.List{Members: []source.Member{{Name: "evil.test."}}}},
		})
		return err
	}
	if err := send(); !fault.Is(err, fault.KindDenied) {
		t.Fatalf("an unknown host's report: %v", err)
	}
	if s := b.view(exchange.Query{}).Sources[0]; s.State != "waiting" || len(b.desired()) != 0 {
		t.Errorf("source is %+v", s)
	}
	b.must(b.full("main", "a.test."))
	_, err := Words(b.core.Plane).Update(t.Context(), "evil", func(w *Word) error { w.Host = "web1"; return nil })
	b.must(err)
	b.until("the admitted host is heard", func() bool { return send() == nil })
	// It may not speak for another source.
	_, err = office.Do[struct{}](t.Context(), client, exchange.PathReport, exchange.Reported{
		Source: "main", Kind: "bind", Report: source.Report{Full: &source.List{}},
	})
	if !fault.Is(err, fault.KindDenied) {
		t.Errorf("a host speaks for another's source: %v", err)
	}
	if got := b.desired(); !slices.Equal(got, []string{"a.test.", "evil.test."}) {
		t.Errorf("desired: %v", got)
	}
}

func TestAFormerKeeperCannotWrite(t *testing.T) {
	b := newBench(t)
	b.must(b.full("main", many(10)...))
	r, err := b.k.current()
	b.must(err)
	// Another has written since: what this reign knows is stale.
	doc, err := sourceDocs(b.core.Plane).Get(t.Context(), "main")
	b.must(err)
	doc.Value.Group = "stolen"
	if _, err := sourceDocs(b.core.Plane).Swap(t.Context(), doc); err != nil {
		t.Fatal(err)
	}
	err = r.take(t.Context(), "core1", &exchange.Reported{Source: "main", Kind: "bind", Primary: primary, Report: source.Report{Full: &source.List{Serial: new(uint32)}}})
	if !fault.Is(err, fault.KindConflict) {
		t.Errorf("a stale write: %v", err)
	}
	b.until("it reads all again", func() bool { now, err := b.k.current(); return err == nil && now != r })
}
