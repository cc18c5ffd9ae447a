package servertest

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// names adds hard ones: each is served under exactly that name, or refused.
func (s *suite) names(t *testing.T) {
	defer s.clean(t)
	zones := HardNames(t)
	servable := map[name.Name]bool{}
	for _, z := range hostile(t) {
		servable[z] = true
	}
	held := s.offer(t, zones)
	have := s.list(t, s.d)
	if len(have) != len(held) {
		t.Errorf("List has %d zones, want %d: %v", len(have), len(held), slices.Sorted(maps.Keys(have)))
	}
	for _, z := range held {
		s.wantOwned(t, have, z, s.template())
	}
	s.served(t, s.d, slices.DeleteFunc(slices.Clone(held), func(z name.Name) bool { return !servable[z] })...)
	st, err := s.d.Status(limited(t), held)
	if err != nil {
		t.Fatal(err)
	}
	for i, z := range st {
		if z.Name != held[i] || !z.Present {
			t.Errorf("Status of %s: %+v", held[i], z)
		}
	}
	s.add(t, s.d, s.additions(held...))
	s.remove(t, s.d, removals(held...))
	for _, z := range held {
		s.silent(t, z)
		if z != name.Root && z != "test." && z != `\052.test.` { // their files are named like others'
			s.traces(t, z)
		}
	}
	if have := s.list(t, s.d); len(have) != 0 {
		t.Errorf("List after the removal: %v", have)
	}
}

// offer adds zones and returns those that were taken.
func (s *suite) offer(t *testing.T, zones []name.Name) []name.Name {
	t.Helper()
	var held []name.Name
	for i, err := range s.d.Add(limited(t), s.additions(zones...)) {
		switch cannot := slices.Contains(s.Cannot, zones[i]); {
		case err == nil && !cannot:
			held = append(held, zones[i])
		case err == nil:
			t.Errorf("Add of %s is taken, which the bench says the server cannot hold", zones[i])
			held = append(held, zones[i])
		case !errors.Is(err, server.ErrName):
			t.Errorf("Add of %s: %v; want it taken, or ErrName", zones[i], err)
		case !cannot:
			t.Errorf("Add of %s: %v; the bench does not say that the server cannot hold it", zones[i], err)
		}
	}
	return held
}

// injection tries names and words of templates that would say more than they are.
func (s *suite) injection(t *testing.T) {
	defer s.clean(t)
	s.add(t, s.d, s.additions("beside.test."))
	s.served(t, s.d, "beside.test.")
	texts := []string{
		`x"; }; zone "evil.test" { type primary; file "/etc/passwd"; }; //.test`, `x\010evil.test default\010.test`, `x;evil.test.test`,
		`a.test\010\004\010stop.test`, `x\010delzone beside.test`, `$(touch evil).test`, "`touch evil`.test", `x' OR 1=1; --.test`, `\009evil.test`,
	}
	var zones []name.Name
	for _, text := range texts {
		zones = append(zones, parse(t, text))
	}
	taken := map[name.Name]bool{"beside.test.": true}
	for i, err := range s.d.Add(limited(t), s.additions(zones...)) {
		if err == nil {
			taken[zones[i]] = true
		} else if !errors.Is(err, server.ErrName) {
			t.Errorf("Add of %s: %v; want it taken, or ErrName", zones[i], err)
		}
	}
	if err := s.d.Kick(limited(t), slices.Collect(maps.Keys(taken))); err != nil {
		t.Errorf("Kick: %v", err)
	}
	for n := range s.list(t, s.d) {
		if !taken[n] {
			t.Errorf("the server has %s, which nobody added", n)
		}
	}
	if files := s.files("evil.test."); len(files) > 0 {
		for _, f := range files {
			if strings.HasSuffix(f, "/evil") {
				t.Errorf("the name was executed: %s", f)
			}
		}
	}
	if _, _, ok := s.Server.SOA("beside.test."); !ok {
		t.Error("another zone is not served any more")
	}
	delete(taken, "beside.test.")
	s.remove(t, s.d, removals(slices.Collect(maps.Keys(taken))...))
	if have := s.list(t, s.d); len(have) != 1 {
		t.Errorf("List: %v; want beside.test alone", have)
	}
}

// sameError fails unless every call of the driver returns want.
func (s *suite) sameError(t *testing.T, d server.Driver, want error) {
	t.Helper()
	if _, err := d.Probe(limited(t)); !errors.Is(err, want) {
		t.Errorf("Probe: %v", err)
	}
	if list, err := d.List(limited(t)); !errors.Is(err, want) || len(list) != 0 {
		t.Errorf("List: %v, %v", list, err)
	}
	if _, err := d.Status(limited(t), []name.Name{"one.test."}); !errors.Is(err, want) {
		t.Errorf("Status: %v", err)
	}
	for _, errs := range [][]error{
		d.Add(limited(t), s.additions("one.test.", "beside.test.")),
		d.Remove(limited(t), removals("one.test.", "beside.test.")),
	} {
		if len(errs) != 2 {
			t.Errorf("%d results for 2 zones", len(errs))
		}
		for _, err := range errs {
			if !errors.Is(err, want) {
				t.Errorf("Add or Remove: %v", err)
			}
		}
	}
	if err := d.Kick(limited(t), []name.Name{"one.test."}); !errors.Is(err, want) {
		t.Errorf("Kick: %v", err)
	}
}

func (s *suite) unreachable(t *testing.T) {
	defer s.clean(t)
	d := s.Unreachable(t)
	defer func() { _ = d.Close() }()
	s.sameError(t, d, server.ErrUnreachable)
}

func (s *suite) denied(t *testing.T) {
	defer s.clean(t)
	if s.Denied == nil {
		t.Skip("the server's control channel has no secret")
	}
	d := s.Denied(t)
	defer func() { _ = d.Close() }()
	s.sameError(t, d, server.ErrDenied)
}

// down is a server that ends while the driver is at work, and comes back.
func (s *suite) down(t *testing.T) {
	defer s.clean(t)
	s.add(t, s.d, s.additions("one.test."))
	s.Server.Kill()
	s.sameError(t, s.d, server.ErrUnreachable)
	s.Server.Start()
	if !wait(serveLimit, func() bool { _, err := s.d.List(limited(t)); return err == nil }) {
		t.Fatal("the driver does not find the server that came back")
	}
	s.wantOwned(t, s.list(t, s.d), "one.test.", s.template())
	s.served(t, s.d, "one.test.")
}
