package linux

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kaname.dev/kaname/rib/netpath/conn"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
)

// recorded reads a host of the recordings: a cloud of real Neutron agents (DVR).
func recorded(t testing.TB, name string) *facts.Host {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	h := new(facts.Host)
	if err := json.Unmarshal(raw, h); err != nil {
		t.Fatal(err)
	}
	return h
}

// spaceOf returns the namespace whose name begins like that.
func spaceOf(t testing.TB, h *facts.Host, prefix string) *Space {
	t.Helper()
	for i := range h.Namespaces {
		if n := &h.Namespaces[i]; n.Name == prefix || prefix != "" && strings.HasPrefix(n.Name, prefix) {
			return New(h, n)
		}
	}
	t.Fatalf("%s has no namespace %s", h.Name, prefix)
	return nil
}

// dev returns the name of the device that has an address.
func (s *Space) dev(t testing.TB, addr string) string {
	t.Helper()
	d := s.deviceOf(netip.MustParseAddr(addr))
	if d == "" {
		t.Fatalf("%s has no %s", s.label(), addr)
	}
	return d
}

// to makes a packet for the device's own station.
func (s *Space) to(dev string, p packet.Packet) packet.Packet {
	if l := s.ns.Link(dev); l != nil && p.Dst.Zero() {
		p.Dst = l.MAC
	}
	return p
}

func ping(src, dst string) packet.Packet {
	return packet.Packet{
		Src: packet.MAC{2, 0, 0, 0, 0, 9}, Type: packet.IPv4, IPSrc: netip.MustParseAddr(src), IPDst: netip.MustParseAddr(dst), Proto: packet.ICMP, ICMPType: 8,
		TTL: 64, Size: 84, Keep: true,
	}
}

func tcp(src, dst string, port uint16) packet.Packet {
	p := ping(src, dst)
	p.Proto, p.ICMPType, p.SrcPort, p.DstPort, p.Flags = packet.TCP, 0, 40000, port, 2
	return p
}

func dump(t *testing.T, o Outcome) {
	t.Helper()
	for _, s := range o.Steps {
		t.Logf("%s drop=%v %v %s", s.Does, s.Drop, s.Facts, s.Packet)
		for _, p := range s.Proof {
			t.Logf("      [%s] %s", p.Where, p.Line)
		}
	}
	for _, u := range o.Out {
		t.Logf("  => %s %s", u.Dev, u.Packet)
	}
	t.Logf("  local=%v resolve=%v unknown=%v", o.Local, o.Resolve, o.Unknown)
}

func TestExplore(t *testing.T) {
	c1, c2, n1 := recorded(t, "c1"), recorded(t, "c2"), recorded(t, "n1")
	r := spaceOf(t, c1, "qrouter-")
	f := spaceOf(t, c1, "fip-")
	q := r.dev(t, "10.10.1.1")
	for _, err := range r.Errors() {
		t.Error(err)
	}
	in := r.to(q, ping("10.10.1.11", "10.10.2.12"))
	t.Log("a1 -> b2")
	dump(t, r.Receive(in, q, Context{}))
	x := Context{Tracked: conn.New(nil)}
	t.Log("a1 -> internet")
	o := r.Receive(r.to(q, ping("10.10.1.11", "198.51.100.1")), q, x)
	dump(t, o)
	fpr := f.dev(t, "169.254.88.135")
	if len(o.Out) > 0 {
		t.Log("fip out")
		dump(t, f.Receive(o.Out[0].Packet, fpr, Context{}))
	}
	fg := f.dev(t, "203.0.113.80")
	t.Log("fip in")
	dump(t, f.Receive(f.to(fg, ping("198.51.100.1", "203.0.113.61")), fg, Context{}))
	t.Log("who has fip")
	dump(t, f.Receive(packet.Packet{Type: packet.ARP, Op: 1, Dst: packet.Broadcast, IPSrc: netip.MustParseAddr("203.0.113.1"), IPDst: netip.MustParseAddr("203.0.113.61")}, fg, Context{}))
	t.Log("who has other")
	dump(t, f.Receive(packet.Packet{Type: packet.ARP, Op: 1, Dst: packet.Broadcast, IPSrc: netip.MustParseAddr("203.0.113.1"), IPDst: netip.MustParseAddr("203.0.113.99")}, fg, Context{}))
	t.Log("who has gw")
	dump(t, r.Receive(packet.Packet{Type: packet.ARP, Op: 1, Dst: packet.Broadcast, IPSrc: netip.MustParseAddr("10.10.1.11"), IPDst: netip.MustParseAddr("10.10.1.1")}, q, Context{}))
	t.Log("metadata")
	o = r.Receive(r.to(q, tcp("10.10.1.11", "169.254.169.254", 80)), q, x)
	dump(t, o)
	if o.Local {
		t.Log("metadata back")
		dump(t, r.Send(o.Packet.Reply(), x))
	}
	s := spaceOf(t, n1, "snat-")
	sg := s.dev(t, "10.10.1.247")
	x = Context{Tracked: conn.New(nil)}
	t.Log("snat")
	o = s.Receive(s.to(sg, ping("10.10.1.12", "198.51.100.1")), sg, x)
	dump(t, o)
	qg := s.dev(t, "203.0.113.51")
	if len(o.Out) > 0 {
		t.Log("snat back")
		dump(t, s.Receive(s.to(qg, func() packet.Packet { p := o.Out[0].Packet.Reply(); p.Dst = packet.MAC{}; return p }()), qg, x))
	}
	root := spaceOf(t, c2, "")
	x = Context{Tracked: conn.New(nil)}
	t.Log("a2 out")
	o = root.Forward(func() packet.Packet {
		p := tcp("10.10.1.12", "10.10.1.11", 443)
		p.Src = packet.MAC{0xfa, 0x16, 0x3e, 0, 0, 2}
		p.Dst = packet.MAC{0xfa, 0x16, 0x3e, 0, 0, 1}
		return p
	}(), "tapcb204ba3-ec", x)
	dump(t, o)
	t.Log("a2 back")
	dump(t, root.Forward(o.Out[0].Packet.Reply(), "qvbcb204ba3-ec", x))
	t.Log("a2 in 443")
	dump(t, root.Forward(func() packet.Packet {
		p := tcp("10.10.1.11", "10.10.1.12", 443)
		p.Dst = packet.MAC{0xfa, 0x16, 0x3e, 0, 0, 2}
		return p
	}(), "qvbcb204ba3-ec", Context{}))
	t.Log("a2 in 8080")
	dump(t, root.Forward(func() packet.Packet {
		p := tcp("10.10.1.11", "10.10.1.12", 8080)
		p.Dst = packet.MAC{0xfa, 0x16, 0x3e, 0, 0, 2}
		return p
	}(), "qvbcb204ba3-ec", Context{}))
}
