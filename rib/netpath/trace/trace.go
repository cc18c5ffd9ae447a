// Package trace is a question about a path and its answer: what the engine returns, what
// words and pictures are made of, what actions give to people and programs.
package trace

import (
	"net/netip"
	"strings"
	"time"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
)

// Question asks whether From reaches To.
type Question struct {
	From  string `json:"from"` // a VM's name, a port's name or id, an address, a device, "internet"
	To    string `json:"to"`   // as From; also "metadata", "dhcp", "dns", "gateway"
	Proto string `json:"proto"`
	Port  uint16 `json:"port,omitempty"`
	Size  int    `json:"size,omitempty"` // of the IP packet, bytes; 0 is 84
	// Fragment lets the packet be cut where a link is too narrow; not is the usual (DF).
	Fragment bool `json:"fragment,omitempty"`
}

// Verdict is what becomes of a packet.
type Verdict string

// The verdicts.
const (
	Delivered    Verdict = "delivered"
	Dropped      Verdict = "dropped"
	Undetermined Verdict = "undetermined" // Trace.Missing says for want of what
	Looped       Verdict = "looped"       // or flooded without reaching anybody who wants it
)

// Trace is the answer.
type Trace struct {
	Question Question `json:"question"`
	Verdict  Verdict  `json:"verdict"` // of both ways together: the worse one
	Source   End      `json:"source"`
	Target   End      `json:"target"`
	Forward  Leg      `json:"forward"`
	Back     Leg      `json:"back,omitzero"` // the answer's way; without hops when there is none to send
	// Causes are those findings whose repair, in the model, delivers the packet: the most
	// likely first. Several with Together are needed all.
	Causes []Finding `json:"causes,omitempty"`
	// Cautions do not stop this packet but make it go another way than it should, or let
	// through what should be stopped.
	Cautions []Finding `json:"cautions,omitempty"`
	Latent   []Finding `json:"latent,omitempty"` // differences on the hosts of the path that change nothing for it
	Missing  []string  `json:"missing,omitempty"`
	Taken    time.Time `json:"taken"` // age of the oldest facts it rests on
}

// HostPrefix begins the entry of Trace.Missing that names a host of which nothing is known.
const HostPrefix = "host "

// Unseen lists the hosts to which the packet came, and of which nothing is known.
func (t *Trace) Unseen() []string {
	var names []string
	for _, m := range t.Missing {
		if name, is := strings.CutPrefix(m, HostPrefix); is && !strings.Contains(name, " ") {
			names = append(names, name)
		}
	}
	return names
}

// End is one end of a path.
type End struct {
	Kind  string     `json:"kind"` // "vm", "router", "dhcp", "metadata", "outside", "address"
	Name  string     `json:"name"`
	Port  string     `json:"port,omitempty"` // Neutron's id
	Host  string     `json:"host,omitempty"`
	Addr  netip.Addr `json:"addr,omitzero"` // its own
	Float netip.Addr `json:"floating,omitzero"`
	MAC   packet.MAC `json:"mac,omitzero"`
}

// Leg is the way of one packet. Where it is copied, the copy that matters is followed: one
// that arrives, else the one that came furthest.
type Leg struct {
	Verdict Verdict `json:"verdict"`
	Hops    []Hop   `json:"hops"`
}

// Places of hops.
const (
	PlaceVM        = "vm"
	PlaceDevice    = "device"    // tap, veth
	PlaceBridge    = "bridge"    // Linux bridge with its filter (qbr)
	PlaceOVS       = "ovs"       // a bridge of Open vSwitch
	PlaceNamespace = "namespace" // routes, rules, filters, NAT: qrouter, fip, snat, or a host's own
	PlaceTunnel    = "tunnel"    // between hosts
	PlaceWire      = "wire"      // physical network between hosts
	PlaceOutside   = "outside"   // beyond the cloud
)

// Hop is a station of a packet.
type Hop struct {
	N     int    `json:"n"` // from 1
	Place string `json:"place"`
	Host  string `json:"host,omitempty"`
	Name  string `json:"name"` // "br-int", "qrouter-...", "tapa57381ac-69"
	// Does is the stable code of what happens there, the key of its words: "send", "pass",
	// "switch", "filter", "route", "snat", "dnat", "arp", "encapsulate", "decapsulate",
	// "deliver", "drop", "unknown".
	Does    string            `json:"does"`
	Facts   map[string]string `json:"facts,omitempty"` // parameters of the words: "route", "rule", "table", "port", "why"
	In      packet.Packet     `json:"in"`
	Out     packet.Packet     `json:"out,omitzero"`
	From    string            `json:"from,omitempty"` // device or port it came by
	To      string            `json:"to,omitempty"`   // device or port it leaves by
	Verdict Verdict           `json:"verdict"`        // Delivered: it went on
	Proof   []Proof           `json:"proof,omitempty"`
	// Seen is what a live probe saw here: nil when none was sent, or nothing can be seen here.
	Seen *bool `json:"seen,omitempty"`
}

// Proof is a line of the host's own state on which a statement rests.
type Proof struct {
	Host  string `json:"host,omitempty"`
	Where string `json:"where"` // "br-int table 60", "qrouter-... rules", "Neutron"
	Line  string `json:"line"`  // as the host's own tools write it
}

// Finding is something that is not as it should be.
type Finding struct {
	ID     string            `json:"id"` // key of the catalogue: "port-dead-vlan"
	Host   string            `json:"host,omitempty"`
	Where  string            `json:"where"` // namespace, bridge, port, group
	Params map[string]string `json:"params,omitempty"`
	Proof  []Proof           `json:"proof,omitempty"`
	Fix    []Fix             `json:"fix,omitempty"`
	// Hop is the number of the forward leg's hop that it stops; with Back, of the other's.
	Hop      int  `json:"hop,omitempty"`
	Back     bool `json:"back,omitempty"`
	Together bool `json:"together,omitempty"`

	// Repair makes the model what it should be, there. Not for people.
	Repair Repair `json:"-"`
}

// Repair is what mends a finding in the model: edits of hosts, or of what Neutron says.
type Repair struct {
	Hosts []facts.Edit
	// Admit lets the packets of the question pass the security group of this port: the
	// rule that Neutron lacks.
	Admit string
}

// Fix is a command that mends a finding.
type Fix struct {
	Host    string `json:"host,omitempty"` // where it runs; "" is anywhere with Neutron's client
	Command string `json:"command"`
	// Lasting: the reason is mended too, not its effect alone (an agent that was restarted
	// writes all of its state again).
	Lasting bool   `json:"lasting,omitempty"`
	Risk    string `json:"risk,omitempty"` // key of the catalogue's words: "none", "port", "host", "tenant"
}
