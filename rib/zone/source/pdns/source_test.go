package pdns

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	fulls   int
	refuse  bool
}

func (k *keeper) tell(_ context.Context, r source.Report) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refuse {
		k.known = false
		return errors.New("not now")
	}
	switch {
	case r.Full != nil:
		k.set = map[name.Name]bool{}
		for _, m := range r.Full.Members {
			k.set[m.Name] = true
		}
		k.known, k.trouble = true, ""
		k.fulls++
	case r.Delta != nil:
		if !k.known {
			k.t.Error("a change of an unknown set is told")
		}
		for _, m := range r.Delta.Add {
			if k.set[m.Name] {
				k.t.Errorf("%s is added twice", m.Name)
			}
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

func (k *keeper) troubled(word string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.known && strings.Contains(k.trouble, word)
}

func watch(t *testing.T, s *labdns.Server, change func(*source.Options)) (*keeper, source.Source) {
	t.Helper()
	o := source.Options{Name: "p", Kind: "pdns", Control: s.Control, KeyFile: s.KeyFile, Peer: wire.Peer{Address: s.Address}}
	if change != nil {
		change(&o)
	}
	src, err := New(o)
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
	s := labdns.PowerDNS(t, labdns.Options{Primary: true})
	k, _ := watch(t, s, nil)
	lab.Eventually(t, "the empty set is told", func() bool { return k.has() })
	s.AddZones("a.test", `a\032b.test`)
	begun := time.Now()
	lab.Eventually(t, "the zones are told", func() bool { return k.has("a.test.", `a\032b.test.`) })
	t.Logf("seen after %v", time.Since(begun))
	s.SQL("INSERT INTO domains(name, type) VALUES('native.test', 'NATIVE'), ('slave.test', 'SLAVE'), ('void.test', 'MASTER'), ('', 'MASTER');")
	s.AddZones("b.test")
	s.RemoveZones("a.test")
	lab.Eventually(t, "the change is told", func() bool { return k.has("b.test.", `a\032b.test.`) })
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

func TestOptions(t *testing.T) {
	s := labdns.PowerDNS(t, labdns.Options{Primary: true})
	s.AddZones("in.a.test", "a.test", "b.test", "native.a.test")
	s.SQL("UPDATE domains SET type='NATIVE' WHERE name='native.a.test';")
	k, _ := watch(t, s, func(o *source.Options) { o.Allow, o.Native = []name.Name{"a.test."}, true })
	lab.Eventually(t, "what is allowed is told", func() bool { return k.has("in.a.test.", "a.test.", "native.a.test.") })
}

func TestTrouble(t *testing.T) {
	s := labdns.PowerDNS(t, labdns.Options{Primary: true})
	s.AddZones("a.test")
	k, _ := watch(t, s, nil)
	lab.Eventually(t, "the set is told", func() bool { return k.has("a.test.") })
	key, err := os.ReadFile(s.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.KeyFile, []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the wrong key is told", func() bool { return k.troubled("api-key") })
	if err := os.WriteFile(s.KeyFile, key, 0o600); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the set is told again", func() bool { return k.has("a.test.") })
	s.Kill()
	lab.Eventually(t, "the dead server is told", func() bool { return k.troubled("does not answer") })
	s.Start()
	lab.Eventually(t, "the set is told after a restart", func() bool { return k.has("a.test.") })
}

// TestHears has so long a pause between lists that only a hint can have told.
func TestHears(t *testing.T) {
	s := labdns.PowerDNS(t, labdns.Options{Primary: true})
	s.AddZones("a.test", "b.test")
	src, err := New(source.Options{Name: "p", Control: s.Control, KeyFile: s.KeyFile, Peer: wire.Peer{Address: s.Address}})
	if err != nil {
		t.Fatal(err)
	}
	p := src.(*Source)
	k := &keeper{t: t}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last seen
	p.list(ctx, &last, k.tell)
	if !k.has("a.test.", "b.test.") {
		t.Fatal("the list is not told")
	}
	done := make(chan error, 1)
	go func() { done <- p.pause(ctx, time.Minute, &last, k.tell) }()
	s.AddZones("c.test")
	s.RemoveZones("b.test")
	for _, n := range []name.Name{"c.test.", "b.test.", "never.test.", "a.test."} {
		p.Hear(source.Notify{Zone: n})
	}
	lab.Eventually(t, "the hints are looked at", func() bool { return k.has("a.test.", "c.test.") })
	for i := range 10000 { // a flood neither blocks nor grows
		p.Hear(source.Notify{Zone: name.Name(fmt.Sprintf("n%d.test.", i))})
	}
	if len(p.hints) > maxHints {
		t.Errorf("%d hints wait", len(p.hints))
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("pause has not ended with its context")
	}
}
