package exec

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/server/servertest"
)

// example reads a configuration of testdata, for a server in another directory.
func example(t testing.TB, file, from, to string) server.Options {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.DeleteFunc(strings.Split(string(text), "\n"), func(l string) bool { return strings.HasPrefix(l, "#") || l == "" })
	if len(lines) > 60 {
		t.Errorf("%s has %d lines", file, len(lines))
	}
	var o struct {
		Exec server.Commands `yaml:"exec"`
	}
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(string(text), from, to)), &o); err != nil {
		t.Fatal(err)
	}
	return server.Options{Name: "ns5", Kind: kind, Exec: o.Exec}
}

// TestConform has a fifth kind of server by configuration alone.
func TestConform(t *testing.T) {
	lab.Need(t, "pdns_server")
	address := dns.AddressOf(t)
	p := servertest.Primary(t, address)
	s := dns.PowerDNSBind(t, dns.Options{Address: address, From: []netip.AddrPort{p.Address}})
	open := func(dir string) server.Driver {
		d, err := New(example(t, "pdns-bind.yaml", "/etc/powerdns", dir))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	servertest.Conform(t, servertest.Bench{
		Server: s, Primary: p, Kind: kind, Blind: true, Brief: true,
		Open:        func(testing.TB, string) server.Driver { return open(s.Dir) },
		Unreachable: func(t testing.TB) server.Driver { return open(t.TempDir()) },
		Cannot:      slices.DeleteFunc(servertest.HardNames(t), func(n name.Name) bool { return n.Plain() && len(n) <= 150 && n != name.Root }),
		MakeForeign: func(zone string) {
			f, err := os.OpenFile(filepath.Join(s.Dir, "zones.conf"), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(f, "zone %q { type slave; file %q; masters { %s; }; };\n", zone, filepath.Join(s.Dir, "kaname", zone), p.Address)
			_ = f.Close()
			s.PDNSControl("rediscover")
		},
	})
}
