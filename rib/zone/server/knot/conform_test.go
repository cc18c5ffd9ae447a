package knot

import (
	"net/netip"
	"path/filepath"
	"testing"

	labdns "kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/server/servertest"
)

func open(t testing.TB, socket, dir string) server.Driver {
	t.Helper()
	d, err := New(server.Options{Name: "ns3", Kind: "knot", Control: socket, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConform(t *testing.T) {
	second := labdns.AddressOf(t)
	primary := servertest.Primary(t, second)
	s := labdns.Knot(t, labdns.Options{Address: second, From: []netip.AddrPort{primary.Address}})
	servertest.Conform(t, servertest.Bench{
		Server: s, Primary: primary, BadKey: labdns.KnotBadKey,
		Open: func(t testing.TB, dir string) server.Driver { t.Helper(); return open(t, s.Control, dir) },
		Unreachable: func(t testing.TB) server.Driver {
			t.Helper()
			return open(t, filepath.Join(t.TempDir(), "none.sock"), t.TempDir())
		},
		MakeForeign: func(zone string) { s.KnotZones("hand", zone) },
	})
}
