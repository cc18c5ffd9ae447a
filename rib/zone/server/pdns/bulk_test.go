package pdns

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	labdns "kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/server/servertest"
)

// TestBulk measures how long many zones take from their addition to the last one's
// answer: by the driver, by PowerDNS's own catalog consumer, and by writing its
// database, each on a fresh server, with one primary.
func TestBulk(t *testing.T) {
	if !lab.Soak() {
		t.Skip("make soak runs it")
	}
	count := servertest.BulkSize()
	zones := make([]string, count)
	for i := range zones {
		zones[i] = fmt.Sprintf("z%d.test", i)
	}
	second := labdns.AddressOf(t)
	primary := labdns.BIND(t, labdns.Options{Primary: true, Catalogs: []string{"catz.test"}, Notify: []netip.AddrPort{second}})
	primary.AddZones(zones...)
	start := func(extra string, catalogs ...string) *labdns.Server {
		return labdns.PowerDNS(t, labdns.Options{Address: second, From: []netip.AddrPort{primary.Address}, Extra: extra, Catalogs: catalogs})
	}
	ways := map[string]time.Duration{}
	wait := func(way string, s *labdns.Server, begun time.Time) {
		t.Helper()
		for n := ""; n != fmt.Sprintf("%d\n", count); n = s.SQL("SELECT count(*) FROM records WHERE type='SOA' AND name LIKE 'z%.test';") {
			if time.Since(begun) > 5*time.Minute {
				t.Fatalf("%s: %s of %d zones after five minutes", way, strings.TrimSpace(n), count)
			}
			<-time.After(100 * time.Millisecond)
		}
		ways[way] = time.Since(begun)
		t.Logf("%s: %.1f s", way, ways[way].Seconds())
		s.Kill()
	}

	begun := time.Now()
	s := start("", "catz.test") // it takes its first transfer at once
	wait("catalog", s, begun)

	s = start("")
	begun = time.Now()
	var b strings.Builder
	b.WriteString("BEGIN IMMEDIATE;\n")
	for _, z := range zones {
		fmt.Fprintf(&b, "INSERT INTO domains(name, type, master) VALUES('%s', 'SLAVE', '%s');\n", z, primary.Address)
	}
	s.SQL(b.String() + "COMMIT;\n")
	wait("database", s, begun)

	s = start("")
	d, err := New(server.Options{Name: "ns4", Control: s.Control, KeyFile: s.KeyFile, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	info, err := d.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	template := server.Template{Name: "default", Primaries: []server.Primary{{Address: primary.Address, Key: labdns.KeyName}}, Transfer: []string{"127.0.0.1/8", "key " + labdns.KeyName}}
	begun = time.Now()
	for from := 0; from < count; from += info.Batch {
		names := make([]string, 0, info.Batch)
		for _, z := range zones[from:min(from+info.Batch, count)] {
			names = append(names, z+".")
		}
		good(t, d.Add(t.Context(), additions(template, names...)))
	}
	t.Logf("driver: all added after %.1f s", time.Since(begun).Seconds())
	wait("driver", s, begun)
	t.Logf("ratio to the fastest: %.2f", ways["driver"].Seconds()/min(ways["catalog"], ways["database"]).Seconds())
}
