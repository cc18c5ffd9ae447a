package path

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"kaname.dev/kaname/rib/netpath/conn"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/linux"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// Bounds of one walk. A packet that is copied to each machine of a large network costs one
// station a copy; what is beyond is a loop for all that people care.
const (
	mostStations = 4000
	mostAsks     = 60
	mostCopies   = 64 // of one frame to hosts, where nobody knows for whom it is
)

// run is one walk: what is learned while packets are on their way.
type run struct {
	w       *World
	tracked map[string]*conn.Table
	known   map[string]map[linux.Ask]packet.MAC
	asking  map[question]bool
	left    int // stations
	asks    int
	missing map[string]bool
	oldest  time.Time
}

// question is somebody who is asking for an address right now.
type question struct {
	who  string
	addr netip.Addr
}

func newRun(w *World) *run {
	return &run{
		w: w, tracked: map[string]*conn.Table{}, known: map[string]map[linux.Ask]packet.MAC{},
		asking: map[question]bool{}, missing: map[string]bool{}, left: mostStations, asks: mostAsks,
	}
}

// table is what a part of a host tracks during this walk.
func (r *run) table(host, part string) *conn.Table {
	key := host + "/" + part
	if r.tracked[key] == nil {
		r.tracked[key] = r.w.sites[host].table(part).Clone()
	}
	return r.tracked[key]
}

// neighbours is what somebody has learned of addresses during this walk.
func (r *run) neighbours(who string) map[linux.Ask]packet.MAC {
	if r.known[who] == nil {
		r.known[who] = map[linux.Ask]packet.MAC{}
	}
	return r.known[who]
}

// site returns a host and remembers how old what is known of it is; nil: it is not known.
func (r *run) site(host string) *site {
	s := r.w.sites[host]
	if s != nil && (r.oldest.IsZero() || s.facts.Taken.Before(r.oldest)) {
		r.oldest = s.facts.Taken
	}
	return s
}

func (r *run) lacks(what string) { r.missing[what] = true }

func (r *run) lacking() []string { return slices.Sorted(maps.Keys(r.missing)) }

// trail is the hops of a packet so far, the last one first.
type trail struct {
	up    *trail
	hop   trace.Hop
	depth int
}

func (t *trail) add(h trace.Hop) *trail {
	depth := 1
	if t != nil {
		depth += t.depth
	}
	return &trail{up: t, hop: h, depth: depth}
}

// hops lists the hops in order, numbered from 1.
func (t *trail) hops() []trace.Hop {
	if t == nil {
		return nil
	}
	list := make([]trace.Hop, t.depth)
	for i := t.depth - 1; i >= 0; i-- {
		list[i], t = t.hop, t.up
		list[i].N = i + 1
	}
	return list
}

// Where a frame is.
type spot uint8

const (
	atDevice  spot = iota // comes in by a device of a namespace
	byDevice              // is to leave by a device of a namespace
	atSwitch              // comes in by a port of Open vSwitch
	byTunnel              // is to leave by a tunnel
	atWire                // is on a physical network
	atMachine             // comes out of a machine's device
	atOutside             // comes to what is beyond a physical network
)

// frame is a packet at one spot of its way.
type frame struct {
	spot   spot
	host   string
	space  string // namespace; of atWire and atOutside the physical network
	dev    string // device; of atSwitch and byTunnel the bridge
	port   int    // of atSwitch
	copied bool   // one of several copies that were made for want of knowing better
	p      packet.Packet
	trail  *trail
}

// mark is what tells frames apart, to find loops.
type mark struct {
	spot             spot
	host, space, dev string
	port             int
	p                packet.Packet
}

// place is where a packet has ended.
type place struct {
	kind  string // "machine", "space", "outside"
	host  string
	space string // namespace; of the outside the physical network
	dev   string
	port  *intent.Port
	vlan  uint16 // of the outside
}

// ending is what became of a copy.
type ending struct {
	verdict trace.Verdict
	idle    bool // of a copy that came to somebody for whom it is not: it counts only where nothing else does
	weight  int  // how much it says about the packet; see weigh
	host    string
	at      place
	p       packet.Packet
	trail   *trail
}

// goal is what a packet is sent for.
type goal struct {
	host   string // where it should end, "" if nobody knows
	accept func(at place, p packet.Packet) bool
}

// fly lets frames go until one meets the goal, or all have ended: then the one that came
// furthest counts.
func (r *run) fly(start []frame, g goal) ending {
	queue := slices.Clone(start)
	seen := map[mark]bool{}
	var best *ending
	keep := func(e ending) {
		if best == nil || further(&e, best, g.host) {
			best = &e
		}
	}
	for len(queue) > 0 {
		f := queue[0]
		queue = queue[1:]
		m := mark{f.spot, f.host, f.space, f.dev, f.port, f.p}
		if r.left--; seen[m] || r.left < 0 {
			e := ending{verdict: trace.Looped, host: f.host, p: f.p, trail: f.trail, idle: f.copied}
			e.weight = weigh(&e, f.copied, g.host)
			keep(e)
			continue
		}
		seen[m] = true
		next, ends := r.step(f, g)
		for _, e := range ends {
			if e.verdict == trace.Delivered && !e.idle {
				return e
			}
			e.weight = weigh(&e, f.copied, g.host)
			keep(e)
		}
		queue = append(queue, next...)
	}
	if best == nil {
		return ending{verdict: trace.Undetermined}
	}
	return *best
}

// Weights of endings.
const (
	weighIdle  = iota // at somebody who does not care
	weighCopy         // a copy that was made for want of knowing better, lost away from the goal
	weighDrop         // dropped on its way
	weighOwner        // came to who ought to have answered
)

// weigh says how much an ending tells.
func weigh(e *ending, copied bool, host string) int {
	switch {
	case e.weight != 0:
		return e.weight
	case e.idle:
		return weighIdle
	case copied && e.host != host:
		return weighCopy
	}
	return weighDrop
}

// further reports whether a copy's end says more about the packet than another's.
func further(a, b *ending, host string) bool {
	if a.weight != b.weight {
		return a.weight > b.weight
	}
	if at, bt := a.host == host && host != "", b.host == host && host != ""; at != bt {
		return at
	}
	return a.trail.length() > b.trail.length()
}

func (t *trail) length() int {
	if t == nil {
		return 0
	}
	return t.depth
}

func (r *run) step(f frame, g goal) ([]frame, []ending) {
	switch f.spot {
	case atDevice:
		return r.enter(f, g)
	case byDevice:
		return r.leave(f, g)
	case atSwitch:
		return r.through(f)
	case byTunnel:
		return r.tunnel(f)
	case atWire:
		return r.wire(f, g)
	case atMachine:
		return r.machine(f, g)
	default:
		return r.outside(f, g)
	}
}

// stop ends a packet with a last hop. why is the stable code of the reason.
func stop(f frame, h trace.Hop, verdict trace.Verdict, why string) []ending {
	if h.Facts == nil {
		h.Facts = map[string]string{}
	}
	h.Facts["why"] = why
	h.Verdict = verdict
	h.Does = "drop"
	if verdict == trace.Undetermined {
		h.Does = "unknown"
	}
	if h.In == (packet.Packet{}) {
		h.In = f.p
	}
	host := h.Host
	if host == "" {
		host = f.host
	}
	return []ending{{verdict: verdict, host: host, p: f.p, trail: f.trail.add(h), idle: f.copied && verdict == trace.Undetermined}}
}
