package namedconf

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kaname.dev/kaname/lab"
)

const secret = "c2VjcmV0IG9mIHRoZSB0ZXN0LCAyNTYgYml0IGxvbmc="

// sample is a configuration with all that the model has; %s is its folder.
const sample = `
// a comment; with { braces
acl "office" { 10/8; !192.0.2.66; 192.0.2.0/24; }; # another
acl clean { office2; 2001:db8::/32; };
acl office2 { 198.51.100.7; key "k1."; };
key "K1" { algorithm HMAC-SHA256; secret "` + secret + `"; };
primaries "hidden" port 5300 { 192.0.2.1 key k1; 192.0.2.2 port 53 key k1; };
masters both { hidden; 2001:db8::53; };
options {
	directory "%s"; recursion no;
	allow-transfer { clean; };
	also-notify { 192.0.2.9 key k1; };
};
dnssec-policy "pol" { keys { csk lifetime unlimited algorithm 13; }; };
view "inside" {
	match-clients { office; };
	include "inside.conf";
};
view "outside" {
	match-clients { any; };
	zone "example.com" { type master; file "out/example.com"; dnssec-policy pol; inline-signing yes;
		update-policy { grant k1 zonesub TXT; }; allow-transfer { none; }; };
	zone "10.in-addr.arpa" { in-view inside; };
	zone "fwd.example" { type forward; forwarders { 192.0.2.53; }; };
};
`

const inside = `zone "Example.COM" IN { type primary; file "in/example.com"; allow-update { key k1; }; notify explicit; };
/* zone "gone.example" { } */
zone "10.in-addr.arpa" { type secondary; file "ten"; primaries { both; }; allow-transfer { 127.0.0.1; !any; }; };
zone "a\"b.example" { type slave; masters port 5353 { 192.0.2.3 key k1; }; };
`

