package catalog

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/plan"
)

// row is one requirement of RFC 9432, in our words.
type row struct {
	section, level, text string
	does                 string             // what kaname does
	test                 func(t *testing.T) // or
	at                   string             // "folder TestName": where it is tested, below rib/zone
}

// good makes the test that text is a catalog with these members.
func (r *row) good(text, members string) {
	r.test = func(t *testing.T) {
		if got := names(good(t, text)); got != members {
			t.Errorf("members %q, want %q", got, members)
		}
	}
}

// broken makes the test that each text breaks the rule.
func (r *row) broken(rule Rule, texts ...string) {
	r.test = func(t *testing.T) {
		for _, text := range texts {
			broken(t, text, rule)
		}
	}
}

const one = "a.zones 0 PTR a.test.\n"

func version(v string) string { return strings.Replace(head, `"2"`, v, 1) + one }

// structure are the rows about what a catalog is.
func structure() []row {
	rows := []row{
		{section: "3", level: "MUST", text: "a consumer ignores records that mean nothing to it", does: "ignored and counted"},
		{section: "4", level: "MUST", text: "there is a correct SOA record", does: "without one, or with two, the catalog is broken: soa"},
		{section: "4", level: "MUST", text: "there is an NS record at the apex", does: "one is built; none is demanded", test: builds("@ NS invalid.")},
		{section: "4", level: "MUST", text: "the serial increases with each change (RFC 1982)", does: "one that goes back loses no zone without an operator", at: "guard TestJudge"},
		{section: "4", level: "MUST", text: "a consumer ignores the NS records", does: "ignored"},
		{section: "4", level: "RECOMMENDED", text: `the one NS record names "invalid."`, does: "built so", test: builds("@ NS invalid.")},
		{section: "4.1", level: "MUST", text: "the PTR record is the only one of its member node", does: "broken: member-pointers"},
		{section: "4.1", level: "MUST NOT", text: "a catalog with several PTR records at one node is processed", does: "broken: member-pointers"},
		{section: "4.1", level: "MUST NOT", text: "a catalog with one zone at two nodes is processed", does: "broken: member-twice"},
		{section: "4.1", level: "MUST", text: "all records are of class IN", does: "broken: class"},
		{section: "4.1", level: "SHOULD", text: "the TTL is ignored", does: "ignored; built as 0"},
		{section: "4.2", level: "SHOULD", text: "a known property of another type is ignored", does: "ignored and counted"},
		{section: "4.2", level: "MUST NOT", text: "a catalog with an invalid known property is processed", does: "broken: version-value, coo-many, coo-name"},
		{section: "4.2", level: "SHOULD", text: "the operator is told why a catalog is broken", does: "the trouble of the source names rule, place, section and remedy", at: "source/catalog TestACatalogOfBIND"},
		{section: "4.2.1", level: "MUST", text: "there is exactly one TXT record at version", does: "broken: version-missing, version-many"},
		{section: "4.2.1", level: "MUST NOT", text: "a catalog of another version is processed", does: "broken: version-value; version 1 of BIND 9.11 is understood where it is allowed"},
		{section: "4.2.1", level: "MUST", text: `the version is "2"`, does: "built so", test: builds(`version TXT "2"`)},
		{section: "4.3", level: "SHOULD", text: "unknown member properties are ignored", does: "ignored and counted"},
		{section: "4.4", level: "SHOULD", text: "custom properties that are not understood are ignored", does: "ignored; BIND's primaries are understood"},
	}
	i := func(text string) *row {
		return &rows[slices.IndexFunc(rows, func(r row) bool { return r.text == text })]
	}
	i("a consumer ignores records that mean nothing to it").good(head+one+"www 0 A 192.0.2.1\nzones 0 TXT x\n", "a.test.")
	i("there is a correct SOA record").broken(RuleSOA, "@ 0 NS a.\nversion 0 TXT \"2\"\n", head+"@ 0 SOA a. b. 9 1 1 1 1\n")
	i("a consumer ignores the NS records").good(strings.Replace(head, "@ 0 NS invalid.", "@ 0 NS ns.elsewhere.", 1)+one, "a.test.")
	i("the PTR record is the only one of its member node").broken(RulePointers, head+one+"a.zones 0 PTR b.test.\n")
	i("a catalog with several PTR records at one node is processed").broken(RulePointers, head+one+"b.zones 0 PTR b.test.\na.zones 0 PTR c.test.\n")
	i("a catalog with one zone at two nodes is processed").broken(RuleTwice, head+one+"b.zones 0 PTR A.TEST.\n")
	i("all records are of class IN").broken(RuleClass, head+one+"b.zones 0 CH PTR b.test.\n", head+one+"x 0 HS TXT y\n")
	i("the TTL is ignored").good(head+"a.zones 86400 PTR a.test.\n", "a.test.")
	i("a known property of another type is ignored").good(head+one+"group.a.zones 0 A 192.0.2.1\ncoo.a.zones 0 TXT x\nversion 0 A 192.0.2.1\n", "a.test.")
	i("a catalog with an invalid known property is processed").test = func(t *testing.T) {
		broken(t, version(`"x"`), RuleValue)
		broken(t, head+one+"coo.a.zones 0 PTR x.\ncoo.a.zones 0 PTR y.\n", RuleCoo)
		broken(t, head+one+"coo.a.zones 0 PTR .\n", RuleCooName)
	}
	i("there is exactly one TXT record at version").test = func(t *testing.T) {
		broken(t, strings.Replace(head, "version", "v", 1)+one, RuleVersion)
		broken(t, head+one+"version 0 TXT \"3\"\n", RuleVersions)
	}
	i("a catalog of another version is processed").broken(RuleValue, version(`"1"`), version(`"3"`), version(`"2" "2"`), version(`""`), version(`"02"`))
	i("unknown member properties are ignored").good(head+one+"colour.a.zones 0 TXT red\n", "a.test.")
	i("custom properties that are not understood are ignored").good(head+one+"x.ext.a.zones 0 TXT y\nx.ext 0 PTR y.\n", "a.test.")
	return rows
}

