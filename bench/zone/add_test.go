package zone

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

var all = []string{"bind", "nsd", "knot", "pdns"}

func addrs(list ...string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range list {
		out = append(out, netip.MustParseAddrPort(s))
	}
	return out
}

// TestOneByOne creates zones one by one on each kind of primary and removes them, and
// measures how long it takes until all secondaries answer, and refuse.
func TestOneByOne(t *testing.T) {
	n := 3
	if figures() != "" {
		n = 100
	}
	slow := map[string]time.Duration{}
	var allAdds, allRemoves []time.Duration
	b := newBed(t, options{primaries: []string{"bind", "pdns", "knot"}, servers: all})
	for i, p := range b.primaries { // a set that loses its last zone is held
		p.AddZones(fmt.Sprintf("stays%d.test", i))
		b.await(fmt.Sprintf("stays%d.test", i), true, time.Now(), time.Minute)
	}
	for _, p := range b.primaries {
		t.Run(p.Kind, func(t *testing.T) {
			b.t = t
			var adds, removes []time.Duration
			for i := range n {
				zone := fmt.Sprintf("one%d-%s.test", i, p.Kind)
				p.AddZones(zone)
				adds = append(adds, b.await(zone, true, time.Now(), 20*time.Second))
				for i, s := range b.servers {
					slow[s.Kind] += b.took[i] / time.Duration(n)
				}
			}
			for i := range n {
				zone := fmt.Sprintf("one%d-%s.test", i, p.Kind)
				p.RemoveZones(zone)
				removes = append(removes, b.await(zone, false, time.Now(), 20*time.Second))
			}
			allAdds, allRemoves = append(allAdds, adds...), append(allRemoves, removes...)
			record("zone.add_p99_s."+p.Kind, p99(adds).Seconds(), "s", "2 s", p99(adds).Seconds()/2)
			record("zone.remove_p99_s."+p.Kind, p99(removes).Seconds(), "s", "2 s", p99(removes).Seconds()/2)
			t.Logf("%s: add p50 %s p99 %s; remove p50 %s p99 %s", p.Kind, p50(adds), p99(adds), p50(removes), p99(removes))
			t.Logf("%s: additions by server, on average: %v", p.Kind, slow)
			clear(slow)
		})
	}
	b.t = t
	record("zone.add_p99_s", p99(allAdds).Seconds(), "s", "2 s", p99(allAdds).Seconds()/2)
	record("zone.remove_p99_s", p99(allRemoves).Seconds(), "s", "2 s", p99(allRemoves).Seconds()/2)
}

func p99(d []time.Duration) time.Duration { return quantile(d, 0.99) }
func p50(d []time.Duration) time.Duration { return quantile(d, 0.5) }

func quantile(d []time.Duration, q float64) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[min(len(s)-1, int(float64(len(s))*q))]
}
