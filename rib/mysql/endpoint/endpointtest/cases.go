package endpointtest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"kaname.dev/kaname/rib/mysql/endpoint"
)

func (s *suite) publish(t *testing.T) {
	s.lead(t, 0)
	s.must(t, "the same Publish", s.d.Publish, s.target(0, s.epoch))
	s.isLed(t)
}

func (s *suite) move(t *testing.T) {
	isCut := s.client(t)
	s.lead(t, 1)
	isCut(t)
	s.lead(t, 0)
}

func (s *suite) old(t *testing.T) {
	if s.Epochs == Forgotten {
		t.Skip("this endpoint keeps no epoch")
	}
	s.lead(t, 1)
	s.refuses(t)
	if s.Epochs == Kept {
		s.again(t)
		s.refuses(t)
	}
}

// refuses fails unless what is of a lower epoch is refused and changes nothing.
func (s *suite) refuses(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*soon)
	defer cancel()
	other := s.target(1-s.at, s.epoch-1)
	if err := s.d.Publish(ctx, other); !errors.Is(err, endpoint.ErrOld) {
		t.Fatalf("Publish of epoch %d after %d: %v; it must be endpoint.ErrOld", s.epoch-1, s.epoch, err)
	}
	if err := s.d.Withdraw(ctx, other); !errors.Is(err, endpoint.ErrOld) {
		t.Fatalf("Withdraw of epoch %d after %d: %v; it must be endpoint.ErrOld", s.epoch-1, s.epoch, err)
	}
	s.isLed(t)
}

func (s *suite) withdraw(t *testing.T) {
	s.lead(t, 0)
	isCut := s.client(t)
	s.epoch++
	away := endpoint.Target{Topology: Topology, Epoch: s.epoch}
	s.must(t, "Withdraw", s.d.Withdraw, away)
	s.isNowhere(t)
	isCut(t)
	s.must(t, "the same Withdraw", s.d.Withdraw, away)
	s.isNowhere(t)
	// The same epoch: a move that was called off, or went on.
	s.at = 1
	s.must(t, "Publish", s.d.Publish, s.target(1, s.epoch))
	s.isLed(t)
}

// again lets another driver take over.
func (s *suite) again(t *testing.T) {
	t.Helper()
	if err := s.d.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	s.d = s.open(t)
}

func (s *suite) restart(t *testing.T) {
	s.lead(t, 1)
	s.again(t)
	s.isLed(t)
	s.must(t, "the same Publish by another driver", s.d.Publish, s.target(1, s.epoch))
	s.isLed(t)
	s.lead(t, 0)
}

// interrupted ends the calls' contexts after all kinds of times.
func (s *suite) interrupted(t *testing.T) {
	for i := range 12 {
		after := time.Duration(i*i) * 200 * time.Microsecond // 0 to 24 ms
		s.epoch++
		away := endpoint.Target{Topology: Topology, Epoch: s.epoch}
		s.short(t, after, s.d.Withdraw, away)
		if i%2 == 0 {
			s.must(t, "Withdraw after one that was cut short", s.d.Withdraw, away)
			s.isNowhere(t)
		}
		s.at = i % 2
		s.short(t, after, s.d.Publish, s.target(s.at, s.epoch))
		s.must(t, "Publish after one that was cut short", s.d.Publish, s.target(s.at, s.epoch))
		s.isLed(t)
	}
}

// short makes a call whose context ends soon; it may succeed.
func (s *suite) short(t *testing.T, after time.Duration, f func(context.Context, endpoint.Target) error, target endpoint.Target) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), after)
	defer cancel()
	start := time.Now()
	_ = f(ctx, target)
	if took := time.Since(start); took > after+bound {
		t.Fatalf("a call with %v to go took %v", after, took)
	}
}

func (s *suite) broken(t *testing.T) {
	if s.Break == nil {
		t.Skip("this endpoint cannot fail")
	}
	s.lead(t, 0)
	repair := s.Break(t)
	s.epoch++
	s.at = 1
	target := s.target(1, s.epoch)
	s.fails(t, s.d, target)
	repair()
	s.must(t, "Publish after the repair", s.d.Publish, target)
	s.isLed(t)
}

// fails fails unless Publish does, in time.
func (s *suite) fails(t *testing.T, d endpoint.Driver, target endpoint.Target) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	start := time.Now()
	err := d.Publish(ctx, target)
	if err == nil {
		t.Fatal("Publish tells of no error where the endpoint does not work")
	}
	if took := time.Since(start); took > 2*bound {
		t.Fatalf("Publish with %v to go took %v", bound, took)
	}
	if !known(err.Error(), s.Where) {
		t.Fatalf("the error does not name the endpoint (%q): %v", s.Where, err)
	}
}

func (s *suite) unreachable(t *testing.T) {
	if s.Unreachable == nil {
		t.Skip("this endpoint is always there")
	}
	d, err := s.New(endpoint.Options{Topology: Topology, Settings: maps.Clone(s.Unreachable)})
	if err != nil {
		t.Fatalf("New does no I/O that can fail so: %v", err)
	}
	defer func() { _ = d.Close() }()
	s.fails(t, d, s.target(0, s.epoch))
}

func (s *suite) unknown(t *testing.T) {
	if len(s.Settings) == 0 {
		t.Skip("this endpoint has no settings")
	}
	o := maps.Clone(s.Settings)
	o["colour"] = "mauve"
	d, err := s.New(endpoint.Options{Topology: Topology, Settings: o})
	if err == nil {
		_ = d.Close()
		t.Fatal("New takes the setting colour, which does not exist")
	}
	if words := slices.Sorted(maps.Keys(o)); !known(err.Error(), words...) {
		t.Fatalf("the error does not name the unknown setting and the known ones %v: %v", words, err)
	}
}
