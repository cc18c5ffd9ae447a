package conn

import (
	"net/netip"
	"testing"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
)

func syn(src, dst string) packet.Packet {
	return packet.Packet{
		Type: packet.IPv4, Proto: packet.TCP, Flags: 2, IPSrc: netip.MustParseAddr(src), IPDst: netip.MustParseAddr(dst), SrcPort: 40000, DstPort: 80,
	}
}

func TestTranslation(t *testing.T) {
	table := New(nil)
	p := syn("10.0.0.5", "198.51.100.1")
	left := p
	left.IPSrc, left.SrcPort = netip.MustParseAddr("203.0.113.9"), 1024
	e := table.Commit(7, p, left, 3)
	if src, dst := e.Translated(); !src || dst || e.Mark != 3 {
		t.Errorf("%+v", e)
	}
	if got := e.Translate(p, false); got != left {
		t.Errorf("the next one leaves as %s", got)
	}
	answer := left.Reply()
	found, reply := table.Look(7, answer)
	if found != e || !reply {
		t.Fatalf("the answer belongs to %+v %v", found, reply)
	}
	if got := e.Translate(answer, true); got != p.Reply() {
		t.Errorf("the answer becomes %s", got)
	}
	if found, _ := table.Look(0, answer); found != nil {
		t.Error("zones are not told apart")
	}
	if _, reply := table.Look(7, p); reply {
		t.Error("the first packet is taken for an answer")
	}
	clone := table.Clone()
	clone.Commit(7, answer, answer, 9)
	if found, _ := clone.Look(7, p); !found.Seen || found.Mark != 9 {
		t.Errorf("the answer was not noticed: %+v", found)
	}
	if found, _ := table.Look(7, p); found.Seen || found.Mark != 3 {
		t.Errorf("a clone has changed what it was made of: %+v", found)
	}
}

func TestRealConnections(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("10.0.0.6")
	table := New([]facts.Conn{
		{Zone: 4, Proto: packet.TCP, Src: a, Dst: b, Sport: 40000, Dport: 80, RSrc: b, RDst: a, RSport: 80, RDport: 40000, State: "ESTABLISHED", Mark: 1},
		{Proto: packet.ICMP, Src: a, Dst: b, RSrc: b, RDst: a},
	})
	e, reply := table.Look(4, syn("10.0.0.5", "10.0.0.6"))
	if e == nil || reply || !e.Real || !e.Seen {
		t.Fatalf("%+v %v", e, reply)
	}
	if want := "tcp      6 ESTABLISHED src=10.0.0.5 dst=10.0.0.6 sport=40000 dport=80 src=10.0.0.6 dst=10.0.0.5 sport=80 dport=40000 mark=1 zone=4"; e.Line != want {
		t.Errorf("its line is %q", e.Line)
	}
	if e, _ := table.Look(0, packet.Packet{Type: packet.IPv4, Proto: packet.ICMP, ICMPType: 8, IPSrc: a, IPDst: b}); e != nil {
		t.Error("a new ping is taken for an old one")
	}
}

func TestNilTable(t *testing.T) {
	var table *Table
	p := syn("10.0.0.5", "10.0.0.6")
	if e := table.Commit(0, p, p, 0); e == nil || e.Original.Dport != 80 {
		t.Errorf("%+v", e)
	}
	if e, _ := table.Look(0, p); e != nil || table.Clone() != nil {
		t.Error("a nil table remembers")
	}
}

func TestStarts(t *testing.T) {
	for flags, want := range map[uint8]bool{2: true, 18: false, 16: true, 4: false, 20: false, 17: true} {
		p := syn("10.0.0.5", "10.0.0.6")
		p.Flags = flags
		if Starts(p) != want {
			t.Errorf("flags %d: %v", flags, !want)
		}
	}
	echo := packet.Packet{Type: packet.IPv4, Proto: packet.ICMP}
	if Starts(echo) {
		t.Error("the answer to an echo begins a connection")
	}
	if _, ok := Of(packet.Packet{Type: packet.ARP}); ok {
		t.Error("ARP is tracked")
	}
}
