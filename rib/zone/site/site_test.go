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
	client          *exchange.Client
	primary, second *dns.Server
	site            *Site
	driver          server.Driver
	kept            *quarantine.Store
	dir             string
	zones           []string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	lab.Need(t, "named")
	b := &bench{t: t, core: ribtest.Core(t, "core1"), dir: t.TempDir()}
	b.client = &exchange.Client{Plane: b.core.Plane, Peer: b.core.PeerClient}
	k, err := keeper.New(keeper.Options{
		Plane: b.core.Plane, Log: slog.New(slog.DiscardHandler),
		Settings: func() keeper.Settings { return keeper.Settings{Guard: guard.Default(), Quarantine: time.Hour} },
	})
	b.must(err)
	b.must(k.Register(b.core.Peers))
	b.run(k.Run)
	b.primary = dns.BIND(t, dns.Options{Primary: true})
	b.second = dns.BIND(t, dns.Options{From: []netip.AddrPort{b.primary.Address}})
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

func (b *bench) open() {
	b.t.Helper()
	root, err := os.OpenRoot(b.dir)
	b.must(err)
	b.site, err = New(Options{
		Name: "bind", Kind: "bind", Address: b.second.Address, Driver: b.driver, Keeper: b.client, Root: root, Kept: b.kept,
		Wire: &wire.Client{}, Log: slog.New(slog.NewTextHandler(b.t.Output(), nil)),
	})
	b.must(err)
	b.run(b.site.Run)
}

// run runs a loop until the test ends.
func (b *bench) run(f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil && ctx.Err() == nil {
			b.t.Error(err)
		}
	}()
	b.t.Cleanup(func() { cancel(); <-done })
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
		_, err := exchange.Do[struct{}](b.t.Context(), b.client, exchange.PathReport, in)
		return err == nil
	})
}

func (b *bench) served(zone string) bool { _, _, ok := b.second.SOA(zone); return ok }

func (b *bench) cell(zone string) exchange.Cell {
	b.t.Helper()
	v, err := exchange.Do[exchange.View](b.t.Context(), b.client, exchange.PathView, exchange.Query{Zone: zone})
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
