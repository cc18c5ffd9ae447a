package knot

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	labdns "kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/source"
	"kaname.dev/kaname/rib/zone/wire"
)

// keeper takes reports as the rib's keeper does.
type keeper struct {
	t *testing.T

	mu      sync.Mutex
	set     map[name.Name]bool
	known   bool
	trouble string
	refuse  bool
}

func (k *keeper) tell(_ context.Context, r source.Report) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.refuse:
		k.known = false
		return errors.New("not now")
	case r.Full != nil:
		k.set, k.known = map[name.Name]bool{}, true
		for _, m := range r.Full.Members {
			k.set[m.Name] = true
		}
	case r.Delta != nil:
		if !k.known {
			k.t.Error("a change of an unknown set is told")
		}
		for _, m := range r.Delta.Add {
			k.set[m.Name] = true
		}
		for _, n := range r.Delta.Remove {
			delete(k.set, n)
		}
	default:
		k.known, k.trouble = false, r.Trouble
	}
	return nil
}

func (k *keeper) has(zones ...name.Name) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.known || len(k.set) != len(zones) {
		return false
	}
	for _, z := range zones {
		if !k.set[z] {
			return false
		}
	}
	return true
}

func watch(t *testing.T, s *labdns.Server) (*keeper, source.Source) {
	t.Helper()
	src, err := New(source.Options{Name: "p", Kind: "knot", Control: s.Control, Peer: wire.Peer{Address: s.Address}})
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{t: t}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = src.Run(ctx, k.tell) }()
	t.Cleanup(func() { cancel(); <-done })
	return k, src
}

func TestSeesChanges(t *testing.T) {
	s := labdns.Knot(t, labdns.Options{Primary: true, Catalogs: []string{"catz.test"}, From: []netip.AddrPort{labdns.AddressOf(t)}})
	s.KnotZones("hand", "second.test")
	k, src := watch(t, s)
	lab.Eventually(t, "the empty set is told", func() bool { return k.has() })
	s.AddZones("a.test", `a\032b.test`)
	begun := time.Now()
	lab.Eventually(t, "the zones are told", func() bool { return k.has("a.test.", `a\032b.test.`) })
	t.Logf("seen after %v", time.Since(begun))
	// The count of zones stays, so that only the hint tells.
	s.KnotControl([]string{"conf-begin"}, []string{"conf-unset", "zone.domain", "", "a.test"}, []string{"conf-set", "zone.domain", "", "b.test"},
		[]string{"conf-set", "zone.template", "b.test", "own"}, []string{"conf-commit"})
	begun = time.Now()
	lab.Eventually(t, "the primary has the new zone", func() bool { _, _, ok := s.SOA("b.test"); return ok })
	src.Hear(source.Notify{Zone: "spoofed.test."})
	src.Hear(source.Notify{Zone: "b.test."})
	lab.Eventually(t, "the change is told", func() bool { return k.has("b.test.", `a\032b.test.`) })
	if took := time.Since(begun); took > listEvery/2 {
		t.Errorf("a hint takes %v", took)
	}
	k.mu.Lock()
	k.refuse = true
	k.mu.Unlock()
	s.AddZones("c.test")
	lab.Eventually(t, "a report was refused", func() bool { k.mu.Lock(); defer k.mu.Unlock(); return !k.known })
	k.mu.Lock()
	k.refuse = false
	k.mu.Unlock()
	lab.Eventually(t, "all is told again", func() bool { return k.has("b.test.", "c.test.", `a\032b.test.`) })
}

func TestTrouble(t *testing.T) {
	s := labdns.Knot(t, labdns.Options{Primary: true})
	s.AddZones("a.test")
	k, _ := watch(t, s)
	lab.Eventually(t, "the set is told", func() bool { return k.has("a.test.") })
	s.Kill()
	lab.Eventually(t, "the trouble is told", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return !k.known && strings.Contains(k.trouble, "knotc")
	})
	s.Start()
	lab.Eventually(t, "the set is told again", func() bool { return k.has("a.test.") })
}
