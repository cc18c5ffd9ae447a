// Package conn is a small model of connection tracking, for the kernel and for Open vSwitch:
// which packets belong to a connection that is known, and how its packets are translated. A
// namespace, or a data path, has one Table; zones are told apart within it.
package conn

import (
	"fmt"
	"maps"
	"net/netip"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
)

// Tuple is what tells connections apart, as seen in one direction.
type Tuple struct {
	Proto        uint8
	Src, Dst     netip.Addr
	Sport, Dport uint16 // of TCP, UDP, SCTP; 0 else
	ICMP         uint8  // type, of ICMP and ICMPv6; identifiers are not modelled
}

// Of returns the tuple of a packet; ok is false for what is not tracked, as ARP.
func Of(p packet.Packet) (t Tuple, ok bool) {
	if !p.IsIP() {
		return Tuple{}, false
	}
	t = Tuple{Proto: p.Proto, Src: p.IPSrc, Dst: p.IPDst}
	switch p.Proto {
	case packet.ICMP, packet.ICMPv6:
		t.ICMP = p.ICMPType
	default:
		t.Sport, t.Dport = p.SrcPort, p.DstPort
	}
	return t, true
}

// Invert returns the tuple of the answer.
func (t Tuple) Invert() Tuple {
	return Tuple{Proto: t.Proto, Src: t.Dst, Dst: t.Src, Sport: t.Dport, Dport: t.Sport, ICMP: answers[icmp{t.Proto, t.ICMP}]}
}

type icmp struct{ proto, kind uint8 }

// answers pairs the ICMP types that ask with those that answer (nf_conntrack_proto_icmp.c).
var answers = map[icmp]uint8{
	{packet.ICMP, 8}: 0, {packet.ICMP, 0}: 8, {packet.ICMP, 13}: 14, {packet.ICMP, 14}: 13,
	{packet.ICMP, 15}: 16, {packet.ICMP, 16}: 15, {packet.ICMP, 17}: 18, {packet.ICMP, 18}: 17,
	{packet.ICMPv6, 128}: 129, {packet.ICMPv6, 129}: 128, {packet.ICMPv6, 139}: 140, {packet.ICMPv6, 140}: 139,
}

// Starts reports whether a packet that belongs to no known connection may begin one; if not,
// it is invalid: a SYN+ACK that nobody has asked for, the answer to an echo that nobody sent.
func Starts(p packet.Packet) bool {
	const fin, syn, rst, ack = 1, 2, 4, 16
	switch p.Proto {
	case packet.ICMP:
		return p.ICMPType == 8 || p.ICMPType == 13 || p.ICMPType == 15 || p.ICMPType == 17
	case packet.ICMPv6:
		return p.ICMPType == 128 || p.ICMPType == 139
	case packet.TCP:
		f := p.Flags & (fin | syn | rst | ack)
		return f == 0 && p.Flags == 0 || f == syn || f == ack || f == fin|ack // nf_conntrack_tcp_loose
	}
	return true
}

// Entry is a connection.
type Entry struct {
	Zone     int
	Original Tuple // of the packet that began it, as it came
	Reply    Tuple // of the answers, as they come: the inverse of Original after translation
	Mark     uint32
	Seen     bool   // an answer has been seen
	Real     bool   // from facts
	Line     string // of a real one, as conntrack -L writes it
}

// Translated reports whether the connection's source, or its destination, is rewritten.
func (e *Entry) Translated() (src, dst bool) {
	r := e.Reply.Invert()
	o := e.Original
	return r.Src != o.Src || r.Sport != o.Sport, r.Dst != o.Dst || r.Dport != o.Dport
}

// Translate returns the packet as it leaves after the connection's translation; reply says
// which direction it has.
func (e *Entry) Translate(p packet.Packet, reply bool) packet.Packet {
	to := e.Reply.Invert()
	if reply {
		to = e.Original.Invert()
	}
	p.IPSrc, p.IPDst = to.Src, to.Dst
	if p.Proto != packet.ICMP && p.Proto != packet.ICMPv6 {
		p.SrcPort, p.DstPort = to.Sport, to.Dport
	}
	return p
}

