package watch

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/server/knot"
	"kaname.dev/kaname/rib/zone/server/nsd"
	"kaname.dev/kaname/rib/zone/server/pdns"
	"kaname.dev/kaname/rib/zone/wire"
)

// TestKindsOfServers has each kind of server answer for zones that come, that their
// primary lacks, refuses, or signs with another key: each is seen, with its cause, though
// the kinds answer for a zone without contents in different ways.
func TestKindsOfServers(t *testing.T) {
	lab.Need(t, "named")
	primary := dns.BIND(t, dns.Options{Primary: true})
	closed := dns.BIND(t, dns.Options{Primary: true, Extra: `zone "closed.test" { type primary; file "zone.db"; allow-transfer { none; }; };` + "\n"})
	good := wire.Key{Name: dns.KeyName, Algorithm: "hmac-sha256", Secret: dns.KeySecret}
	primary.AddZones("good.test", "keyed.test")
	silent := dns.AddressOf(t)
	zones := map[name.Name]Zone{
		"good.test.":    {Primaries: []server.Primary{{Address: primary.Address, Key: dns.KeyName}}},
		"lacking.test.": {Primaries: []server.Primary{{Address: primary.Address, Key: dns.KeyName}}},
		"closed.test.":  {Primaries: []server.Primary{{Address: closed.Address, Key: dns.KeyName}}},
		"silent.test.":  {Primaries: []server.Primary{{Address: silent, Key: dns.KeyName}}},
	}
	causes := map[name.Name]string{
		"lacking.test.": "refused", "closed.test.": "its transfer fails: refused (key: xfr)", "silent.test.": "does not answer",
	}
	for kind, open := range map[string]func(server.Options) (server.Driver, error){"nsd": nsd.New, "knot": knot.New, "pdns": pdns.New} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := second(t, kind, primary.Address)
			d, err := open(server.Options{Name: kind, Kind: kind, Control: s.Control, KeyFile: s.KeyFile, Config: s.Config, Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close() //nolint:errcheck // of a test
			zones, causes := maps.Clone(zones), maps.Clone(causes)
			wrong := wire.Key{Name: map[string]string{"knot": dns.KnotBadKey, "pdns": "bad"}[kind], Algorithm: "hmac-sha256", Secret: "d3Jvbmc="}
			if kind == "pdns" {
				s.SQL("INSERT INTO tsigkeys(name, algorithm, secret) VALUES('bad', 'hmac-sha256', 'd3Jvbmc=');")
			}
			if wrong.Name != "" {
				zones["keyed.test."] = Zone{Primaries: []server.Primary{{Address: primary.Address, Key: wrong.Name}}}
				causes["keyed.test."] = "the TSIG key is wrong"
			}
			w := live(t, Options{Server: s.Address, Name: kind, Period: 500 * time.Millisecond, Keys: Keys{good, wrong}})
			var added []server.Addition
			for n, z := range zones {
				if kind == "nsd" { // its templates are written by setup; the lab has one
					s.NSDControl("addzone", n.Bare(), "hand")
					continue
				}
				added = append(added, server.Addition{Name: n, Template: server.Template{Name: n.Bare()[:4], Primaries: z.Primaries}})
			}
			for i, err := range d.Add(t.Context(), added) {
				if err != nil {
					t.Fatalf("%s: %v", added[i].Name, err)
				}
			}
			w.Set(zones)
			w.Added(slices.Collect(maps.Keys(zones)))
			lab.Eventually(t, "one is served", func() bool { return find(w, "good.test.").State == Serving })
			for n, want := range causes {
				lab.Eventually(t, "the cause is found of "+n.Bare(), func() bool {
					seen := find(w, n)
					return seen.State == Loading && strings.Contains(seen.Note, want)
				})
				t.Logf("%s: %s", n.Bare(), find(w, n).Note)
			}
			s.Kill()
			lab.Eventually(t, "a dead server is seen", func() bool { return find(w, "good.test.").State == Silent })
		})
	}
}

// second starts a secondary.
func second(t *testing.T, kind string, primary netip.AddrPort) *dns.Server {
	t.Helper()
	o := dns.Options{From: []netip.AddrPort{primary}}
	switch kind {
	case "nsd":
		return dns.NSD(t, o)
	case "knot":
		return dns.Knot(t, o)
	default:
		return dns.PowerDNS(t, o)
	}
}
