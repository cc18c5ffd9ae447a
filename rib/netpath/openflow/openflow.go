// Package openflow is Open vSwitch on a host as a pure function: flows as they were dumped,
// a packet in, packets out. It interprets what it is given, whatever the tables are used for,
// and says so where it does not know a field or an action. ovs-fields(7) and ovs-actions(7)
// are what it follows.
package openflow

import (
	"kaname.dev/kaname/rib/netpath/conn"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
)

// Result is what became of a packet.
type Result struct {
	Outputs []Output
	Steps   []Step
	Unknown []string // fields and actions that were met and are not understood: the answer is not certain
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
	Packet packet.Packet // after it
	Note   string
}

// Switch is all bridges of a host's Open vSwitch.
type Switch struct {
	ovs *facts.OVS
}

// New returns the switch. Bridges are read when a packet first comes to them.
func New(o *facts.OVS) *Switch { return &Switch{ovs: o} }

// Run lets a packet come in by a port of a bridge and follows it through all bridges that
// patch ports lead to. tracked is what is known of connections, nil if nothing; it gets the
// connections that flows commit.
func (s *Switch) Run(bridge string, inPort int, p packet.Packet, tracked *conn.Table) Result {
	_, _, _, _ = bridge, inPort, p, tracked
	return Result{}
}
