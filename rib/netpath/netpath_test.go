package netpath

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/netpath/bundle"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/trace"
)

// healthy was recorded from a real Neutron with distributed routers: two compute hosts, one
// with each firewall driver, and a network node.
const healthy = "testdata/healthy.tar.zst"

func ask(t *testing.T, from string, in traceIn) Answer {
	t.Helper()
	in.From = from
	r := Rib()
	i := 0
	for r.Actions[i].Name != "netpath trace" {
		i++
	}
	s := &service{config: &Config{}, names: map[string]string{}}
	a, err := s.trace(t.Context(), &action.Run{}, in)
	if err != nil {
		t.Fatalf("%s to %s: %v", in.Source, in.Target, err)
	}
	return a
}

func TestAHealthyCloud(t *testing.T) {
	for _, q := range []struct {
		traceIn
		want  trace.Verdict
		cause string
	}{
		{traceIn{Source: "a1", Target: "b1"}, trace.Delivered, ""},
		{traceIn{Source: "a1", Target: "a2", TCP: 443}, trace.Delivered, ""},
		{traceIn{Source: "a2", Target: "a1", TCP: 22}, trace.Delivered, ""},
		{traceIn{Source: "a1", Target: "b2"}, trace.Delivered, ""},
		{traceIn{Source: "a1", Target: "internet"}, trace.Delivered, ""},
		{traceIn{Source: "a2", Target: "internet"}, trace.Delivered, ""},
		{traceIn{Source: "internet", Target: "203.0.113.61", TCP: 443}, trace.Delivered, ""},
		{traceIn{Source: "a1", Target: "dhcp"}, trace.Delivered, ""},
		{traceIn{Source: "a2", Target: "dhcp"}, trace.Delivered, ""},
		{traceIn{Source: "a1", Target: "metadata"}, trace.Delivered, ""},
		{traceIn{Source: "v1", Target: "v2"}, trace.Delivered, ""},
		{traceIn{Source: "w2", Target: "internet"}, trace.Delivered, ""},
		{traceIn{Source: "a1", Target: "a2", TCP: 8080}, trace.Dropped, "sg-no-rule"},
		{traceIn{Source: "a2", Target: "a1", TCP: 8080}, trace.Dropped, "sg-no-rule"},
	} {
		a := ask(t, healthy, q.traceIn)
		first := ""
		if len(a.Causes) > 0 {
			first = a.Causes[0].ID
		}
		if a.Verdict != q.want || first != q.cause || len(a.Cautions) > 0 || len(a.Missing) > 0 {
			t.Errorf("%s to %s: %s by %q, cautions %v, missing %v\n%s", q.Source, q.Target, a.Verdict, first, a.Cautions, a.Missing, a)
		}
	}
	s := &service{config: &Config{}}
	c, err := s.check(t.Context(), &action.Run{}, checkIn{From: healthy})
	if err != nil || len(c.Findings) > 0 || c.Hosts != 3 || len(c.Missing) > 0 {
		t.Errorf("%v\n%s", err, c)
	}
}

// broken writes a bundle in which one host is other than it was.
func broken(t *testing.T, host string, edit func(*facts.Host)) string {
	t.Helper()
	b, err := bundle.Open(healthy, bundle.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	hosts := map[string]*facts.Host{}
	for _, n := range b.Names() {
		if hosts[n], err = b.Host(n); err != nil {
			t.Fatal(err)
		}
	}
	edit(hosts[host])
	name := filepath.Join(t.TempDir(), "broken.tar.zst")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // Write says what is wrong
	if err := bundle.Write(f, b.Cloud, hosts); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestTheCauseIsNamedFirstAndMended(t *testing.T) {
	dead := broken(t, "c1", func(h *facts.Host) {
		for i := range h.OVS.Bridges {
			for j := range h.OVS.Bridges[i].Ports {
				if p := &h.OVS.Bridges[i].Ports[j]; strings.HasPrefix(p.Name, "tap9daa7a80") {
					p.Tag = 4095
				}
			}
		}
	})
	a := ask(t, dead, traceIn{Source: "a1", Target: "a2"})
	if a.Verdict != trace.Dropped || len(a.Causes) != 1 || a.Causes[0].ID != "port-dead-vlan" {
		t.Errorf("%s", a)
	}
	for _, lang := range []string{"en", "ja"} {
		a.Lang = lang
		if text := a.String(); !strings.Contains(text, "ovs-vsctl set port tap9daa7a80-04 tag=") {
			t.Errorf("no command that mends it:\n%s", text)
		}
	}
	drawn := ask(t, dead, traceIn{Source: "a1", Target: "a2", SVG: true, Lang: "ja"})
	if s := drawn.String(); !strings.HasPrefix(s, "<svg ") || !strings.Contains(s, "br-int") || strings.Contains(s, "<script") {
		t.Errorf("no drawing: %.200s", s)
	}
	fine := ask(t, dead, traceIn{Source: "b1", Target: "b2"})
	if fine.Verdict != trace.Delivered {
		t.Errorf("another machine on the same host: %s", fine)
	}
}

func TestWrongQuestions(t *testing.T) {
	s := &service{config: &Config{}}
	for _, q := range []struct {
		traceIn
		kind fault.Kind
	}{
		{traceIn{Source: "a1", Target: "nobody", From: healthy}, fault.KindNotFound},
		{traceIn{Source: "a1", Target: "a2", TCP: 70000, From: healthy}, fault.KindInvalid},
		{traceIn{Source: "a1", Target: "a2", TCP: 1, UDP: 1, From: healthy}, fault.KindInvalid},
		{traceIn{Source: "a1", Target: "a2", Size: 3, From: healthy}, fault.KindInvalid},
		{traceIn{Source: "a1", Target: "a2", From: "nothing.tar.zst"}, fault.KindNotFound},
	} {
		_, err := s.trace(t.Context(), &action.Run{}, q.traceIn)
		if !fault.Is(err, q.kind) {
			t.Errorf("%+v: %v", q.traceIn, err)
		}
	}
}

func TestLessonsWithTheCloudsNames(t *testing.T) {
	s := &service{config: &Config{}}
	e, err := s.explain(t.Context(), &action.Run{}, explainIn{Topic: "dvr-north-south", From: healthy, Lang: "ja"})
	if err != nil || !strings.Contains(e.Text, "203.0.113.") || !strings.Contains(e.Text, "✓") || !strings.HasPrefix(e.Drawing, "<svg ") {
		t.Errorf("%v: %s", err, e.Text)
	}
}
