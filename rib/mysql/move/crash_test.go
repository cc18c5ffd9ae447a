package move_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/topology"
)

// TestControllerDiesAtEachStep kills the controller at every single call of a move, before it
// has its effect and after it, and lets another one go on.
func TestControllerDiesAtEachStep(t *testing.T) {
	for _, flavour := range []string{gtid.MariaDB, gtid.MySQL} {
		for _, d := range []topology.Durability{topology.Lossless, topology.Async} {
			for kind, begin := range map[string]func(*world){
				"failover":   func(w *world) { w.servers[0].crash(time.Now().Add(8 * time.Second)) },
				"switchover": func(w *world) { w.ctrl.wishes = append(w.ctrl.wishes, wish{to: "db2"}) },
				"called off": func(w *world) { w.ctrl.wishes = append(w.ctrl.wishes, wish{failover: true, quiet: true}) },
			} {
				t.Run(fmt.Sprintf("%s %s %s", kind, flavour, d), func(t *testing.T) {
					calls := len(dying(t, flavour, d, begin, 0, false))
					if calls < 10 {
						t.Fatalf("the whole move had %d calls", calls)
					}
					for at := 1; at <= calls; at++ {
						for _, after := range []bool{false, true} {
							dying(t, flavour, d, begin, at, after)
						}
					}
				})
			}
		}
	}
}

// dying runs a move whose controller dies at a call, and returns what was called.
func dying(t *testing.T, flavour string, d topology.Durability, begin func(*world), at int, after bool) (calls []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := newWorld(ctx, 7, bugs{})
		w.calm(flavour, d)
		w.mu.Lock()
		c := w.reign()
		died := false
		die := func() error {
			if !died {
				died = true
				w.say("dies at call %d, %s, after it: %t", at, calls[at-1], after)
				w.ctrl = nil
				c.stop()
				w.wg.Go(func() {
					<-c.done
					nap(ctx, time.Second)
					w.mu.Lock()
					defer w.mu.Unlock()
					w.reign()
				})
			}
			return context.Canceled
		}
		w.pass(2*time.Second, func() bool { return false })
		c.h.step = func(what string, effect func() error) error {
			w.mu.Lock()
			calls = append(calls, what)
			n := len(calls)
			if died || n == at && !after {
				defer w.mu.Unlock()
				return die()
			}
			w.mu.Unlock()
			err := effect()
			if n == at {
				w.mu.Lock()
				defer w.mu.Unlock()
				return die()
			}
			return err
		}
		begin(w)
		moved := func() bool { return (died || w.doc.Epoch > 1) && w.whole() && w.ctrl != nil }
		if !w.pass(40*time.Second, moved) {
			w.broke("the topology is not whole again")
		}
		w.over = true
		w.mu.Unlock()
		cancel()
		w.wg.Wait()
		if len(w.broken) > 0 {
			t.Fatalf("call %d of %v, after it: %t\n%s\n%s", at, calls, after, strings.Join(w.broken, "\n"), strings.Join(w.story, "\n"))
		}
	})
	return calls
}

// calm makes it three servers, which are as they should be.
func (w *world) calm(flavour string, d topology.Durability) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flavour, w.lazy, w.doom = flavour, false, false
	w.policy.Durability, w.policy.Acks, w.policy.Unprovable = d, 1, topology.Wait
	for _, s := range w.servers[3:] {
		w.agents[s.i].stop()
	}
	w.servers, w.agents = w.servers[:3], w.agents[:3]
	w.cuts = make([]bool, 16)
	w.doc.Flavour, w.doc.Policy, w.doc.Members = flavour, w.policy, w.doc.Members[:3]
	for i := range w.doc.Members {
		w.doc.Members[i].Role = topology.Candidate
		w.agents[i].rec = w.doc.Clone()
		w.servers[i].replies = d == topology.Lossless
	}
}

// pass lets time pass until something holds; with the lock held.
func (w *world) pass(most time.Duration, until func() bool) bool {
	for end := time.Now().Add(most); !until() && len(w.broken) == 0; {
		if time.Now().After(end) {
			return false
		}
		w.tick(time.Now())
		w.mu.Unlock()
		<-time.After(tick)
		w.mu.Lock()
	}
	return true
}

// whole: somebody is open, clients are led there, and all others follow.
func (w *world) whole() bool {
	p := w.writable()
	if p == nil {
		return false
	}
	for _, s := range w.servers {
		if s != p && (!s.alive() || s.source != p || s.next < 0 || !s.appl) {
			return false
		}
	}
	return true
}
