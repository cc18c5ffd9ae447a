package graduate

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"kaname.dev/kaname/rib/zone/graduate/namedconf"
)

const secret = "c2VjcmV0IG9mIHRoZSB0ZXN0LCAyNTYgYml0IGxvbmc="

func read(t *testing.T, text string) *namedconf.Config {
	t.Helper()
	c, err := namedconf.ParseConfig("named.conf", text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSecondariesBecomeTemplates(t *testing.T) {
	imp := New(read(t, `
key xfr { algorithm hmac-sha256; secret "`+secret+`"; };
primaries p { 192.0.2.1 key xfr; 2001:db8::1 port 5300; };
options { directory "/var/cache/bind"; allow-transfer { none; }; recursion no; };
zone "single.example" { type secondary; primaries { 192.0.2.9; }; allow-transfer { key xfr; 10/8; localhost; }; };
zone "a.example" { type secondary; primaries { p; }; file "a"; };
zone "b.example" { type slave; masters { p; }; };
zone "own.example" { type primary; file "own"; dnssec-policy default; };
`))
	if len(imp.Templates) != 2 || len(imp.Zones) != 4 {
		t.Fatalf("%d templates, %d zones", len(imp.Templates), len(imp.Zones))
	}
	if got := fmt.Sprint(imp.Templates); got != "[{default [{192.0.2.1:53 xfr} {[2001:db8::1]:5300 }] [] map[]} {group-2 [{192.0.2.9:53 }] [key xfr 10.0.0.0/8 127.0.0.0/8 ::1/128] map[]}]" {
		t.Errorf("templates %s", got)
	}
	for i, want := range []string{"group-2", "default", "default", ""} {
		if imp.Zones[i].Template != want {
			t.Errorf("%s has template %q, want %q", imp.Zones[i].Name, imp.Zones[i].Template, want)
		}
	}
	if imp.Zones[3].Signed != "dnssec-policy default" || imp.Zones[3].File != "/var/cache/bind/own" {
		t.Errorf("primary %+v", imp.Zones[3])
	}
	text, err := json.Marshal(imp)
	if err != nil || strings.Contains(string(text), secret) {
		t.Errorf("%v, or a secret is printed", err)
	}
	for _, f := range imp.Unmapped {
		if f.Severity == Blocker {
			t.Errorf("blocker: %+v", f)
		}
	}
}

// TestEveryThingThatDoesNotMapIsNamed has one configuration for each.
func TestEveryThingThatDoesNotMapIsNamed(t *testing.T) {
	zone := func(s string) string {
		return `zone "x.example" { type primary; file "x"; allow-transfer { none; }; ` + s + " };"
	}
	for what, c := range map[string]struct {
		text     string
		severity Severity
		where    string
	}{
		"RPZ":               {`options { response-policy { zone "rpz"; }; };`, Blocker, "options > response-policy"},
		"DLZ":               {`dlz "x" { database "dlopen"; };`, Blocker, "dlz"},
		"dyndb":             {`dyndb "x" "ldap.so" { };`, Blocker, "dyndb"},
		"plugin":            {`plugin query "filter-aaaa.so" { };`, Blocker, "plugin"},
		"forward zone":      {`zone "f" { type forward; forwarders { 192.0.2.1; }; };`, Blocker, "zone f"},
		"stub":              {`zone "f" { type stub; primaries { 192.0.2.1; }; };`, Blocker, "zone f"},
		"static-stub":       {`zone "f" { type static-stub; };`, Blocker, "zone f"},
		"mirror":            {`zone "." { type mirror; };`, Blocker, "zone ."},
		"redirect":          {`zone "." { type redirect; file "r"; };`, Blocker, "zone ."},
		"in-view":           {`view a { zone "x" { type primary; file "x"; }; }; view b { zone "x" { in-view a; }; };`, Blocker, "view b > zone x"},
		"views":             {`view a { }; view b { };`, Blocker, "view a"},
		"rate limit":        {`options { rate-limit { responses-per-second 5; }; };`, Blocker, "options > rate-limit"},
		"sortlist":          {`options { sortlist { 10/8; }; };`, Warning, "options > sortlist"},
		"geoip":             {zone("allow-update { geoip country JP; };") + `acl a { geoip country JP; }; zone "g" { type secondary; primaries { 192.0.2.1; }; allow-transfer { a; }; };`, Blocker, "zone g > allow-transfer"},
		"localnets":         {`zone "g" { type secondary; primaries { 192.0.2.1; }; allow-transfer { localnets; }; };`, Blocker, "zone g > allow-transfer"},
		"update policy":     {zone("update-policy { grant k zonesub ANY; };"), Blocker, "zone x.example > update-policy"},
		"recursion":         {`options { recursion yes; allow-recursion { 10/8; }; };`, Blocker, "recursion"},
		"query list":        {zone("allow-query { 10/8; };"), Blocker, "zone x.example > allow-query"},
		"rndc addzone":      {`options { allow-new-zones yes; };`, Blocker, "options > allow-new-zones"},
		"catalog":           {`options { catalog-zones { zone "catz" default-primaries { 192.0.2.1; }; }; };`, Warning, "catalog-zones > zone catz"},
		"DNS64":             {`options { dns64 64:ff9b::/96 { }; };`, Blocker, "options > dns64"},
		"signing":           {zone("dnssec-policy default;"), Warning, "zone x.example > dnssec-policy"},
		"dynamic":           {zone("allow-update { key k; };"), Warning, "zone x.example > allow-update"},
		"class":             {`view c CH { zone "bind" CH { type primary; file "x"; }; };`, Warning, "view c"},
		"open transfers":    {`zone "x" { type primary; file "x"; };`, Warning, "zone x"},
		"no primaries":      {`zone "x" { type secondary; };`, Blocker, "zone x"},
		"TLS":               {`zone "x" { type secondary; primaries { 192.0.2.1 tls t; }; };`, Blocker, "zone x > primaries"},
		"an unknown option": {`options { brand-new-thing yes; };`, Info, "options > brand-new-thing"},
		"an unknown type":   {`zone "x" { type brand-new; };`, Blocker, "zone x"},
		"nested negation":   {`acl a { !10.0.0.1; 10/8; }; zone "g" { type secondary; primaries { 192.0.2.1; }; allow-transfer { a; 10.0.0.1; }; };`, Blocker, "zone g > allow-transfer"},
	} {
		imp := New(read(t, c.text))
		found := false
		for _, f := range imp.Unmapped {
			found = found || f.Where == c.where && f.Severity == c.severity
			if f.What == "" || f.Remedy == "" || f.Times < 1 {
				t.Errorf("%s: unclear: %+v", what, f)
			}
		}
		if !found {
			t.Errorf("%s: no %s at %q in %+v", what, c.severity, c.where, imp.Unmapped)
		}
	}
}

func TestPlaceAndTimes(t *testing.T) {
	imp := New(read(t, "zone a { type primary; file \"a\"; };\nzone b { type primary; file \"b\"; };\n"))
	if len(imp.Unmapped) != 1 || imp.Unmapped[0].Times != 2 || imp.Unmapped[0].Place != "named.conf:1" {
		t.Errorf("findings %+v", imp.Unmapped)
	}
}

func TestSwitchedOffIsNothing(t *testing.T) {
	imp := New(read(t, `options { recursion no; allow-new-zones no; forwarders { }; blackhole { none; }; minimal-any no; };`))
	for _, f := range imp.Unmapped {
		if f.Where != "options > blackhole" {
			t.Errorf("found %+v", f)
		}
	}
}
