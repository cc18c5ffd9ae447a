package zone

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/lab"
	labdns "kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib"
	"kaname.dev/kaname/rib/ribtest"
	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/watch"
)

// family is a parent zone on a server of its own, which is the resolver too, and a core
// that looks at the parent's delegations to ours.
type family struct {
	t            *testing.T
	r            *service
	node         rib.Node
	parent, ours *labdns.Server
}

func newFamily(t *testing.T, zones ...string) *family {
	t.Helper()
	lab.Need(t, "named")
	f := &family{t: t, parent: labdns.BIND(t, labdns.Options{Primary: true, Catalogs: []string{"test"}}), ours: labdns.BIND(t, labdns.Options{Primary: true})}
	c := defaultConfig()
	c.Resolver, c.Names, c.Rescue = f.parent.Address.String(), []string{"ns1.example", "ns2.example"}, ""
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	f.node = ribtest.Core(t, "core1")
	f.r = &service{config: &c, known: map[name.Name][]netip.AddrPort{
		"ns1.example.": {f.ours.Address}, "ns2.example.": {f.ours.Address}, "old.example.": {f.parent.Address},
		"ns.test.": {f.parent.Address}, "invalid.": {f.parent.Address},
	}}
	if err := f.r.attach(f.node); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.r.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	run := &action.Run{ID: "1", Actor: action.Actor{Name: "alice"}}
	if _, err := f.r.add(t.Context(), run, addIn{Zones: zones, Primary: []string{f.ours.Address.String()}}); err != nil {
		t.Fatal(err)
	}
	f.until("all zones are desired", func() bool {
		v, err := f.r.view(t.Context(), exchange.Query{})
		return err == nil && v.Zones == len(zones)
	})
	return f
}

func (f *family) until(what string, cond func() bool) {
	f.t.Helper()
	deadline, tick := time.Now().Add(20*time.Second), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(deadline) {
			f.t.Fatalf("waited in vain until %s", what)
		}
		<-tick.C
	}
}

// look looks at all delegations, and returns the notes of list by zone.
func (f *family) look() map[string]string {
	f.t.Helper()
	if !f.r.lookAround(f.t.Context()) {
		f.t.Fatal("the only core is not the keeper")
	}
	list, err := f.r.list(f.t.Context(), &action.Run{}, listIn{})
	if err != nil {
		f.t.Fatal(err)
	}
	notes := map[string]string{}
	for i := range list {
		notes[list[i].Zone] = list[i].Note
	}
	return notes
}

// gauges returns kaname_zone_delegation_bad by what.
func (f *family) gauges() map[string]float64 {
	f.t.Helper()
	all, err := f.node.Metrics.(*prometheus.Registry).Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	out := map[string]float64{}
	for _, m := range all {
		if m.GetName() != "kaname_zone_delegation_bad" {
			continue
		}
		for _, v := range m.GetMetric() {
			out[v.GetLabel()[0].GetValue()] = v.GetGauge().GetValue()
		}
	}
	return out
}

// has checks that a text has words, or is empty when there are none.
func has(t *testing.T, what, text string, words ...string) {
	t.Helper()
	if len(words) == 0 && text != "" {
		t.Errorf("%s: %q, want nothing", what, text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s: %q is missing in %q", what, w, text)
		}
	}
}

