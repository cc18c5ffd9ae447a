package serve

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/wire"
)

// lines is a log in memory.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// count is how many lines hold all the texts.
func (l *lines) count(texts ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
next:
	for line := range strings.Lines(l.b.String()) {
		for _, t := range texts {
			if !strings.Contains(line, t) {
				continue next
			}
		}
		n++
	}
	return n
}

// small are the records of a zone of a few records.
func small(zone string, serial uint32) func(func(mdns.RR) bool) {
	return func(yield func(mdns.RR) bool) {
		p := mdns.NewZoneParser(strings.NewReader(dns.ZoneFile(serial)), zone, "")
		for rr, ok := p.Next(); ok && yield(rr); rr, ok = p.Next() {
		}
	}
}

// consumers are the servers that understand catalogs.
var consumers = map[string]func(testing.TB, dns.Options) *dns.Server{"bind": dns.BIND, "knot": dns.Knot, "pdns": dns.PowerDNS}

// TestConsumers has real servers consume a catalog, signed, and its members from here.
func TestConsumers(t *testing.T) {
	for kind, start := range consumers {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var log lines
			s, peer := serving(t, Options{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
			at := dns.AddressOf(t)
			tell := func(key *wire.Key) []wire.Peer { return []wire.Peer{{Address: at, Key: key}} }
			const zone = "catz.test."
			catalog := func(serial uint32, names ...string) {
				for _, n := range names {
					z := Zone{Name: name.Name(n), Records: small(n, 1), Keys: []string{"xfr"}, Notify: nil}
					if kind == "pdns" {
						z.AllowFrom = []netip.Prefix{local} // its members get no key
					}
					publish(t, s, z)
				}
				publish(t, s, Zone{Name: zone, Records: members(zone, serial, names...), Keys: []string{"xfr"}, Notify: tell(nil)})
			}
			catalog(1, "a.test.", "b.test.", "c.test.")
			c := start(t, dns.Options{Address: at, From: []netip.AddrPort{peer.Address}, Catalogs: []string{"catz.test"}})
			serves := func(n string, want bool) {
				t.Helper()
				lab.Eventually(t, n+" is served, or not", func() bool {
					_, rcode, ok := c.SOA(n)
					return ok == want && (want || rcode == mdns.RcodeRefused)
				})
			}
			serves("a.test", true)
			serves("c.test", true)
			begun := time.Now()
			catalog(2, "a.test.", "b.test.", "c.test.", "d.test.")
			serves("d.test", true)
			t.Logf("an addition took %v", time.Since(begun))
			begun = time.Now()
			catalog(9, "b.test.", "c.test.", "d.test.")
			serves("a.test", false)
			t.Logf("a removal took %v", time.Since(begun))
			whole, steps := 1, 1
			if kind == "pdns" { // 4.7 takes catalogs only whole; with IXFR it loses them ("not configured as slave")
				whole, steps = 3, 0
				c.SQL("INSERT INTO domainmetadata(domain_id, kind, content) SELECT id, 'IXFR', '1' FROM domains WHERE name='b.test';")
			}
			if n := log.count("zone=catz.test.", "since=1", "serial=2", "key=xfr."); n != steps {
				t.Errorf("the addition came by %d incremental transfers, want %d", n, steps)
			}
			if n := log.count("zone=catz.test.", "since=2", "serial=9"); n != steps {
				t.Errorf("the removal came by %d incremental transfers, want %d", n, steps)
			}
			if n := log.count("zone=catz.test.", "seconds="); n != whole {
				t.Errorf("the catalog was sent whole %d times, want %d", n, whole)
			}
			// A member's new contents come as differences.
			publish(t, s, Zone{Name: "b.test.", Records: small("b.test.", 5), Keys: []string{"xfr"}, AllowFrom: []netip.Prefix{local}, Notify: tell(nil)})
			lab.Eventually(t, "the member's new serial", func() bool { n, _, _ := c.SOA("b.test"); return n == 5 })
			if n := log.count("zone=b.test.", "since=1", "serial=5", "differences=1"); n != 1 {
				t.Errorf("the member's new contents came by %d incremental transfers, want 1", n)
			}
		})
	}
}

// TestDig has another client transfer, whole and incrementally, and with a wrong key.
func TestDig(t *testing.T) {
	dig := lab.Need(t, "dig")
	s, peer := serving(t, Options{})
	const zone = "cat.test."
	names := many(2000)
	publish(t, s, Zone{Name: zone, Records: members(zone, 1, names[:1999]...), Keys: []string{"xfr"}})
	publish(t, s, Zone{Name: zone, Records: members(zone, 2, names...), Keys: []string{"xfr"}})
	run := func(args ...string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		host := []string{"@" + peer.Address.Addr().String(), "-p", portOf(peer.Address), "+tries=1", "+time=2"}
		out, err := exec.CommandContext(ctx, dig, append(host, args...)...).CombinedOutput()
		if err != nil {
			t.Logf("dig %v: %v", args, err)
		}
		return string(out)
	}
	key := "hmac-sha256:xfr:" + secret
	for _, x := range []struct {
		want string
		args []string
	}{
		{"XFR size: 2004 records", []string{"-y", key, zone, "axfr"}},
		{"XFR size: 5 records", []string{"-y", key, zone, "ixfr=1"}},
		{"XFR size: 2004 records", []string{"-y", key, zone, "ixfr=0"}},
		{"XFR size: 1 records", []string{"-y", key, zone, "ixfr=2"}},
		{"NOERROR", []string{"-y", key, "+notcp", zone, "soa"}},
		{"invalid. invalid. 2 ", []string{"-y", key, "+tcp", zone, "soa"}},
		{"Transfer failed", []string{zone, "axfr"}},
		{"REFUSED", []string{zone, "soa"}},
		{"BADKEY", []string{"-y", "hmac-sha256:no:" + secret, zone, "soa"}},
		{"BADSIG", []string{"-y", "hmac-sha256:xfr:" + other.Secret, zone, "soa"}},
	} {
		if got := run(x.args...); !strings.Contains(got, x.want) || strings.Contains(got, "could not be validated") && !strings.HasPrefix(x.want, "BAD") {
			t.Errorf("dig %v: no %q in:\n%s", x.args, x.want, got[max(0, len(got)-1500):])
		}
	}
}

func portOf(a netip.AddrPort) string {
	_, port, _ := strings.Cut(a.String(), ":")
	return port
}
