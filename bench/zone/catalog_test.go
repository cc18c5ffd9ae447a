package zone

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/wire"
)

// TestCatalogsOut has the core publish what is desired as catalog zones (RFC 9432), and
// name servers without an agent consume them: zones of a primary and zones that were
// added by hand come and go, also across a kill of the core.
func TestCatalogsOut(t *testing.T) {
	kinds := []string{"bind", "knot", "pdns"}
	at := map[string]netip.AddrPort{}
	var s strings.Builder
	s.WriteString("  groups:\n    fast: {primaries: [PRIMARY]}\n  catalogs:\n")
	for _, kind := range kinds {
		at[kind] = dns.AddressOf(t)
		fmt.Fprintf(&s, "    - {name: %[1]s.catalog, for: %[1]s, key: xfr, notify: [%[2]q]}\n", kind, at[kind])
	}
	at["fast"] = dns.AddressOf(t)
	fmt.Fprintf(&s, "    - {name: fast.catalog, groups: [fast], allow: [127.0.0.0/8], notify: [%q]}\n", at["fast"])
	other := dns.BIND(t, dns.Options{Primary: true}) // no source
	b := newBed(t, options{
		primaries: []string{"bind"}, extra: strings.ReplaceAll(s.String(), "PRIMARY", fmt.Sprintf("%q", other.Address.String()+" "+dns.KeyName)),
	})
	p := b.primaries[0]
	p.AddZones("stays.test") // a set that loses its last zone is held
	from := append(addrs(b.listen), p.Address, other.Address)
	for _, kind := range kinds[:2] {
		b.servers = append(b.servers, start(t, kind, dns.Options{Address: at[kind], From: from, Catalogs: []string{kind + ".catalog"}}))
	}
	// PowerDNS transfers members from where the catalog is, and from any of several at
	// random: of it only which zones it has is looked at.
	pdns := start(t, "pdns", dns.Options{Address: at["pdns"], From: from[:1], Catalogs: []string{"pdns.catalog"}})
	everyone := b.servers
	fast := start(t, "knot", dns.Options{Address: at["fast"], From: from, Catalogs: []string{"fast.catalog"}})
	served := func(zone string, want bool) {
		t.Helper()
		took := b.await(zone, want, time.Now(), 30*time.Second)
		t.Logf("%s served=%v: %v %v", zone, want, took.Round(time.Millisecond), b.took)
		b.until(fmt.Sprintf("PowerDNS has %s: %v", zone, want), 30*time.Second, func() bool {
			return strings.Contains(pdns.SQL("SELECT name FROM domains;"), zone) == want
		})
	}
	served("stays.test", true)

	// Zones of a source come and go.
	p.AddZones("comes.test")
	served("comes.test", true)
	p.RemoveZones("comes.test")
	served("comes.test", false)

	// So do those that people add, in a group and in none; a group has a catalog of its own.
	other.AddZones("hand.test", "quick.test")
	b.cli(nil, "zone", "add", "hand.test", "--primary", other.Address.String(), "--yes")
	b.cli(nil, "zone", "add", "quick.test", "--group", "fast", "--yes")
	b.servers = []*dns.Server{fast}
	served("quick.test", true)
	if _, _, ok := fast.SOA("stays.test"); ok {
		t.Error("a zone without a group is in the catalog of a group")
	}
	b.servers = everyone
	served("quick.test", true)
	served("hand.test", true)
	b.cli(nil, "zone", "remove", "hand.test", "--yes")
	served("hand.test", false)

	// A core that was killed goes on with the same zones and newer serials.
	before := b.catalogSerials(kinds)
	stop := b.guardZone("stays.test")
	b.core.end(syscall.SIGKILL)
	b.core.start()
	p.AddZones("after.test")
	served("after.test", true)
	for kind, serial := range b.catalogSerials(kinds) {
		if !wire.Newer(serial, before[kind]) {
			t.Errorf("the catalog for %s has serial %d after the restart, %d before", kind, serial, before[kind])
		}
	}
	if lost := stop(); lost != "" {
		t.Errorf("while the core was away, a zone was lost: %s", lost)
	}
	served("quick.test", true)
}

// catalogSerials asks the core for the serials of its catalogs.
func (b *bed) catalogSerials(kinds []string) map[string]uint32 {
	b.t.Helper()
	key, err := wire.ReadKey(b.key)
	if err != nil {
		b.t.Fatal(err)
	}
	serials := map[string]uint32{}
	var c wire.Client
	for _, kind := range kinds {
		soa, err := c.SOA(context.Background(), wire.Peer{Address: netip.MustParseAddrPort(b.listen), Key: &key}, name.Name(kind+".catalog."))
		if err != nil {
			b.t.Fatal(err)
		}
		serials[kind] = soa.Serial
	}
	return serials
}
