// Package endpointtest is what all endpoint drivers must do, as a test against the real
// endpoint.
package endpointtest

import (
	"context"
	"errors"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Topology is the topology of the suite.
const Topology = "shop"

// Bench is an endpoint under test, empty and reachable.
type Bench struct {
	// New makes a driver of the endpoint; called again it makes another one for the same
	// endpoint, as after a restart.
	New      func(o endpoint.Options) (endpoint.Driver, error)
	Settings map[string]string // of the endpoint
	// Members are at least two servers that greet with their names: Servers makes them.
	Members []topology.Member

	// Dial connects as a client of the endpoint does; the server that then greets is the
	// one clients are led to. nil: clients are not led by connections, see Reach.
	Dial func(ctx context.Context) (net.Conn, error)
	// Reach returns the name of the member that a new client is led to; an error when
	// nowhere. nil: by Dial and Greeting, if there is Dial.
	Reach func(ctx context.Context) (string, error)
	// Stays: a client of the former primary is not cut by Publish and Withdraw.
	Stays bool
	// Epochs says where a lower epoch is refused: Forgotten, Driver, Kept.
	Epochs Epochs
	// Blind: Current returns errors.ErrUnsupported.
	Blind bool
	// Unreachable are settings of an endpoint that is not there; nil: there is no such
	// thing. What the error must name is in Where.
	Unreachable map[string]string
	Where       string
	// Break makes the endpoint fail until the returned function is called; nil: cannot.
	Break func(t *testing.T) (repair func())
}

// Epochs says where a lower epoch is refused.
type Epochs int

// Where a lower epoch is refused.
const (
	InDriver  Epochs = iota // by the driver that has seen a higher one
	Kept                    // by any later driver too: the endpoint keeps the epoch
	Forgotten               // nowhere
)

// Times of the suite.
const (
	soon  = 5 * time.Second        // a change is done, and clients see it
	never = 300 * time.Millisecond // a client that is led nowhere has waited so long
	bound = 2 * time.Second        // given to a call that cannot succeed
)

// Conform fails the test unless the endpoint does what the interface says. The Bench is
// used for one topology whose epoch rises all the time.
func Conform(t *testing.T, b Bench) {
	t.Helper()
	if len(b.Members) < 2 {
		t.Fatal("two members are needed")
	}
	s := &suite{Bench: b}
	s.d = s.open(t)
	t.Cleanup(func() { _ = s.d.Close() })
	_ = t.Run("publish leads clients, and again changes nothing", s.publish) &&
		t.Run("publish elsewhere moves clients", s.move) &&
		t.Run("a lower epoch is refused", s.old) &&
		t.Run("withdraw leads nowhere until publish", s.withdraw) &&
		t.Run("another driver goes on", s.restart) &&
		t.Run("a call that was cut short can be made again", s.interrupted) &&
		t.Run("a failure is told and nothing is lost", s.broken) &&
		t.Run("an endpoint that is not there is named in time", s.unreachable) &&
		t.Run("an unknown setting is named", s.unknown)
}

type suite struct {
	Bench
	d     endpoint.Driver
	epoch uint64
	at    int // the member that was published last
}

func (s *suite) open(t *testing.T) endpoint.Driver {
	t.Helper()
	d, err := s.New(endpoint.Options{Topology: Topology, Settings: maps.Clone(s.Settings)})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return d
}

func (s *suite) target(i int, epoch uint64) endpoint.Target {
	p := s.Members[i]
	t := endpoint.Target{Topology: Topology, Epoch: epoch, Primary: &p}
	for j := range s.Members {
		if j != i {
			t.Replicas = append(t.Replicas, s.Members[j])
		}
	}
	return t
}

// lead publishes member i under a new epoch.
func (s *suite) lead(t *testing.T, i int) {
	t.Helper()
	s.epoch++
	s.at = i
	s.must(t, "Publish", s.d.Publish, s.target(i, s.epoch))
	s.isLed(t)
}

func (s *suite) must(t *testing.T, what string, f func(context.Context, endpoint.Target) error, target endpoint.Target) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*soon)
	defer cancel()
	if err := f(ctx, target); err != nil {
		t.Fatalf("%s of epoch %d: %v", what, target.Epoch, err)
	}
}

// isLed fails unless clients get to the member that was published last, soon and for good,
// and Current says so.
func (s *suite) isLed(t *testing.T) {
	t.Helper()
	want := s.Members[s.at]
	deadline := time.Now().Add(soon)
	for in := 0; s.reaches() && in < 3; {
		got, err := s.reach(t, soon)
		if err == nil && got == want.Name {
			in++
			continue
		}
		if in > 0 || time.Now().After(deadline) {
			t.Fatalf("a client gets to %q (%v), not to %s", got, err, want.Name)
		}
	}
	cur, err := s.current(t)
	if errors.Is(err, errors.ErrUnsupported) && s.Blind {
		return
	}
	if err != nil {
		t.Fatalf("Current: %v", err)
	}
	if cur.Primary == nil || cur.Primary.Address != want.Address {
		t.Fatalf("Current says %+v; clients are led to %s at %s", cur.Primary, want.Name, want.Address)
	}
	if s.Epochs == Kept && cur.Epoch != s.epoch {
		t.Fatalf("Current says epoch %d; it is %d", cur.Epoch, s.epoch)
	}
}

// isNowhere fails unless a new client gets nowhere, soon, and Current says so.
func (s *suite) isNowhere(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(soon); s.reaches(); {
		got, err := s.reach(t, never)
		if err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a client gets to %s, and should get nowhere", got)
		}
	}
	cur, err := s.current(t)
	if errors.Is(err, errors.ErrUnsupported) && s.Blind {
		return
	}
	if err != nil {
		t.Fatalf("Current: %v", err)
	}
	if cur.Primary != nil {
		t.Fatalf("Current says %s; clients are led nowhere", cur.Primary.Name)
	}
}

func (s *suite) current(t *testing.T) (endpoint.Target, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	return s.d.Current(ctx)
}

func (s *suite) reaches() bool { return s.Reach != nil || s.Dial != nil }

// reach returns the member to which a new client gets within d.
func (s *suite) reach(t *testing.T, d time.Duration) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if s.Reach != nil {
		return s.Reach(ctx)
	}
	c, err := s.Dial(ctx)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return Greeting(ctx, c)
}

// client returns a connection that has been greeted, and a function that fails unless it
// is cut soon.
func (s *suite) client(t *testing.T) (isCut func(t *testing.T)) {
	t.Helper()
	if s.Dial == nil || s.Stays {
		return func(*testing.T) {}
	}
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	c, err := s.Dial(ctx)
	if err != nil {
		t.Fatalf("a client cannot connect: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := Greeting(ctx, c); err != nil {
		t.Fatalf("a client is not greeted: %v", err)
	}
	return func(t *testing.T) {
		t.Helper()
		_ = c.SetReadDeadline(time.Now().Add(soon))
		var b [1]byte
		_, err := c.Read(b[:])
		if ne, ok := errors.AsType[net.Error](err); err == nil || ok && ne.Timeout() {
			t.Fatalf("a client of the former primary is still connected after %v", soon)
		}
	}
}

// known reports whether text has each of the words.
func known(text string, words ...string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}
