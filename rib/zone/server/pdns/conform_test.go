package pdns

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"kaname.dev/kaname/lab"
	labdns "kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/control/pdnsapi"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/server/servertest"
)

// cannot are the names of the suite with octets that the API does not take.
func cannot(t *testing.T) []name.Name {
	t.Helper()
	var list []name.Name
	for _, text := range []string{
		`quo"te.test`, `bra{ce}.test`, `semi;colon.test`, `sp\032ace.test`, `new\010line.test`, `nul\000.test`, `tab\009.test`,
		`back\\slash.test`, `do\.t.test`, `do$llar.test`, `per%cent.test`, `%s.test`, `ha#sh.test`, `am&p|ipe.test`,
		`\@.test`, `star*.test`, `tilde~.test`, `squote'.test`, `back` + "`" + `tick.test`, `par(en).test`, `c:olon.test`, `com,ma.test`,
		`eot\004.test`, `high\255.test`, `up\046\046\047.test`, `\046\046\047etc.test`, `*.test`,
	} {
		n, err := name.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, n)
	}
	return list
}

func TestConform(t *testing.T) {
	lab.Need(t, "pdns_server")
	second := labdns.AddressOf(t)
	primary := servertest.Primary(t, second)
	s := labdns.PowerDNS(t, labdns.Options{Address: second, From: []netip.AddrPort{primary.Address}, Extra: cached})
	s.SQL("INSERT INTO tsigkeys(name, algorithm, secret) VALUES('bad', 'hmac-sha256', 'd3Jvbmc=');")
	api, err := pdnsapi.New(s.Control, s.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	open := func(t testing.TB, o server.Options) server.Driver {
		t.Helper()
		d, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	servertest.Conform(t, servertest.Bench{
		Server: s, Primary: primary, BadKey: "bad", Cannot: cannot(t),
		Open: func(t testing.TB, dir string) server.Driver {
			return open(t, server.Options{Name: "ns4", Kind: "pdns", Control: s.Control, KeyFile: s.KeyFile, Dir: dir})
		},
		Unreachable: func(t testing.TB) server.Driver {
			return open(t, server.Options{Name: "ns4", Kind: "pdns", Control: "http://" + labdns.AddressOf(t).String(), KeyFile: s.KeyFile, Dir: t.TempDir()})
		},
		Denied: func(t testing.TB) server.Driver {
			key := filepath.Join(t.TempDir(), "api.key")
			if err := os.WriteFile(key, []byte("wrong"), 0o600); err != nil {
				t.Fatal(err)
			}
			return open(t, server.Options{Name: "ns4", Kind: "pdns", Control: s.Control, KeyFile: key, Dir: t.TempDir()})
		},
		MakeForeign: func(zone string) {
			n := name.Name(zone + ".")
			err := api.Create(t.Context(), n, pdnsapi.Settings{Masters: []string{primary.Address.String()}, Account: "by hand"})
			if err == nil {
				err = api.Retrieve(t.Context(), n)
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		Left: func(zone name.Name) []string {
			if n := s.SQL(fmt.Sprintf("SELECT name, type FROM records WHERE name='%[1]s' OR name LIKE '%%.%[1]s';", zone.Bare())); n != "" {
				return []string{n}
			}
			return nil
		},
	})
}
