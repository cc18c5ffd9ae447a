package servertest

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// restart kills the server, and stops it, and looks whether ownership, templates
// and service are as before, for a driver that was there and for one that was not.
func (s *suite) restart(t *testing.T) {
	defer s.clean(t)
	zones := []name.Name{"keep1.test.", "keep2.test.", "keep3.test."}
	s.add(t, s.d, s.additions(zones...))
	s.served(t, s.d, zones...)
	for _, end := range []func(){s.Server.Kill, s.Server.Stop} {
		end()
		s.Server.Start()
		lab.Eventually(t, "the control channel is back", func() bool { _, err := s.d.List(limited(t)); return err == nil })
		for _, d := range []server.Driver{s.d, s.fresh(t)} {
			have := s.list(t, d)
			for _, z := range zones {
				s.wantOwned(t, have, z, s.template())
			}
			if len(have) != len(zones) {
				t.Errorf("List has %d zones, want %d", len(have), len(zones))
			}
		}
		s.served(t, s.d, zones...)
	}
	s.remove(t, s.fresh(t), removals(zones...))
	s.Server.Kill()
	s.Server.Start()
	lab.Eventually(t, "the control channel is back", func() bool { _, err := s.d.List(limited(t)); return err == nil })
	if have := s.list(t, s.d); len(have) != 0 {
		t.Errorf("a removal does not survive: %v", have)
	}
}

// status asks for a zone that is served, one that no transfer brought, and one that
// is not there.
func (s *suite) status(t *testing.T) {
	defer s.clean(t)
	s.add(t, s.d, s.additions("status.test.", "refused-by-primary.test."))
	s.served(t, s.d, "status.test.")
	ask := []name.Name{"absent.test.", "refused-by-primary.test.", "status.test."}
	var got []server.Zone
	told := func() bool {
		var err error
		if got, err = s.d.Status(limited(t), ask); err != nil || len(got) != len(ask) {
			t.Fatalf("Status: %v, %v", got, err)
		}
		return s.Blind || got[2].Loaded && got[1].Note != ""
	}
	if !wait(5*time.Second, told) {
		t.Errorf("Status: %+v; want the second with a note, the third loaded", got)
	}
	for i, n := range ask {
		if got[i].Name != n || got[i].Present != (i > 0) {
			t.Errorf("Status of %s: %+v", n, got[i])
		}
	}
	if got[1].Loaded {
		t.Errorf("Status has a zone as loaded that the primary does not have: %+v", got[1])
	}
	if !s.Blind && got[2].Serial != 1 {
		t.Errorf("Status: %+v; want serial 1", got[2])
	}
}

func (s *suite) badKey(t *testing.T) {
	defer s.clean(t)
	if s.BadKey == "" {
		t.Skip("the bench has no key of which the primary does not know the secret")
	}
	zone := name.Name("badkey.test.")
	list := append(s.additions(zone), s.additions("beside.test.")...)
	list[0].Template.Primaries[0].Key = s.BadKey
	s.add(t, s.d, list)
	s.served(t, s.d, "beside.test.")
	var got []server.Zone
	if !wait(5*time.Second, func() bool {
		var err error
		got, err = s.d.Status(limited(t), []name.Name{zone})
		return err == nil && len(got) == 1 && got[0].Present && !got[0].Loaded && (s.Blind || got[0].Note != "")
	}) {
		t.Errorf("Status with a wrong TSIG key: %+v; want a note", got)
	}
	if _, _, ok := s.Server.SOA(string(zone)); ok {
		t.Error("the zone is served, though its key is wrong")
	}
}

// kick brings a zone that came to the primary later.
func (s *suite) kick(t *testing.T) {
	defer s.clean(t)
	zone := name.Name("late.test.")
	s.add(t, s.d, s.additions(zone))
	s.Primary.AddZones(zone.Bare()) // its NOTIFY may come, or not
	defer s.Primary.RemoveZones(zone.Bare())
	if !wait(serveLimit, func() bool {
		if err := s.d.Kick(limited(t), []name.Name{zone}); err != nil {
			t.Fatalf("Kick: %v", err)
		}
		return wait(time.Second, func() bool { _, _, ok := s.Server.SOA(string(zone)); return ok })
	}) {
		t.Error("the zone is not served after kicks")
	}
}

