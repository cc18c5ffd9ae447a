package move_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/move"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// script is hands whose members answer what a test has written down. It stands where a
// single answer matters; the simulation has whole servers.
type script struct {
	answer func(o order.Order) (order.Done, error)
	known  map[string]move.Fact

	mu     sync.Mutex
	orders []string
	saved  *topology.Record
	led    endpoint.Target
	told   []string
}

func (s *script) Order(ctx context.Context, _ topology.Member, o order.Order) (order.Done, error) {
	s.mu.Lock()
	s.orders = append(s.orders, o.Member+" "+string(o.Verb))
	s.mu.Unlock()
	done, err := s.answer(o)
	if errors.Is(err, errSilent) {
		<-ctx.Done()
		return done, ctx.Err()
	}
	return done, err
}

var errSilent = errors.New("no answer")

func (s *script) Save(_ context.Context, r *topology.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved = r.Clone()
	s.orders = append(s.orders, "save")
	return nil
}

func (s *script) Withdraw(context.Context, endpoint.Target) error { return nil }

func (s *script) Publish(_ context.Context, t endpoint.Target) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.led = t
	return nil
}

func (s *script) FenceCommand(context.Context, topology.Member) error { return errors.ErrUnsupported }
func (s *script) Known(member string) move.Fact                       { return s.known[member] }

func (s *script) Tell(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, text)
}

func (s *script) index(what string) int {
	for i, o := range s.orders {
		if o == what {
			return i
		}
	}
	return -1
}

func three() *topology.Record {
	return &topology.Record{
		Name: "shop", Flavour: gtid.MariaDB, Epoch: 7, Primary: "db1", Policy: topology.DefaultPolicy(),
		Members: []topology.Member{
			{Name: "db1", Role: topology.Candidate}, {Name: "db2", Role: topology.Candidate}, {Name: "db3", Role: topology.Candidate},
		},
	}
}

// dead answers as replicas do whose primary is gone: db2 has 0-1-100, db3 less.
func dead(o order.Order) (order.Done, error) {
	has := map[string]string{"db1": "0-1-100", "db2": "0-1-100", "db3": "0-1-98"}[o.Member]
	f := &topology.Frozen{Received: has, Executed: "0-1-90", Applies: true, Granted: 10 * time.Millisecond}
	if o.Verb != order.Freeze {
		f.Executed = has
	}
	if o.Member == "db1" {
		if o.Verb == order.Fence {
			return order.Done{How: "its process has ended"}, nil
		}
		return order.Done{}, errSilent
	}
	return order.Done{Frozen: f, Details: &order.Details{Executed: has}}, nil
}

func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: dead}
		start := time.Now()
		r, err := move.Failover(t.Context(), s, three(), move.Cause{Why: []string{"its process has ended"}})
		if err != nil {
			t.Fatal(err)
		}
		if r.Primary != "db2" || r.Move != nil || r.Last == nil || !r.Last.OK || !r.Last.Move.Proven || r.Epoch < 8 {
			t.Errorf("the record says %+v, last %+v", r, r.Last)
		}
		if s.led.Primary == nil || s.led.Primary.Name != "db2" || s.led.Epoch != r.Epoch {
			t.Errorf("clients are led to %+v", s.led)
		}
		if r.Last.Took > time.Second {
			t.Errorf("it took %v of waiting, with a primary that is closed for certain", r.Last.Took)
		}
		if s.index("db2 drain") > s.index("db2 promote") || s.index("save") > s.index("db2 freeze") || s.index("db3 follow") < 0 {
			t.Errorf("orders: %s", strings.Join(s.orders, ", "))
		}
		if time.Since(start) > 10*time.Second {
			t.Errorf("the old primary's silence held it up for %v", time.Since(start))
		}
	})
}

// Nobody can close it: then its lease has to end, counted from the last grant.
func TestFailoverWaitsForTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: func(o order.Order) (order.Done, error) {
			if o.Member == "db1" {
				return order.Done{}, errSilent
			}
			return dead(o)
		}}
		start := time.Now()
		r, err := move.Failover(t.Context(), s, three(), move.Cause{Quiet: true, Kill: true})
		if err != nil {
			t.Fatal(err)
		}
		want := r.Policy.Lease + topology.FenceBound
		if r.Last.Took < want || r.Last.Took > want+time.Second {
			t.Errorf("opened after %v of %v; want %v", r.Last.Took, time.Since(start), want)
		}
	})
}

func TestFailoverIsCalledOffByWhoHearsThePrimary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: func(o order.Order) (order.Done, error) {
			if o.Verb == order.Freeze && o.Member == "db3" {
				return order.Done{}, fault.Conflict("events of db1 still arrive")
			}
			if o.Member == "db1" {
				return order.Done{}, nil
			}
			return dead(o)
		}}
		r, err := move.Failover(t.Context(), s, three(), move.Cause{Quiet: true})
		if err != nil {
			t.Fatal(err)
		}
		if r.Primary != "db1" || r.Last.OK || s.index("db2 thaw") < 0 || s.index("db3 thaw") < 0 || s.index("db1 reopen") < 0 || s.index("db2 promote") >= 0 {
			t.Errorf("primary %s after %s", r.Primary, strings.Join(s.orders, ", "))
		}
	})
}

// One of two ackers is gone with the primary: it may have what was acknowledged.
func TestFailoverWaitsForProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var back bool
		s := &script{}
		s.answer = func(o order.Order) (order.Done, error) {
			if o.Member == "db2" && !back {
				return order.Done{}, errSilent
			}
			return dead(o)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := move.Failover(ctx, s, three(), move.Cause{})
		if err == nil || !strings.Contains(err.Error(), "db2") || !fault.Is(err, fault.KindTimeout) || s.index("db3 promote") >= 0 {
			t.Fatalf("with a replica missing: %v", err)
		}
		back = true
		r, err := move.Resume(t.Context(), s, s.saved)
		if err != nil || r.Primary != "db2" || !r.Last.OK {
			t.Fatalf("with the replica back: %v, %+v", err, r)
		}
	})
}
