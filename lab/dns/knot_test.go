package dns

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"kaname.dev/kaname/lab"
)

func TestKnotPrimaryAndConsumer(t *testing.T) {
	second := AddressOf(t)
	p := Knot(t, Options{Primary: true, Catalogs: []string{"catz.test"}, Notify: []netip.AddrPort{second}})
	s := Knot(t, Options{Address: second, From: []netip.AddrPort{p.Address}, Catalogs: []string{"catz.test"}})
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
	p.RemoveZones("z3.test", `a\032b.test`)
	for _, z := range []string{"z3.test", `a\032b.test`} {
		lab.Eventually(t, z+" is gone from both", func() bool {
			_, one, _ := p.SOA(z)
			_, two, _ := s.SOA(z)
			return one == dns.RcodeRefused && two == dns.RcodeRefused
		})
	}
	p.Kill()
	p.Start()
	lab.Eventually(t, "a zone is there after a restart", func() bool { _, _, ok := p.SOA("z5.test"); return ok })
}
