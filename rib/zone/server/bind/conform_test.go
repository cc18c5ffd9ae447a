package bind

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/server/servertest"
)

func TestConform(t *testing.T) {
	lab.Need(t, "named")
	address := dns.AddressOf(t)
	p := servertest.Primary(t, address)
	s := dns.BIND(t, dns.Options{
		Address: address, From: []netip.AddrPort{p.Address},
		Extra: `key "bad" { algorithm hmac-sha256; secret "d3Jvbmcgc2VjcmV0"; };`,
	})
	wrong := filepath.Join(t.TempDir(), "wrong.key")
	if err := os.WriteFile(wrong, []byte(`key "rndc" { algorithm hmac-sha256; secret "d3Jvbmc="; };`), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(t testing.TB, control, key, dir string) server.Driver {
		t.Helper()
		d, err := New(server.Options{Name: "ns1", Kind: kind, Control: control, KeyFile: key, Config: s.Config, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	servertest.Conform(t, servertest.Bench{
		Server: s, Primary: p, BadKey: "bad",
		Open: func(t testing.TB, dir string) server.Driver { return open(t, s.Control, s.KeyFile, dir) },
		Unreachable: func(t testing.TB) server.Driver {
			return open(t, "127.0.0.1:1", s.KeyFile, t.TempDir())
		},
		Denied: func(t testing.TB) server.Driver { return open(t, s.Control, wrong, t.TempDir()) },
		MakeForeign: func(zone string) {
			s.RNDC("addzone", `"`+zone+`"`, fmt.Sprintf(`{ type secondary; file "zones/%s.db"; primaries { %s port %d key %s; }; };`,
				zone, p.Address.Addr(), p.Address.Port(), dns.KeyName))
		},
	})
}
