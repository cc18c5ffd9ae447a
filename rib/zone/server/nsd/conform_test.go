package nsd

import (
	"net/netip"
	"testing"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/server/servertest"
)

// open returns a driver, with the server's options unless others are given.
func open(t testing.TB, s *dns.Server, o server.Options) server.Driver {
	t.Helper()
	o.Name, o.Kind, o.Config = "ns1", kind, s.Config
	if o.Control == "" {
		o.Control = s.Control
	}
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConform(t *testing.T) {
	lab.Need(t, "nsd")
	address := dns.AddressOf(t)
	p := servertest.Primary(t, address)
	s := dns.NSD(t, dns.Options{Address: address, From: []netip.AddrPort{p.Address}})
	servertest.Conform(t, servertest.Bench{
		Server: s, Primary: p, BadKey: dns.NSDBadKey,
		Open:        func(t testing.TB, dir string) server.Driver { return open(t, s, server.Options{Dir: dir}) },
		Unreachable: func(t testing.TB) server.Driver { return open(t, s, server.Options{Control: s.Control + ".none"}) },
		MakeForeign: func(zone string) { s.NSDControl("addzone", zone, "hand") },
	})
}
