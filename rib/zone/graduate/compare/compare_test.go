package compare

import (
	"fmt"
	"strings"
	"testing"

	"kaname.dev/kaname/lab"
	labdns "kaname.dev/kaname/lab/dns"
)

// TestTheSameZonesAreEqual serves the same files with two servers: whatever differs
// is a false alarm.
func TestTheSameZonesAreEqual(t *testing.T) {
	lab.Need(t, "named")
	d := folder(t)
	plain := zoneFile{"example.com", put(t, d, "plain", rich)}
	nsec := sign(t, d, zoneFile{"nsec.example", put(t, d, "nsec", rich)})
	nsec3 := sign(t, d, zoneFile{"nsec3.example", put(t, d, "nsec3", rich)}, "-3", "-", "-H", "0")
	child := zoneFile{"sub.example.com", put(t, d, "sub", "$TTL 60\n@ SOA ns h 1 1 1 1 1\n@ NS ns\nns A 192.0.2.53\nhost A 192.0.2.54\n")}
	odd := zoneFile{`odd\032zone\046x.example`, put(t, d, "odd", rich)}
	files := []zoneFile{plain, nsec, nsec3, child, odd}
	old := bind(t, files...)
	for _, kind := range []string{"bind", "nsd", "knot", "pdns"} {
		t.Run(kind, func(t *testing.T) {
			var other *labdns.Server
			if kind == "pdns" {
				other = pdnsOf(t, old, files...)
			} else {
				other = servers[kind](t, files...)
			}
			ways := map[string]Options{"transfers": {Again: -1, Sample: 1000}}
			if kind == "nsd" || lab.Soak() {
				ways["questions"] = Options{Again: -1, NoTransfer: true}
			}
			for what, o := range ways {
				var zones []Zone
				for _, f := range files {
					zones = append(zones, Zone{zone(t, f.name), []string{f.path}})
				}
				sum, diffs, results := compared(t, old, other, o, zones...)
				t.Logf("%s: %+v", what, sum)
				for _, d := range diffs[:min(len(diffs), 20)] {
					t.Errorf("%s: %s: %s: %s", what, d.Kind, d.Question, d.What)
				}
				for _, r := range results {
					if len(r.Notes) > 0 {
						t.Errorf("%s: %s: %s", what, r.Zone, r.Notes)
					}
				}
				if !sum.Green() || sum.Zones != len(files) {
					t.Errorf("%s: not green: %+v", what, sum)
				}
			}
		})
	}
}

// planted are changes of the zone file: each must be found, by transfers and by
// questions. The kind is what questions may find it by.
var planted = []struct {
	what, old, new string
}{
	{"a record is missing", "www\t300 A\t192.0.2.81\n", ""},
	{"a record too many", "sip\tA\t192.0.2.60\n", "sip\tA\t192.0.2.60\nsip\tA\t192.0.2.61\n"},
	{"a name is missing", "rp\tRP\tadmin long\n", ""},
	{"a name too many", "rp\tRP\tadmin long\n", "rp\tRP\tadmin long\nextra\tA\t192.0.2.7\n"},
	{"other data", "mail\tA\t192.0.2.25", "mail\tA\t192.0.2.26"},
	{"another TTL", "www\t300 A\t192.0.2.80\nwww\t300 A", "www\t301 A\t192.0.2.80\nwww\t301 A"},
	{"another preference", "MX\t10 mail", "MX\t11 mail"},
	{"another text", "v=DMARC1; p=none", "v=DMARC1; p=None"},
	{"the wildcard is gone", "*.wild\tTXT\t\"wild\"\n*.wild\tA\t192.0.2.99\n", ""},
	{"another wildcard", "*.wild\tA\t192.0.2.99", "*.wild\tA\t192.0.2.98"},
	{"another CNAME", "alias\tCNAME\twww", "alias\tCNAME\tsip"},
	{"a CNAME to elsewhere", "out\tCNAME\twww.example.net.", "out\tCNAME\twww.example.org."},
	{"the DNAME is gone", "old\tDNAME\twww\n", ""},
	{"another DNAME", "gone\tDNAME\texample.net.", "gone\tDNAME\texample.org."},
	{"the delegation is gone", "sub\tNS\tns.sub\nsub\tNS\tns2\nns.sub\tA\t192.0.2.53\n", ""},
	{"other glue", "ns.sub\tA\t192.0.2.53", "ns.sub\tA\t192.0.2.54"},
	{"the glue is gone", "ns.secure\tAAAA\t2001:db8::53\n", "ns.secure\tTXT\t\"no address\"\n"},
	{"another DS", "DS\t12345", "DS\t12346"},
	{"the DS is gone", "secure\tDS\t12345 13 2 4D5E6F708192A3B4C5D6E7F8091A2B3C4D5E6F708192A3B4C5D6E7F8091A2B3C\n", ""},
	{"another name server", "@\tNS\tns2", "@\tNS\tns3"},
	{"another negative TTL", "1209600 300", "1209600 301"},
	{"another mailbox", "hostmaster", "postmaster"},
	{"another port", "10 20 5060", "10 20 5061"},
	{"another CAA flag", "CAA\t0 issue", "CAA\t128 issue"},
	{"an empty non-terminal is gone", "a.b.c.ent\tA", "a.c.ent\tA"},
	{"a deep name", "_443._tcp.www\tTLSA\t3 1 1", "_443._tcp.www\tTLSA\t3 0 1"},
	{"an unknown type", "0A000001", "0A000002"},
	{"another serial", "2026010101", "2026010102"},
}

