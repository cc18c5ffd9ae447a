package lesson

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kaname.dev/kaname/rib/netpath/intent"
)

func TestEachLessonIsToldInBothLanguages(t *testing.T) {
	list, err := All()
	if err != nil || len(list) < 8 {
		t.Fatalf("%d lessons, %v", len(list), err)
	}
	seen := map[string]bool{}
	for _, l := range list {
		if seen[l.ID] || l.Title["en"] == "" || l.Title["ja"] == "" || len(l.Text["en"]) != len(l.Text["ja"]) || len(l.Text["en"]) == 0 {
			t.Errorf("%s: title or paragraphs are not there in both languages", l.ID)
		}
		seen[l.ID] = true
		for _, lang := range []string{"en", "ja"} {
			p, err := l.Paragraphs(lang, NamesOf(&intent.Cloud{}))
			if err != nil || strings.Contains(strings.Join(p, ""), "{{") {
				t.Errorf("%s in %s: %v %q", l.ID, lang, err, p)
			}
		}
		if q, ok := l.Question(NamesOf(&intent.Cloud{})); ok {
			t.Errorf("%s: shows a path between machines that are not there: %+v", l.ID, q)
		}
	}
}

func TestNamesAreTheClouds(t *testing.T) {
	vm := func(name, network, host, addr string) intent.Port {
		return intent.Port{ID: "port-" + name, Name: name, Network: network, Owner: "compute:nova", Host: host, IPs: []intent.FixedIP{{Addr: netip.MustParseAddr(addr)}}}
	}
	c := &intent.Cloud{
		Networks: []intent.Network{{ID: "n1", Name: "front", DHCP: []string{"net1"}}, {ID: "n2", Name: "back"}},
		Routers:  []intent.Router{{ID: "r", Name: "edge", Distributed: true, External: "x", Hosts: []string{"net1"}}},
		Ports: []intent.Port{
			{ID: "i1", Network: "n1", Owner: intent.OwnerDistributed, Device: "r"},
			{ID: "i2", Network: "n2", Owner: intent.OwnerDistributed, Device: "r"},
			vm("alone", "n3", "c9", "10.0.3.4"), vm("web-1", "n1", "c1", "10.0.1.4"), vm("web-2", "n1", "c2", "10.0.1.5"), vm("db-1", "n2", "c2", "10.0.2.4"),
		},
		Floating: []intent.Float{{Addr: netip.MustParseAddr("203.0.113.7"), Port: "port-web-1"}},
	}
	n := NamesOf(c)
	got := []string{n.VM.Name, n.VM.Network, n.Peer.Name, n.Far.Name, n.Router.Name, n.Router.Gateway, n.Float.Addr, n.Float.VM, n.DHCP}
	if diff := cmp.Diff([]string{"web-1", "front", "web-2", "db-1", "edge", "net1", "203.0.113.7", "web-1", "net1"}, got); diff != "" || len(n.Invented) > 0 {
		t.Errorf("%s, invented %v", diff, n.Invented)
	}
	list, err := All()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range list {
		if q, ok := l.Question(n); !ok || q.From == q.To {
			t.Errorf("%s: no path to show: %+v", l.ID, q)
		}
	}
}
