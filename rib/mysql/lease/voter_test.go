package lease_test

import (
	"errors"
	"testing"
	"time"

	"kaname.dev/kaname/rib/mysql/lease"
)

// hand is a clock that is moved by hand.
type hand struct{ now lease.Now }

func (h *hand) clock() lease.Now { return h.now }
func (h *hand) pass(d time.Duration) {
	h.now.Boot += d
	h.now.Mono += d
}

type disk struct {
	kept lease.Promise
	err  error
}

func (d *disk) save(p lease.Promise) error {
	if d.err == nil {
		d.kept = p
	}
	return d.err
}

func ask(epoch uint64, primary string) lease.Ask {
	return lease.Ask{Topology: "shop", Epoch: epoch, Primary: primary}
}

func TestVoter(t *testing.T) {
	d, h := &disk{}, &hand{now: lease.Now{Boot: time.Hour, Mono: time.Hour}}
	v := lease.NewVoter("shop", lease.Promise{Epoch: 3}, d.save, h.clock)
	vote := func(a lease.Ask, want bool) {
		t.Helper()
		if got := v.Vote(a); got.Granted != want || !want && got.Why == "" {
			t.Fatalf("vote for %+v: %+v", a, got)
		}
		if d.kept != v.Promise() {
			t.Fatalf("on disk %+v, promised %+v", d.kept, v.Promise())
		}
	}
	h.pass(time.Second)
	vote(ask(3, "db1"), true)
	vote(ask(3, "db2"), false) // one primary in an epoch
	vote(ask(2, "db1"), false)
	vote(lease.Ask{Topology: "blog", Epoch: 9, Primary: "db1"}, false)
	h.pass(300 * time.Millisecond)
	if granted, err := v.Freeze(4, "db1"); err != nil || granted != 300*time.Millisecond {
		t.Fatalf("freeze: %v %v", granted, err)
	}
	vote(ask(3, "db1"), false)
	vote(ask(4, "db1"), false) // frozen against it
	vote(ask(4, "db2"), true)
	// The same order again, when the new primary has had its grant.
	if _, err := v.Freeze(4, "db1"); err != nil {
		t.Fatal(err)
	}
	vote(ask(4, "db3"), false)
	if err := v.Thaw(4); err != nil {
		t.Fatal(err)
	}
	vote(ask(4, "db1"), false)
	vote(ask(6, "db1"), true) // of which it had not heard
	if _, err := v.Freeze(5, "db1"); !old(err, 5, 6) {
		t.Fatalf("freeze of an epoch that is over: %v", err)
	}
	if err := v.Adopt(5, "db1"); !old(err, 5, 6) {
		t.Fatalf("adopt an epoch that is over: %v", err)
	}
	if err := v.Thaw(5); !old(err, 5, 6) {
		t.Fatalf("thaw an epoch that is over: %v", err)
	}
}

func old(err error, asked, known uint64) bool {
	e, ok := errors.AsType[*lease.OldError](err)
	return ok && e.Asked == asked && e.Known == known
}

func TestVoterThawedForTheOldPrimary(t *testing.T) {
	d, h := &disk{}, &hand{}
	v := lease.NewVoter("shop", lease.Promise{Epoch: 3}, d.save, h.clock)
	v.Vote(ask(3, "db1"))
	if _, err := v.Freeze(4, "db1"); err != nil {
		t.Fatal(err)
	}
	if err := v.Thaw(4); err != nil {
		t.Fatal(err)
	}
	if a := v.Vote(ask(4, "db1")); !a.Granted {
		t.Fatalf("after the move was called off: %+v", a)
	}
}

func TestVoterGrantsNothingThatItCannotKeep(t *testing.T) {
	d, h := &disk{err: errors.New("disk full")}, &hand{}
	v := lease.NewVoter("shop", lease.Promise{Epoch: 3, Primary: "db1"}, d.save, h.clock)
	if a := v.Vote(ask(4, "db1")); a.Granted || a.Epoch != 3 {
		t.Errorf("an epoch that is not on disk: %+v", a)
	}
	if a := v.Vote(ask(3, "db1")); !a.Granted {
		t.Errorf("one that is: %+v", a)
	}
	if _, err := v.Freeze(4, "db1"); err == nil {
		t.Error("frozen, and not on disk")
	}
}

// TestVoterStartedAgain: it may have granted just before it ended, and says so.
func TestVoterStartedAgain(t *testing.T) {
	d, h := &disk{}, &hand{now: lease.Now{Boot: time.Hour}}
	lease.NewVoter("shop", lease.Promise{Epoch: 3}, d.save, h.clock).Vote(ask(3, "db1"))
	v := lease.NewVoter("shop", d.kept, d.save, h.clock)
	h.pass(100 * time.Millisecond)
	if granted, err := v.Freeze(4, "db1"); err != nil || granted != 100*time.Millisecond {
		t.Errorf("granted %v ago, %v", granted, err)
	}
	if a := v.Vote(ask(3, "db1")); a.Granted {
		t.Error("granted to an epoch that is over")
	}
}
