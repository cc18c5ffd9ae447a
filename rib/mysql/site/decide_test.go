package site

import (
	"testing"
	"time"

	"kaname.dev/kaname/rib/mysql/lease"
	"kaname.dev/kaname/rib/mysql/topology"
)

// base is the primary db1 of epoch 3, open and with its lease.
func base() scene {
	return scene{
		member: "db1", record: &topology.Record{Name: "shop", Epoch: 3, Primary: "db1"}, epoch: 3,
		self:  topology.Self{Answers: true, Seen: time.Now()},
		start: "a", lease: lease.State{Ask: lease.Ask{Epoch: 3}, Held: true},
		kept: kept{Armed: true, Opened: "a"}, age: time.Minute, fresh: true,
	}
}

func TestDecide(t *testing.T) {
	closed := func(c *scene) { c.self.ReadOnly = true }
	for _, c := range []struct {
		name   string
		change func(*scene)
		want   what
	}{
		{"all is well", func(*scene) {}, nothing},
		{"no topology", func(c *scene) { c.record = nil }, nothing},
		{"open without a lease", func(c *scene) { c.lease.Held = false }, fence},
		{"the agent has just started", func(c *scene) { c.lease.Held, c.age = false, 0 }, nothing},
		{"it is being adopted", func(c *scene) { c.lease.Held, c.kept.Armed = false, false }, nothing},
		{"what is known is old", func(c *scene) { c.lease.Held, c.fresh = false, false }, nothing},
		{"another is primary", func(c *scene) { c.record.Primary = "db2" }, fence},
		{"nobody is", func(c *scene) { c.record.Primary = "" }, fence},
		{"a higher epoch is known", func(c *scene) { c.epoch = 4 }, fence},
		{"a replica takes writes", func(c *scene) { c.record.Primary = "db2"; c.self.Replica = &topology.Replica{} }, shut},
		{"started again, and open", func(c *scene) { c.start = "b" }, tune},
		{"started again, and closed", func(c *scene) { closed(c); c.start = "b" }, open},
		{"a person closed it", closed, nothing},
		{"the site closed it", func(c *scene) { closed(c); c.kept.Closed = "lease" }, open},
		{"and the lease is not back", func(c *scene) { closed(c); c.kept.Closed = "lease"; c.lease.Held = false }, nothing},
		{"and a higher epoch is known", func(c *scene) { closed(c); c.kept.Closed = "lease"; c.epoch = 4 }, nothing},
		{"and it is not the primary any more", func(c *scene) { closed(c); c.kept.Closed = "lease"; c.record.Primary = "" }, nothing},
		{"and it replicates", func(c *scene) { closed(c); c.kept.Closed = "lease"; c.self.Replica = &topology.Replica{} }, nothing},
		{"and an order is carried out", func(c *scene) { closed(c); c.kept.Closed = "lease"; c.working = true }, nothing},
		{"an order closed it", func(c *scene) { closed(c); c.kept.Closed, c.kept.Ordered = "order", 3 }, nothing},
		{"and it was started again", func(c *scene) { closed(c); c.kept.Closed, c.kept.Ordered, c.start = "order", 3, "b" }, nothing},
		{"in an epoch before", func(c *scene) { closed(c); c.kept.Closed, c.kept.Ordered = "order", 2 }, open},
		{"a move is on its way", func(c *scene) {
			closed(c)
			c.kept.Closed = "lease"
			c.record.Move = &topology.Move{Step: topology.Promote}
		}, nothing},
		{"a move has opened it before", func(c *scene) {
			closed(c)
			c.kept.Closed, c.kept.Epoch = "lease", 3
			c.record.Move = &topology.Move{Step: topology.Promote}
		}, open},
		{"a move was called off", func(c *scene) {
			closed(c)
			c.kept.Closed = "lease"
			c.record.Move = &topology.Move{Step: topology.Undo}
		}, open},
		{"it was never opened here", func(c *scene) { closed(c); c.kept.Opened = "" }, nothing},
	} {
		s := base()
		c.change(&s)
		if got, why := decide(s); got != c.want || got != nothing && why == "" {
			t.Errorf("%s: %d %q, not %d", c.name, got, why, c.want)
		}
	}
}

// TestNeverOpensWithoutLease goes through all that decide looks at.
func TestNeverOpensWithoutLease(t *testing.T) {
	for bits := range 1 << 11 {
		is := func(i int) bool { return bits&(1<<i) != 0 }
		s := base()
		s.lease.Held, s.self.ReadOnly, s.fresh, s.working = is(0), is(1), is(2), is(3)
		if is(4) {
			s.record.Primary = "db2"
		}
		if is(5) {
			s.epoch = 4
		}
		if is(6) {
			s.kept.Closed = "x"
		}
		if is(7) {
			s.kept.Ordered = 3
		}
		if is(8) {
			s.start = "b"
		}
		if is(9) {
			s.self.Replica = &topology.Replica{}
		}
		s.kept.Armed = is(10)
		do, _ := decide(s)
		may := s.lease.Held && s.record.Primary == "db1" && s.epoch == 3
		if (do == open || do == tune) && !may {
			t.Errorf("%011b: opened", bits)
		}
		if !s.self.ReadOnly && s.fresh && s.kept.Armed && !may && !(s.working && s.record.Primary == "db1" && s.epoch == 3) && do != fence && do != shut {
			t.Errorf("%011b: left open", bits)
		}
	}
}
