package catalog

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/dns"
	"kaname.dev/kaname/rib/zone/catalog/accident"
	"kaname.dev/kaname/rib/zone/guard"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/source"
	"kaname.dev/kaname/rib/zone/wire"
)

// accepted is what a keeper accepts of one catalog, with the guard.
type accepted struct {
	mu      sync.Mutex // guards the fields below
	set     map[name.Name]bool
	state   guard.State
	trouble func(string)
	lost    func(set map[name.Name]bool) // called with each new set
}

func (a *accepted) tell(_ context.Context, r source.Report) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var gone []name.Name
	var add []source.Member
	var serial *uint32
	next := map[name.Name]bool{}
	switch {
	case r.Trouble != "":
		a.trouble(r.Trouble)
		return nil
	case r.Full != nil:
		add, serial = r.Full.Members, r.Full.Serial
		for _, m := range add {
			next[m.Name] = true
		}
		for n := range a.set {
			if !next[n] {
				gone = append(gone, n)
			}
		}
	default:
		add, serial = r.Delta.Add, r.Delta.Serial
		for _, n := range r.Delta.Remove {
			if a.set[n] {
				gone = append(gone, n)
			}
		}
	}
	slices.Sort(gone)
	for _, m := range add {
		a.set[m.Name] = true
	}
	v := guard.Judge(guard.Default(), a.state, time.Now(), guard.Change{Had: len(a.set), Next: len(a.set) - len(gone), Gone: gone, Serial: serial}, guard.Ack{})
	a.state = v.State
	if !v.Held {
		for _, n := range gone {
			delete(a.set, n)
		}
	}
	a.lost(maps.Clone(a.set))
	return nil
}

// slow are the cases that take long: the soak plays them.
var slow = map[string]bool{"expired": true}

func TestNoAccidentLosesAZone(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, c := range accident.All() { // all at once: they wait more than they work
		if slow[c.Name] && !lab.Soak() {
			continue
		}
		at := dns.AddressOf(t)
		dirs := map[name.Name]string{accident.One: t.TempDir(), accident.Two: t.TempDir()}
		p, err := accident.Listen(t.Context(), at, dns.KeyName, dns.KeySecret)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer p.Close()
			if err := play(t, p, at, &c, dirs); err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
		})
	}
}

// play plays a case to a source for each catalog.
func play(t *testing.T, p *accident.Primary, at netip.AddrPort, c *accident.Case, dirs map[name.Name]string) error {
	if err := p.Play(t.Context(), c.Steps[0]); err != nil {
		return err
	}
	var mu sync.Mutex
	sets := map[string]map[name.Name]bool{}
	complete := false
	has := func(zones ...string) bool {
		mu.Lock()
		defer mu.Unlock()
		return !slices.ContainsFunc(zones, func(z string) bool {
			return !sets[accident.One][name.Name(z)] && !sets[accident.Two][name.Name(z)]
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var sources []source.Source
	hint := func() {
		for _, s := range sources {
			s.Hear(source.Notify{Zone: accident.One})
			s.Hear(source.Notify{Zone: accident.Two})
		}
	}
	for _, zone := range []name.Name{accident.One, accident.Two} {
		s, err := New(source.Options{
			Name: string(zone), Catalog: zone, Dir: dirs[zone], Log: slog.New(slog.DiscardHandler),
			Peer: wire.Peer{Address: at, Key: &wire.Key{Name: dns.KeyName, Algorithm: "hmac-sha256", Secret: dns.KeySecret}},
		})
		if err != nil {
			return err
		}
		a := &accepted{set: map[name.Name]bool{}, trouble: func(text string) { t.Logf("%s: %s", c.Name, text) }, lost: func(set map[name.Name]bool) {
			mu.Lock()
			sets[string(zone)] = set
			watching := complete
			mu.Unlock()
			if watching && !has(c.Keep...) {
				t.Errorf("%s: zones are lost: catalog %s has %d", c.Name, zone, len(set))
			}
		}}
		sources = append(sources, s)
		wg.Go(func() { _ = s.Run(ctx, a.tell) }) // it ends without an error
	}
	if err := until(ctx, hint, func() bool { return has(c.Keep...) }); err != nil {
		return err
	}
	mu.Lock()
	complete = true
	mu.Unlock()
	err := p.Run(ctx, c, func(ctx context.Context) error {
		return until(ctx, hint, func() bool { return p.Asked(accident.One) > 1 && p.Asked(accident.Two) > 1 })
	})
	if err != nil {
		return err
	}
	return until(ctx, hint, func() bool { return has(c.New...) })
}

// until gives hints until cond holds, 30 s at most.
func until(ctx context.Context, hint func(), cond func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for !cond() {
		hint()
		select {
		case <-ctx.Done():
			return errors.New("waited 30 s in vain for the zones that are new")
		case <-time.After(60 * time.Millisecond):
		}
	}
	return nil
}