// TestPlantedDifferencesAreFound plants every difference into a zone of its own and
// one zone beside them that is only written differently.
func TestPlantedDifferencesAreFound(t *testing.T) {
	lab.Need(t, "named")
	d := folder(t)
	var olds, news []zoneFile
	var zones []Zone
	for i, p := range planted {
		n := fmt.Sprintf("p%d.example", i)
		changed := strings.Replace(rich, p.old, p.new, 1)
		if changed == rich {
			t.Fatalf("%s: nothing planted", p.what)
		}
		olds = append(olds, zoneFile{n, put(t, d, n, rich)})
		news = append(news, zoneFile{n, put(t, d, n+".new", changed)})
		zones = append(zones, Zone{zone(t, n), []string{olds[i].path, news[i].path}})
	}
	same := strings.NewReplacer(
		"www\t300 A\t192.0.2.80\nwww\t300 A\t192.0.2.81", "www\t300 A\t192.0.2.81\nWWW\t300 A\t192.0.2.80",
		"Mail2.Example.NET.", "mail2.example.net.", "\"part one, \" \"part two\"", "\"part one, part two\"", "CNAME\talias", "CNAME\tALIAS",
	).Replace(rich)
	olds = append(olds, zoneFile{"same.example", put(t, d, "same", rich)})
	news = append(news, zoneFile{"same.example", put(t, d, "same.new", same)})
	zones = append(zones, Zone{Name: zone(t, "same.example")})
	old := bind(t, olds...)
	for _, kind := range []string{"nsd", "knot", "pdns"} {
		t.Run(kind, func(t *testing.T) {
			news, zones := news, zones
			if every := map[string]int{"nsd": 4, "knot": 9, "pdns": 14}[kind]; !lab.Soak() {
				keep := func(i int) bool { return i%every == 0 }
				news, zones = some(news, keep), some(zones, keep)
			}
			other := servers[kind](t, news...)
			for what, o := range map[string]Options{
				"transfers": {Again: -1, Sample: -1}, "questions": {Again: -1, NoTransfer: true},
			} {
				sum, diffs, results := compared(t, old, other, o, zones...)
				t.Logf("%s: %+v", what, sum)
				for _, r := range results {
					same := r.Zone == "same.example."
					if (r.Differences > 0) == same && (!same || what != "questions") {
						t.Errorf("%s: %s: %d differences", what, r.Zone, r.Differences)
					}
				}
				for _, f := range diffs {
					var i int
					if n, _ := fmt.Sscanf(string(f.Zone), "p%d.", &i); n == 0 {
						t.Errorf("%s: false: %s %s: %s", what, f.Zone, f.Question, f.What)
					}
					if f.Kind == "" || f.Question == "" || f.What == "" || f.Old == "" && f.New == "" {
						t.Errorf("%s: unclear: %+v", what, f)
					}
				}
			}
		})
	}
}

// some keeps the elements whose index is to be kept, and the last.
func some[T any](list []T, keep func(int) bool) []T {
	var out []T
	for i, x := range list {
		if keep(i) || i == len(list)-1 {
			out = append(out, x)
		}
	}
	return out
}
