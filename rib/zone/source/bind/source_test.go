package bind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/source"
)

// ear collects what a source tells.
type ear struct {
	mu      sync.Mutex
	have    map[name.Name]bool
	full    int
	trouble string
	deaf    bool
}

func (e *ear) tell(_ context.Context, r source.Report) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.deaf {
		return errors.New("deaf")
	}
	e.trouble = r.Trouble
	if r.Full != nil {
		e.full++
		e.have = map[name.Name]bool{}
		for _, m := range r.Full.Members {
			e.have[m.Name] = true
		}
	}
	if r.Delta != nil {
		for _, m := range r.Delta.Add {
			e.have[m.Name] = true
		}
		for _, n := range r.Delta.Remove {
			delete(e.have, n)
		}
	}
	return nil
}

func (e *ear) has(zones ...name.Name) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.full > 0 && len(e.have) == len(zones) && !slices.ContainsFunc(zones, func(n name.Name) bool { return !e.have[n] })
}

func (e *ear) troubled() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.trouble != ""
}

func run(t *testing.T, o source.Options) (*ear, source.Source) {
	t.Helper()
	o.Name, o.Kind = "main", "bind"
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	e := &ear{}
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { _ = s.Run(ctx, e.tell) })
	t.Cleanup(func() { cancel(); wait.Wait() })
	return e, s
}

func TestChangesAreSeen(t *testing.T) {
	lab.Need(t, "named")
	p := dns.BIND(t, dns.Options{Primary: true, Catalogs: []string{"catz.test"}, Extra: `zone "second.test" { type secondary; file "s.db"; primaries { 127.0.0.1 port 1; }; };`})
	conf, err := os.ReadFile(p.Config)
	if err != nil {
		t.Fatal(err)
	}
	conf = []byte(strings.Replace(string(conf), "empty-zones-enable no", "empty-zones-enable yes", 1))
	if err := os.WriteFile(p.Config, conf, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Chown(p.Config, 65534, 65534)
	p.RNDC("reconfig")
	e, _ := run(t, source.Options{Config: p.Config, Catalog: "catz.test."})
	lab.Eventually(t, "the empty set is told", func() bool { return e.has() })
	p.AddZones("a.test")
	begun := time.Now()
	lab.Eventually(t, "a new zone is seen", func() bool { return e.has("a.test.") })
	t.Logf("seen after %s", time.Since(begun))
	many := make([]string, 30)
	all := []name.Name{"a.test."}
	for i := range many {
		many[i] = fmt.Sprintf("z%d.test", i)
		all = append(all, name.Name(many[i]+"."))
	}
	p.AddZones(many...)
	lab.Eventually(t, "many are seen", func() bool { return e.has(all...) })
	p.RemoveZones("a.test")
	begun = time.Now()
	lab.Eventually(t, "a removal is seen", func() bool { return e.has(all[1:]...) })
	t.Logf("seen after %s", time.Since(begun))
	p.RemoveZones(many[0])
	p.AddZones("b.test")
	lab.Eventually(t, "a swap is seen", func() bool { return e.has(append(all[2:], "b.test.")...) })
	p.RemoveZones(many[1:]...)
	lab.Eventually(t, "the removal of many is seen", func() bool { return e.has("b.test.") })
}

func TestTroubleIsNotEmpty(t *testing.T) {
	lab.Need(t, "named")
	p := dns.BIND(t, dns.Options{Primary: true})
	p.AddZones("a.test")
	e, s := run(t, source.Options{Stats: p.Stats})
	lab.Eventually(t, "the set is told", func() bool { return e.has("a.test.") })
	p.Kill()
	lab.Eventually(t, "trouble is told", e.troubled)
	if !e.has("a.test.") {
		t.Error("a dead primary is taken for an empty one")
	}
	p.Start()
	lab.Eventually(t, "trouble is over", func() bool { return !e.troubled() && e.has("a.test.") })
	e.mu.Lock()
	e.deaf = true
	e.mu.Unlock()
	p.AddZones("b.test")
	<-time.After(2 * peekEvery)
	e.mu.Lock()
	e.deaf, e.full = false, 0
	e.mu.Unlock()
	s.Hear(source.Notify{Zone: "b.test."})
	lab.Eventually(t, "all is told again after a report was lost", func() bool { return e.has("a.test.", "b.test.") })
	p.Signal(syscall.SIGSTOP)
	<-time.After(2 * peekEvery)
	p.Signal(syscall.SIGCONT)
	p.AddZones("c.test")
	lab.Eventually(t, "all is seen after a pause", func() bool { return e.has("a.test.", "b.test.", "c.test.") })
}

func TestViews(t *testing.T) {
	lab.Need(t, "named")
	p := dns.BIND(t, dns.Options{Primary: true})
	text, err := os.ReadFile(p.Config)
	if err != nil {
		t.Fatal(err)
	}
	views := strings.Replace(string(text), `include "zones.conf";`, "", 1) + `
view "in" { match-clients { 10.0.0.0/8; }; zone "in.test" { type primary; file "zone.db"; }; };
view "out" { zone "out.test" { type primary; file "zone.db"; }; };`
	if err := os.WriteFile(p.Config, []byte(views), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Chown(p.Config, 65534, 65534)
	p.RNDC("reconfig")
	e, _ := run(t, source.Options{Config: p.Config, View: "in"})
	lab.Eventually(t, "one view's zones are told", func() bool { return e.has("in.test.") })
	both, _ := run(t, source.Options{Config: p.Config})
	lab.Eventually(t, "a view is asked for", both.troubled)
}
