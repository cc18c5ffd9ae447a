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

// Promote was sent and nobody knows what became of it: the same one is asked again, and
// when it does not open, the move goes on from it, with the old primary among those who
// can follow.
func TestFailoverRetriesTheSameThenGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := map[string]int{}
		s := &script{}
		var mu sync.Mutex
		s.answer = func(o order.Order) (order.Done, error) {
			if o.Verb == order.Fence {
				return order.Done{How: "read-only"}, nil
			}
			if o.Member == "db1" && o.Epoch < 10 {
				return order.Done{}, errSilent
			}
			if o.Verb == order.Promote {
				mu.Lock()
				tries[o.Member]++
				mu.Unlock()
				if o.Member == "db2" {
					return order.Done{}, fault.Timeout("no answer")
				}
			}
			f := &topology.Frozen{Received: "0-1-100", Executed: "0-1-100", Applies: true}
			return order.Done{Frozen: f, Details: &order.Details{Executed: "0-1-100"}}, nil
		}
		r, err := move.Failover(t.Context(), s, three(), move.Cause{Kill: true})
		if err != nil {
			t.Fatal(err)
		}
		if tries["db2"] < 10 || tries["db1"]+tries["db3"] == 0 {
			t.Errorf("tries: %v", tries)
		}
		if r.Primary == "db2" || r.Last.Move.From != "db2" || !r.Last.OK {
			t.Errorf("primary %s, last %+v", r.Primary, r.Last)
		}
	})
}

// live answers as a healthy topology does.
func live(o order.Order) (order.Done, error) {
	d := &order.Details{Executed: "0-1-100", Received: "0-1-100", Self: topology.Self{Process: topology.Running, Answers: true}}
	if o.Member != "db1" {
		d.Self.Replica = &topology.Replica{Receiving: true, Applying: true}
	}
	return order.Done{Details: d, Frozen: &topology.Frozen{Executed: "0-1-100", Received: "0-1-100", Applies: true}}, nil
}

func TestSwitchover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: live}
		r, err := move.Switchover(t.Context(), s, three(), move.Switch{To: "db3", By: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		if r.Primary != "db3" || !r.Last.OK || !r.Last.Move.Proven || r.Last.Move.By != "ann" || s.led.Primary.Name != "db3" {
			t.Errorf("%+v", r.Last)
		}
		saves := 0
		for _, o := range s.orders[s.index("db1 close"):s.index("db3 promote")] {
			if o == "save" {
				saves++
			}
		}
		if saves != 1 || s.index("db1 follow") < s.index("db3 promote") {
			t.Errorf("orders: %s", strings.Join(s.orders, ", "))
		}
	})
}

func TestSwitchoverRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(o order.Order, d *order.Details)
		record func(*topology.Record)
		want   string
	}{
		"lag": {want: "db3: is 1m0s behind", change: func(_ order.Order, d *order.Details) { d.Self.Replica.Lag = time.Minute }},
		"receiver": {want: "db3: does not receive: access denied", change: func(_ order.Order, d *order.Details) {
			d.Self.Replica.Receiving, d.Self.Replica.ReceiveErr = false, "access denied"
		}},
		"errant": {want: "db3: has transactions that the primary lacks: 0-3-101", change: func(_ order.Order, d *order.Details) { d.Executed = "0-3-101" }},
		"delay":  {want: "db3: is delayed by 1h0m0s", change: func(_ order.Order, d *order.Details) { d.Self.Replica.Delay = time.Hour }},
		"never":  {want: "db3: never becomes primary", record: func(r *topology.Record) { r.Members[2].Role = topology.Never }},
		"acks":   {want: "2 members would be left to acknowledge its writes, and 3 are needed", record: func(r *topology.Record) { r.Policy.Acks = 3 }},
		"moving": {want: "in progress", record: func(r *topology.Record) { r.Move = &topology.Move{Kind: topology.Failover, From: "db1"} }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{answer: func(o order.Order) (order.Done, error) {
					done, err := live(o)
					if o.Member == "db3" && c.change != nil {
						c.change(o, done.Details)
					}
					return done, err
				}}
				r := three()
				if c.record != nil {
					c.record(r)
				}
				_, err := move.Switchover(t.Context(), s, r, move.Switch{To: "db3"})
				if err == nil || !strings.Contains(err.Error(), c.want) || !fault.Is(err, fault.KindConflict) || s.saved != nil {
					t.Errorf("%v; want %q, and nothing saved", err, c.want)
				}
			})
		})
	}
}

// The candidate does not get the rest: everything is as before, in a new epoch.
func TestSwitchoverGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: func(o order.Order) (order.Done, error) {
			if o.Verb == order.Drain {
				return order.Done{}, errors.New("duplicate key")
			}
			return live(o)
		}}
		r, err := move.Switchover(t.Context(), s, three(), move.Switch{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Primary != "db1" || r.Last.OK || r.Epoch != 9 || s.index("db1 reopen") < 0 || s.led.Primary == nil || s.led.Primary.Name != "db1" || s.index("db2 promote") >= 0 {
			t.Errorf("primary %s in epoch %d after %s", r.Primary, r.Epoch, strings.Join(s.orders, ", "))
		}
	})
}
