package zone

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kaname.dev/kaname/lab/dns"
)

// TestBesideSupermaster creates zones at a BIND whose notified secondary is a PowerDNS
// supermaster, and at one that kaname watches, in turn; then it shows what supermaster
// cannot do.
func TestBesideSupermaster(t *testing.T) {
	n := 5
	if figures() != "" {
		n = 30
	}
	super := dns.NewSupermaster(t)
	watched := newBed(t, options{primaries: []string{"bind"}, servers: []string{"pdns", "nsd", "knot"}, share: 10})
	notified := newBed(t, options{primaries: []string{"bind"}, servers: []string{"pdns"}, share: 10, sources: asSupermaster(n + 10)})
	watched.primaries[0].AddZones("first.test") // the first of all, which nobody measures
	watched.await("first.test", true, time.Now(), time.Minute)
	zones := named("super", n)
	took := map[string][]time.Duration{}
	for _, z := range zones { // in turn, so that a busy moment of the machine is everybody's
		took["supermaster"] = append(took["supermaster"], super.Create(z))
		took["notify"] = append(took["notify"], notified.create(z)[0])
		by := watched.create(z)
		took["bind"] = append(took["bind"], by[0])
		took["bind, all servers"] = append(took["bind, all servers"], slices.Max(by))
	}
	ratio := p50(took["supermaster"]).Seconds() / p50(took["bind"]).Seconds()
	record("zone.vs_supermaster", ratio, "x", "supermaster's latency / ours", ratio)
	for what, d := range took {
		t.Logf("creation, %s: p50 %s p99 %s", what, p50(d).Round(time.Millisecond), p99(d).Round(time.Millisecond))
	}
	for what, key := range map[string]string{"supermaster": "zone.supermaster_add_s", "bind": "zone.beside_supermaster_add_s", "notify": "zone.notify_add_s"} {
		record(key, p50(took[what]).Seconds(), "s", "2 s", p50(took[what]).Seconds()/2)
	}
	if ratio < 0.5 {
		t.Errorf("kaname takes %.1f times as long as supermaster", 1/ratio)
	}
	removals(t, super, watched, notified, zones[0])
	created(t, super, watched, notified)
	massDeletion(t, watched, zones[1:])
}

// asSupermaster returns a source of kind notify with the terms that supermaster has:
// the primary's address, and our names in the NS records of the zones of this test.
func asSupermaster(n int) func(*bed) string {
	return func(b *bed) string {
		var ours []string
		for _, z := range append(named("super", n), named("late", 3)...) {
			ours = append(ours, fmt.Sprintf("%q", "ns2."+z))
		}
		return fmt.Sprintf("    - {name: notified, kind: notify, address: %q, names: [%s], allow_from: [127.0.0.1]}\n", b.primaries[0].Address, strings.Join(ours, ", "))
	}
}

// create makes a zone at the primary and returns how long each server took to serve it.
func (b *bed) create(zone string) []time.Duration {
	b.t.Helper()
	began := time.Now()
	b.primaries[0].AddZones(zone)
	b.await(zone, true, began, 20*time.Second)
	return slices.Clone(b.took)
}

// removals shows that a zone that is removed at the primary is refused here, and served
// for ever by supermaster's secondary.
func removals(t *testing.T, super *dns.Supermaster, watched, notified *bed, zone string) {
	t.Helper()
	watched.primaries[0].RemoveZones(zone)
	took := watched.await(zone, false, time.Now(), 20*time.Second)
	t.Logf("removal at the primary: refused by %d servers after %s", len(watched.servers), took.Round(time.Millisecond))
	if took > 2*time.Second {
		t.Errorf("the removal took %s", took)
	}
	began := time.Now()
	notified.primaries[0].RemoveZones(zone) // nothing tells a NOTIFY source but its own looks
	if !super.Remove(zone, max(2*time.Second, 2*took)) {
		t.Error("supermaster removes a zone, which it is known not to do")
	}
	if _, _, ok := notified.servers[0].SOA(zone); !ok {
		t.Logf("removal with kind notify: refused after %s at most", time.Since(began).Round(time.Millisecond))
	}
}

