package pdns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"kaname.dev/kaname/lab"
	labdns "kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// cached turns on what the lab turns off, as a server in the field has it.
const cached = "cache-ttl=20\nquery-cache-ttl=20\nnegquery-cache-ttl=60\nzone-cache-refresh-interval=300\n"

// bench is a primary with a secondary under the driver.
type bench struct {
	primary, secondary *labdns.Server
	driver             server.Driver
	dir                string
}

func newBench(t *testing.T, extra string) *bench {
	t.Helper()
	second := labdns.AddressOf(t)
	b := &bench{dir: t.TempDir(), primary: labdns.BIND(t, labdns.Options{Primary: true, Notify: []netip.AddrPort{second}})}
	b.secondary = labdns.PowerDNS(t, labdns.Options{Address: second, From: []netip.AddrPort{b.primary.Address}, Extra: extra})
	b.driver = b.open(t)
	return b
}

// open makes another driver, as an agent does that starts.
func (b *bench) open(t *testing.T) server.Driver {
	t.Helper()
	d, err := New(server.Options{Name: "ns4", Kind: "pdns", Control: b.secondary.Control, KeyFile: b.secondary.KeyFile, Dir: b.dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func (b *bench) template(change func(*server.Template)) server.Template {
	t := server.Template{
		Name: "default", Primaries: []server.Primary{{Address: b.primary.Address, Key: labdns.KeyName}},
		Transfer: []string{"127.0.0.1/8", "key " + labdns.KeyName},
	}
	if change != nil {
		change(&t)
	}
	return t
}

func additions(t server.Template, zones ...string) []server.Addition {
	out := make([]server.Addition, len(zones))
	for i, z := range zones {
		out[i] = server.Addition{Name: name.Name(z), Template: t}
	}
	return out
}

func good(t *testing.T, errs []error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (b *bench) served(t *testing.T, zone string, want bool) {
	t.Helper()
	lab.Eventually(t, fmt.Sprintf("%s is served: %t", zone, want), func() bool {
		_, rcode, ok := b.secondary.SOA(zone)
		return ok == want && (want || rcode == dns.RcodeRefused)
	})
}

func (b *bench) status(t *testing.T, zone name.Name) server.Zone {
	t.Helper()
	z, err := b.driver.Status(t.Context(), []name.Name{zone})
	if err != nil {
		t.Fatal(err)
	}
	return z[0]
}

func TestAddChangeRemove(t *testing.T) {
	b := newBench(t, cached)
	ctx := t.Context()
	info, err := b.driver.Probe(ctx)
	if err != nil || info.Kind != "pdns" || info.Version == "" || info.Boot == "" || len(info.Problems) > 0 {
		t.Fatalf("Probe: %+v, %v", info, err)
	}
	b.primary.AddZones("a.test", "b.test", `0\04725.2.0.192.in-addr.arpa`)
	b.served(t, "a.test", false) // and in the caches
	tp := b.template(nil)
	zones := []string{"a.test.", "b.test.", `0\04725.2.0.192.in-addr.arpa.`}
	good(t, b.driver.Add(ctx, additions(tp, zones...)))
	for _, z := range zones {
		b.served(t, z, true)
	}
	list, err := b.open(t).List(ctx)
	if err != nil || len(list) != 3 {
		t.Fatalf("List: %+v, %v", list, err)
	}
	for _, z := range list {
		if !z.Owned || z.Template != tp.ID("pdns") || !z.Present || !z.Loaded || z.Serial != 1 {
			t.Errorf("List has %+v", z)
		}
	}
	good(t, b.driver.Add(ctx, additions(tp, zones...))) // again
	if z := b.status(t, "none.test."); z.Present || z.Name != "none.test." {
		t.Errorf("a zone that is not there has status %+v", z)
	}
	other := b.template(func(t *server.Template) {
		t.Transfer = []string{"192.0.2.0/24"}
		t.Options = map[string]string{"pdns": "IXFR=1\n"}
	})
	good(t, b.driver.Add(ctx, additions(other, "a.test.")))
	if z := b.status(t, "a.test."); z.Template != other.ID("pdns") || !z.Loaded {
		t.Errorf("after a change: %+v", z)
	}
	if got := b.secondary.SQL("SELECT kind, content FROM domainmetadata m JOIN domains d ON d.id=domain_id WHERE name='a.test' AND kind!='SOA-EDIT-API' ORDER BY kind;"); got != "ALLOW-AXFR-FROM|192.0.2.0/24\nAXFR-MASTER-TSIG|xfr.\nIXFR|1\n" {
		t.Errorf("after a change the metadata are %q", got)
	}
	good(t, b.driver.Add(ctx, additions(tp, "a.test.")))
	if got := b.secondary.SQL("SELECT kind FROM domainmetadata m JOIN domains d ON d.id=domain_id WHERE name='a.test' AND kind!='SOA-EDIT-API' ORDER BY kind;"); got != "AXFR-MASTER-TSIG\nTSIG-ALLOW-AXFR\n" {
		t.Errorf("after the change back the metadata are %q", got)
	}
	b.primary.Rewrite(9, "b.test")
	if err := b.driver.Kick(ctx, []name.Name{"b.test.", "none.test."}); err != nil {
		t.Error(err)
	}
	lab.Eventually(t, "the new serial is here", func() bool { return b.status(t, "b.test.").Serial == 9 })
	good(t, b.driver.Remove(ctx, []server.Removal{{Name: "a.test."}, {Name: "b.test."}, {Name: "none.test."}}))
	b.served(t, "a.test", false)
	b.served(t, "b.test", false)
	if got := b.secondary.SQL("SELECT count(*) FROM records WHERE name LIKE '%a.test';"); got != "0\n" {
		t.Errorf("%s records are left", got)
	}
}

func TestForeign(t *testing.T) {
	b := newBench(t, "")
	ctx := t.Context()
	b.primary.AddZones("a.test", "b.test")
	b.secondary.SQL(fmt.Sprintf("INSERT INTO domains(name, type, master, account) VALUES('a.test', 'SLAVE', '%s', 'customer'), ('b.test', 'NATIVE', '', '');", b.primary.Address))
	b.secondary.PDNSControl("retrieve", "a.test")
	b.served(t, "a.test", true)
	add := additions(b.template(nil), "a.test.", "b.test.")
	for _, err := range append(b.driver.Add(ctx, add), b.driver.Remove(ctx, []server.Removal{{Name: "a.test."}, {Name: "b.test."}})...) {
		if !errors.Is(err, server.ErrForeign) {
			t.Errorf("a foreign zone: %v", err)
		}
	}
	if z := b.status(t, "a.test."); z.Owned || !z.Present || z.Template != "" {
		t.Errorf("a foreign zone has status %+v", z)
	}
	for i := range add {
		add[i].Adopt = true
	}
	good(t, b.driver.Add(ctx, add))
	if _, _, ok := b.secondary.SOA("a.test"); !ok {
		t.Error("adopting has interrupted the zone")
	}
	b.served(t, "b.test", true)
	if z := b.status(t, "b.test."); !z.Owned || z.Template != add[0].Template.ID("pdns") {
		t.Errorf("an adopted zone has status %+v", z)
	}
	b.secondary.SQL("UPDATE domains SET account='';")
	good(t, b.driver.Remove(ctx, []server.Removal{{Name: "a.test.", Adopt: true}}))
	b.served(t, "a.test", false)
}

func TestRefused(t *testing.T) {
	b := newBench(t, "")
	ctx := t.Context()
	for what, c := range map[string]struct {
		template server.Template
		zone     string
		want     error
	}{
		"name":       {b.template(nil), `a\032b.test.`, server.ErrName},
		"key":        {b.template(func(t *server.Template) { t.Primaries[0].Key = "none" }), "a.test.", server.ErrTemplate},
		"give":       {b.template(func(t *server.Template) { t.Transfer = []string{"key none"} }), "a.test.", server.ErrTemplate},
		"transfer":   {b.template(func(t *server.Template) { t.Transfer = []string{"everybody"} }), "a.test.", server.ErrTemplate},
		"option":     {b.template(func(t *server.Template) { t.Options = map[string]string{"pdns": "TSIG-ALLOW-AXFR=x"} }), "a.test.", server.ErrTemplate},
		"group":      {b.template(func(t *server.Template) { t.Name = strings.Repeat("g", 25) }), "a.test.", server.ErrTemplate},
		"no primary": {b.template(func(t *server.Template) { t.Primaries = nil }), "a.test.", server.ErrTemplate},
		"many": {b.template(func(t *server.Template) {
			for range 7 {
				t.Primaries = append(t.Primaries, t.Primaries[0])
			}
		}), "a.test.", server.ErrTemplate},
	} {
		if err := b.driver.Add(ctx, additions(c.template, c.zone))[0]; !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	if list, err := b.driver.List(ctx); err != nil || len(list) > 0 {
		t.Errorf("what was refused is there: %+v, %v", list, err)
	}
	if err := os.WriteFile(b.secondary.KeyFile, []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.driver.List(ctx); !errors.Is(err, server.ErrDenied) {
		t.Errorf("with a wrong key: %v", err)
	}
	if err := b.driver.Add(ctx, additions(b.template(nil), "a.test."))[0]; !errors.Is(err, server.ErrDenied) {
		t.Errorf("Add with a wrong key: %v", err)
	}
	b.secondary.Kill()
	if _, err := b.driver.List(ctx); !errors.Is(err, server.ErrUnreachable) {
		t.Errorf("with a dead server: %v", err)
	}
	if _, err := os.Stat(filepath.Join(b.dir, "adding.json")); err != nil {
		t.Error(err)
	}
}
