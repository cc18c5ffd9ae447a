// Package linux is one network namespace of a host as the kernel works it: routes and rules,
// neighbours, filters and NAT, proxy ARP, and Linux bridges with their filter. It changes
// nothing and asks nobody: a packet goes in, and what becomes of it comes out, with the lines
// of the host's own state that decided.
package linux

import (
	"net/netip"
	"sync"

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
	once sync.Once
	made *compiled
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

// compiled is what a namespace is made into when it is first used.
type compiled struct {
	s          *Space
	fibs       [2]*fib // IPv4, IPv6
	filter     [2]*program
	sets       map[string]*Set
	neighbours map[Ask]*facts.Neighbour
	errs       []error
}

func (s *Space) compiled() *compiled {
	s.once.Do(func() {
		c := &compiled{s: s, neighbours: make(map[Ask]*facts.Neighbour, len(s.ns.Neighbours))}
		c.fibs[0], c.fibs[1] = newFIB(s.ns, false), newFIB(s.ns, true)
		var errs []error
		c.sets, c.errs = ParseSets(s.ns.IPSets)
		for i, text := range []string{s.ns.IPTables4, s.ns.IPTables6} {
			var f *Filters
			f, errs = ParseFilters(text)
			c.filter[i] = compile(f)
			c.errs = append(c.errs, errs...)
		}
		for i := range s.ns.Neighbours {
			if n := &s.ns.Neighbours[i]; !n.Proxy {
				c.neighbours[Ask{n.Dev, n.Addr}] = n
			}
		}
		s.made = c
	})
	return s.made
}

// Errors returns what of the namespace's filters and sets cannot be read. Packets that never
// meet it are judged all the same.
func (s *Space) Errors() []error { return s.compiled().errs }

func (c *compiled) fib(v6 bool) *fib {
	if v6 {
		return c.fibs[1]
	}
	return c.fibs[0]
}

// filters returns the rules for an Ethernet type, and why there are none if they could not be
// collected.
func (c *compiled) filters(kind uint16) (g *program, lacks string) {
	i := 0
	if kind == packet.IPv6 {
		i = 1
	}
	if len(c.filter[i].chains) == 0 {
		lacks = c.s.lacks(facts.Filters)
	}
	return c.filter[i], lacks
}
