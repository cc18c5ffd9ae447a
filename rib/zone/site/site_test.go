package site

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib"
	"kaname.dev/kaname/rib/office"
	"kaname.dev/kaname/rib/ribtest"
	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/guard"
	"kaname.dev/kaname/rib/zone/keeper"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/quarantine"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/server/bind"
	"kaname.dev/kaname/rib/zone/source"
	"kaname.dev/kaname/rib/zone/wire"
)

// bench is a keeper, a BIND primary, and a BIND secondary with a site.
type bench struct {
	t               *testing.T
	core            rib.Node
	client          *office.Client
	primary, second *dns.Server
	site            *Site
	driver          server.Driver
	kept            *quarantine.Store
	dir             string
	stop            func()
}

func newBench(t *testing.T) *bench {
	t.Helper()
	lab.Need(t, "named")
	b := &bench{t: t, dir: t.TempDir()}
	b.keep("core1")
	b.primary = dns.BIND(t, dns.Options{Primary: true})
	b.second = dns.BIND(t, dns.Options{From: []netip.AddrPort{b.primary.Address}})
	var err error
	b.kept, err = quarantine.Open(t.TempDir())
	b.must(err)
	b.driver, err = bind.New(server.Options{
		Name: "bind", Kind: "bind", Control: b.second.Control, KeyFile: b.second.KeyFile, Config: b.second.Config, Stats: b.second.Stats,
		Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
	})
	b.must(err)
	b.open()
	return b
}

// keep starts a core with a keeper, and takes the place of an earlier one.
func (b *bench) keep(name string) {
	b.t.Helper()
	b.core = ribtest.Core(b.t, name)
	b.client = exchange.NewClient(b.core.Plane, b.core.PeerClient)
	k, err := keeper.New(keeper.Options{
		Plane: b.core.Plane, Log: slog.New(slog.DiscardHandler),
		Settings: func() keeper.Settings { return keeper.Settings{Guard: guard.Default(), Quarantine: time.Hour} },
	})
	b.must(err)
	b.must(k.Register(b.core.Peers))
	b.run(k.Run)
}

// open starts the site; b.stop ends it.
func (b *bench) open() {
	b.t.Helper()
	root, err := os.OpenRoot(b.dir)
	b.must(err)
	b.site, err = New(Options{
		Name: "bind", Kind: "bind", Address: b.second.Address, Driver: b.driver, Keeper: b.client, Root: root, Kept: b.kept,
		Wire: &wire.Client{}, Log: slog.New(slog.NewTextHandler(b.t.Output(), nil)),
	})
	b.must(err)
	b.stop = b.run(b.site.Run)
}

// run runs a loop until the test ends, or the returned function is called.
func (b *bench) run(f func(context.Context) error) func() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil && ctx.Err() == nil {
			b.t.Error(err)
		}
	}()
	stop := func() { cancel(); <-done }
	b.t.Cleanup(stop)
	return stop
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// say reports the source's set: the zones are on the primary already.
func (b *bench) say(zones ...string) {
	b.t.Helper()
	var list []source.Member
	for _, z := range zones {
		list = append(list, source.Member{Name: name.Name(z + ".")})
	}
	in := exchange.Reported{
		Source: "main", Kind: "bind", Primary: []server.Primary{{Address: b.primary.Address, Key: dns.KeyName}},
		Report: source.Report{Full: &source.List{Members: list}},
	}
	lab.Eventually(b.t, "the report is taken", func() bool {
		_, err := office.Do[struct{}](b.t.Context(), b.client, exchange.PathReport, in)
		return err == nil
	})
}

func (b *bench) served(zone string) bool { _, _, ok := b.second.SOA(zone); return ok }

func (b *bench) cell(zone string) exchange.Cell {
	b.t.Helper()
	v, err := office.Do[exchange.View](b.t.Context(), b.client, exchange.PathView, exchange.Query{Zone: zone})
	b.must(err)
	if len(v.States) == 0 || len(v.States[0].Cells) == 0 {
		return exchange.Cell{}
	}
	return v.States[0].Cells[0].Cell
}

