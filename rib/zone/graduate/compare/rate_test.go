package compare

import (
	"fmt"
	"testing"

	"kaname.dev/kaname/lab"
	labdns "kaname.dev/kaname/lab/dns"
)

// TestRate compares many zones and logs how many a minute; one of them differs.
func TestRate(t *testing.T) {
	n := 60
	if lab.Soak() {
		n = 10000
	}
	old, other := labdns.BIND(t, labdns.Options{Primary: true}), labdns.NSD(t, labdns.Options{Primary: true})
	names := make([]string, n)
	zones := make([]Zone, n)
	for i := range names {
		names[i] = fmt.Sprintf("z%d.example", i)
		zones[i] = Zone{Name: zone(t, names[i])}
	}
	old.AddZones(names...)
	other.AddZones(names[1:]...)
	for _, s := range []*labdns.Server{old, other} {
		lab.Eventually(t, "all zones are served", func() bool { _, _, ok := s.SOA(names[n-1]); return ok })
	}
	only, _, _ := compared(t, old, other, Options{Again: -1, Sample: -1}, zones...)
	t.Logf("%.0f zones a minute by transfers only: %+v", float64(n)/only.Took.Minutes(), only)
	sum, diffs, _ := compared(t, old, other, Options{Again: -1}, zones...)
	t.Logf("%.0f zones a minute: %+v", float64(n)/sum.Took.Minutes(), sum)
	if sum.Differing != 1 || sum.Green() {
		t.Errorf("%d zones differ, want the one that is missing", sum.Differing)
	}
	for _, d := range diffs {
		if d.Zone != zones[0].Name {
			t.Errorf("false: %+v", d)
		}
	}
}