func TestDelegationsOfDesiredZones(t *testing.T) {
	f := newFamily(t, "good.test", "half.test", "empty.test", "never.test")
	f.ours.AddZones("good.test", "half.test")
	f.parent.Update("test", nil, []string{
		"good.test. 0 IN NS ns1.example.", "good.test. 0 IN NS ns2.example.",
		"half.test. 0 IN NS ns1.example.", "half.test. 0 IN NS old.example.",
		"half.test. 0 IN DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000",
		"empty.test. 0 IN NS ns1.example.", "empty.test. 0 IN NS ns2.example.",
		"away.test. 0 IN NS old.example.",
	})
	notes := f.look()
	has(t, "a good one", notes["good.test"])
	has(t, "a half one", notes["half.test"], "delegation by test: ", "lame old.example: ", "absent ns2.example", "strange old.example")
	has(t, "a lame one", notes["empty.test"], "lame ns1.example: ", "lame ns2.example: ")
	has(t, "one that is not delegated", notes["never.test"], "it is not delegated")
	if g := f.gauges(); g["lame"] != 2 || g["absent"] != 2 || g["strange"] != 1 || len(g) != 3 {
		t.Errorf("gauges: %v", g)
	}

	shown, err := f.r.show(t.Context(), nil, zoneIn{Zone: "half.test"})
	if err != nil {
		t.Fatal(err)
	}
	has(t, "zone show", shown.Delegation, "absent ns2.example")
	if row := rows(&shown)[0]; !strings.Contains(row.Note, "; delegation by test: ") {
		t.Errorf("zone status of a zone without a server: %+v", row)
	}
	shown.Cells = []exchange.At{{Server: "ns1/bind", Cell: exchange.Cell{State: exchange.Serving}}}
	has(t, "zone status of one with a server", rows(&shown)[0].Note, "delegation by test: ")
	v, err := f.r.view(t.Context(), exchange.Query{Zone: "good.test", States: true})
	if err != nil || len(v.States) != 1 || v.States[0].Delegation != "" {
		t.Errorf("a good one: %+v, %v", v.States, err)
	}

	plan, err := f.r.planRemove(t.Context(), removeIn{Zones: []string{"good.test", "half.test", "never.test"}})
	if err != nil || len(plan.Warnings) != 2 {
		t.Fatalf("plan: %+v, %v", plan, err)
	}
	has(t, "warning", plan.Warnings[0], "zone good.test: test still delegates it to ns1.example, ns2.example; ")
	has(t, "warning of a signed one", plan.Warnings[1], "zone half.test: ", "DS record", "bogus")
	if w := f.r.warnDelegated(t.Context(), []name.Name{"away.test."}); len(w) != 0 {
		t.Errorf("one that is delegated to others: %q", w)
	}

	// Repaired, and one removed: both notes go. Then the parent is silent, which is
	// no news.
	f.ours.AddZones("empty.test")
	run := &action.Run{Actor: action.Actor{Name: "alice"}}
	if _, err := f.r.remove(t.Context(), run, removeIn{Zones: []string{"never.test"}}); err != nil {
		t.Fatal(err)
	}
	f.until("the removed zone is not desired", func() bool {
		v, err := f.r.view(t.Context(), exchange.Query{})
		return err == nil && v.Zones == 3
	})
	notes = f.look()
	has(t, "one that is repaired", notes["empty.test"])
	has(t, "one that is removed", notes["never.test"])
	if g := f.gauges(); g["lame"] != 1 || g["absent"] != 1 || g["strange"] != 1 {
		t.Errorf("gauges: %v", g)
	}
}

func TestDelegationsWithoutAnswer(t *testing.T) {
	f := newFamily(t, "half.test")
	f.parent.Update("test", nil, []string{"half.test. 0 IN NS old.example."})
	before := f.look()["half.test"]
	has(t, "before", before, "strange old.example")
	f.parent.Kill()
	if after := f.look()["half.test"]; after != before {
		t.Errorf("a silent parent changes the note to %q", after)
	}
	w := f.r.warnDelegated(t.Context(), []name.Name{"half.test."})
	if len(w) != 1 || !strings.Contains(w[0], "of 1: ") {
		t.Errorf("a silent parent: %q", w)
	}
}

func TestDelegationsAreOffWithoutResolver(t *testing.T) {
	c := defaultConfig()
	r := &service{config: &c}
	if err := r.attach(ribtest.Core(t, "core1")); err != nil {
		t.Fatal(err)
	}
	if err := r.delegations(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w := r.warnDelegated(t.Context(), []name.Name{"good.test."}); w != nil {
		t.Errorf("%q", w)
	}
	c.Resolver = "localhost:53"
	if err := c.Check(); err == nil || !strings.HasPrefix(err.Error(), "resolver: ") {
		t.Errorf("a resolver by name: %v", err)
	}
	c.Resolver, c.Names = "127.0.0.1:53", []string{"a..b"}
	if err := c.Check(); err == nil || !strings.HasPrefix(err.Error(), "names: ") {
		t.Errorf("a name that is none: %v", err)
	}
}

func TestStillHere(t *testing.T) {
	ours := []name.Name{"ns1.example."}
	for _, c := range []struct {
		what string
		d    watch.Report
		ours []name.Name
		want string
	}{
		{"not delegated", watch.Report{Parent: "test."}, ours, ""},
		{"to others", watch.Report{Parent: "test.", Delegated: true, Signed: true, Servers: []name.Name{"old.example."}}, ours, ""},
		{"to others, ours are not known", watch.Report{Parent: "test.", Delegated: true, Servers: []name.Name{"old.example."}}, nil, "delegates it to old.example;"},
		{"to us", watch.Report{Parent: ".", Delegated: true, Servers: ours}, ours, "the root still delegates"},
		{"DS alone", watch.Report{Parent: "test.", Signed: true}, ours, "DS record of it and no NS"},
	} {
		got := stillHere(&c.d, c.ours)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", c.what, got)
		}
	}
}