// twoDrivers work on one server at once.
func (s *suite) twoDrivers(t *testing.T) {
	defer s.clean(t)
	drivers := []server.Driver{s.d, s.fresh(t)}
	zones := bulkNames()[:60]
	var wg sync.WaitGroup
	for i, d := range drivers {
		wg.Go(func() {
			for _, err := range d.Add(limited(t), s.additions(zones[i*20:i*20+40]...)) { // 20 of them both
				if err != nil {
					t.Errorf("Add of driver %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if have := s.list(t, s.d); len(have) != len(zones) {
		t.Errorf("List has %d zones, want %d", len(have), len(zones))
	}
	s.served(t, drivers[1], zones...)
	for i, d := range drivers {
		wg.Go(func() {
			for _, err := range d.Remove(limited(t), removals(zones[i*20:i*20+40]...)) {
				if err != nil {
					t.Errorf("Remove of driver %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if have := s.list(t, s.d); len(have) != 0 {
		t.Errorf("List after the removal has %d zones", len(have))
	}
}

// soon is how long a call may last after its context ended.
const soon = 3 * time.Second

func (s *suite) cancelled(t *testing.T) {
	defer s.clean(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.ends(t, s.d, ctx)
	if have := s.list(t, s.d); len(have) != 0 {
		t.Errorf("a call that was over before it began left %v", have)
	}
}

// ends fails unless every call ends soon after ctx, with errors.
func (s *suite) ends(t *testing.T, d server.Driver, ctx context.Context) { //nolint:revive // the driver is what is tested
	t.Helper()
	for what, call := range map[string]func() error{
		"List":   func() error { _, err := d.List(ctx); return err },
		"Add":    func() error { return errors.Join(d.Add(ctx, s.additions("paused.test.", "one.test."))...) },
		"Remove": func() error { return errors.Join(d.Remove(ctx, removals("paused.test."))...) },
		"Status": func() error { _, err := d.Status(ctx, []name.Name{"paused.test."}); return err },
		"Kick":   func() error { return d.Kick(ctx, []name.Name{"paused.test."}) },
		"Probe":  func() error { _, err := d.Probe(ctx); return err },
	} {
		if ctx.Err() == nil {
			<-ctx.Done()
		}
		begun := time.Now()
		if err := call(); err == nil {
			t.Errorf("%s succeeds after its context ended", what)
		}
		if took := time.Since(begun); took > soon {
			t.Errorf("%s lasts %s after its context ended", what, took)
		}
	}
}

// paused stops the server's process in the middle of its life.
func (s *suite) paused(t *testing.T) {
	defer s.clean(t)
	s.Server.Signal(syscall.SIGSTOP)
	defer s.Server.Signal(syscall.SIGCONT)
	for what, call := range map[string]func(context.Context) error{
		"Add":  func(ctx context.Context) error { return errors.Join(s.d.Add(ctx, s.additions("paused.test."))...) },
		"List": func(ctx context.Context) error { _, err := s.d.List(ctx); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		begun := time.Now()
		if err := call(ctx); err == nil {
			t.Errorf("%s succeeds on a paused server", what)
		}
		if took := time.Since(begun); took > soon {
			t.Errorf("%s lasts %s on a paused server", what, took)
		}
		cancel()
	}
	s.Server.Signal(syscall.SIGCONT)
	if !wait(serveLimit, func() bool { _, err := s.d.List(limited(t)); return err == nil }) {
		t.Error("the driver does not recover after the pause")
	}
	s.add(t, s.d, s.additions("paused.test."))
	s.served(t, s.d, "paused.test.")
}
