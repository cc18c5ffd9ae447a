package knot

import (
	"net/netip"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	labdns "kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/server/servertest"
)

// TestBulk compares the driver with the fastest ways that Knot has itself: one
// transaction by hand, and a catalog that it consumes.
func TestBulk(t *testing.T) {
	if !lab.Soak() {
		t.Skip("takes minutes; make soak")
	}
	primary, s, d, list := pair(t, servertest.BulkSize())
	zones := make([]string, len(list))
	for i, a := range list {
		zones[i] = a.Name.Bare()
	}
	begun := time.Now()
	for i, err := range d.Add(t.Context(), list) {
		if err != nil {
			t.Fatalf("%s: %v", list[i].Name, err)
		}
	}
	called := time.Since(begun)
	served(t, s, list)
	ours := time.Since(begun)
	s.Kill()

	hand := labdns.Knot(t, labdns.Options{Address: s.Address, From: []netip.AddrPort{primary.Address}})
	begun = time.Now()
	hand.KnotZones("hand", zones...)
	served(t, hand, list)
	transaction := time.Since(begun)
	hand.Kill()
	primary.Kill()

	with := labdns.BIND(t, labdns.Options{Primary: true, Catalogs: []string{"catz.test"}})
	with.AddZones(zones...)
	begun = time.Now() // knotd takes the catalog at its start
	consumer := labdns.Knot(t, labdns.Options{From: []netip.AddrPort{with.Address}, Catalogs: []string{"catz.test"}})
	served(t, consumer, list)
	catalog := time.Since(begun)
	t.Logf("%d additions: called %s, served %s; a transaction by hand %s, a catalog %s; ratio to the fastest %.2f",
		len(list), called, ours, transaction, catalog, ours.Seconds()/min(transaction, catalog).Seconds())
}