// Table holds the connections of a namespace or data path. It is no good for concurrent use;
// clones are cheap.
type Table struct {
	real map[key]*Entry // never written after New
	own  map[key]*Entry // what was committed; hides real
}

type key struct {
	zone int
	t    Tuple
}

// New returns a table with the connections that a host really has. Those of ICMP are left
// out: their identifiers are not modelled, and each ping has one of its own.
func New(conns []facts.Conn) *Table {
	t := &Table{real: make(map[key]*Entry, 2*len(conns)), own: map[key]*Entry{}}
	for i := range conns {
		c := &conns[i]
		if c.Proto == packet.ICMP || c.Proto == packet.ICMPv6 {
			continue
		}
		e := &Entry{
			Zone:     c.Zone,
			Original: Tuple{Proto: c.Proto, Src: c.Src, Dst: c.Dst, Sport: c.Sport, Dport: c.Dport},
			Reply:    Tuple{Proto: c.Proto, Src: c.RSrc, Dst: c.RDst, Sport: c.RSport, Dport: c.RDport},
			Mark:     c.Mark, Real: true, Line: line(c),
			Seen: c.State != "SYN_SENT",
		}
		t.real[key{c.Zone, e.Original}] = e
		t.real[key{c.Zone, e.Reply}] = e
	}
	return t
}

// line writes a connection as conntrack -L does, without what changes each second.
func line(c *facts.Conn) string {
	name := map[uint8]string{packet.TCP: "tcp", packet.UDP: "udp"}[c.Proto]
	if name == "" {
		name = "unknown"
	}
	s := fmt.Sprintf("%-8s %d", name, c.Proto)
	if c.State != "" {
		s += " " + c.State
	}
	s += fmt.Sprintf(" src=%s dst=%s sport=%d dport=%d src=%s dst=%s sport=%d dport=%d mark=%d",
		c.Src, c.Dst, c.Sport, c.Dport, c.RSrc, c.RDst, c.RSport, c.RDport, c.Mark)
	if c.Zone != 0 {
		s += fmt.Sprintf(" zone=%d", c.Zone)
	}
	return s
}

// Look returns the connection that a packet belongs to, and whether the packet is one of the
// answers; nil: it is of no known connection. A nil table knows none.
func (t *Table) Look(zone int, p packet.Packet) (e *Entry, reply bool) {
	if t == nil {
		return nil, false
	}
	tuple, ok := Of(p)
	if !ok {
		return nil, false
	}
	e = t.own[key{zone, tuple}]
	if e == nil {
		e = t.real[key{zone, tuple}]
	}
	if e == nil {
		return nil, false
	}
	return e, e.Original != tuple
}

// Commit remembers the connection of a packet that came as p and leaves as translated (equal
// to p where nothing is translated), and returns its entry. If the connection is known, its
// mark becomes mark, and its answer counts as seen if p is one. A nil table forgets it again.
func (t *Table) Commit(zone int, p packet.Packet, translated packet.Packet, mark uint32) *Entry {
	e, reply := t.Look(zone, p)
	if e != nil {
		if e.Mark == mark && (e.Seen || !reply) {
			return e
		}
		c := *e
		c.Mark, c.Seen = mark, e.Seen || reply
		return t.keep(&c)
	}
	from, ok := Of(p)
	if !ok {
		return nil
	}
	to, _ := Of(translated)
	return t.keep(&Entry{Zone: zone, Original: from, Reply: to.Invert(), Mark: mark})
}

func (t *Table) keep(e *Entry) *Entry {
	if t == nil {
		return e
	}
	t.own[key{e.Zone, e.Original}] = e
	t.own[key{e.Zone, e.Reply}] = e
	return e
}

// Clone returns a table that knows the same and goes its own way from there.
func (t *Table) Clone() *Table {
	if t == nil {
		return nil
	}
	c := &Table{real: t.real, own: make(map[key]*Entry, len(t.own)+2)}
	maps.Copy(c.own, t.own)
	return c
}
