package catalog

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
)

const zone = name.Name("catz.test.")

// head is what every good catalog of the tests begins with.
const head = `
@ 0 SOA invalid. hostmaster.invalid. 7 60 10 2147483646 0
@ 0 NS invalid.
version 0 TXT "2"
`

// records reads zone file text, relative to the catalog.
func records(t testing.TB, text string) []dns.RR {
	t.Helper()
	var rrs []dns.RR
	p := dns.NewZoneParser(strings.NewReader(text), string(zone), "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		rrs = append(rrs, rr)
	}
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	return rrs
}

func parse(t testing.TB, text string, o Options) (Catalog, error) {
	t.Helper()
	return Parse(zone, slices.Values(records(t, text)), o)
}

// good parses what must be a catalog.
func good(t testing.TB, text string) Catalog {
	t.Helper()
	c, err := parse(t, text, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// broken fails unless text breaks the rule.
func broken(t testing.TB, text string, rule Rule) {
	t.Helper()
	c, err := parse(t, text, Options{})
	if !errors.Is(err, &Error{Rule: rule}) {
		t.Errorf("error is %v, want the rule %s", err, rule)
	}
	if c.Members != nil {
		t.Errorf("a broken catalog has %d members", len(c.Members))
	}
}

func names(c Catalog) string {
	var list []string
	for n := range c.Members {
		list = append(list, string(n))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func TestParseRefuses(t *testing.T) {
	far := "a.zones 0 PTR a.test.\n"
	for _, c := range []struct {
		text  string
		rule  Rule
		where string
		allow []name.Name
	}{
		{"", RuleSOA, "", nil},
		{"@ 0 SOA a. b. 7 60 10 9 0\n", RuleVersion, "", nil},
		{head + "@ 0 SOA a. b. 8 60 10 9 0\n", RuleSOA, "", nil},
		{head + "a.zones 0 CH PTR a.test.\n", RuleClass, "a.zones.catz.test.", nil},
		{strings.Replace(head, `"2"`, `"3"`, 1) + far, RuleValue, `"3"`, nil},
		{strings.Replace(head, `"2"`, `"two"`, 1) + far, RuleValue, `"two"`, nil},
		{strings.Replace(head, `"2"`, `""`, 1) + far, RuleValue, `""`, nil},
		{strings.Replace(head, `"2"`, `"2" "2"`, 1) + far, RuleValue, `"2" "2"`, nil},
		{strings.Replace(head, `"2"`, `"" "2"`, 1) + far, RuleValue, `"" "2"`, nil},
		{strings.Replace(head, `"2"`, `"1"`, 1) + far, RuleValue, `"1"`, nil},
		{head + "version 0 TXT \"1\"\n", RuleVersions, "", nil},
		{strings.Replace(head, `0 TXT "2"`, `0 A 192.0.2.2`, 1) + far, RuleVersion, "", nil},
		{head + far + "a.zones 0 PTR b.test.\n", RulePointers, "a.zones.catz.test.", nil},
		{head + far + "A.ZONES 0 PTR b.test.\n", RulePointers, "a.zones.catz.test.", nil},
		{head + far + "b.zones 0 PTR A.Test.\n", RuleTwice, "a.test.", nil},
		{head + far + "coo.a.zones 0 PTR x.\ncoo.a.zones 0 PTR y.\n", RuleCoo, "coo.a.zones.catz.test.", nil},
		{head + far + "coo.a.zones 0 PTR .\n", RuleCooName, "coo.a.zones.catz.test.", nil},
		{head + "a.zones 0 PTR .\n", RuleRoot, ".", nil},
		{head + "a.zones 0 PTR .\n", RuleRoot, ".", []name.Name{"."}},
		{head + "a.zones 0 PTR CATZ.test.\n", RuleSelf, "catz.test.", []name.Name{"catz.test."}},
		{head + "a.zones 0 PTR test.\n", RuleAbove, "test.", nil},
		{head + "a.zones 0 PTR *.a.test.\n", RuleWildcard, `\042.a.test.`, nil},
		{head + far, RuleOutside, "a.test.", []name.Name{"b.test.", "xa.test."}},
	} {
		got, err := parse(t, c.text, Options{Allow: c.allow})
		var e *Error
		if !errors.As(err, &e) || e.Rule != c.rule || e.Where != c.where || got.Members != nil {
			t.Errorf("%q: %v; want %s at %q", c.text, err, c.rule, c.where)
			continue
		}
		for _, part := range []string{string(zone), string(c.rule), "RFC 9432 section " + e.Section, ";"} {
			if !strings.Contains(e.Error(), part) {
				t.Errorf("%q does not say %q", e, part)
			}
		}
	}
	if _, err := Parse(name.Root, slices.Values(records(t, head)), Options{}); !errors.Is(err, &Error{Rule: RuleZone}) {
		t.Errorf("the root as a catalog: %v", err)
	}
}

func TestParseAccepts(t *testing.T) {
	for _, c := range []struct {
		text, want string
		o          Options
	}{
		{head, "", Options{}},
		{head + "a.zones 0 PTR a.test.\nb.zones 0 PTR B.Test.\n", "a.test. b.test.", Options{}},
		{head + "a.zones 0 PTR a.test.\na.zones 0 PTR A.test.\n", "a.test.", Options{}},               // one record, sent twice
		{head + "a.zones 0 PTR test.\n", "test.", Options{Allow: []name.Name{"test."}}},               // allowed by its name
		{head + "a.zones 0 PTR a.test.\n", "a.test.", Options{Allow: []name.Name{"."}}},               // everything is allowed
		{head + "a.zones 0 PTR x.catz.test.\n", "x.catz.test.", Options{}},                            // below the catalog
		{head + `a.zones 0 PTR a\.b\032c.test.` + "\n", `a\046b\032c.test.`, Options{}},               // odd octets
		{head + "group.b.zones 0 TXT x\na.zones 0 PTR a.test.\n", "a.test.", Options{}},               // properties of nothing
		{head + "x.y.a.zones 0 PTR b.test.\na.zones 0 PTR a.test.\n", "a.test.", Options{}},           // unknown property
		{head + "zones 0 PTR b.test.\nwww 0 A 192.0.2.1\nother.test. 0 A 192.0.2.1\n", "", Options{}}, // nothing that counts
		{head + "a.zones 0 TXT a.test.\na.zones 0 A 192.0.2.1\n", "", Options{}},
		{strings.Replace(head, `"2"`, `"1"`, 1) + "a.zones 0 PTR a.test.\nmasters 0 A 192.0.2.1\n", "a.test.", Options{Version1: true}},
		{head + "a.zones 0 PTR a.test.\n", "a.test.", Options{Version1: true}},
	} {
		got, err := parse(t, c.text, c.o)
		if err != nil || names(got) != c.want {
			t.Errorf("%q: members %q, %v; want %q", c.text, names(got), err, c.want)
		}
	}
}

func TestParseProperties(t *testing.T) {
	c := good(t, head+`
a.zones 0 PTR a.test.
group.a.zones 0 TXT "b" "c"
group.a.zones 0 TXT "a"
coo.a.zones 0 PTR NEW.test.
group.a.zones 0 A 192.0.2.9
b.zones 0 PTR b.test.
primaries.ext.b.zones 0 A 192.0.2.2
primaries.ext.b.zones 0 AAAA 2001:db8::2
x.primaries.ext.b.zones 0 A 192.0.2.1
x.primaries.ext.b.zones 0 TXT "key-1"
note.ext.b.zones 0 TXT "mine"
masters.b.zones 0 A 192.0.2.66
primaries.ext 0 A 192.0.2.53
`)
	want := map[name.Name]Member{
		"a.test.": {Label: "a", Groups: []string{"a", "bc"}, Coo: "new.test.", Primaries: []Primary{{Address: netip.MustParseAddr("192.0.2.53")}}},
		"b.test.": {Label: "b", Primaries: []Primary{
			{Address: netip.MustParseAddr("192.0.2.1"), Key: "key-1"}, {Address: netip.MustParseAddr("192.0.2.2")}, {Address: netip.MustParseAddr("2001:db8::2")},
		}},
	}
	if d := cmp.Diff(want, c.Members, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
	if c.Serial != 7 || c.Version != 2 || c.Ignored == 0 {
		t.Errorf("%+v", c)
	}
	old, err := parse(t, strings.Replace(head, `"2"`, `"1"`, 1)+"a.zones 0 PTR a.test.\nmasters.a.zones 0 A 192.0.2.1\nprimaries.ext.a.zones 0 A 192.0.2.2\ngroup.a.zones 0 TXT x\n", Options{Version1: true})
	if err != nil || len(old.Members["a.test."].Primaries) != 1 || old.Members["a.test."].Primaries[0].Address.String() != "192.0.2.1" || old.Members["a.test."].Groups != nil {
		t.Errorf("version 1: %+v, %v", old, err)
	}
}

func TestTheFirstRuleIsNamedWhateverTheOrder(t *testing.T) {
	var b strings.Builder
	b.WriteString(head)
	for i := range 50 {
		fmt.Fprintf(&b, "a%d.zones 0 PTR z%d.test.\nb%d.zones 0 PTR z%d.test.\n", i, i, i, i)
	}
	for range 20 {
		_, err := parse(t, b.String(), Options{})
		var e *Error
		if !errors.As(err, &e) || e.Where != "z0.test." || e.More != 49 {
			t.Fatal(err)
		}
	}
}

func TestStepsAreUndone(t *testing.T) {
	base, change := records(t, head+"a.zones 0 PTR a.test.\n"), records(t, `
version 0 TXT "3"
a.zones 0 PTR b.test.
b.zones 0 PTR a.test.
group.a.zones 0 TXT x
coo.a.zones 0 PTR x.
primaries.ext.a.zones 0 A 192.0.2.1
primaries.ext 0 A 192.0.2.1
c.zones 0 CH PTR c.test.
www 0 A 192.0.2.1
`)
	r := NewRecords(zone)
	for _, rr := range base {
		r.Add(rr)
	}
	want, err := r.Catalog(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, rr := range change {
		r.Add(rr)
	}
	if _, err := r.Catalog(Options{}); err == nil {
		t.Fatal("the change breaks nothing")
	}
	for _, rr := range change {
		if err := r.Remove(rr); err != nil {
			t.Fatal(err)
		}
	}
	got, err := r.Catalog(Options{})
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("after all was undone: %+v, %v", got, err)
	}
	for _, rr := range change[:len(change)-1] {
		if r.Remove(rr) == nil {
			t.Errorf("%s is removed though it is not there", rr)
		}
	}
	// The first of several PTR records goes: the other stays.
	r.Add(change[1])
	if err := r.Remove(base[3]); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Catalog(Options{}); err != nil || names(got) != "b.test." {
		t.Errorf("%q, %v", names(got), err)
	}
}
