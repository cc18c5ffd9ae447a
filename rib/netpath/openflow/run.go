package openflow

import (
	"fmt"
	"slices"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
)

// Bounds, as Open vSwitch has them (ofproto-dpif-xlate.c, dpif-netdev.c).
const (
	maxDepth     = 64                // look-ups within look-ups that do not go to a higher table
	maxResubmits = maxDepth * 64     // look-ups of one pass
	maxRecirc    = 8                 // passes after one another, by ct
	maxOutputs   = 8192              // of one pass; there it is 64 kB of actions
	maxLookups   = 16 * maxResubmits // of a run; there is no such bound there
)

// run is one packet's way through the switch.
type run struct {
	s       *Switch
	res     Result
	tracker tracker
	queue   []pass
	learned map[*bridge][]*Flow
	lookups int
	still   bool // flows teach nothing
	met     map[string]bool
}

// pass is what a packet goes on with after ct: from a table on, as it is then.
type pass struct {
	b      *bridge
	table  int
	w      words
	path   []int
	stack  []u128
	set    []Action
	recirc int
	inner  packet.Packet
}

// at is where a packet is within a pass.
type at struct {
	r           *run
	b           *bridge
	w           words
	table       int
	depth       int
	resubmits   int
	outputs     int
	recirc      int
	path        []int // of steps
	stack       []u128
	set         []Action // action set
	conntracked bool
	failed      bool // the pass does nothing at all
	exit        bool
	inner       packet.Packet // with the tunnel that it came by, within its bridge
}

func newRun(s *Switch) *run { return &run{s: s} }

func (r *run) unknown(what string) {
	if !r.met[what] {
		if r.met == nil {
			r.met = map[string]bool{}
		}
		r.met[what] = true
		r.res.Unknown = append(r.res.Unknown, what)
	}
}

func (r *run) start(b *bridge, inPort int, p packet.Packet) {
	r.queue = append(r.queue, pass{b: b, w: load(&p, inPort), inner: p})
	for i := 0; i < len(r.queue); i++ {
		q := &r.queue[i]
		r.pass(*q)
		r.queue[i] = pass{}
	}
}

// pass follows the packet until it leaves, is dropped or goes into connection tracking.
func (r *run) pass(q pass) {
	first, queued := len(r.res.Outputs), len(r.queue)
	a := &at{r: r, b: q.b, w: q.w, path: q.path, stack: q.stack, set: q.set, recirc: q.recirc, conntracked: q.recirc > 0, inner: q.inner}
	a.lookup(q.table, a.w.inPort(), false)
	a.finish()
	if a.failed {
		r.res.Outputs, r.queue = r.res.Outputs[:first], r.queue[:queued]
	}
}

// packet returns the packet as it is now.
func (a *at) packet() packet.Packet { return a.w.store(&a.inner) }

// step notes where the packet is.
func (a *at) step(table int, f *Flow, note string) {
	n := len(a.r.res.Steps)
	a.r.res.Steps = append(a.r.res.Steps, Step{Bridge: a.b.facts.Name, Table: uint8(table), Flow: f, Packet: a.packet(), Note: note})
	a.path = append(slices.Clip(a.path), n)
}

// note says something about the step that the packet is in.
func (a *at) note(format string, args ...any) {
	if len(a.path) == 0 {
		return
	}
	s := &a.r.res.Steps[a.path[len(a.path)-1]]
	if s.Note != "" {
		s.Note += "; "
	}
	if len(s.Note) < 1000 {
		s.Note += fmt.Sprintf(format, args...)
	}
}

// leave notes what the packet is like when it goes on from its step.
func (a *at) leave() {
	if len(a.path) > 0 {
		a.r.res.Steps[a.path[len(a.path)-1]].Packet = a.packet()
	}
}

// lookup finds the flow of a table and does what it says. port is that by which the packet
// came as far as the table is concerned; swap looks with the tuple that the connection had
// at first.
func (a *at) lookup(id, port int, swap bool) {
	switch {
	case a.depth >= maxDepth:
		a.fail(fmt.Sprintf("more than %d look-ups within one another", maxDepth))
		return
	case a.resubmits >= maxResubmits:
		a.fail(fmt.Sprintf("more than %d look-ups", maxResubmits))
		return
	case a.outputs > maxOutputs:
		a.exit = true
		return
	case a.r.lookups >= maxLookups:
		a.r.unknown(fmt.Sprintf("the packet was copied so often that it was given up after %d look-ups", maxLookups))
		a.exit = true
		return
	}
	a.r.lookups++
	old := a.table
	a.table = id
	defer func() { a.table = old }()
	w := a.w
	w[slotPort] = w[slotPort]&ones(32) | uint64(port)<<32
	if swap {
		if w[slotOrigTP]>>24&0xff == 0 || !w.isIP() {
			a.note("resubmit with ct, and the packet is not tracked")
			return
		}
		w.swapTuple()
	}
	f := a.find(id, &w)
	path := a.path
	a.step(id, f, "")
	if f == nil {
		a.note("no flow fits; the packet is dropped")
		a.path = path
		return
	}
	a.resubmits++
	deepens := id <= old
	if deepens {
		a.depth++
	}
	a.do(f.Actions)
	if deepens {
		a.depth--
	}
	a.path = path
}

