package zone

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/catalog/accident"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/wire"
)

// few are the accidents of the small run: a broken version, a mass deletion, a move, an
// old copy, and a transfer that is cut.
var few = []string{"version-missing", "half-gone", "move-uncoordinated", "serial-back", "transfer-cut"}

// TestAccidents plays every accident with catalogs to servers behind kaname and, from
// the same primary, to servers that consume the catalogs themselves. Each case has
// catalogs and zones of its own, so many are played at once. It measures for how long
// zones were not served that a server had served already.
func TestAccidents(t *testing.T) {
	g := gauntlet{t: t, gap: 2 * time.Second}
	kinds, raw := []string{"bind", "knot"}, []string(nil)
	list := slices.DeleteFunc(accident.All(), func(c accident.Case) bool { return !slices.Contains(few, c.Name) })
	if figures() != "" {
		kinds, raw, list, g.gap = all, []string{"bind", "knot", "pdns"}, accident.All(), 5*time.Second
	}
	for i := range list {
		g.cases = append(g.cases, list[i].As(i))
	}
	g.start(kinds, raw)
	for part := range slices.Chunk(g.cases, 10) {
		g.play(part)
	}
	g.report()
}

// gauntlet is a primary of accidents, and those who live with it.
type gauntlet struct {
	t       *testing.T
	gap     time.Duration // from one step to the next
	cases   []accident.Case
	primary *accident.Primary
	bed     *bed
	watched []*watched
}

// watched is a server, and what was seen of it.
type watched struct {
	*dns.Server
	raw     bool // without kaname
	seen    map[name.Name]time.Time
	missing map[name.Name]time.Duration
	silent  time.Duration      // of what is missing: the server answered nothing at all
	wrong   map[name.Name]bool // was served, and must never be
	absent  int                // new zones that did not come
}

// start starts the primary with the first step of all cases, and the servers.
func (g *gauntlet) start(kinds, raw []string) {
	t := g.t
	lab.NeedRoot(t)
	at := dns.AddressOf(t)
	var catalogs []string
	for i := range g.cases {
		catalogs = append(catalogs, g.cases[i].Catalogs()...)
	}
	var consumers []netip.AddrPort
	for range raw {
		consumers = append(consumers, dns.AddressOf(t))
	}
	g.bed = newBed(t, options{servers: kinds, from: []string{at.String()}, share: 10, sources: func(b *bed) string {
		var err error
		if g.primary, err = accident.Listen(t.Context(), at, dns.KeyName, dns.KeySecret, append(addrs(b.listen), consumers...)...); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(g.primary.Close)
		for i := range g.cases {
			if err := g.primary.Play(t.Context(), g.cases[i].Steps[0]); err != nil {
				t.Fatal(err)
			}
		}
		var s strings.Builder
		for i, c := range catalogs {
			fmt.Fprintf(&s, "    - {name: c%d, kind: catalog, address: %q, key: %q, catalog: %q}\n", i, at, b.key, c)
		}
		return s.String()
	}})
	for _, s := range g.bed.servers {
		g.watched = append(g.watched, &watched{Server: s})
	}
	for i, kind := range raw {
		s := start(t, kind, dns.Options{Address: consumers[i], From: []netip.AddrPort{at}, Catalogs: catalogs})
		g.watched = append(g.watched, &watched{Server: s, raw: true})
	}
	for _, w := range g.watched {
		w.seen, w.missing, w.wrong = map[name.Name]time.Time{}, map[name.Name]time.Duration{}, map[name.Name]bool{}
	}
	keep := zonesOf(g.cases, func(c *accident.Case) []string { return c.Keep })
	for _, w := range g.watched {
		if bad := w.await(t, keep, 2*time.Minute); len(bad) > 0 {
			t.Fatalf("%s serves %d zones not, %s for one; core:\n%s\nhost:\n%s", w.label(), len(bad), bad[0], tail(g.bed.core.log), tail(g.bed.ns.log))
		}
	}
}

func zonesOf(cases []accident.Case, of func(*accident.Case) []string) []name.Name {
	var list []name.Name
	for i := range cases {
		for _, z := range of(&cases[i]) {
			n, err := name.Parse(z)
			if err != nil {
				continue // no server can have it
			}
			list = append(list, n)
		}
	}
	return list
}

func (w *watched) label() string {
	if w.raw {
		return "raw_" + w.Kind
	}
	return w.Kind
}

// await asks until all zones are served, and returns those that are not in time.
func (w *watched) await(t *testing.T, zones []name.Name, within time.Duration) []name.Name {
	for deadline := time.Now().Add(within); len(zones) > 0 && time.Now().Before(deadline); <-time.After(100 * time.Millisecond) {
		var left []name.Name
		w.ask(t.Context(), zones, func(n name.Name, served, _ bool) {
			if !served {
				left = append(left, n)
			}
		})
		zones = left
	}
	return zones
}

