package knot

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	labdns "kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/control/knotctl"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// pair runs a primary with n zones, a secondary, and a driver of it.
func pair(t *testing.T, n int) (primary, s *labdns.Server, d server.Driver, list []server.Addition) {
	t.Helper()
	second := labdns.AddressOf(t)
	primary = labdns.BIND(t, labdns.Options{Primary: true, Notify: []netip.AddrPort{second}})
	s = labdns.Knot(t, labdns.Options{Address: second, From: []netip.AddrPort{primary.Address}})
	zones := make([]string, n)
	for i := range zones {
		zones[i] = fmt.Sprintf("z%d.test", i)
		list = append(list, server.Addition{Name: name.Name(zones[i] + "."), Template: server.Template{
			Name: "default", Primaries: []server.Primary{{Address: primary.Address, Key: labdns.KeyName}}, Transfer: []string{"127.0.0.1/8"},
		}})
	}
	primary.AddZones(zones...)
	return primary, s, open(t, s.Control, t.TempDir()), list
}

// served waits until all are served, and returns when that was.
func served(t *testing.T, s *labdns.Server, list []server.Addition) {
	t.Helper()
	limit := time.Now().Add(6 * time.Minute)
	for _, a := range list {
		for {
			if _, _, ok := s.SOA(string(a.Name)); ok {
				break
			}
			if time.Now().After(limit) {
				t.Fatalf("%s is not served", a.Name)
			}
			<-time.After(20 * time.Millisecond)
		}
	}
}

func TestKilledInTheMiddle(t *testing.T) {
	const first = 60
	primary, s, d, list := pair(t, 300)
	for _, err := range d.Add(t.Context(), list[:first]) {
		if err != nil {
			t.Fatal(err)
		}
	}
	served(t, s, list[:first])
	done := make(chan []error)
	go func() { done <- d.Add(t.Context(), list) }()
	<-time.After(10 * time.Millisecond) // in the middle of it, or about
	s.Kill()
	for _, err := range <-done {
		if err != nil && !errors.Is(err, server.ErrUnreachable) {
			t.Fatal(err)
		}
	}
	primary.Signal(19) // SIGSTOP
	s.Start()
	served(t, s, list[:first]) // from the journal
	primary.Signal(18)
	for _, err := range d.Add(t.Context(), list) {
		if err != nil {
			t.Fatal(err)
		}
	}
	served(t, s, list)
}

func TestTransactionsOfOthers(t *testing.T) {
	_, s, d, list := pair(t, 1)
	s.KnotControl([]string{"conf-begin"}, []string{"conf-set", "zone.domain", "", "stranger.test"})
	if err := d.Add(t.Context(), list)[0]; !errors.Is(err, knotctl.ErrBusy) {
		t.Errorf("with a stranger's transaction open: %v", err)
	}
	s.KnotControl([]string{"conf-abort"})
	// One of ours that was left.
	s.KnotControl([]string{"conf-begin"}, []string{"conf-set", "template.id", "", tag + "x-1"}, []string{"conf-set", "zone.domain", "", "left.test"},
		[]string{"conf-set", "zone.template", "left.test", tag + "x-1"}, []string{"conf-set", "zone.domain", "", "left2.test"})
	if err := d.Add(t.Context(), list)[0]; err != nil {
		t.Errorf("with a transaction of ours left: %v", err)
	}
	served(t, s, list)
	if zones, err := d.List(t.Context()); err != nil || len(zones) != 1 {
		t.Errorf("List: %v, %v", zones, err)
	}
}

func TestRemovalLeavesNothing(t *testing.T) {
	primary, s, d, list := pair(t, 1)
	if err := d.Add(t.Context(), list)[0]; err != nil {
		t.Fatal(err)
	}
	served(t, s, list)
	if err := d.Remove(t.Context(), []server.Removal{{Name: list[0].Name}})[0]; err != nil {
		t.Fatal(err)
	}
	primary.Kill()
	if err := d.Add(t.Context(), list)[0]; err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the zone is there", func() bool {
		st, err := d.Status(t.Context(), []name.Name{list[0].Name})
		return err == nil && st[0].Present && st[0].Note != ""
	})
	if _, _, ok := s.SOA(string(list[0].Name)); ok {
		t.Error("the contents of a removed zone are served again")
	}
}

func TestTemplateWithoutItsKey(t *testing.T) {
	_, _, d, list := pair(t, 1)
	list[0].Template.Primaries[0].Key = "nobody-has-it"
	if err := d.Add(t.Context(), list)[0]; !errors.Is(err, server.ErrTemplate) {
		t.Errorf("a key that knotd lacks: %v", err)
	}
}
