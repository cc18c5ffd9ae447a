package zone

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/plan"
	"kaname.dev/kaname/rib/zone/server"
)

// bulk sets how many zones TestBulk takes, for a run by hand.
var bulk = flag.Int("bulk", 0, "zones of TestBulk")

// TestBulk lets many zones appear in the source at once, and measures how long each
// server takes until it serves them all, beside its own fastest bulk way: all four at
// the same time there too, on fresh servers.
func TestBulk(t *testing.T) {
	n := *bulk
	if n == 0 && figures() != "" {
		n = 10_000
	}
	zones := named("bulk", max(n, 200))
	n = len(zones)
	own := ownBulk(t, zones)
	b := newBed(t, options{primaries: []string{"bind"}, servers: all})
	b.primaries[0].AddZones("first.test")
	b.await("first.test", true, time.Now(), time.Minute)
	b.primaries[0].AddZones(zones...)
	took := b.complete(zones, time.Now(), 10*time.Minute)
	for _, kind := range all {
		ratio := took[kind].Seconds() / own[kind].Seconds()
		record("zone.bulk10k_"+kind, ratio, "ratio", "its own fastest bulk way, "+ways[kind], ratio)
		t.Logf("%s: %d zones in %.1f s, by %s %.1f s: ratio %.2f", kind, n, took[kind].Seconds(), ways[kind], own[kind].Seconds(), ratio)
	}
	record("zone.rss_mib", b.ns.rss(), "MiB", "150 MiB", b.ns.rss()/150)
	t.Logf("the agent has used %.0f MiB, the core %.0f MiB", b.ns.rss(), b.core.rss())
}

// ways are the servers' own bulk ways.
var ways = map[string]string{
	"bind": "named.conf and rndc reconfig", "nsd": "addzones on the control socket", "knot": "one transaction", "pdns": "its catalog consumer",
}

// ownBulk gives zones to all four servers by their own ways, at the same time, and
// returns how long each took until it served them all.
func ownBulk(t *testing.T, zones []string) map[string]time.Duration {
	t.Helper()
	primary := start(t, "bind", dns.Options{Primary: true, Catalogs: []string{"catz.own"}})
	primary.AddZones(zones...)
	from := dns.Options{From: addrs(primary.Address.String())}
	b := &bed{t: t, dir: t.TempDir()}
	b.core, b.ns = &process{t: t}, &process{t: t}
	for _, kind := range []string{"bind", "nsd", "knot"} {
		b.servers = append(b.servers, start(t, kind, from))
	}
	bind, nsd, knot := b.servers[0], b.servers[1], b.servers[2]
	began := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() {
		var conf strings.Builder
		for _, z := range zones {
			fmt.Fprintf(&conf, "zone %q { type secondary; file \"zones/%s.db\"; primaries { %s port %d key xfr; }; };\n", z, z, primary.Address.Addr(), primary.Address.Port())
		}
		write(t, filepath.Join(bind.Dir, "zones.conf"), conf.String())
		_ = os.Chmod(filepath.Join(bind.Dir, "zones.conf"), 0o644)
		bind.RNDC("reconfig")
	})
	wg.Go(func() { addZones(t, nsd.Control, zones) })
	wg.Go(func() { knot.KnotZones("hand", zones...) })
	wg.Go(func() { // it takes the catalog as it starts
		b.servers = append(b.servers, start(t, "pdns", dns.Options{From: from.From, Catalogs: []string{"catz.own"}}))
	})
	wg.Wait()
	took := b.complete(zones, began, 10*time.Minute)
	for _, s := range append(b.servers, primary) {
		s.Kill()
	}
	return took
}

// addZones gives nsd zones of the lab's pattern, reading what it says meanwhile.
func addZones(t *testing.T, control string, zones []string) {
	t.Helper()
	c, err := net.Dial("unix", control)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	said := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, c)
		said <- err
	}()
	fmt.Fprintf(c, "NSDCT1 addzones\n%s hand\n\x04\n", strings.Join(zones, " hand\n"))
	if err := <-said; err != nil {
		t.Error(err)
	}
}

// TestReconcile100k plans for a server with 100,000 zones of which some differ.
func TestReconcile100k(t *testing.T) {
	const n = 100_000
	wants, have := map[name.Name]plan.Want{}, map[name.Name]server.Zone{}
	for i := range n {
		z := name.Name(fmt.Sprintf("z%06d.test.", i))
		wants[z] = plan.Want{Name: z, Template: "default-1"}
		if i%10 != 0 {
			have[z] = server.Zone{Name: z, Present: true, Owned: true, Template: "default-1"}
		}
	}
	var took []time.Duration
	for range 5 {
		began := time.Now()
		p := plan.Make(maps.Values(wants), maps.Values(have), plan.Policy{Share: 0.1, Least: 5})
		took = append(took, time.Since(began))
		if len(p.Ops) != n/10 {
			t.Fatalf("%d operations", len(p.Ops))
		}
	}
	slices.Sort(took)
	record("zone.reconcile100k_s", took[2].Seconds(), "s", "2 s", took[2].Seconds()/2)
	t.Logf("a plan for %d zones: %s", n, took[2])
}

// TestOneMoreAt50k adds one zone where very many are, beside an edited named.conf and
// rndc reconfig on a server with as many.
func TestOneMoreAt50k(t *testing.T) {
	n := 500
	if figures() != "" {
		n = 50_000
	}
	zones := named("many", n)
	b := newBed(t, options{primaries: []string{"bind"}, servers: []string{"bind"}})
	p, s := b.primaries[0], b.servers[0]
	p.AddZones(zones...)
	b.complete(zones, time.Now(), 20*time.Minute)
	b.until("the status knows it", 5*time.Minute, func() bool { return b.served() == n })
	var ours, theirs []time.Duration
	for i := range 3 {
		zone := fmt.Sprintf("more%d.test", i)
		p.AddZones(zone)
		ours = append(ours, b.await(zone, true, time.Now(), time.Minute))
	}
	// The same server, with as many, by hand: kaname is not in the way.
	b.ns.end(9)
	conf := func(zones []string) string {
		var c strings.Builder
		for _, z := range zones {
			fmt.Fprintf(&c, "zone %q { type secondary; file \"zones/%s.db\"; primaries { %s port %d key xfr; }; };\n", z, z, p.Address.Addr(), p.Address.Port())
		}
		return c.String()
	}
	for i := range 3 {
		zone := fmt.Sprintf("hand%d.test", i)
		p.AddZones(zone)
		began := time.Now()
		path := filepath.Join(s.Dir, "zones.conf")
		write(t, path, conf([]string{zone}))
		_ = os.Chmod(path, 0o644)
		s.RNDC("reconfig")
		theirs = append(theirs, b.await(zone, true, began, 5*time.Minute))
	}
	ratio := p50(ours).Seconds() / p50(theirs).Seconds()
	record("zone.add_one_at_50k_vs_reconfig", p50(ours).Seconds(), "s", "named.conf edited and rndc reconfig", ratio)
	t.Logf("one more at %d: %s, by edit and reconfig %s: ratio %.3f", n, p50(ours), p50(theirs), ratio)
}
