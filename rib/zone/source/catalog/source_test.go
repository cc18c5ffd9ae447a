package catalog

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/source"
	"kaname.dev/kaname/rib/zone/wire"
)

// keeper takes reports as the keeper does.
type keeper struct {
	mu      sync.Mutex // guards the fields below
	set     map[name.Name]source.Member
	serial  uint32
	trouble string
	fulls   int
	deltas  int
	refuse  bool
	known   bool // a full report came
}

func (k *keeper) tell(_ context.Context, r source.Report) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refuse {
		return errors.New("not now")
	}
	switch {
	case r.Full != nil:
		k.set, k.trouble, k.known = map[name.Name]source.Member{}, "", true
		k.fulls++
		for _, m := range r.Full.Members {
			k.set[m.Name] = m
		}
		k.serial = *r.Full.Serial
	case r.Delta != nil:
		if !k.known {
			return errors.New("a change came before the whole")
		}
		k.deltas++
		for _, m := range r.Delta.Add {
			k.set[m.Name] = m
		}
		for _, n := range r.Delta.Remove {
			delete(k.set, n)
		}
		k.serial = *r.Delta.Serial
	default:
		k.trouble = r.Trouble
	}
	return nil
}

func (k *keeper) get() (set, trouble string, serial uint32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []string
	for _, n := range slices.Sorted(maps.Keys(k.set)) {
		list = append(list, n.Bare())
	}
	return strings.Join(list, " "), k.trouble, k.serial
}

func (k *keeper) has(t *testing.T, set string) {
	t.Helper()
	lab.Eventually(t, "the set is "+set, func() bool {
		have, trouble, _ := k.get()
		return have == set && trouble == ""
	})
}

// complains waits for a trouble with all of the parts, and fails if the set is then
// another.
func (k *keeper) complains(t *testing.T, set string, parts ...string) {
	t.Helper()
	lab.Eventually(t, "there is trouble with "+strings.Join(parts, ", "), func() bool {
		_, trouble, _ := k.get()
		return trouble != "" && !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(trouble, p) })
	})
	if have, _, _ := k.get(); have != set {
		t.Errorf("in trouble the set is %q, not %q", have, set)
	}
}

// run runs a source until the test, or the function that it returns, ends it.
func run(t *testing.T, o source.Options, k *keeper) (source.Source, func()) {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx, k.tell); err != nil {
			t.Error(err)
		}
	})
	end := sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(end)
	return s, end
}

const catz = "catz.test"

func options(t *testing.T, at *dns.Server) source.Options {
	return source.Options{
		Name: "main", Kind: "catalog", Catalog: catz + ".", Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Peer: wire.Peer{Address: at.Address, Key: &wire.Key{Name: dns.KeyName, Algorithm: "hmac-sha256", Secret: dns.KeySecret}},
	}
}

func pointer(label, zone string) string { return label + ".zones." + catz + ". 0 IN PTR " + zone + "." }

func TestACatalogOfBIND(t *testing.T) {
	t.Parallel()
	b := dns.BIND(t, dns.Options{Primary: true, Catalogs: []string{catz}})
	b.Update(catz, nil, []string{pointer("a", "a.test"), pointer("b", "B.test"), "group.b.zones." + catz + `. 0 IN TXT "fast"`})
	k, o := &keeper{}, options(t, b)
	s, end := run(t, o, k)
	k.has(t, "a.test b.test")
	if m := k.set["b.test."]; m.Group != "fast" || m.ID != "b" {
		t.Errorf("member is %+v", m)
	}
	began := time.Now() // from here on only differences are transferred
	b.Update(catz, nil, []string{pointer("c", "c.test")})
	s.Hear(source.Notify{Zone: catz + "."})
	k.has(t, "a.test b.test c.test")
	t.Logf("a new member after a NOTIFY: %v", time.Since(began))
	b.Update(catz, []string{pointer("a", "a.test")}, nil)
	k.has(t, "b.test c.test") // without any NOTIFY
	if k.deltas < 2 || k.fulls != 1 {
		t.Errorf("%d full reports, %d changes", k.fulls, k.deltas)
	}

	// A broken version changes nothing, and the next good one counts.
	b.Update(catz, nil, []string{pointer("d", "d.test"), pointer("twice", "c.test")})
	k.complains(t, "b.test c.test", "member-twice", "c.test", "section 4.1", "remove all but one", "until then serial")
	b.Update(catz, []string{pointer("twice", "c.test")}, nil)
	k.has(t, "b.test c.test d.test")

	// A primary that is away is no empty one, across a restart of the source too.
	b.Kill()
	k.complains(t, "b.test c.test d.test", "does not answer")
	end()
	if !s.(*Source).checked.Before(began) {
		t.Error("the catalog was transferred as a whole again")
	}
	fresh := &keeper{}
	_, end = run(t, o, fresh)
	fresh.complains(t, "b.test c.test d.test", "does not answer", "until then serial")
	b.Start()
	fresh.has(t, "b.test c.test d.test")
	end()

	// Nor one that takes the key for another's.
	o.Peer.Key = &wire.Key{Name: dns.KeyName, Algorithm: "hmac-sha256", Secret: "AAAA"}
	wrong := &keeper{}
	_, _ = run(t, o, wrong)
	wrong.complains(t, "b.test c.test d.test", "key")
}

func TestReportsThatAreNotTakenAreMadeAgain(t *testing.T) {
	t.Parallel()
	b := dns.BIND(t, dns.Options{Primary: true, Catalogs: []string{catz}})
	b.Update(catz, nil, []string{pointer("a", "a.test")})
	k := &keeper{refuse: true}
	s, _ := run(t, options(t, b), k)
	for range 3 {
		s.Hear(source.Notify{Zone: catz + "."})
		s.Hear(source.Notify{Zone: "other.test."})
		<-time.After(100 * time.Millisecond)
	}
	k.mu.Lock()
	k.refuse = false
	k.mu.Unlock()
	k.has(t, "a.test")
}

func TestNewWantsWhatItNeeds(t *testing.T) {
	if _, err := New(source.Options{Catalog: "catz.test."}); err == nil {
		t.Error("a source without an address")
	}
	if _, err := New(source.Options{}); err == nil {
		t.Error("a source without a catalog")
	}
}
