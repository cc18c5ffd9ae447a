package load_test

import (
	"context"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/lab/mysql/load"
)

// TestMoveByHand promotes a replica while the client writes: once in order after a kill,
// and once without a thought for the old primary, which must be noticed.
func TestMoveByHand(t *testing.T) {
	b := mysql.Topology(t, mysql.FlavourMariaDB, 3)
	p, r := b.Primary(), b.Replicas()
	var endpoint atomic.Pointer[mysql.Server]
	endpoint.Store(p)
	client, err := load.Start(t.Context(), load.Options{
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", endpoint.Load().Address())
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Stop()
	watch := load.Watch(t, b.Servers...)
	more := func(n int64) {
		t.Helper()
		want := client.Acks() + n
		lab.Eventually(t, "more is written", func() bool { return client.Acks() >= want })
	}
	more(100)
	fault := time.Now()
	p.Kill()
	r[0].Promote(t, true)
	r[1].Follow(t, r[0])
	endpoint.Store(r[0])
	more(100)
	between := time.Now()
	history := client.History()
	first := load.Check(load.Evidence{History: history, Kept: load.IDs(t, r[0]), Fault: fault, Old: p.ID})
	t.Logf("in order: %s", first)
	if len(first.Lost)+len(first.Doubles)+len(first.Bad) > 0 || !first.Resumed || first.New != r[0].ID || first.Downtime > 20*time.Second {
		t.Errorf("a move in order: %+v", first)
	}
	sight := watch.Sight(time.Time{})
	if sight.Dual > 0 || sight.None == 0 || !slices.Equal(sight.Open, []string{r[0].Name}) {
		t.Errorf("a move in order was seen as %+v", sight)
	}

	// The second: asynchronous, both open, and half of the writers stay where they are.
	r[0].SemiSync(t, false)
	r[1].Promote(t, false)
	endpoint.Store(r[1])
	other, err := load.Start(t.Context(), load.Options{
		First: 1_000_000, Writers: 2,
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", r[1].Address())
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Stop()
	lab.Eventually(t, "the second primary acknowledges too", func() bool { return other.Acks() > 10 })
	more(50)
	history, theirs := client.Stop(), other.Stop()
	history.Acks = append(history.Acks, theirs.Acks...)
	sight = watch.Stop()
	second := load.Check(load.Evidence{History: history.Window(between, time.Now()), Kept: load.IDs(t, r[1]), Old: r[0].ID})
	t.Logf("with two primaries: %s; %+v", second, sight)
	if len(second.Doubles) == 0 || len(second.Lost) < len(second.Doubles) || sight.Dual == 0 || len(sight.Open) != 2 {
		t.Errorf("two primaries were not noticed: %s; %+v", second, sight)
	}
}

// TestStopped: a primary that hangs is not open while it does, and is again afterwards.
func TestStopped(t *testing.T) {
	s := mysql.MariaDB(t, mysql.Options{})
	s.Writable(t, true)
	watch := load.Watch(t, s)
	open := func(is bool) func() bool {
		return func() bool {
			<-time.After(60 * time.Millisecond)
			return (len(watch.Sight(time.Now().Add(-50*time.Millisecond)).Open) == 1) == is
		}
	}
	lab.Eventually(t, "it is seen open", open(true))
	s.Stop()
	lab.Eventually(t, "it is seen closed while it hangs", open(false))
	s.Cont()
	lab.Eventually(t, "it is seen open again", open(true))
	s.Kill()
	lab.Eventually(t, "it is seen closed when it is gone", open(false))
}
