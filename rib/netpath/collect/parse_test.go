package collect

import (
	"net/netip"
	"testing"

	"kaname.dev/kaname/rib/netpath/facts"
)

func TestTracked(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for line, want := range map[string]facts.Conn{
		"tcp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=5,dport=443),reply=(src=10.0.0.2,dst=10.0.0.1,sport=443,dport=5),zone=3,mark=1,labels=0x1,protoinfo=(state=ESTABLISHED)": {
			Zone: 3, Proto: 6, Src: a, Dst: b, Sport: 5, Dport: 443, RSrc: b, RDst: a, RSport: 443, RDport: 5, Mark: 1, State: "ESTABLISHED",
		},
		"icmp,orig=(src=10.0.0.1,dst=10.0.0.2,id=9,type=8,code=0),reply=(src=10.0.0.2,dst=10.0.0.1,id=9,type=0,code=0)": {
			Proto: 1, Src: a, Dst: b, Sport: 9, RSrc: b, RDst: a, RSport: 9,
		},
		"112,orig=(src=10.0.0.1,dst=10.0.0.2,sport=0,dport=0),reply=(src=10.0.0.2,dst=10.0.0.1,sport=0,dport=0),zone=65535": {
			Zone: 65535, Proto: 112, Src: a, Dst: b, RSrc: b, RDst: a,
		},
	} {
		if got, ok := tracked(line); !ok || got != want {
			t.Errorf("%s\nis  %+v\nnot %+v", line, got, want)
		}
	}
	if _, ok := tracked("ovs-vswitchd: no such thing"); ok {
		t.Error("a complaint is no connection")
	}
}

func TestStations(t *testing.T) {
	b := &facts.Bridge{Ports: []facts.Port{{Name: "tap1", OFPort: 3}, {Name: "br-int", OFPort: local}}}
	got := stations(b, " port  VLAN  MAC                Age\n    3     1  fa:16:3e:00:00:01   12\nLOCAL     0  fa:16:3e:00:00:02    static\n    9     2  fa:16:3e:00:00:03    1\n")
	if len(got) != 3 || got[0].Dev != "tap1" || got[0].VLAN != 1 || got[1].Dev != "br-int" || !got[1].Static || got[2].Dev != "9" {
		t.Errorf("%+v", got)
	}
}

func TestEndpoint(t *testing.T) {
	for in, want := range map[string]string{
		"0100007F:1F90": "127.0.0.1:8080", "00000000000000000000000001000000:0035": "[::1]:53", "00000000:0016": "0.0.0.0:22",
	} {
		if got, ok := endpoint(in); !ok || got.String() != want {
			t.Errorf("%s is %s, not %s", in, got, want)
		}
	}
	if _, ok := endpoint("local_address"); ok {
		t.Error("the heading is an endpoint")
	}
}

func TestProgram(t *testing.T) {
	for want, args := range map[string][]string{
		"neutron-l3-agent":  {"/usr/bin/python3", "-u", "/usr/bin/neutron-l3-agent", "--config-file", "x"},
		"neutron-server":    {"neutron-server: api worker (/usr/bin/python3 ...)"},
		"neutron-ovs-agent": {"neutron-ovs-agent (/usr/bin/python3 /usr/bin/x)"},
		"dnsmasq":           {"dnsmasq", "--no-hosts"},
		"":                  {},
	} {
		if got := program(args); got != want {
			t.Errorf("%q is %q, not %q", args, got, want)
		}
	}
}
