package dns

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"kaname.dev/kaname/lab"
)

func TestBINDPrimaryAndConsumer(t *testing.T) {
	second := AddressOf(t)
	p := BIND(t, Options{Primary: true, Catalogs: []string{"catz.test"}, Notify: []netip.AddrPort{second}})
	s := BIND(t, Options{Address: second, From: []netip.AddrPort{p.Address}, Catalogs: []string{"catz.test"}})
	if s.AddZones != nil {
		t.Error("a secondary adds zones by itself")
	}
	many := make([]string, 60)
	for i := range many {
		many[i] = fmt.Sprintf("z%d.test", i)
	}
	p.AddZones(`a\032b.test`)
	p.AddZones(many...)
	for _, z := range append(many, `a\032b.test`) {
		lab.Eventually(t, z+" is served by both", func() bool {
			_, _, one := p.SOA(z)
			_, _, two := s.SOA(z)
			return one && two
		})
	}
	p.Rewrite(7, "z3.test")
	lab.Eventually(t, "the new serial has come", func() bool { n, _, _ := s.SOA("z3.test"); return n == 7 })
	p.RemoveZones("z3.test", `a\032b.test`)
	p.RemoveZones(many[10:40]...)
	for _, z := range append(many[10:40], "z3.test") {
		lab.Eventually(t, z+" is gone from both", func() bool {
			_, one, _ := p.SOA(z)
			_, two, _ := s.SOA(z)
			return one == dns.RcodeRefused && two == dns.RcodeRefused
		})
	}
	p.Kill()
	p.Start()
	// It answers before it has loaded all zones.
	lab.Eventually(t, "a zone is there after a restart", func() bool { _, _, ok := p.SOA("z5.test"); return ok })
	if _, rcode, _ := p.SOA("z3.test"); rcode != dns.RcodeRefused {
		t.Error("a removed zone is back after a restart")
	}
}
