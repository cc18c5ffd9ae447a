package linux

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kaname.dev/kaname/rib/netpath/conn"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
)

func TestParseFilters(t *testing.T) {
	f, errs := ParseFilters(`# a comment
*filter
:INPUT DROP [12:345]
:mine - [0:0]
[7:99] -A INPUT ! -s 10.0.0.0/8 -i qr-+ -p tcp -m tcp ! --dport 80:90 -m comment --comment "it's \"so\" -j DROP" -j mine
-A mine -g INPUT
-A mine -m set --match-set NIPv4x src,dst -j DNAT --to-destination 10.0.0.1:80
-A mine -m comment --comment "open
-A mine oops
COMMIT
`)
	if len(errs) != 2 {
		t.Errorf("errors: %v", errs)
	}
	c := f.Chain("filter", "INPUT")
	if c == nil || c.Policy != "DROP" || c.Packets != 12 || c.Bytes != 345 || len(c.Rules) != 1 {
		t.Fatalf("INPUT is %+v", c)
	}
	want := &Rule{
		Table: "filter", Chain: "INPUT", Packets: 7, Bytes: 99, Comment: `it's "so" -j DROP`, Target: "mine",
		Line: `-A INPUT ! -s 10.0.0.0/8 -i qr-+ -p tcp -m tcp ! --dport 80:90 -m comment --comment "it's \"so\" -j DROP" -j mine`,
		Matches: []Option{
			{Name: "-s", Not: true, Args: []string{"10.0.0.0/8"}},
			{Name: "-i", Args: []string{"qr-+"}},
			{Name: "-p", Args: []string{"tcp"}},
			{Module: "tcp", Name: "--dport", Not: true, Args: []string{"80:90"}},
		},
	}
	if d := cmp.Diff(want, c.Rules[0]); d != "" {
		t.Error(d)
	}
	mine := f.Chain("filter", "mine").Rules
	if len(mine) != 4 || !mine[0].Goto || mine[1].Target != "DNAT" || mine[2].Broken == "" || mine[3].Broken == "" {
		t.Errorf("mine: %+v", mine)
	}
	if len(mine[1].Find("--match-set").Args) != 2 || mine[1].Args[0].Name != "--to-destination" {
		t.Errorf("%+v", mine[1])
	}
}

func TestSets(t *testing.T) {
	sets, errs := ParseSets(`create NIPv4a hash:net family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x1
add NIPv4a 0.0.0.0/1
add NIPv4a 128.0.0.0/1
add NIPv4a 10.1.0.0/16 nomatch
create ports hash:ip,port family inet
add ports 10.0.0.1,tcp:80
add ports 10.0.0.2,udp:1000-2000 timeout 5
create both list:set size 8
add both NIPv4a
create odd hash:ip,mark
add odd 10.0.0.1,5
add odd 10.0.0.1
`)
	if len(errs) == 0 || len(sets) != 4 {
		t.Errorf("%d sets, errors %v", len(sets), errs)
	}
	at := func(src string, proto uint8, port uint16) *view {
		return &view{p: packet.Packet{IPSrc: netip.MustParseAddr(src), Proto: proto, DstPort: port}, sets: sets}
	}
	for _, c := range []struct {
		set      string
		v        *view
		sides    string
		in, sure bool
	}{
		{"NIPv4a", at("9.9.9.9", packet.TCP, 1), "src", true, true},
		{"NIPv4a", at("200.9.9.9", packet.TCP, 1), "src", true, true},
		{"NIPv4a", at("10.1.2.3", packet.TCP, 1), "src", false, true},
		{"ports", at("10.0.0.1", packet.TCP, 80), "src,dst", true, true},
		{"ports", at("10.0.0.1", packet.UDP, 80), "src,dst", false, true},
		{"ports", at("10.0.0.2", packet.UDP, 1500), "src,dst", true, true},
		{"both", at("9.9.9.9", packet.TCP, 1), "src", true, true},
		{"odd", at("10.0.0.1", packet.TCP, 1), "src,src", false, false},
	} {
		if in, sure := sets[c.set].has(c.v, strings.Split(c.sides, ","), 0); in != c.in || sure != c.sure {
			t.Errorf("%s in %s: %v %v", c.v.p.IPSrc, c.set, in, sure)
		}
	}
}