// ask asks for zones once. A server that lost a zone says so at once; one that says
// nothing for 2 s, as a client would wait, is silent.
func (w *watched) ask(ctx context.Context, zones []name.Name, each func(n name.Name, served, silent bool)) {
	p := wire.Prober{Timeout: 500 * time.Millisecond, Tries: 4, Rate: 50_000}
	_ = p.SOAs(ctx, w.Address, zones, func(n name.Name, _ wire.SOA, err error) { // it ends with ctx
		each(n, err == nil, errors.Is(err, wire.ErrUnreachable))
	})
}

// watch asks for zones some ten times a second until ctx ends, and sums up for how long
// those were missing that had been there.
func (w *watched) watch(ctx context.Context, keep, never []name.Name) {
	for ; ctx.Err() == nil; wait(ctx, 100*time.Millisecond) {
		w.ask(ctx, keep, func(n name.Name, served, silent bool) {
			now := time.Now()
			if last, ok := w.seen[n]; ok && !served && ctx.Err() == nil {
				w.missing[n] += now.Sub(last)
				if silent {
					w.silent += now.Sub(last)
				}
			} else if !ok && !served {
				return // it has not been there yet
			}
			w.seen[n] = now
		})
		w.ask(ctx, never, func(n name.Name, served, _ bool) {
			if served {
				w.wrong[n] = true
			}
		})
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// play plays some cases at once, while all servers are watched.
func (g *gauntlet) play(cases []accident.Case) {
	t := g.t
	keep := zonesOf(cases, func(c *accident.Case) []string { return c.Keep })
	never := zonesOf(cases, func(c *accident.Case) []string { return c.Never })
	ctx, end := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, w := range g.watched {
		wg.Go(func() { w.watch(ctx, keep, never) })
	}
	wait(ctx, time.Second)
	run, in := errgroup.WithContext(ctx)
	for i := range cases {
		run.Go(func() error {
			return g.primary.Run(in, &cases[i], func(ctx context.Context) error { wait(ctx, g.gap); return ctx.Err() })
		})
	}
	if err := run.Wait(); err != nil {
		t.Error(err)
	}
	for i := range cases {
		for _, w := range g.watched {
			bad := w.await(t, zonesOf(cases[i:i+1], func(c *accident.Case) []string { return c.New }), patience(w.raw))
			w.absent += len(bad)
			if len(bad) > 0 && !w.raw {
				t.Errorf("%s: %s does not serve the new zone %s; status %s", cases[i].Name, w.label(), bad[0], g.bed.status(string(bad[0])))
			}
		}
	}
	end()
	wg.Wait()
}

// patience is how long new zones are waited for: one that consumes a catalog itself has
// had its time when those behind kaname have them all.
func patience(raw bool) time.Duration {
	if raw {
		return 500 * time.Millisecond
	}
	return 15 * time.Second
}

// report records what was missing, and fails for anything behind kaname.
func (g *gauntlet) report() {
	t := g.t
	sum := map[bool]float64{}
	for _, w := range g.watched {
		missing := 0.0
		for i := range g.cases {
			c, lost := &g.cases[i], 0.0
			for _, n := range zonesOf(g.cases[i:i+1], func(c *accident.Case) []string { return c.Keep }) {
				lost += w.missing[n].Seconds()
			}
			if missing += lost; lost > 0 {
				t.Logf("%s: %s: %.1f zone-seconds are missing (%s)", w.label(), c.Name, lost, c.Text)
			}
		}
		wrong := slices.Sorted(maps.Keys(w.wrong))
		t.Logf("%s: %.1f of it silent", w.label(), w.silent.Seconds())
		t.Logf("%s: %.1f zone-seconds are missing, %d new zones did not come, served though it must not be: %v", w.label(), missing, w.absent, wrong)
		if !w.raw && (missing > 0 || len(wrong) > 0) {
			t.Errorf("%s behind kaname: %.1f zone-seconds are missing, and it served %v\ncore:\n%s\nhost:\n%s", w.label(), missing, wrong, tail(g.bed.core.log), tail(g.bed.ns.log))
		}
		sum[w.raw] += missing
		record("zone.poison_missing_s."+w.label(), missing, "zone-seconds", "", 0)
		record("zone.poison_silent_s."+w.label(), w.silent.Seconds(), "zone-seconds", "", 0)
		record("zone.poison_new_absent."+w.label(), float64(w.absent), "zones", "", 0)
	}
	record("zone.poison_cases", float64(len(g.cases)), "cases", "20", float64(len(g.cases))/20)
	record("zone.poison_missing_s", sum[false], "zone-seconds", "raw BIND+Knot+PowerDNS", sum[false]/max(sum[true], 1))
	record("zone.poison_missing_s.raw", sum[true], "zone-seconds", "", 0)
}