// created makes zones while the secondaries are down, and starts these again.
func created(t *testing.T, super *dns.Supermaster, watched, notified *bed) {
	t.Helper()
	late := named("late", 3)
	pair := []*bed{watched, notified}
	super.Inside(super.Secondary.Stop)
	super.Inside(func() { super.Primary.AddZones(late...) })
	for _, b := range pair {
		b.servers[0].Stop()
		b.primaries[0].AddZones(late...)
	}
	<-time.After(time.Second) // the NOTIFYs of supermaster's primary found nobody meanwhile
	super.Inside(super.Secondary.Start)
	began := time.Now()
	for _, b := range pair {
		b.servers[0].Start()
	}
	for i, b := range pair {
		took := b.complete(late, began, 30*time.Second)
		t.Logf("zones created while PowerDNS was down, kind %s: served %s after its start", []string{"bind", "notify"}[i], took["pdns"].Round(time.Millisecond))
	}
	if figures() != "" { // long enough for any retry
		<-time.After(time.Until(began.Add(30 * time.Second)))
	}
	var missing int
	super.Inside(func() { missing = unserved(super.Secondary, late) })
	t.Logf("zones created while PowerDNS was down: supermaster lacks %d of %d %s later", missing, len(late), time.Since(began).Round(time.Second))
}

func unserved(s *dns.Server, zones []string) int {
	n := 0
	for _, z := range zones {
		if _, _, ok := s.SOA(z); !ok {
			n++
		}
	}
	return n
}

