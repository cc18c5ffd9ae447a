// Package openflow is Open vSwitch on a host as a pure function: flows as they were dumped,
// a packet in, packets out. It interprets what it is given, whatever the tables are used for,
// and says so where it does not know a field or an action. ovs-fields(7) and ovs-actions(7)
// are what it follows.
package openflow

import (
	"sync"

	"kaname.dev/kaname/rib/netpath/conn"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
)

// Result is what became of a packet.
type Result struct {
	Outputs []Output
	Steps   []Step
	Unknown []string // what was met and is not understood: the answer is not certain
}

// Output is a packet that leaves.
type Output struct {
	Bridge     string
	Port       *facts.Port
	Packet     packet.Packet // Tunnel is set when it leaves by a tunnel port
	Steps      []int         // indexes into Result.Steps that led to it
	Controller bool          // goes to the controller; Port is nil
}

// Step is one flow that the packet met.
type Step struct {
	Bridge string
	Table  uint8
	Flow   *Flow         // nil: table miss, or NORMAL's own
	Packet packet.Packet // after it, as it went on to the next step
	Note   string
}

// Switch is all bridges of a host's Open vSwitch. It may be used by several goroutines.
type Switch struct {
	ovs     *facts.OVS
	mu      sync.Mutex
	bridges map[string]*bridge // those that were asked for
}

// New returns the switch. Bridges are read when a packet first comes to them.
func New(o *facts.OVS) *Switch {
	if o == nil {
		o = &facts.OVS{}
	}
	return &Switch{ovs: o, bridges: map[string]*bridge{}}
}

// Run lets a packet come in by a port of a bridge and follows it through all bridges that
// patch ports lead to. tracked is what is known of connections, nil if nothing; it gets the
// connections that flows commit. What flows learn is known until the run ends.
func (s *Switch) Run(bridge string, inPort int, p packet.Packet, tracked *conn.Table) Result {
	r := newRun(s)
	r.tracker = connections{tracked}
	b := s.bridge(bridge)
	if b == nil {
		r.unknown("bridge " + bridge + " is not there")
		return r.res
	}
	r.start(b, inPort, p)
	return r.res
}

// Flows returns the flows of a bridge with one table's number, as they were read; nil if the
// bridge, or such a flow, is not there.
func (s *Switch) Flows(bridge string, table uint8) []*Flow {
	b := s.bridge(bridge)
	if b == nil || b.tables[table] == nil {
		return nil
	}
	return b.tables[table].flows
}