func many(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("z%03d.test", i))
	}
	return out
}

func TestAServerFollows(t *testing.T) {
	b := newBench(t)
	zones := many(30)
	b.primary.AddZones(zones...)
	b.say(zones...)
	for _, z := range zones {
		lab.Eventually(t, z+" is served", func() bool { return b.served(z) })
	}
	lab.Eventually(t, "the keeper knows it", func() bool { return b.cell(zones[3]).State == exchange.Serving })
	b.say(zones[1:]...)
	lab.Eventually(t, "the removed one is refused", func() bool { return !b.served(zones[0]) })
	if _, ok := b.kept.Kept(name.Name(zones[0] + ".")); !ok {
		t.Error("the contents of the removed zone were not kept")
	}
	// Somebody removes a zone by hand; the next look brings it back.
	for _, err := range b.driver.Remove(t.Context(), []server.Removal{{Name: name.Name(zones[5] + ".")}}) {
		b.must(err)
	}
	if _, err := b.site.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "it is served again", func() bool { return b.served(zones[5]) })
}

// A keeper that has lost all that it knew must not empty the servers: what it cannot
// account for is held.
func TestAKeeperWithoutMemoryTakesNothingAway(t *testing.T) {
	b := newBench(t)
	zones := many(20)
	b.primary.AddZones(zones...)
	b.say(zones...)
	for _, z := range zones {
		lab.Eventually(t, z+" is served", func() bool { return b.served(z) })
	}
	b.stop()
	b.keep("core2")
	b.open()
	var head exchange.Observed
	lab.Eventually(t, "the loss is held", func() bool {
		v, err := office.Do[exchange.View](t.Context(), b.client, exchange.PathView, exchange.Query{})
		if err != nil || len(v.Servers) == 0 {
			return false
		}
		head = v.Servers[0].Head
		return head.Held != nil
	})
	if head.Held.Count != len(zones) || !b.served(zones[0]) || !b.served(zones[19]) {
		t.Fatalf("held is %+v", head.Held)
	}
	_, err := keeper.Words(b.core.Plane).Update(t.Context(), "core2/bind", func(w *keeper.Word) error {
		w.Accepted, w.At = head.Held.Hash, time.Now()
		return nil
	})
	b.must(err)
	lab.Eventually(t, "what was accepted is done", func() bool { return !b.served(zones[0]) && !b.served(zones[19]) })
}

func TestAForeignZoneIsLeftAloneUntilAdopted(t *testing.T) {
	b := newBench(t)
	b.primary.AddZones("mine.test", "other.test", "hand.test")
	b.say("mine.test", "other.test")
	lab.Eventually(t, "other.test is served", func() bool { return b.served("other.test") })
	b.second.RNDC("addzone", "hand.test", fmt.Sprintf("{ type secondary; primaries { %s port %d key %s; }; };", b.primary.Address.Addr(), b.primary.Address.Port(), dns.KeyName))
	lab.Eventually(t, "the zone made by hand is served", func() bool { return b.served("hand.test") })
	b.say("mine.test", "other.test", "hand.test")
	lab.Eventually(t, "the conflict is seen", func() bool { return b.cell("hand.test").State == "conflict" })
	_, err := keeper.Marks(b.core.Plane).Update(t.Context(), keeper.Key{Name: "hand.test."}.String(), func(m *keeper.Mark) error {
		m.Adopt = true
		return nil
	})
	b.must(err)
	lab.Eventually(t, "it is adopted", func() bool { return b.cell("hand.test").State == exchange.Serving })
	list, err := b.driver.List(t.Context())
	b.must(err)
	for _, z := range list {
		if z.Name == "hand.test." && !z.Owned {
			t.Errorf("the server says %+v", z)
		}
	}
}