// behaviour are the rows about what is done with a catalog.
func behaviour() []row {
	rows := []row{
		{section: "4.3.1", level: "MUST", text: "a coo property has one PTR record", does: "broken: coo-many"},
		{section: "4.3.1", level: "MUST", text: "a zone migrates only while coo points to the new catalog", does: "the old owner keeps it otherwise, and nothing is lost", at: "keeper TestOwnership"},
		{section: "4.3.1", level: "MUST", text: "another member label in the new catalog resets the zone", does: "a reset of the zone is planned", test: resets},
		{section: "4.3.2", level: "MUST", text: "group values that are not understood are ignored", does: "the group default counts for them"},
		{section: "4.3.2", level: "MAY", text: "one of several groups is processed", does: "the first in the order of their octets"},
		{section: "5.1", level: "SHOULD", text: "a transfer applies the changes without a person", does: "within a second, with a NOTIFY at once", at: "source/catalog TestACatalogOfBIND"},
		{section: "5.1", level: "MUST NOT", text: "a catalog that becomes broken removes or changes members", does: "the last good version counts", at: "source/catalog TestACatalogOfBIND"},
		{section: "5.1", level: "SHOULD NOT", text: "a broken catalog keeps the members from being served after a restart", does: "the last good version is on disk", at: "source/catalog TestACatalogOfBIND"},
		{section: "5.1", level: "SHALL", text: "processing resumes when the catalog is correct again", does: "with the next good version, whatever its serial", at: "source/catalog TestNoAccidentLosesAZone"},
		{section: "5.1", level: "MUST", text: "an expired catalog is processed no longer", does: "a primary that does not answer is unknown, never empty", at: "source/catalog TestACatalogOfBIND"},
		{section: "5.2", level: "MUST", text: "of a name clash the new zone is ignored", does: "a zone that is not kaname's is never touched", test: clashes},
		{section: "5.2", level: "SHOULD", text: "a name clash is reported", does: "a conflict of the plan", test: clashes},
		{section: "5.3", level: "MUST NOT", text: "a zone is removed that is not from this catalog", does: "only zones with kaname's tag in the server go", test: clashes},
		{section: "5.3", level: "MUST", text: "a zone from this catalog that is removed from it goes, with its state", does: "a removal, through guard and quarantine", test: removes},
		{section: "5.4", level: "MUST", text: "a changed label is a removal and an addition", does: "its contents are reset; it is served meanwhile", test: resets},
		{section: "5.5", level: "RECOMMENDED", text: "zones migrate by coo", does: "understood; moves without it lose nothing either", at: "source/catalog TestNoAccidentLosesAZone"},
		{section: "7", level: "RECOMMENDED", text: "transfers are authenticated", does: "TSIG both ways", at: "source/catalog TestACatalogOfBIND"},
		{section: "7", level: "SHOULD NOT", text: "secrets are in the catalog", does: "only names of keys are built", test: noSecrets},
		{section: "7", level: "-", text: "what a catalog may hold is limited", does: "broken: member-outside, -root, -self, -above, -wildcard", at: "catalog TestParseRefuses"},
	}
	i := func(text string) *row {
		return &rows[slices.IndexFunc(rows, func(r row) bool { return r.text == text })]
	}
	i("a coo property has one PTR record").broken(RuleCoo, head+one+"coo.a.zones 0 PTR x.\ncoo.a.zones 0 PTR y.\n")
	i("group values that are not understood are ignored").good(head+one+"group.a.zones 0 TXT \"no such group\"\n", "a.test.")
	i("one of several groups is processed").test = func(t *testing.T) {
		c := good(t, head+one+"group.a.zones 0 TXT y\ngroup.a.zones 0 TXT x\n")
		if g := c.Members["a.test."].Groups; !slices.Equal(g, []string{"x", "y"}) {
			t.Errorf("groups are %q", g)
		}
	}
	return rows
}

