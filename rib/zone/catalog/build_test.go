package catalog

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"kaname.dev/kaname/rib/zone/name"
)

func text(rrs []dns.RR) string {
	var b strings.Builder
	for _, rr := range rrs {
		b.WriteString(strings.ReplaceAll(rr.String(), "\t", " ") + "\n")
	}
	return b.String()
}

func TestBuild(t *testing.T) {
	c := Catalog{Zone: zone, Serial: 9, Times: DefaultTimes(), Version: 2, Members: map[name.Name]Member{
		"b.test.": {Label: "1", Groups: []string{"g"}, Coo: "new."},
		"a.test.": {Label: "2", Primaries: []Primary{{netip.MustParseAddr("192.0.2.1"), "k"}, {netip.MustParseAddr("2001:db8::1"), ""}}},
	}}
	const top = `catz.test. 0 IN SOA invalid. hostmaster.invalid. 9 60 10 2147483646 0
catz.test. 0 IN NS invalid.
version.catz.test. 0 IN TXT "2"
1.zones.catz.test. 0 IN PTR b.test.
`
	const coo, group, a = "coo.1.zones.catz.test. 0 IN PTR new.\n", "group.1.zones.catz.test. 0 IN TXT \"g\"\n", "2.zones.catz.test. 0 IN PTR a.test.\n"
	for to, want := range map[For]string{
		ForAny: top + coo + group + a, ForPDNS: top + coo + group + a, ForKnot: top + group + a, ForNSD: top + group + a,
		ForBIND: top + coo + a + `p0.primaries.ext.2.zones.catz.test. 0 IN TXT "k"
p0.primaries.ext.2.zones.catz.test. 0 IN A 192.0.2.1
primaries.ext.2.zones.catz.test. 0 IN AAAA 2001:db8::1
`,
	} {
		if got := text(slices.Collect(Build(&c, to))); got != want {
			t.Errorf("for %q: %s", to, cmp.Diff(want, got))
		}
	}
	for range Build(&c, ForAny) {
		break // a reader may stop anywhere
	}
}

func TestLabel(t *testing.T) {
	if Label("a.test.", "") != name.Hash("a.test.") {
		t.Error("the label of a zone without an epoch is not its hash")
	}
	seen := map[string]bool{}
	for _, n := range []name.Name{"a.test.", "b.test."} {
		for _, epoch := range []string{"", "1", "2"} {
			l := Label(n, epoch)
			if seen[l] || len(l) > 63 || l != Label(n, epoch) || l != strings.ToLower(l) {
				t.Errorf("label %q of %s in epoch %q", l, n, epoch)
			}
			seen[l] = true
		}
	}
}

// What is built is read again as it was, over the wire too.
func TestBuildAndParse(t *testing.T) {
	octets := rapid.StringOfN(rapid.RuneFrom([]rune(`ab\"; .`+"é")), 1, 300, -1)
	rapid.Check(t, func(t *rapid.T) {
		c := Catalog{Zone: zone, Serial: rapid.Uint32().Draw(t, "serial"), Times: DefaultTimes(), Version: 2, Members: map[name.Name]Member{}}
		to := rapid.SampledFrom([]For{ForAny, ForBIND, ForKnot, ForNSD, ForPDNS}).Draw(t, "for")
		for range rapid.IntRange(0, 20).Draw(t, "members") {
			n, err := name.FromWire(append([]byte{2, rapid.Byte().Draw(t, "octet"), 'x'}, "\x04test\x00"...))
			if err != nil {
				t.Fatal(err)
			}
			m := Member{Label: Label(n, rapid.SampledFrom([]string{"", "e"}).Draw(t, "epoch"))}
			if to == ForBIND && rapid.Bool().Draw(t, "primaries") {
				m.Primaries = []Primary{{netip.MustParseAddr("192.0.2.1"), rapid.SampledFrom([]string{"", "key"}).Draw(t, "key")}, {netip.MustParseAddr("2001:db8::1"), "k2"}}
			}
			if to != ForBIND && rapid.Bool().Draw(t, "group") {
				m.Groups = []string{escaped(octets.Draw(t, "text"))}
			}
			if (to == ForAny || to == ForPDNS) && rapid.Bool().Draw(t, "coo") {
				m.Coo = "new.test."
			}
			c.Members[n] = m
		}
		var sent []dns.RR
		for rr := range Build(&c, to) {
			wire := make([]byte, 4096)
			end, err := dns.PackRR(rr, wire, 0, nil, false)
			if err != nil {
				t.Fatalf("%s: %v", rr, err)
			}
			back, _, err := dns.UnpackRR(wire[:end], 0)
			if err != nil {
				t.Fatal(err)
			}
			sent = append(sent, back)
		}
		sent = rapid.Permutation(sent).Draw(t, "sent")
		got, err := Parse(zone, slices.Values(sent), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Fatal(d)
		}
	})
}

// escaped writes text as a TXT record's strings come from the wire.
func escaped(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(c))
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, "\\%03d", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func large(n int) Catalog {
	c := Catalog{Zone: zone, Serial: 1, Times: DefaultTimes(), Members: make(map[name.Name]Member, n)}
	for i := range n {
		z := name.Name(fmt.Sprintf("zone-%06d.example.", i))
		c.Members[z] = Member{Label: Label(z, "")}
	}
	return c
}

// A catalog of 200,000 members fits into 150 MB, built and read.
func TestLargeCatalog(t *testing.T) {
	c := large(200_000)
	began := time.Now()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	got, err := Parse(zone, Build(&c, ForAny), Options{})
	took := time.Since(began)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if err != nil || len(got.Members) != len(c.Members) {
		t.Fatalf("%d members, %v", len(got.Members), err)
	}
	kept, total := int64(after.HeapAlloc)-int64(before.HeapAlloc), after.TotalAlloc-before.TotalAlloc
	t.Logf("built and read in %v; %d MB are kept, %d MB went by", took, kept>>20, total>>20)
	if kept > 150<<20 {
		t.Errorf("%d MB are kept", kept>>20)
	}
	runtime.KeepAlive(got)
}

func BenchmarkBuildAndParse200k(b *testing.B) {
	c := large(200_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(zone, Build(&c, ForAny), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{head, head + "a.zones PTR a.test.\ngroup.a.zones TXT x y\ncoo.a.zones PTR b.\nx.primaries.ext.a.zones A 192.0.2.1\n", `version TXT "1"`, "a.zones CH PTR ."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "$") {
			return // $GENERATE and $INCLUDE are the test's parser's, not ours
		}
		var rrs []dns.RR
		p := dns.NewZoneParser(strings.NewReader(s), string(zone), "")
		p.SetDefaultTTL(0)
		for rr, ok := p.Next(); ok && len(rrs) < 1000; rr, ok = p.Next() {
			rrs = append(rrs, rr)
		}
		c, err := Parse(zone, slices.Values(rrs), Options{Version1: true})
		r := NewRecords(zone)
		for _, rr := range rrs {
			r.Add(rr)
		}
		if err != nil {
			if err.Error() == "" || c.Members != nil {
				t.Fatalf("%v, %d members", err, len(c.Members))
			}
			return
		}
		for n := range c.Members {
			if again, err := name.Parse(string(n)); err != nil || again != n || n == name.Root || zone.Under(n) {
				t.Fatalf("member %q: %q, %v", n, again, err)
			}
		}
		c.Version = 2
		again, err := Parse(zone, Build(&c, ForAny), Options{})
		if err != nil || len(again.Members) != len(c.Members) {
			t.Fatalf("what was read is built otherwise: %v", err)
		}
	})
}