// fail ends the pass: nothing of it takes effect.
func (a *at) fail(why string) {
	a.failed = true
	a.note("%s; Open vSwitch drops the packet", why)
}

// find returns the flow that fits, among those of the table and those learned in this run.
func (a *at) find(id int, w *words) *Flow {
	var best *Flow
	if t := a.b.tables[id]; t != nil {
		best = t.find(w)
		for _, f := range t.odd {
			if (best == nil || f.Priority >= best.Priority) && f.Match.fits(w) {
				for _, u := range f.Match.unknown {
					a.r.unknown(fmt.Sprintf("%s table %d: field %s", a.b.facts.Name, id, u))
				}
			}
		}
	}
	for _, f := range a.r.learned[a.b] {
		if int(f.Table) == id && (best == nil || f.Priority >= best.Priority) && f.Match.fits(w) {
			best = f
		}
	}
	for _, u := range a.b.bad {
		a.r.unknown(u)
	}
	return best
}

// swapTuple puts the connection's first tuple in the place of the packet's.
func (w *words) swapTuple() {
	if w.etherType() == packet.IPv4 {
		w[slotIP] = w[slotOrigIP]
	} else {
		w[slotSrc6], w[slotSrc6+1] = w[slotOrigSrc6], w[slotOrigSrc6+1]
		w[slotDst6], w[slotDst6+1] = w[slotOrigDst6], w[slotOrigDst6+1]
	}
	w[slotTP] = w[slotTP]&ones(32) | w[slotOrigTP]>>32<<32
	w[slotEthDst] = w[slotEthDst]&^0xff00 | w[slotOrigTP]>>24&0xff<<8
}

// finish executes the action set.
func (a *at) finish() {
	set := a.set
	a.set = nil
	if len(set) > 0 && !a.failed {
		exit := a.exit
		a.exit = false
		a.do(ordered(set))
		a.exit = exit
	}
}

// output lets the packet leave by a port.
func (a *at) output(n int) {
	p := a.b.ports[n]
	if p == nil {
		if n == portLocal { // the bridge's own, where facts do not list it
			a.note("there is no LOCAL port")
			return
		}
		a.note("port %d does not exist", n)
		return
	}
	if p.Type == "patch" {
		a.patch(p)
		return
	}
	a.leave()
	a.outputs++
	q := a.packet()
	q.Tunnel = packet.Tunnel{}
	if tunnels[p.Type] {
		t, ok := a.tunnel(p)
		if !ok {
			return
		}
		q.Tunnel = t
	}
	a.r.res.Outputs = append(a.r.res.Outputs, Output{Bridge: a.b.facts.Name, Port: p, Packet: q, Steps: slices.Clone(a.path)})
}

// tunnel returns the outer header of a packet that leaves by a tunnel port.
func (a *at) tunnel(p *facts.Port) (packet.Tunnel, bool) {
	t := packet.Tunnel{Kind: p.Type}
	key, flow := tunnelKey(p, "out_key")
	if flow {
		key = a.w[slotTunID]
	}
	t.ID = uint32(key)
	t.Dst = a.tunnelAddr(p.Options["remote_ip"], slotTunAddr, 0, slotTunDst6)
	t.Src = a.tunnelAddr(p.Options["local_ip"], slotTunAddr, 32, slotTunSrc6)
	if !t.Dst.IsValid() {
		a.note("no flow says to which host the packet goes by %s", p.Name)
		return t, false
	}
	return t, true
}

// patch lets the packet go on in the bridge at the other end of a patch port. There it has
// no registers, metadata, tunnel or connection; what becomes of it there changes nothing
// here.
func (a *at) patch(p *facts.Port) {
	name, other := a.r.s.peer(p)
	if other == nil {
		a.note("patch port %s has no other end", p.Name)
		return
	}
	b := a.r.s.bridge(name)
	a.leave()
	saved := *a
	a.b = b
	for i := range slotMetadata {
		a.w[i] = 0
	}
	for i := slotMetadata; i < slotPort; i++ {
		a.w[i] = 0
	}
	a.w[slotTun] = 0
	a.w.setPort(other.OFPort)
	a.w[slotQueue] = a.w[slotQueue]&^ones(32) | portUnset
	a.inner.Tunnel = packet.Tunnel{}
	a.untrack()
	a.stack, a.set = nil, nil
	a.lookup(0, other.OFPort, false)
	a.finish()
	depth, resubmits, outputs := a.depth, a.resubmits, a.outputs
	*a = saved
	a.depth, a.resubmits, a.outputs = depth, resubmits, outputs
	a.exit, a.failed = false, false
}

func (w *words) setPort(n int) { w[slotPort] = w[slotPort]&ones(32) | uint64(n)<<32 }

// untrack forgets what is known of the connection.
func (a *at) untrack() {
	w := &a.w
	w[slotCT] &= 0xffff
	w[slotPort] &^= ones(32)
	for i := slotLabel; i < slotEthSrc; i++ {
		w[i] = 0
	}
	for i := slotOrigIP; i < slotRecirc; i++ {
		w[i] = 0
	}
	a.conntracked = false
}