// builds tests that a built catalog has a line, without owner's end, TTL and class.
func builds(line string) func(t *testing.T) {
	return func(t *testing.T) {
		c := good(t, head+one)
		want, err := dns.NewRR(strings.NewReplacer("@ ", string(zone)+" 0 ", "version ", "version."+string(zone)+" 0 ").Replace(line))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for rr := range Build(&c, ForAny) {
			if rr.Header().Rrtype == want.Header().Rrtype && rr.Header().Name == want.Header().Name {
				n++
				if !dns.IsDuplicate(rr, want) {
					t.Errorf("%s is built, not %s", rr, want)
				}
			}
		}
		if n != 1 {
			t.Errorf("%d records like %s are built", n, want)
		}
	}
}

func kinds(p plan.Plan) string {
	var list []string
	for _, op := range p.Ops {
		list = append(list, string(op.Kind)+" "+string(op.Name))
	}
	return strings.Join(list, ", ")
}

func resets(t *testing.T) {
	a, b := good(t, head+one), good(t, head+"b.zones 0 PTR a.test.\n")
	if a.Members["a.test."].Label == b.Members["a.test."].Label {
		t.Fatal("the labels are the same")
	}
	want := plan.Want{Name: "a.test.", Template: "t-1", Reset: b.Members["a.test."].Label}
	have := plan.Have{Name: "a.test.", Present: true, Owned: true, Template: "t-1"}
	p := plan.Make(slices.Values([]plan.Want{want}), slices.Values([]plan.Have{have}), plan.Policy{Share: 1})
	if kinds(p) != "reset a.test." {
		t.Errorf("the plan is %s", kinds(p))
	}
}

func clashes(t *testing.T) {
	want := []plan.Want{{Name: "a.test.", Template: "t-1"}}
	have := []plan.Have{{Name: "a.test.", Present: true}, {Name: "b.test.", Present: true}}
	p := plan.Make(slices.Values(want), slices.Values(have), plan.Policy{Share: 1})
	if len(p.Ops) != 0 || !slices.Equal(p.Conflicts, []name.Name{"a.test."}) || p.Foreign != 1 {
		t.Errorf("%+v", p)
	}
}

func removes(t *testing.T) {
	have := []plan.Have{{Name: "a.test.", Present: true, Owned: true, Template: "t-1"}}
	if p := plan.Make(slices.Values([]plan.Want(nil)), slices.Values(have), plan.Policy{Share: 1}); kinds(p) != "remove a.test." {
		t.Errorf("the plan is %s", kinds(p))
	}
}

func noSecrets(t *testing.T) {
	c := good(t, head+one+"x.primaries.ext.a.zones 0 A 192.0.2.1\nx.primaries.ext.a.zones 0 TXT key-name\n")
	built := text(slices.Collect(Build(&c, ForBIND)))
	if !strings.Contains(built, `"key-name"`) || strings.Count(built, "TXT") != 2 {
		t.Errorf("built is %s", built)
	}
}

// TestConformance is the table of RFC 9432, which docs/zone-rfc9432.md shows. After a
// change: UPDATE_DOCS=1 go test ./rib/zone/catalog -run TestConformance
func TestConformance(t *testing.T) {
	var b strings.Builder
	b.WriteString(docHead + "| Section | Level | Requirement | kaname | Test |\n|---|---|---|---|---|\n")
	for i, r := range append(structure(), behaviour()...) {
		tested := fmt.Sprintf("catalog: TestConformance/%02d", i+1)
		switch {
		case r.test != nil:
			t.Run(fmt.Sprintf("%02d", i+1), r.test)
		default:
			folder, test, _ := strings.Cut(r.at, " ")
			tested = folder + ": " + test
			if !has(t, folder, "func "+test+"(") {
				t.Errorf("%s %s: no test %s in rib/zone/%s", r.section, r.text, test, folder)
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.section, r.level, r.text, r.does, tested)
	}
	const file = "../../../docs/zone-rfc9432.md"
	if os.Getenv("UPDATE_DOCS") != "" { //nolint:forbidigo // writes the document instead of comparing it
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	doc, err := os.ReadFile(file)
	if err != nil || string(doc) != b.String() {
		t.Errorf("%s is not what the tests say (%v); write it anew: UPDATE_DOCS=1 go test ./rib/zone/catalog -run TestConformance", file, err)
	}
}

const docHead = "# Conformance to RFC 9432 (DNS Catalog Zones)\n\n" +
	"What the RFC requires of producers and consumers of catalog zones, in our words, what kaname does, and the test\n" +
	"that shows it (below `rib/zone/`). `TestConformance` in `rib/zone/catalog` writes and checks this page.\n\n"

// has reports whether a test of a folder below rib/zone contains a text.
func has(t *testing.T, folder, text string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(f string) bool {
		src, err := os.ReadFile(f)
		return err == nil && bytes.Contains(src, []byte(text))
	})
}