func write(t *testing.T) string {
	t.Helper()
	d := t.TempDir()
	for file, text := range map[string]string{"named.conf": fmt.Sprintf(sample, d), "inside.conf": inside} {
		if err := os.WriteFile(filepath.Join(d, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestBothWaysReadTheSame(t *testing.T) {
	check := lab.Need(t, "named-checkconf")
	d := write(t)
	one, err := Read(t.Context(), filepath.Join(d, "named.conf"), Options{Checkconf: check})
	if err != nil {
		t.Fatal(err)
	}
	two, err := Read(t.Context(), filepath.Join(d, "named.conf"), Options{Checkconf: "none"})
	if err != nil {
		t.Fatal(err)
	}
	if one.By != ByCheckconf || two.By != ByFiles {
		t.Errorf("read by %s and %s: %s", one.By, two.By, one.Notes)
	}
	if len(two.Notes) == 0 {
		t.Error("no note that the files were read without a check")
	}
	for _, c := range []*Config{one, two} {
		c.By, c.Notes = "", nil
		for v := range c.Views {
			for z := range c.Views[v].Zones {
				c.Views[v].Zones[z].At = Place{}
			}
		}
	}
	a, _ := json.MarshalIndent(one, "", " ")
	b, _ := json.MarshalIndent(two, "", " ")
	if string(a) != string(b) {
		t.Errorf("named-checkconf gives\n%s\nthe files give\n%s", a, b)
	}
}

func TestModel(t *testing.T) {
	d := write(t)
	c, err := Read(t.Context(), filepath.Join(d, "named.conf"), Options{Checkconf: "none"})
	if err != nil {
		t.Fatal(err)
	}
	zones := c.Zones()
	if len(zones) != 6 {
		t.Fatalf("%d zones", len(zones))
	}
	in, ten, quoted, out := zones[0], zones[1], zones[2], zones[3]
	for _, eq := range []struct{ what, got, want string }{
		{"name", string(in.Name), "example.com."},
		{"file", in.File, filepath.Join(d, "in/example.com")},
		{"path", in.Path, "view inside > zone example.com"},
		{"place", in.At.String(), filepath.Join(d, "inside.conf") + ":1"},
		{"notify", in.Notify, "explicit"},
		{"inherited transfer", fmt.Sprint(in.Transfer), "[{false prefix 198.51.100.7/32  } {false key invalid Prefix k1 } {false prefix 2001:db8::/32  }]"},
		{"inherited also-notify", fmt.Sprint(in.AlsoNotify), "[{192.0.2.9:53 k1 }]"},
		{"update", fmt.Sprint(in.Update), "[{false key invalid Prefix k1 }]"},
		{"primaries", fmt.Sprint(ten.Primaries), "[{192.0.2.1:5300 k1 } {192.0.2.2:53 k1 } {[2001:db8::53]:53  }]"},
		{"own transfer", fmt.Sprint(ten.Transfer), "[{false prefix 127.0.0.1/32  } {true any invalid Prefix  }]"},
		{"quoted name", string(quoted.Name), `a\034b.example.`},
		{"masters with a port", fmt.Sprint(quoted.Primaries), "[{192.0.2.3:5353 k1 }]"},
		{"nothing transfers", fmt.Sprint(out.Transfer), "[{true any invalid Prefix  }]"},
		{"policy", out.Policy + fmt.Sprint(out.InlineSigning, out.UpdatePolicy), "poltrue [grant k1 zonesub TXT]"},
		{"in-view", zones[4].Type + " " + zones[4].InView, "in-view inside"},
		{"match", fmt.Sprint(c.Views[0].Match), "[{false prefix 10.0.0.0/8  } {true prefix 192.0.2.66/32  } {false prefix 192.0.2.0/24  }]"},
	} {
		if eq.got != eq.want {
			t.Errorf("%s is %s, want %s", eq.what, eq.got, eq.want)
		}
	}
	k, ok := c.Key("outside", "k1.")
	if !ok || k.Secret.Reveal() != secret || k.Algorithm != "hmac-sha256" {
		t.Errorf("key %+v", k)
	}
	text, _ := json.Marshal(c)
	for _, s := range []string{string(text), fmt.Sprintf("%+v %#v", c, c.Keys)} {
		if strings.Contains(s, secret) {
			t.Error("a secret is printed")
		}
	}
}

func TestErrorsSayWhatAndWhere(t *testing.T) {
	for text, want := range map[string]string{
		`options { directory "/x`:              "f:1: the quote that begins here has no end",
		"options {\n directory \"/x\";":        "f:1: the block that begins here has no end",
		"};":                                   "f:1: a closing brace",
		"acl a { any; }":                       `f:1: no semicolon after "acl a { any; }"`,
		"\n/* x":                               "f:2: the comment that begins here has no end",
		strings.Repeat("a {", 1e6):             "nested more than 64 deep",
		"":                                     "has no statements",
		"zone x { type primary; file \"a\x00b": "the quote that begins here",
		"\x00":                                 "octet 0",
		"acl a { b; }; acl b { a; }; zone x { type primary; allow-query { a; }; };":             "contains itself",
		"zone x { type primary; allow-query { nix; }; };":                                       `acl "nix" is not defined`,
		"primaries p { q; }; primaries q { p; }; zone x { type secondary; primaries { p; }; };": "contains itself",
		"zone x { type secondary; primaries port 99999 { 192.0.2.1; }; };":                      "is no port",
		"zone x..y { type primary; };":                                                          "has an empty label",
		"zone x { file \"y\"; };":                                                               "has no type",
		"zone x;":                                                                               "has no block",
		"view { };":                                                                             "without a name",
		"key k { algorithm hmac-sha256; };":                                                     "no secret",
		"acl a { !; }; zone x { type primary; allow-query { a; }; };":                           "negates nothing",
		"view v { match-clients 7; };":                                                          "has no list",
		"zone x { type secondary; primaries { unknown; }; };":                                   "no list of primaries",
		growing(): "more than 100000",
	} {
		_, err := ParseConfig("f", text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: error %v, want %q", text, err, want)
		}
	}
}

// growing is a configuration whose lists double 40 times when they are resolved.
func growing() string {
	var b strings.Builder
	b.WriteString("acl a0 { 192.0.2.1; };\n")
	for i := range 40 {
		fmt.Fprintf(&b, "acl a%d { a%d; a%d; };\n", i+1, i, i)
	}
	b.WriteString("zone x { type primary; allow-query { a40; }; };")
	return b.String()
}

func TestIncludes(t *testing.T) {
	d := t.TempDir()
	put := func(file, text string) {
		if err := os.WriteFile(filepath.Join(d, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (*Config, error) {
		return Read(t.Context(), filepath.Join(d, "named.conf"), Options{Checkconf: "none"})
	}
	put("named.conf", `include "z*.conf";`)
	put("z1.conf", `zone a { type primary; file "a"; include "body.inc"; };`)
	put("z2.conf", `zone b { type primary; file "b"; };`)
	put("body.inc", `notify no;`)
	c, err := read()
	if err != nil {
		t.Fatal(err)
	}
	if z := c.Zones(); len(z) != 2 || z[0].Notify != "no" {
		t.Errorf("zones %v", z)
	}
	put("z2.conf", `include "named.conf";`)
	if _, err := read(); err == nil || !strings.Contains(err.Error(), "includes itself") {
		t.Errorf("a loop of includes: %v", err)
	}
	put("z2.conf", `include "missing";`)
	if _, err := read(); err == nil || !strings.Contains(err.Error(), "z2.conf:1: include: ") {
		t.Errorf("a missing file: %v", err)
	}
	put("z2.conf", strings.Repeat("a {", 40)+` include "z3";`)
	put("z3", strings.Repeat("a {", 40)+` include "z4";`)
	if _, err := read(); err == nil || !strings.Contains(err.Error(), "nested") && !strings.Contains(err.Error(), "no such file") {
		t.Errorf("nested through includes: %v", err)
	}
}

func TestCheckconfThatRefusesFallsBack(t *testing.T) {
	check := lab.Need(t, "named-checkconf")
	d := t.TempDir()
	file := filepath.Join(d, "named.conf")
	text := `options { directory "/nonexistent"; }; key k { algorithm hmac-sha256; secret "` + secret + `"; }; zone x { type primary; file "x"; };`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Read(t.Context(), file, Options{Checkconf: check})
	if err != nil {
		t.Fatal(err)
	}
	if c.By != ByFiles || len(c.Notes) != 1 || !strings.Contains(c.Notes[0], "nonexistent") || strings.Contains(c.Notes[0], secret) {
		t.Errorf("read by %s with notes %q", c.By, c.Notes)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(ctx, file, Options{Checkconf: check}); err == nil {
		t.Error("a cancelled read gives no error")
	}
}

// TestManyZones reads a configuration of 10,000 zones.
func TestManyZones(t *testing.T) {
	var b strings.Builder
	b.WriteString("acl a { 10/8; }; options { directory \"/x\"; allow-transfer { a; }; };\n")
	for i := range 10000 {
		fmt.Fprintf(&b, "zone \"z%d.example\" { type primary; file \"z%d\"; also-notify { 192.0.2.1; }; };\n", i, i)
	}
	c, err := ParseConfig("f", b.String())
	if err != nil || len(c.Zones()) != 10000 {
		t.Fatalf("%v, %d zones", err, len(c.Zones()))
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add(inside)
	f.Add(`a "b\"" { { c; } d { } e; };;`)
	f.Add(growing())
	f.Fuzz(func(t *testing.T, text string) {
		list, err := Parse("f", text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("the error names no place: %v", err)
			}
			return
		}
		for _, st := range list {
			if len(st.Items) == 0 || st.At.Line < 1 || st.At.Line > strings.Count(text, "\n")+1 {
				t.Errorf("statement %+v", st)
			}
		}
		c, err := build(list, ByFiles, nil)
		if err == nil && len(c.Views) == 0 {
			t.Error("a configuration without a view")
		}
	})
}
