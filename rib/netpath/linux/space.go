// Package linux is one network namespace of a host as the kernel works it: routes and rules,
// neighbours, filters and NAT, proxy ARP, and Linux bridges with their filter. It changes
// nothing and asks nobody: a packet goes in, and what becomes of it comes out, with the lines
// of the host's own state that decided.
package linux

import (
	"net/netip"

	"kaname.dev/kaname/rib/netpath/conn"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// Space is a network namespace, compiled. What was compiled is not changed any more, so that
// it serves concurrent callers.
type Space struct {
	host *facts.Host
	ns   *facts.Namespace
}

// Context is what a packet meets besides the namespace's own state.
type Context struct {
	// Tracked holds the namespace's connections; packets that leave are committed to it. nil:
	// each packet is the first of its connection.
	Tracked *conn.Table
	// Known is what ARP, or neighbour discovery, has found meanwhile. A zero MAC: nobody
	// answered.
	Known map[Ask]packet.MAC
}

// Ask is a question of ARP or neighbour discovery.
type Ask struct {
	Dev  string
	Addr netip.Addr
}

// Outcome is what becomes of a packet. If Out is empty, Local false and Resolve nil, it is
// dropped by the last step, or Unknown says for want of what nobody knows.
type Outcome struct {
	Out     []Out
	Local   bool          // it is for the namespace itself
	Packet  packet.Packet // of a local one: as it was delivered, after translation
	Resolve *Ask          // the next hop's MAC is unknown: ask for it and call again
	Steps   []Step
	Unknown []string
}

// Out is a packet that leaves by a device.
type Out struct {
	Dev    string
	Packet packet.Packet
	Steps  []int // indexes into Outcome.Steps that led to it; nil: all of them
}

// Step is something that was done to the packet, or found out about it.
type Step struct {
	Does   string            // as trace.Hop.Does
	Facts  map[string]string // "route", "rule", "table", "chain", "dev", "via", "why", ...
	Proof  []trace.Proof
	Packet packet.Packet // after it
	Drop   bool
}

// New returns the namespace n of host h, which may be of a model. It is parsed when first
// used.
func New(h *facts.Host, n *facts.Namespace) *Space { return &Space{host: h, ns: n} }

// Receive lets a frame come in by a device that is no port of a bridge.
func (s *Space) Receive(p packet.Packet, dev string, x Context) Outcome {
	return Outcome{Unknown: []string{"not yet: " + s.ns.Name + " " + dev}}
}

// Send lets the namespace itself send a packet. An unset source address, and one that is not
// unicast, is chosen as the kernel does.
func (s *Space) Send(p packet.Packet, x Context) Outcome {
	return Outcome{Unknown: []string{"not yet: " + s.ns.Name}}
}

// Forward lets a frame come in by a port of a Linux bridge.
func (s *Space) Forward(p packet.Packet, port string, x Context) Outcome {
	return Outcome{Unknown: []string{"not yet: " + s.ns.Name + " " + port}}
}

// Request returns the packet that asks for an address: an ARP request or a neighbour
// solicitation. The latter goes to the address itself instead of its multicast group, since
// packets have no field for what it asks.
func (s *Space) Request(a Ask) packet.Packet {
	return packet.Packet{Type: packet.ARP, Op: 1, Dst: packet.Broadcast, IPDst: a.Addr}
}
