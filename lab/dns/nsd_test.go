package dns

import (
	"net/netip"
	"strings"
	"testing"

	"kaname.dev/kaname/lab"
)

func TestNSD(t *testing.T) {
	second := AddressOf(t)
	p := NSD(t, Options{Primary: true, Notify: []netip.AddrPort{second}})
	s := NSD(t, Options{Address: second, From: []netip.AddrPort{p.Address}})
	p.AddZones("a.test", "b.test")
	s.NSDControl("addzone", "a.test", "hand")
	lab.Eventually(t, "the zone is transferred", func() bool { n, _, ok := s.SOA("a.test"); return ok && n == 1 })
	p.RemoveZones("b.test")
	if out := p.NSDControl("zonestatus"); strings.Contains(out, "b.test") || !strings.Contains(out, "a.test") {
		t.Errorf("the primary has %s", out)
	}
	s.Kill()
	s.Start()
	lab.Eventually(t, "the zone is there again", func() bool { _, _, ok := s.SOA("a.test"); return ok })
}
