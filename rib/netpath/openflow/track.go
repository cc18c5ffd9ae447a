package openflow

import (
	"slices"

	"kaname.dev/kaname/rib/netpath/conn"
	"kaname.dev/kaname/rib/netpath/packet"
)

// Bits of ct_state (ovs-fields(7)).
const (
	stateNew = 1 << iota
	stateEstablished
	stateRelated
	stateReply
	stateInvalid
	stateTracked
	stateSNAT
	stateDNAT
)

// tracked is what connection tracking says of a packet.
type tracked struct {
	state uint32
	keep  bool // mark stays what flows have written
	mark  uint32
	first conn.Tuple // of the connection's first packet
	after packet.Packet
}

// tracker looks a packet up and, where t commits, remembers its connection with mark.
type tracker interface {
	track(zone int, p packet.Packet, t *track, mark uint32) tracked
}

// connections is a tracker that knows what a table does.
type connections struct{ table *conn.Table }

func (c connections) track(zone int, p packet.Packet, t *track, mark uint32) tracked {
	k := tracked{state: stateTracked, after: p}
	e, reply := c.table.Look(zone, p)
	tuple, ok := conn.Of(p)
	switch {
	case !ok, e == nil && !conn.Starts(p):
		k.state |= stateInvalid
		return k
	case e == nil:
		k.state |= stateNew
		k.first = tuple
		if t.nat != nil && t.commit {
			k.after = t.nat.apply(p)
		}
	case reply:
		k.state |= stateEstablished | stateReply
		e = c.table.Commit(zone, p, p, e.Mark) // its answer has been seen
	case e.Seen:
		k.state |= stateEstablished
	default:
		k.state |= stateNew // nobody has answered yet
	}
	if e != nil {
		k.first, k.mark = e.Original, e.Mark
		src, dst := e.Translated()
		if src {
			k.state |= stateSNAT
		}
		if dst {
			k.state |= stateDNAT
		}
		if t.nat != nil && (src || dst) {
			k.after = e.Translate(p, reply)
		}
	}
	if t.commit {
		c.table.Commit(zone, p, k.after, mark)
		k.mark = mark
	}
	return k
}

// apply translates the first packet of a connection: to the first of the addresses and
// ports that it may take.
func (t *translation) apply(p packet.Packet) packet.Packet {
	if t.first == (u128{}) {
		return p
	}
	addr := valueAddr4(t.first.lo)
	if t.v6 {
		addr = valueAddr6(t.first)
	}
	ports := p.Proto == packet.TCP || p.Proto == packet.UDP || p.Proto == sctp
	switch {
	case t.src:
		p.IPSrc = addr
		if t.firstTP != 0 && ports {
			p.SrcPort = t.firstTP
		}
	case t.dst:
		p.IPDst = addr
		if t.firstTP != 0 && ports {
			p.DstPort = t.firstTP
		}
	}
	return p
}

// track is ct: the packet is looked up; with a table a copy goes on there, knowing what was
// found. The packet itself goes on knowing nothing of its connection.
func (a *at) track(x *Action) {
	t := x.track
	a.leave()
	zone := t.zone
	if t.zoneFrom.f != nil {
		zone = int(a.w.read(t.zoneFrom).lo & 0xffff)
	}
	for i := range x.Nested {
		if x.Nested[i].Kind == ActNAT {
			continue
		}
		a.modify(&x.Nested[i])
	}
	k := a.r.tracker.track(zone, a.packet(), t, uint32(a.w[slotPort]))
	after := load(&k.after, a.w.inPort())
	if x.Table >= 0 {
		a.fork(x.Table, zone, k, &after)
	} else if t.nat != nil {
		a.w.translate(&after)
	}
	a.untrack()
}

// fork lets a copy go on in a table after this pass.
func (a *at) fork(table, zone int, k tracked, after *words) {
	if a.recirc+1 > maxRecirc {
		a.note("more than %d times through ct; Open vSwitch drops the packet", maxRecirc)
		return
	}
	w := a.w
	w.translate(after)
	w[slotCT] = w[slotCT]&0xffff | uint64(k.state)<<32 | uint64(zone)<<16
	if !k.keep {
		w[slotPort] = w[slotPort]&^ones(32) | uint64(k.mark)
	}
	if k.first != (conn.Tuple{}) {
		w.setFirst(k.first)
	}
	a.r.queue = append(a.r.queue, pass{
		b: a.b, table: table, w: w, path: slices.Clone(a.path), stack: slices.Clone(a.stack), set: slices.Clone(a.set), recirc: a.recirc + 1, inner: a.inner,
	})
}

// translate takes addresses and ports from another packet's words.
func (w *words) translate(from *words) {
	for i := slotIP; i < slotTarget; i++ {
		w[i] = from[i]
	}
	if w.isIP() {
		w[slotTP] = w[slotTP]&ones(32) | from[slotTP]&^ones(32)
	}
}

// setFirst writes the tuple that the connection had at first.
func (w *words) setFirst(t conn.Tuple) {
	src, dst := addrValue(t.Src), addrValue(t.Dst)
	if t.Src.Is4() {
		w[slotOrigIP] = src.lo<<32 | dst.lo
	} else {
		w[slotOrigSrc6], w[slotOrigSrc6+1], w[slotOrigDst6], w[slotOrigDst6+1] = src.hi, src.lo, dst.hi, dst.lo
	}
	sport, dport := t.Sport, t.Dport
	if t.ICMP != 0 {
		sport = uint16(t.ICMP)
	}
	w[slotOrigTP] = uint64(sport)<<48 | uint64(dport)<<32 | uint64(t.Proto)<<24
}