// one is a host with one namespace that has two networks and the given filters.
func one(filters, sets string) (*facts.Host, *Space) {
	mac := func(n byte) packet.MAC { return packet.MAC{2, 0, 0, 0, 0, n} }
	h := &facts.Host{Name: "h", Namespaces: []facts.Namespace{{
		Name: "ns", IPTables4: filters, IPSets: sets,
		Links: []facts.Link{
			{Name: "lo", Index: 1, MTU: 65536, Up: true, Running: true, Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
			{Name: "a", Index: 2, MTU: 1500, Up: true, Running: true, MAC: mac(1), Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}},
			{Name: "b", Index: 3, MTU: 1500, Up: true, Running: true, MAC: mac(2), Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.1.1/24")}},
		},
		Routes: []facts.Route{
			{Table: tableMain, Kind: "unicast", Dst: netip.MustParsePrefix("10.0.0.0/24"), Dev: "a"},
			{Table: tableMain, Kind: "unicast", Dst: netip.MustParsePrefix("10.0.1.0/24"), Dev: "b"},
		},
		Neighbours: []facts.Neighbour{
			{Addr: netip.MustParseAddr("10.0.0.9"), Dev: "a", MAC: mac(9), State: "permanent"},
			{Addr: netip.MustParseAddr("10.0.1.9"), Dev: "b", MAC: mac(8), State: "permanent"},
		},
		Sysctls: map[string]string{"net.ipv4.ip_forward": "1"},
	}}}
	return h, New(h, &h.Namespaces[0])
}

// TestRules sends a SYN from 10.0.0.9 to port 80 of 10.0.1.9 through rules.
func TestRules(t *testing.T) {
	const passes, stops, unknown = "passes", "stops", "unknown"
	for _, c := range []struct {
		table, rules, want string
	}{
		{"filter", "-A FORWARD -j DROP", stops},
		{"filter", "-A FORWARD ! -s 10.0.0.9/32 -j DROP", passes},
		{"filter", "-A FORWARD -i a -o b -p tcp -m tcp --dport 80 --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", stops},
		{"filter", "-A FORWARD -p tcp -m tcp ! --syn -j DROP", passes},
		{"filter", "-A FORWARD -p tcp -m multiport --dports 22,70:80 -j REJECT --reject-with tcp-reset", stops},
		{"filter", "-A FORWARD -p tcp -m multiport ! --dports 22,70:80 -j DROP", passes},
		{"filter", "-A FORWARD -m conntrack --ctstate NEW -j DROP", stops},
		{"filter", "-A FORWARD -m state --state RELATED,ESTABLISHED -j DROP", passes},
		{"filter", "-A FORWARD -m iprange --src-range 10.0.0.5-10.0.0.9 -j DROP", stops},
		{"filter", "-A FORWARD -m addrtype --dst-type LOCAL -j DROP", passes},
		{"filter", "-A FORWARD -m mac --mac-source 02:00:00:00:00:09 -j DROP", stops},
		{"filter", "-A FORWARD -m physdev --physdev-in tap+ -j DROP", passes},
		{"filter", "-A FORWARD -m physdev ! --physdev-is-bridged -j DROP", stops},
		{"filter", "-A FORWARD -j one\n-A FORWARD -j DROP\n-A one -g two\n-A one -j ACCEPT\n-A two -p udp -j ACCEPT", stops},
		{"filter", "-A FORWARD -j one\n-A FORWARD -j ACCEPT\n-A one -j RETURN\n-A one -j DROP", passes},
		{"filter", "-A FORWARD -m set --match-set nets src -j DROP", stops},
		{"filter", "-A FORWARD -m set ! --match-set nets dst -j DROP", stops},
		{"filter", "-A FORWARD -m set --match-set nowhere src -j DROP", unknown},
		{"filter", "-A FORWARD -m u32 --u32 0x0=0x1 -j DROP", unknown},
		{"filter", "-A FORWARD -p udp -m u32 --u32 0x0=0x1 -j DROP", passes},
		{"filter", "-A FORWARD -m u32 --u32 0x0=0x1 -j ACCEPT", passes},
		{"filter", "-A FORWARD -m limit --limit 1/sec -j LOG --log-prefix \"-j DROP\"\n-A FORWARD -j ACCEPT", passes},
		{"filter", "-A FORWARD -m limit --limit 1/sec -j ACCEPT\n-A FORWARD -j DROP", unknown},
		{"filter", "-A FORWARD -j NFQUEUE --queue-num 1", unknown},
		{"filter", "-A FORWARD -p icmp -j NFQUEUE --queue-num 1", passes},
		{"filter", "-A FORWARD -m comment --comment \"broken", unknown},
		{"filter", "-A FORWARD -j one\n-A one -j two\n-A two -j one", unknown},
		{"mangle", "-A PREROUTING -j MARK --set-xmark 0x5/0xff\n-A FORWARD -m mark --mark 0x5/0xf -j DROP", stops},
		{"mangle", "-A PREROUTING -j MARK --set-xmark 0x5/0xff\n-A PREROUTING -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff\n-A FORWARD -m connmark ! --mark 0x5 -j DROP", passes},
		{"raw", "-A PREROUTING -j CT --notrack", passes},
		{"raw", "-A PREROUTING -j CT --zone-orig 5", unknown},
		{"nat", "-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.1.77:8080", "10.0.1.77:8080"},
		{"nat", "-A POSTROUTING -o b -j MASQUERADE", "10.0.1.1"},
		{"nat", "-A POSTROUTING -o b -j SNAT --to-source 192.0.2.1:5000-6000", "192.0.2.1:5000"},
		{"nat", "-A POSTROUTING -o b -j NETMAP --to 192.0.2.0/25", "192.0.2.9"},
	} {
		chains := "*" + c.table + "\n:PREROUTING ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n:one - [0:0]\n:two - [0:0]\n"
		_, s := one(chains+c.rules+"\nCOMMIT\n", "create nets hash:net\nadd nets 10.0.0.0/24\n")
		p := tcp("10.0.0.9", "10.0.1.9", 80)
		p.Dst = packet.MAC{2, 0, 0, 0, 0, 1}
		known := map[Ask]packet.MAC{{"b", netip.MustParseAddr("10.0.1.77")}: {2, 2, 2, 2, 2, 2}}
		o := s.Receive(p, "a", Context{Tracked: conn.New(nil), Known: known})
		got := stops
		switch {
		case len(o.Unknown) > 0:
			got = unknown
			if len(o.Out) > 0 {
				t.Errorf("%s: it is unknown, and leaves", c.rules)
			}
		case len(o.Out) > 0:
			got = passes
			if q := o.Out[0].Packet; q.IPDst != p.IPDst || q.IPSrc != p.IPSrc {
				a, port, usual := q.IPDst, q.DstPort, p.DstPort
				if q.IPSrc != p.IPSrc {
					a, port, usual = q.IPSrc, q.SrcPort, p.SrcPort
				}
				got = a.String()
				if port != usual {
					got = fmt.Sprintf("%s:%d", a, port)
				}
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, not %s: %+v %v", c.rules, got, c.want, o.Steps, o.Unknown)
		}
	}
}

func FuzzFilters(f *testing.F) {
	h := recorded(f, "c2")
	f.Add(h.Space("").IPTables4, h.Space("").IPSets)
	f.Add("*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m set --match-set x src -g FORWARD\n", "create x hash:net,port\nadd x 0.0.0.0/0,80\n")
	f.Add("*nat\n-A POSTROUTING -j NETMAP --to ::/0\n-A PREROUTING -j DNAT --to-destination [::]:1-2\n", "create x list:set\nadd x x\n")
	f.Fuzz(func(t *testing.T, filters, sets string) {
		_, s := one(filters, sets)
		p := tcp("10.0.0.9", "10.0.1.9", 80)
		p.Dst = packet.MAC{2, 0, 0, 0, 0, 1}
		o := s.Receive(p, "a", Context{Tracked: conn.New(nil)})
		if len(o.Out) == 0 && !o.Local && o.Resolve == nil && len(o.Unknown) == 0 && o.step("drop") == nil {
			t.Errorf("nothing becomes of it: %+v", o)
		}
	})
}

func BenchmarkReceive(b *testing.B) {
	var text strings.Builder
	text.WriteString("*filter\n:FORWARD ACCEPT [0:0]\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "[0:0] -A FORWARD -s 10.9.%d.%d/32 -p tcp -m tcp --dport %d -m state --state NEW -j DROP\n", i/256, i%256, i)
	}
	_, s := one(text.String()+"COMMIT\n", "")
	p := tcp("10.0.0.9", "10.0.1.9", 80)
	p.Dst = packet.MAC{2, 0, 0, 0, 0, 1}
	s.compiled()
	for b.Loop() {
		if o := s.Receive(p, "a", Context{Tracked: conn.New(nil)}); len(o.Out) != 1 {
			b.Fatal(o)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	text := recorded(b, "c2").Space("").IPTables4
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		f, _ := ParseFilters(text)
		compile(f)
	}
}

// TestHostileChains follows chains of which each jumps twice to the next one.
func TestHostileChains(t *testing.T) {
	var text strings.Builder
	text.WriteString("*filter\n:FORWARD ACCEPT [0:0]\n")
	for i := range 50 {
		fmt.Fprintf(&text, ":c%d - [0:0]\n", i)
	}
	text.WriteString("-A FORWARD -j c0\n")
	for i := range 49 {
		fmt.Fprintf(&text, "-A c%d -j c%d\n-A c%d -m u32 --u32 x -j c%d\n", i, i+1, i, i+1)
	}
	_, s := one(text.String()+"COMMIT\n", "")
	p := tcp("10.0.0.9", "10.0.1.9", 80)
	p.Dst = packet.MAC{2, 0, 0, 0, 0, 1}
	if o := s.Receive(p, "a", Context{}); len(o.Unknown) == 0 || len(o.Out) > 0 {
		t.Errorf("%+v", o)
	}
}
