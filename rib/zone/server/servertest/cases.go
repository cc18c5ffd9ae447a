package servertest

import (
	"errors"
	"testing"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

func (s *suite) probe(t *testing.T) {
	defer s.clean(t)
	info, err := s.d.Probe(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	if info.Kind == "" || info.Version == "" || info.Batch < 1 || info.Pending < 0 {
		t.Errorf("Probe says %+v", info)
	}
	if len(info.Problems) > 0 {
		t.Errorf("Probe finds problems: %v", info.Problems)
	}
}

func (s *suite) empty(t *testing.T) {
	defer s.clean(t)
	if have := s.list(t, s.d); len(have) != 0 {
		t.Errorf("List of an empty server: %v", have)
	}
	for i, err := range s.d.Add(limited(t), nil) {
		t.Errorf("Add of nothing: result %d, %v", i, err)
	}
	for i, err := range s.d.Remove(limited(t), nil) {
		t.Errorf("Remove of nothing: result %d, %v", i, err)
	}
	if err := s.d.Kick(limited(t), nil); err != nil {
		t.Errorf("Kick of nothing: %v", err)
	}
	if st, err := s.d.Status(limited(t), nil); err != nil || len(st) != 0 {
		t.Errorf("Status of nothing: %v, %v", st, err)
	}
	if st, err := s.d.Status(limited(t), []name.Name{"absent.test."}); err != nil || len(st) != 1 || st[0].Present || st[0].Name != "absent.test." {
		t.Errorf("Status of an absent zone: %+v, %v", st, err)
	}
	s.remove(t, s.d, removals("absent.test."))
}

// one is the whole life of a zone.
func (s *suite) one(t *testing.T) {
	defer s.clean(t)
	zone := name.Name("one.test.")
	for range 2 { // as new the second time, too
		s.add(t, s.d, s.additions(zone))
		s.served(t, s.d, zone)
		s.serial(t, zone, 1)
		s.wantOwned(t, s.list(t, s.d), zone, s.template())
		s.add(t, s.d, s.additions(zone)) // is there already
		if _, _, ok := s.Server.SOA(string(zone)); !ok {
			t.Error("adding again interrupts the service")
		}
		if have := s.list(t, s.d); len(have) != 1 {
			t.Errorf("List has %d zones, want 1", len(have))
		}
		s.remove(t, s.d, removals(zone))
		s.silent(t, zone)
		if have := s.list(t, s.d); len(have) != 0 {
			t.Errorf("List after the removal: %v", have)
		}
		s.traces(t, zone)
		s.remove(t, s.d, removals(zone)) // is gone already
	}
}

func (s *suite) bulk(t *testing.T) {
	defer s.clean(t)
	zones := bulkNames()
	s.add(t, s.d, s.additions(zones...))
	s.served(t, s.d, zones...)
	have := s.list(t, s.d)
	if len(have) != len(zones) {
		t.Errorf("List has %d zones, want %d", len(have), len(zones))
	}
	for _, z := range zones {
		s.wantOwned(t, have, z, s.template())
	}
	s.add(t, s.d, s.additions(zones...))
	s.remove(t, s.d, removals(zones...))
	for _, z := range zones {
		s.silent(t, z)
	}
	if have := s.list(t, s.d); len(have) != 0 {
		t.Errorf("List after the removal has %d zones", len(have))
	}
	s.traces(t, zones[0])
	s.traces(t, zones[len(zones)-1])
}

// badAmongGood gives a foreign zone and the same zone twice beside good ones.
func (s *suite) badAmongGood(t *testing.T) {
	defer s.clean(t)
	s.MakeForeign("foreign.test")
	s.served(t, s.d, "foreign.test.")
	errs := s.d.Add(limited(t), s.additions("good1.test.", "foreign.test.", "same.test.", "same.test.", "good2.test."))
	for i, err := range errs {
		if i == 1 && !errors.Is(err, server.ErrForeign) || i != 1 && err != nil {
			t.Errorf("Add %d of 5, of which only 1 is bad: %v", i, err)
		}
	}
	s.served(t, s.d, "good1.test.", "good2.test.", "same.test.")
	errs = s.d.Remove(limited(t), removals("good1.test.", "foreign.test.", "absent.test.", "good2.test."))
	for i, err := range errs {
		if i == 1 && !errors.Is(err, server.ErrForeign) || i != 1 && err != nil {
			t.Errorf("Remove %d of 4, of which only 1 is bad: %v", i, err)
		}
	}
	s.silent(t, "good1.test.")
	s.silent(t, "good2.test.")
	if have := s.list(t, s.d); len(have) != 2 {
		t.Errorf("List: %v; want foreign.test and same.test", have)
	}
}

// change moves a zone to another primary by its template.
func (s *suite) change(t *testing.T) {
	defer s.clean(t)
	zone := name.Name("change.test.")
	s.add(t, s.d, s.additions(zone))
	s.served(t, s.d, zone)
	second := s.other(t, zone.Bare())
	list := s.additions(zone)
	list[0].Template.Primaries[0].Address = second.Address
	s.add(t, s.d, list)
	s.wantOwned(t, s.list(t, s.d), zone, list[0].Template)
	if err := s.d.Kick(limited(t), []name.Name{zone}); err != nil {
		t.Errorf("Kick: %v", err)
	}
	s.serial(t, zone, 2)
	if have := s.list(t, s.d); len(have) != 1 {
		t.Errorf("List: %v", have)
	}
}

func (s *suite) foreign(t *testing.T) {
	defer s.clean(t)
	zone := name.Name("foreign.test.")
	s.MakeForeign(zone.Bare())
	s.served(t, s.d, zone)
	for _, d := range []server.Driver{s.d, s.fresh(t)} {
		if z, ok := s.list(t, d)[zone]; !ok || z.Owned || z.Template != "" {
			t.Errorf("List has a foreign zone as %+v, %t", z, ok)
		}
		if err := d.Add(limited(t), s.additions(zone))[0]; !errors.Is(err, server.ErrForeign) {
			t.Errorf("Add of a foreign zone: %v", err)
		}
		if err := d.Remove(limited(t), removals(zone))[0]; !errors.Is(err, server.ErrForeign) {
			t.Errorf("Remove of a foreign zone: %v", err)
		}
	}
	if _, _, ok := s.Server.SOA(string(zone)); !ok {
		t.Error("the foreign zone is not served any more")
	}
}

func (s *suite) adopt(t *testing.T) {
	defer s.clean(t)
	zone := name.Name("adopt.test.")
	s.MakeForeign(zone.Bare())
	s.served(t, s.d, zone)
	list := s.additions(zone)
	list[0].Adopt = true
	s.add(t, s.d, list)
	s.served(t, s.d, zone)
	s.wantOwned(t, s.list(t, s.fresh(t)), zone, s.template())
	s.add(t, s.d, s.additions(zone))
	s.remove(t, s.d, removals(zone))
	s.silent(t, zone)
	s.traces(t, zone)
}

func (s *suite) adoptToRemove(t *testing.T) {
	defer s.clean(t)
	zone := name.Name("adoptgone.test.")
	s.MakeForeign(zone.Bare())
	s.served(t, s.d, zone)
	s.remove(t, s.d, []server.Removal{{Name: zone, Adopt: true}})
	s.silent(t, zone)
	if have := s.list(t, s.d); len(have) != 0 {
		t.Errorf("List: %v", have)
	}
}

// fresh returns a driver that remembers nothing.
func (s *suite) fresh(t *testing.T) server.Driver {
	t.Helper()
	d := s.Open(t, t.TempDir())
	t.Cleanup(func() { _ = d.Close() })
	return d
}
