package linux

import (
	"encoding/json"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kaname.dev/kaname/rib/netpath/conn"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
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

// step returns the first step that does something, nil if there is none.
func (o *Outcome) step(does string) *Step {
	for i := range o.Steps {
		if o.Steps[i].Does == does {
			return &o.Steps[i]
		}
	}
	return nil
}

// tells fails unless a step of the outcome has those facts and proves itself by that line.
func tells(t *testing.T, o Outcome, does, line string, told ...string) {
	t.Helper()
	s := o.step(does)
	if s == nil {
		t.Fatalf("it does not %s: %+v", does, o)
	}
	for i := 0; i < len(told); i += 2 {
		if s.Facts[told[i]] != told[i+1] {
			t.Errorf("%s: %s is %q, not %q", does, told[i], s.Facts[told[i]], told[i+1])
		}
	}
	if line != "" && !slices.ContainsFunc(s.Proof, func(p trace.Proof) bool { return p.Line == line && p.Host != "" && p.Where != "" }) {
		t.Errorf("%s is not proved by %q but by %+v", does, line, s.Proof)
	}
}

// out returns the only packet that leaves, and by which device.
func out(t *testing.T, o Outcome) (packet.Packet, string) {
	t.Helper()
	if len(o.Out) != 1 {
		t.Fatalf("%d packets leave: %+v", len(o.Out), o)
	}
	return o.Out[0].Packet, o.Out[0].Dev
}

func TestDistributedRouter(t *testing.T) {
	c1 := recorded(t, "c1")
	r, f := spaceOf(t, c1, "qrouter-"), spaceOf(t, c1, "fip-")
	for _, err := range append(r.Errors(), f.Errors()...) {
		t.Error(err)
	}
	qr := r.dev(t, "10.10.1.1")

	o := r.Receive(r.to(qr, ping("10.10.1.11", "10.10.2.12")), qr, Context{})
	p, dev := out(t, o)
	if dev != r.dev(t, "10.10.2.1") || p.Dst.String() != "fa:16:3e:00:00:04" || p.TTL != 63 {
		t.Errorf("to the other network: %s %s ttl %d", dev, p, p.TTL)
	}
	tells(t, o, "route", "10.10.2.12 dev "+dev+" lladdr fa:16:3e:00:00:04 PERMANENT", "table", "main", "neighbour", "permanent")

	x := Context{Tracked: conn.New(nil)}
	o = r.Receive(r.to(qr, ping("10.10.1.11", "198.51.100.1")), qr, x)
	p, _ = out(t, o)
	tells(t, o, "route", "58260:\tfrom 10.10.1.11 lookup 16", "via", "169.254.88.135", "table", "16")
	tells(t, o, "snat", "-A neutron-l3-agent-float-snat -s 10.10.1.11/32 -j SNAT --to-source 203.0.113.61 --random-fully", "from", "10.10.1.11", "to", "203.0.113.61")

	o = f.Receive(p, f.dev(t, "169.254.88.135"), Context{})
	p, dev = out(t, o)
	tells(t, o, "route", "2852018311:\tfrom all iif fpr-66f0a2bd-d lookup 2852018311")
	if dev != f.dev(t, "203.0.113.80") || p.IPSrc.String() != "203.0.113.61" {
		t.Errorf("out: %s %s", dev, p)
	}
	back := p.Reply()
	back.Dst = packet.MAC{}
	p, dev = out(t, f.Receive(f.to(dev, back), dev, Context{}))
	if dev != f.dev(t, "169.254.88.135") {
		t.Errorf("the answer leaves by %s", dev)
	}
	o = r.Receive(p, r.dev(t, "169.254.88.134"), x)
	p, dev = out(t, o)
	tells(t, o, "dnat", "", "from", "203.0.113.61", "to", "10.10.1.11", "answer", "true")
	if dev != qr || p.IPDst.String() != "10.10.1.11" || p.Dst.String() != "fa:16:3e:00:00:01" {
		t.Errorf("the answer comes to %s by %s", p, dev)
	}
}

func ask(from, to string) packet.Packet {
	m := packet.MAC{2, 0, 0, 0, 0, 9}
	return packet.Packet{Type: packet.ARP, Op: 1, Src: m, ARPSrc: m, Dst: packet.Broadcast, IPSrc: netip.MustParseAddr(from), IPDst: netip.MustParseAddr(to)}
}

func TestARP(t *testing.T) {
	c1 := recorded(t, "c1")
	r, f := spaceOf(t, c1, "qrouter-"), spaceOf(t, c1, "fip-")
	fg, qr := f.dev(t, "203.0.113.80"), r.dev(t, "10.10.1.1")
	for _, c := range []struct {
		name   string
		s      *Space
		dev    string
		p      packet.Packet
		how    string
		reason string
		edit   map[string]string
	}{
		{"an own address", r, qr, ask("10.10.1.11", "10.10.1.1"), "own", "", nil},
		{"a floating address", f, fg, ask("203.0.113.1", "203.0.113.61"), "proxy", "", nil},
		{"a floating address without proxy_arp", f, fg, ask("203.0.113.1", "203.0.113.61"), "", "proxy_arp is off", map[string]string{"net.ipv4.conf." + fg + ".proxy_arp": "0"}},
		{"an address of the segment", f, fg, ask("203.0.113.1", "203.0.113.99"), "", "the address is on the same segment", nil},
		{"an own address of another device", r, qr, ask("10.10.1.11", "10.10.2.1"), "", "arp_ignore", nil},
		{"that, without arp_ignore", r, qr, ask("10.10.1.11", "10.10.2.1"), "own", "", map[string]string{"net.ipv4.conf.all.arp_ignore": "0", "net.ipv4.conf." + qr + ".arp_ignore": "0"}},
	} {
		n := *c.s.ns
		n.Sysctls = maps.Clone(n.Sysctls)
		maps.Copy(n.Sysctls, c.edit)
		o := New(c1, &n).Receive(c.p, c.dev, Context{})
		if c.how == "" {
			tells(t, o, "drop", "", "why", WhyUnanswered, "reason", c.reason)
			continue
		}
		p, dev := out(t, o)
		tells(t, o, "arp", "", "how", c.how)
		if dev != c.dev || p.Op != 2 || p.ARPSrc != c.s.ns.Link(c.dev).MAC || p.IPSrc != c.p.IPDst || p.Dst != c.p.Src {
			t.Errorf("%s: %s by %s", c.name, p, dev)
		}
	}
}

func TestMetadata(t *testing.T) {
	h := recorded(t, "c1")
	r := spaceOf(t, h, "qrouter-")
	qr := r.dev(t, "10.10.1.1")
	x := Context{Tracked: conn.New(nil)}
	o := r.Receive(r.to(qr, tcp("10.10.1.11", "169.254.169.254", 80)), qr, x)
	if !o.Local || o.Packet.DstPort != 9697 {
		t.Fatalf("it is not delivered: %+v", o)
	}
	tells(t, o, "dnat", "-A neutron-l3-agent-PREROUTING -d 169.254.169.254/32 -i qr-+ -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 9697", "to", "10.10.1.1:9697")
	tells(t, o, "filter", "-A neutron-l3-agent-INPUT -m mark --mark 0x1/0xffff -j ACCEPT")
	tells(t, o, "deliver", "", "program", "haproxy", "port", "9697")
	p, _ := out(t, r.Send(o.Packet.Reply(), x))
	if p.IPSrc.String() != "169.254.169.254" || p.SrcPort != 80 {
		t.Errorf("the answer is %s", p)
	}

	n := *r.ns
	n.Sockets = nil
	tells(t, New(h, &n).Receive(r.to(qr, tcp("10.10.1.11", "169.254.169.254", 80)), qr, Context{}), "drop", "", "why", WhyListener, "port", "9697")
	tells(t, r.Receive(r.to(qr, tcp("10.10.1.11", "10.10.1.1", 9697)), qr, Context{}), "drop", "-A neutron-l3-agent-INPUT -p tcp -m tcp --dport 9697 -j DROP", "why", WhyFilter)
}

func TestSNAT(t *testing.T) {
	s := spaceOf(t, recorded(t, "n1"), "snat-")
	sg, qg := s.dev(t, "10.10.1.247"), s.dev(t, "203.0.113.51")
	x := Context{Tracked: conn.New(nil), Known: map[Ask]packet.MAC{}}
	in := s.to(sg, ping("10.10.1.12", "198.51.100.1"))
	gw := Ask{qg, netip.MustParseAddr("203.0.113.1")}
	n := *s.ns
	n.Neighbours = slices.DeleteFunc(slices.Clone(n.Neighbours), func(e facts.Neighbour) bool { return e.Addr == gw.Addr })
	s = New(s.host, &n)
	o := s.Receive(in, sg, x)
	if o.Resolve == nil || *o.Resolve != gw || len(o.Out) > 0 {
		t.Fatalf("it asks for %v: %+v", o.Resolve, o)
	}
	if q := s.Request(gw); q.IPSrc.String() != "203.0.113.51" || q.Op != 1 || q.ARPSrc != s.ns.Link(qg).MAC {
		t.Errorf("it asks %s", q)
	}
	x.Known[gw] = packet.MAC{}
	tells(t, s.Receive(in, sg, x), "drop", "default via 203.0.113.1 dev "+qg, "why", WhyNeighbour, "addr", "203.0.113.1")
	x.Known[gw] = packet.MAC{2, 2, 2, 2, 2, 2}
	p, dev := out(t, s.Receive(in, sg, x))
	if dev != qg || p.Dst != x.Known[gw] || p.IPSrc.String() != "203.0.113.51" {
		t.Fatalf("%s by %s", p, dev)
	}
	back := p.Reply()
	back.Dst = packet.MAC{}
	x.Known[Ask{sg, in.IPSrc}] = packet.MAC{4, 4, 4, 4, 4, 4}
	p, dev = out(t, s.Receive(s.to(qg, back), qg, x))
	if dev != sg || p.IPDst != in.IPSrc {
		t.Errorf("the answer is %s by %s", p, dev)
	}
	// One that nobody has asked for has no way in.
	back.DstPort, back.Proto, back.Flags = 5, packet.TCP, 2
	if o := s.Receive(s.to(qg, back), qg, x); len(o.Out) > 0 {
		t.Errorf("a stranger comes in: %+v", o.Out)
	}
}

const tap, qvb = "tapcb204ba3-ec", "qvbcb204ba3-ec"

func TestHybridBridge(t *testing.T) {
	c2 := recorded(t, "c2")
	s := spaceOf(t, c2, "")
	for _, err := range s.Errors() {
		t.Error(err)
	}
	a1, a2 := packet.MAC{0xfa, 0x16, 0x3e, 0, 0, 1}, packet.MAC{0xfa, 0x16, 0x3e, 0, 0, 2}
	x := Context{Tracked: conn.New(nil)}
	p := tcp("10.10.1.12", "10.10.1.11", 443)
	p.Src, p.Dst = a2, a1
	q, dev := out(t, s.Forward(p, tap, x))
	if dev != qvb || q != p {
		t.Errorf("%s by %s", q, dev)
	}
	o := s.Forward(p.Reply(), qvb, x)
	if _, dev = out(t, o); dev != tap {
		t.Errorf("the answer leaves by %s", dev)
	}
	if rule := o.step("filter").Facts["rule"]; !strings.Contains(rule, "RELATED,ESTABLISHED") {
		t.Errorf("the answer passes by %s", rule)
	}
	p.IPSrc = netip.MustParseAddr("10.10.1.99")
	o = s.Forward(p, tap, x)
	tells(t, o, "drop", "", "why", WhyFilter)
	if !strings.HasPrefix(o.step("drop").Facts["rule"], "-A neutron-openvswi-scb204ba3-e ") {
		t.Errorf("a borrowed address is stopped by %s", o.step("drop").Facts["rule"])
	}

	in := tcp("10.10.1.11", "10.10.1.12", 443)
	in.Src, in.Dst = a1, a2
	o = s.Forward(in, qvb, Context{})
	out(t, o)
	tells(t, o, "filter", "-A neutron-openvswi-icb204ba3-e -p tcp -m tcp --dport 443 -j RETURN", "rule", "-A neutron-openvswi-icb204ba3-e -p tcp -m tcp --dport 443 -j RETURN")
	in.DstPort = 8080
	tells(t, s.Forward(in, qvb, Context{}), "drop", "", "chain", "neutron-openvswi-sg-fallback", "why", WhyFilter)

	n := *s.ns
	n.Sysctls = maps.Clone(n.Sysctls)
	n.Sysctls["net.bridge.bridge-nf-call-iptables"] = "0"
	o = New(c2, &n).Forward(in, qvb, Context{})
	out(t, o)
	tells(t, o, "pass", "net.bridge.bridge-nf-call-iptables = 0", "filtered", "false")

	in.Size = 1451
	tells(t, s.Forward(in, qvb, Context{}), "drop", "", "why", WhyMTU, "mtu", "1450")
}

func TestFaults(t *testing.T) {
	h := recorded(t, "c1")
	r := spaceOf(t, h, "qrouter-")
	qr, rfp := r.dev(t, "10.10.1.1"), r.dev(t, "169.254.88.134")
	away := ping("10.10.1.11", "198.51.100.1")
	big := ping("10.10.1.11", "10.10.2.12")
	big.Size = 1451
	old := away
	old.TTL = 1
	other := away
	other.Dst = packet.MAC{2, 1, 1, 1, 1, 1}
	for _, c := range []struct {
		name string
		p    packet.Packet
		edit func(n *facts.Namespace)
		why  string
	}{
		{"switched off", away, func(n *facts.Namespace) { n.Link(qr).Up = false }, WhyDown},
		{"no carrier", away, func(n *facts.Namespace) { n.Link(rfp).Running = false }, WhyCarrier},
		{"too big", big, nil, WhyMTU},
		{"too old", old, nil, WhyTTL},
		{"for somebody else", other, nil, WhyOther},
		{"no router", away, func(n *facts.Namespace) { n.Sysctls["net.ipv4.conf."+qr+".forwarding"] = "0" }, WhyForwarding},
		{"no route", ping("10.10.4.11", "198.51.100.1"), func(n *facts.Namespace) { n.Rules = nil }, WhyNoRoute},
		{"borrowed source", ping("10.10.2.1", "10.10.1.12"), nil, WhyMartian},
		{"strict", ping("10.10.2.11", "10.10.1.12"), func(n *facts.Namespace) { n.Sysctls["net.ipv4.conf.all.rp_filter"] = "1" }, WhyReverse},
		{"blackhole", away, func(n *facts.Namespace) {
			n.Routes = append(n.Routes, facts.Route{Table: 16, Kind: "blackhole", Dst: netip.MustParsePrefix("198.51.100.0/24")})
		}, WhyBlackhole},
		{"wrong neighbour", away, func(n *facts.Namespace) {
			for i := range n.Neighbours {
				n.Neighbours[i].State, n.Neighbours[i].MAC = "failed", packet.MAC{}
			}
		}, ""},
	} {
		m := h.Clone()
		n := m.Space(r.ns.Name)
		if c.edit != nil {
			c.edit(n)
		}
		o := New(m, n).Receive(r.to(qr, c.p), qr, Context{})
		if c.why == "" {
			if o.Resolve == nil {
				t.Errorf("%s: it asks nobody: %+v", c.name, o)
			}
			continue
		}
		if s := o.step("drop"); s == nil || s.Facts["why"] != c.why || len(o.Out) > 0 || o.Local {
			t.Errorf("%s: not %s but %+v", c.name, c.why, o.Steps)
		}
	}
}

func TestDHCP(t *testing.T) {
	h := recorded(t, "n1")
	s := spaceOf(t, h, "qdhcp-5d4f3ab9")
	dev := s.dev(t, "10.10.3.2")
	p := ping("0.0.0.0", "255.255.255.255")
	p.Proto, p.ICMPType, p.SrcPort, p.DstPort, p.Dst = packet.UDP, 0, 68, 67, packet.Broadcast
	o := s.Receive(p, dev, Context{})
	if !o.Local {
		t.Fatalf("the server does not get it: %+v", o)
	}
	tells(t, o, "deliver", "", "program", "dnsmasq", "port", "67")
	n := *s.ns
	n.Sockets = nil
	tells(t, New(h, &n).Receive(p, dev, Context{}), "drop", "", "why", WhyListener)
}

func TestWhatIsMissingIsNotEmpty(t *testing.T) {
	h := recorded(t, "c1")
	r := spaceOf(t, h, "qrouter-")
	qr := r.dev(t, "10.10.1.1")
	for _, what := range []string{facts.Filters, facts.Routes, facts.Rules, facts.Sysctls} {
		m := h.Clone()
		n := m.Space(r.ns.Name)
		m.Missing = []facts.Missing{{What: what, Namespace: n.Name, Why: "permission denied"}}
		switch what {
		case facts.Filters:
			n.IPTables4 = ""
		case facts.Routes:
			n.Routes = nil
		case facts.Rules:
			n.Rules = nil
		case facts.Sysctls:
			n.Sysctls = nil
		}
		o := New(m, n).Receive(r.to(qr, ping("10.10.1.11", "198.51.100.1")), qr, Context{})
		if len(o.Unknown) == 0 || len(o.Out) > 0 || o.step("drop") != nil {
			t.Errorf("without %s: %+v", what, o)
		}
	}
}
