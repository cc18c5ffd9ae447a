// Package servertest is what every driver of a name server must do, whatever the
// server: one suite that is run against the real ones.
package servertest

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// Bench is one server with the means that the suite needs.
type Bench struct {
	// Server is the secondary that is driven; it begins without zones.
	Server *dns.Server
	// Primary has the zones, see Primary; its NOTIFYs reach Server, and the lab's key
	// is good for its transfers.
	Primary *dns.Server
	// Open returns a fresh driver of Server that keeps its own state in dir. The suite
	// closes it.
	Open func(t testing.TB, dir string) server.Driver
	// Unreachable returns a driver whose control channel leads nowhere.
	Unreachable func(t testing.TB) server.Driver
	// Denied returns a driver with a wrong secret of the control channel; nil where
	// there is none.
	Denied func(t testing.TB) server.Driver
	// MakeForeign makes a zone on Server by hand, as its operator would, transferred
	// from Primary.
	MakeForeign func(zone string)

	// Kind is that of Template.ID; Server.Kind when empty.
	Kind string
	// Options are Template.Options of all zones.
	Options map[string]string
	// BadKey is the name of a TSIG key that Server has with a secret that Primary does
	// not know; empty leaves the case out.
	BadKey string
	// Cannot are names that Server cannot hold by its nature: ErrName is wanted for
	// them, and for no other.
	Cannot []name.Name
	// Left returns what is left of a removed zone on the server's disk; nil looks for
	// files below Server.Dir that are named like the zone.
	Left func(zone name.Name) []string
	// Brief leaves out, but in soaks, what other benches try as well with the same parts
	// of the server: for servers whose every call takes seconds.
	Brief bool
	// Blind says that Status of the driver cannot tell what is loaded.
	Blind bool
}

// Primary runs a primary for a Bench whose server answers at one of the addresses.
func Primary(t testing.TB, notify ...netip.AddrPort) *dns.Server {
	t.Helper()
	return dns.BIND(t, dns.Options{Primary: true, Notify: notify})
}

// Limits of single cases.
const (
	callLimit  = 12 * time.Second // one call of the driver
	serveLimit = 15 * time.Second // from the call to the answer
)

// Conform runs the suite. The cases share the server and leave it as they found it.
func Conform(t *testing.T, b Bench) {
	t.Helper()
	s := &suite{Bench: b}
	if s.Kind == "" {
		s.Kind = b.Server.Kind
	}
	s.dir = t.TempDir()
	s.d = b.Open(t, s.dir)
	defer func() { _ = s.d.Close() }()
	s.stock(t)
	t.Run("probe", s.probe)
	t.Run("empty", s.empty)
	t.Run("one", s.one)
	t.Run("bulk", s.bulk)
	t.Run("bad among good", s.badAmongGood)
	t.Run("change of template", s.change)
	t.Run("foreign", s.foreign)
	if !s.Brief || lab.Soak() {
		t.Run("adopt", s.adopt)
		t.Run("adopt to remove", s.adoptToRemove)
		t.Run("restart", s.restart)
		t.Run("status", s.status)
		t.Run("bad key", s.badKey)
		t.Run("kick", s.kick)
		t.Run("two drivers", s.twoDrivers)
		t.Run("paused", s.paused)
	}
	t.Run("names", s.names)
	t.Run("injection", s.injection)
	t.Run("cancelled", s.cancelled)
	t.Run("unreachable", s.unreachable)
	t.Run("denied", s.denied)
	t.Run("down", s.down)
}

// suite is a Bench under test.
type suite struct {
	Bench
	d   server.Driver
	dir string
}

// limited is the time of one call.
func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callLimit)
	t.Cleanup(cancel)
	return ctx
}
