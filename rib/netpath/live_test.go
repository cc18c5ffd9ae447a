package netpath

import (
	"context"
	"errors"
	"testing"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib"
	"kaname.dev/kaname/rib/netpath/bundle"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/office"
	"kaname.dev/kaname/rib/ribtest"
)

// on runs the rib on a node until the test ends.
func on(t *testing.T, n rib.Node, c Config) *service {
	t.Helper()
	s := newService()
	*s.config = c
	if err := s.attach(n); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestACoreLooksAtItsHosts(t *testing.T) {
	core := ribtest.Core(t, "core1")
	s := on(t, core, Config{})
	on(t, ribtest.Host(t, core, "web1", nil), Config{Look: true, Host: "c1"})
	on(t, ribtest.Host(t, core, "web2", nil), Config{})
	look := live{s, action.Actor{Name: "test"}}
	lab.Eventually(t, "the host is known", func() bool {
		names, err := look.all(t.Context())
		return err == nil && len(names) == 1 && names[0] == "c1"
	})
	found, failed := look.hosts(t.Context(), []string{"c1", "web2"})
	if h := found["c1"]; h == nil || h.Name != "c1" || h.Space("") == nil || h.Space("").Link("lo") == nil {
		t.Errorf("no facts of c1: %v", failed["c1"])
	}
	if !fault.Is(failed["web2"], fault.KindNotFound) {
		t.Errorf("a host that does not let itself be looked at: %v", failed["web2"])
	}
	s.said, s.saidAt = &intent.Cloud{Version: intent.Version, Taken: time.Now()}, time.Now()
	b, err := s.bundle(t.Context(), &action.Run{}, bundleIn{})
	if err != nil || b.Hosts != 1 {
		t.Fatalf("%v, %+v", err, b)
	}
	if read, err := bundle.Open(b.File, bundle.Limits{}); err != nil || len(read.Names()) != 1 {
		t.Errorf("the bundle cannot be read: %v", err)
	}
}

// What was collected is given once, and only to who has the ticket.
func TestTicketsAreNeeded(t *testing.T) {
	core := ribtest.Core(t, "core1")
	s := on(t, core, Config{Look: true})
	var m plane.Member
	lab.Eventually(t, "the host is known", func() bool {
		list, err := core.Plane.Members(t.Context())
		for _, x := range list {
			if x.Commands[commandLook] != 0 {
				m = x
			}
		}
		return err == nil && m.Host != ""
	})
	for _, ticket := range []string{"", "guessed"} {
		body, err := office.Fetch(t.Context(), core.PeerClient, office.Seat{Host: m.Host, Address: m.Address}, pathFacts, ticketIn{ticket})
		if err == nil {
			_ = body.Close()
		}
		if !fault.Is(err, fault.KindDenied) {
			t.Errorf("%q: %v", ticket, err)
		}
	}
	ticket, err := s.drawer.put([]byte("facts"))
	if err != nil {
		t.Fatal(err)
	}
	if b, ok := s.drawer.take(ticket); !ok || string(b) != "facts" {
		t.Errorf("%q", b)
	}
	if _, ok := s.drawer.take(ticket); ok {
		t.Error("a ticket was good for twice")
	}
	for range maxTickets {
		_, err = s.drawer.put(nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err = s.drawer.put(nil); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("more is kept than is bounded: %v", err)
	}
}
