package watch

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// TestALimitedRate has an nsd that limits the rate of its answers as it does by default,
// and so many zones without contents that all are asked for faster: none is taken for
// lost, nor the server for silent, and one that comes is seen at once.
func TestALimitedRate(t *testing.T) {
	lab.Need(t, "named")
	if !lab.Soak() {
		t.Skip("takes long")
	}
	const many = 2000
	primary := dns.BIND(t, dns.Options{Primary: true})
	s := dns.NSD(t, dns.Options{From: []netip.AddrPort{primary.Address}, Extra: "server:\n\trrl-ratelimit: 200\n\trrl-whitelist-ratelimit: 2000\n"})
	zones := map[name.Name]Zone{}
	var names []name.Name
	var lines strings.Builder
	for i := range many {
		n := name.Name(fmt.Sprintf("lacking%04d.test.", i))
		zones[n] = Zone{Primaries: []server.Primary{{Address: primary.Address}}}
		names = append(names, n)
		fmt.Fprintf(&lines, "%s hand\n", n.Bare())
	}
	for chunk := range strings.SplitAfterSeq(lines.String(), "00.test hand\n") {
		c := exec.Command("nsd-control", "-c", s.Config, "addzones")
		c.Stdin = strings.NewReader(chunk)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	began := time.Now()
	w := live(t, Options{Server: s.Address, Name: "nsd"})
	w.Set(zones)
	w.Added(names)
	silent := 0
	for time.Since(began) < 8*time.Second {
		for z := range w.Deviations() {
			if z.State == Silent {
				silent++
			}
		}
		<-time.After(50 * time.Millisecond)
	}
	if silent > 0 {
		t.Errorf("the server was taken for silent, %d zones in all", silent)
	}
	primary.AddZones("good.test")
	zones["good.test."] = Zone{Primaries: []server.Primary{{Address: primary.Address}}}
	s.NSDControl("addzone", "good.test", "hand")
	began = time.Now()
	w.Set(zones)
	w.Added([]name.Name{"good.test."})
	lab.Eventually(t, "one is served", func() bool { return find(w, "good.test.").State == Serving })
	if took := time.Since(began); took > 3*time.Second { // all together have their turn in five
		t.Errorf("one more zone was seen after %s", took)
	}
}