// massDeletion starts the primary with an empty configuration: the loss is held, and all
// zones are served on.
func massDeletion(t *testing.T, watched *bed, zones []string) {
	t.Helper()
	p := watched.primaries[0]
	p.Stop()
	stores, err := filepath.Glob(filepath.Join(p.Dir, "*.nz[df]*"))
	if err != nil || len(stores) == 0 {
		t.Fatalf("named keeps its zones nowhere: %v", err)
	}
	for _, path := range stores {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	p.Start()
	watched.until("the loss is held", 20*time.Second, func() bool {
		raw, err := watched.try("zone", "sources")
		return err == nil && strings.Contains(string(raw), `"held"`)
	})
	for _, s := range watched.servers {
		if n := unserved(s, zones); n > 0 {
			t.Errorf("%s lost %d of %d zones that vanished at once from the primary", s.Kind, n, len(zones))
		}
	}
	t.Logf("all zones gone at the primary: held, %d zones served by all of %d servers", len(zones), len(watched.servers))
}

// TestAdoptionFromSupermaster takes the zones over that supermaster made, as
// docs/zone-supermaster.md says, while somebody asks for them all the time.
func TestAdoptionFromSupermaster(t *testing.T) {
	super := dns.NewSupermaster(t)
	zones := named("made", 6)
	for _, z := range zones {
		super.Create(z)
	}
	b := &bed{t: t, dir: t.TempDir(), servers: []*dns.Server{super.Secondary}}
	b.core = b.process("core1", "up", func(s *strings.Builder) {
		p := super.Primary
		fmt.Fprintf(s, "zone:\n  listen: [127.0.53.3:53]\n  guard: {share: 100}\n  sources:\n    - {name: main, kind: bind, address: %q, control: %q, key_file: %q, config: %q, stats: %q}\n",
			p.Address, p.Control, p.KeyFile, p.Config, p.Stats)
	})
	b.ns = b.process("ns1", "agent", func(s *strings.Builder) {
		v := super.Secondary
		fmt.Fprintf(s, "zone:\n  servers:\n    - {name: pdns, kind: pdns, address: %q, control: %q, key_file: %q, config: %q}\n", v.Address, v.Control, v.KeyFile, v.Config)
	})
	b.core.startIn(super.Namespace)
	b.until("the core answers", time.Minute, func() bool { _, err := b.try("zone", "sources"); return err == nil })
	var token struct{ Token string }
	b.cli(&token, "token", "create", "--role", "agent", "--host", "ns1", "--yes")
	if out, err := exec.Command("ip", "netns", "exec", super.Namespace, bin, "join", token.Token, "--name", "ns1", "--config", b.ns.config).CombinedOutput(); err != nil {
		t.Fatalf("join: %v: %s", err, out)
	}
	b.ns.startIn(super.Namespace)

	b.until("all are in conflict", time.Minute, func() bool { return strings.Count(b.statusAll(), `"conflict"`) == len(zones) })
	if accounts := super.Secondary.SQL("SELECT DISTINCT account FROM domains;"); strings.TrimSpace(accounts) != "super" {
		t.Errorf("before adoption the zones are of %q", accounts)
	}
	var needs struct{ Notes, Problems []string }
	b.cli(&needs, "zone", "setup", "ns1/pdns", "--yes")
	t.Logf("setup says %q, problems %q", needs.Notes, needs.Problems)
	stop := lost(t, super, zones)
	for i, z := range zones {
		b.cli(nil, "zone", "adopt", z, "--yes")
		if i == 0 {
			b.until("one is adopted", 20*time.Second, func() bool { return strings.Count(b.statusAll(), `"serving"`) == 1 })
		}
	}
	ours := func() string {
		return strings.TrimSpace(super.Secondary.SQL("SELECT count(*) FROM domains WHERE account LIKE 'kaname%';"))
	}
	b.until("all are served, and ours", 30*time.Second, func() bool {
		return strings.Count(b.statusAll(), `"serving"`) == len(zones) && ours() == strconv.Itoa(len(zones))
	})
	if n := stop(); n > 0 {
		t.Errorf("the secondary did not serve a zone %d times while it was adopted", n)
	}
	super.Secondary.SQL("DELETE FROM supermasters;") // the last step
	super.Create("after.test")
	if account := super.Secondary.SQL("SELECT account FROM domains WHERE name='after.test';"); !strings.HasPrefix(account, "kaname") {
		t.Errorf("a new zone is of %q", account)
	}
	b.ns.end(syscall.SIGTERM) // the way back: they stay
	super.Inside(func() { super.Secondary.Stop(); super.Secondary.Start() })
	super.Inside(func() {
		if n := unserved(super.Secondary, append(slices.Clone(zones), "after.test")); n > 0 {
			t.Errorf("without kaname %d zones are not served", n)
		}
	})
	b.ns.startIn(super.Namespace)
	began := time.Now()
	if super.Remove(zones[0], 20*time.Second) {
		t.Errorf("a zone that was adopted and then removed at the primary is served on; status %s", b.status(zones[0]))
	}
	t.Logf("%d zones of supermaster adopted without a question unanswered; one is removed %s after the primary's removal", len(zones), time.Since(began).Round(time.Millisecond))
}

// startIn starts the process in a network namespace; its readiness is not asked for.
func (p *process) startIn(namespace string) {
	p.t.Helper()
	log, err := os.Create(filepath.Clean(p.log))
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.Command("ip", "netns", "exec", namespace, bin, p.what, "--config", p.config)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		defer close(done)
		_ = cmd.Wait()
	}(p.cmd, p.done)
	p.t.Cleanup(func() { p.end(syscall.SIGKILL) })
}

func (b *bed) statusAll() string {
	raw, _ := b.try("zone", "status", "--all")
	return string(raw)
}

// lost asks for zones all the time; the returned function ends it and says how often
// one was not served.
func lost(t *testing.T, super *dns.Supermaster, zones []string) func() int {
	end, count := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		for {
			select {
			case <-end:
				count <- n
				return
			case <-time.After(2 * time.Millisecond):
			}
			super.Inside(func() { n += unserved(super.Secondary, zones) })
		}
	}()
	stop := sync.OnceValue(func() int { close(end); return <-count })
	t.Cleanup(func() { stop() })
	return stop
}
