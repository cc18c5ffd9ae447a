package nsd

import (
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/server/servertest"
)

// TestBulk measures the driver beside nsd's own addzones, its fastest way, in one run.
func TestBulk(t *testing.T) {
	if !lab.Soak() {
		t.Skip("takes minutes; make soak")
	}
	n := servertest.BulkSize()
	p, s := bed(t, dns.Options{})
	raw, ours := many("raw%d.test", n), many("ours%d.test", n)
	p.AddZones(append(raw, ours...)...)
	d := open(t, s, server.Options{})
	lines := make([]string, n)
	for i, z := range raw {
		lines[i] = z + " hand\n"
	}
	begun := time.Now()
	if _, err := d.(*driver).control.do(t.Context(), "addzones", lines); err != nil {
		t.Fatal(err)
	}
	own := additions(template(p), raw...)
	waitServed(t, d, s, own, 3*time.Second)
	bare := time.Since(begun)
	begun = time.Now()
	serve(t, d, s, additions(template(p), ours...), 3*time.Second)
	took := time.Since(begun)
	t.Logf("%d zones: addzones %s, the driver %s, ratio %.2f", n, bare.Round(time.Millisecond), took.Round(time.Millisecond), took.Seconds()/bare.Seconds())
}
