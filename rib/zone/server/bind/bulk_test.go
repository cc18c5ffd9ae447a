package bind

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/server/servertest"
)

// TestKilledInTheMiddle kills named while it adds many zones one by one.
func TestKilledInTheMiddle(t *testing.T) {
	b := newBed(t, dns.Options{})
	count := 250
	if lab.Soak() {
		count = 1000
	}
	zones := names("z%d.test", count)
	b.primary.AddZones(zones...)
	// Edited by hand, the file is not used: no lane but addzone.
	write(t, filepath.Join(b.second.Dir, "kaname", "zones.conf"), `acl "off" { none; };`+"\n")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 { // while it adds
			if _, _, ok := b.second.SOA(zones[count/4]); ok {
				break
			}
			<-time.After(2 * time.Millisecond)
		}
		b.second.Kill()
	}()
	broken := 0
	for _, err := range b.d.Add(t.Context(), b.additions(zones...)) {
		if err != nil && !errors.Is(err, server.ErrUnreachable) {
			t.Fatal(err)
		}
		if err != nil {
			broken++
		}
	}
	<-done
	if broken == 0 {
		t.Skip("named was faster than the kill")
	}
	b.second.Start()
	b.add(b.additions(zones...))
	if got := b.list(b.driver(server.Options{})); len(got) != len(zones) {
		t.Errorf("%d zones are there", len(got))
	}
	b.served(zones...)
}

// TestBulk compares with the fastest way that BIND has itself: its configuration
// edited, and read again.
func TestBulk(t *testing.T) {
	if !lab.Soak() {
		t.Skip("takes minutes; make soak")
	}
	n := servertest.BulkSize()
	more := 5 * n
	zones := names("z%d.test", n)
	b := newBed(t, dns.Options{})
	b.primary.AddZones(zones...)
	begun := time.Now()
	b.add(b.additions(zones...))
	called := time.Since(begun)
	b.patient(zones...)
	ours := time.Since(begun)
	begun = time.Now()
	if got := b.list(b.driver(server.Options{})); len(got) != n {
		t.Errorf("%d zones", len(got))
	}
	t.Logf("%d additions: called %s, served %s; first list %s", n, called, ours, time.Since(begun))

	raw := newBed(t, dns.Options{})
	raw.primary.AddZones(zones...)
	begun = time.Now()
	edit(t, raw, zones)
	raw.second.RNDC("reconfig")
	raw.patient(zones...)
	edited := time.Since(begun)
	t.Logf("edit + rndc reconfig: served %s; ratio %.2f", edited, ours.Seconds()/edited.Seconds())
	raw.second.Kill()
	raw.primary.Kill()

	begun = time.Now()
	for _, err := range b.d.Remove(t.Context(), removals(t, zones...)) {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d removals: %s", n, time.Since(begun))

	all := names("m%d.test", more)
	edit(t, b, all) // loading them all is not what is measured
	b.second.RNDC("reconfig")
	b.primary.AddZones("one.test", "two.test")
	begun = time.Now()
	b.add(b.additions("one.test"))
	called = time.Since(begun)
	b.patient("one.test")
	ours = time.Since(begun)
	begun = time.Now()
	edit(t, b, append(all, "two.test"))
	b.second.RNDC("reconfig")
	b.patient("two.test")
	edited = time.Since(begun)
	t.Logf("one more at %d: called %s, served %s; edit + reconfig %s; ratio %.3f", more, called, ours, edited, ours.Seconds()/edited.Seconds())
}

func edit(t *testing.T, b *bed, zones []string) {
	t.Helper()
	var text strings.Builder
	for _, z := range zones {
		fmt.Fprintf(&text, "zone %q { type secondary; file \"zones/%s.db\"; primaries { %s port %d key xfr; }; };\n", z, z, b.primary.Address.Addr(), b.primary.Address.Port())
	}
	write(t, filepath.Join(b.second.Dir, "zones.conf"), text.String())
}

// patient waits as long as ten thousand transfers take.
func (b *bed) patient(zones ...string) {
	b.t.Helper()
	until := time.Now().Add(6 * time.Minute)
	for _, z := range zones {
		for {
			if _, _, ok := b.second.SOA(z); ok {
				break
			}
			if time.Now().After(until) {
				b.t.Fatalf("%s is not served", z)
			}
			<-time.After(20 * time.Millisecond)
		}
	}
}
