package plane

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kaname.dev/kaname/fault"
)

// modelRun is one schedule: what contenders do and what befalls them.
type modelRun struct {
	seed     int64
	patience float64
}

// outcome is what a schedule has shown.
type outcome struct {
	h       *history
	refused int // writes of zombies that the fence refused
	grants  int
	late    []string // contexts that were alive when the lease was granted to another
}

// holders are the holdings so far, to see that their contexts end in time.
type holders struct {
	mu   sync.Mutex
	all  []*Lease
	of   []*modelHost
	late []string
}

// granted notes a new holding. The context of each earlier one must have ended,
// unless its process is stopped, or has been continued at this very moment.
func (s *holders) granted(l *Lease, h *modelHost) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, old := range s.all {
		if old.own.Err() == nil && !s.of[i].stopped(20*time.Millisecond) {
			s.late = append(s.late, fmt.Sprintf("context of %s (epoch %d) alive when %s got epoch %d", old.c.host, old.epoch, l.c.host, l.epoch))
		}
	}
	s.all, s.of = append(s.all, l), append(s.of, h)
}

// play runs the schedule in a bubble of virtual time.
func (m modelRun) play(t *testing.T) (out outcome) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewSource(m.seed)) //nolint:gosec // a schedule must be repeatable
		length := 60*time.Second + time.Duration(rng.Int63n(int64(2*time.Minute)))
		store, start := newModelStore(), time.Now()
		for range rng.Intn(3) {
			from := time.Duration(rng.Int63n(int64(length)))
			store.gaps = append(store.gaps, window{from, from + 9*time.Second})
		}
		out.h = &history{}
		res, holders := &resource{h: out.h}, &holders{}
		ttl := []time.Duration{time.Second, 3 * time.Second, 5 * time.Second, 20 * time.Second}[rng.Intn(4)]
		ctx, cancel := context.WithTimeout(t.Context(), length)
		defer cancel()
		var wg sync.WaitGroup
		for i := range 2 + rng.Intn(4) {
			h := randomHost(rng, store, start, length)
			r := rand.New(rand.NewSource(rng.Int63())) //nolint:gosec // a schedule must be repeatable
			wg.Go(func() { m.contend(ctx, hostName2(i), h, r, res, holders, ttl) })
		}
		if rng.Intn(4) == 0 { // an operator removes the document
			time.AfterFunc(time.Duration(rng.Int63n(int64(length))), func() {
				store.mu.Lock()
				rev := store.last().rev
				store.mu.Unlock()
				if rev > 0 {
					store.apply(leaseRecord{}, rev, true)
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		time.Sleep(time.Minute) // requests that are stuck come through
		for _, w := range out.h.Writes {
			if !w.OK {
				out.refused++
			}
		}
		out.grants, out.late = len(out.h.Spans), holders.late
	})
	return out
}

// contend is a process that takes the lease over and over and writes under it.
func (m modelRun) contend(ctx context.Context, who string, h *modelHost, rng *rand.Rand, res *resource, holders *holders, ttl time.Duration) {
	seen := &sighting{}
	for n := 0; ctx.Err() == nil; n++ {
		c := &contender{
			name: "test", host: who, grant: fmt.Sprint(who, "-", n), store: h, seen: seen,
			o: LeaseOptions{TTL: ttl, Try: rng.Intn(8) == 0}, now: h.now, patience: m.patience, trace: res.h.tracer(who),
		}
		life, die := context.WithCancel(ctx) // the process closes its plane now and then
		l, err := c.take(life)
		if err != nil {
			die()
			_ = nap(ctx, time.Duration(rng.Int63n(int64(ttl)+1)))
			continue
		}
		holders.granted(l, h)
		l.start(life)
		m.work(l, who, h, rng, res)
		switch rng.Intn(4) {
		case 0:
			die() // as Plane.Close does
			l.wg.Wait()
		case 1:
			h.run()
			l.end(fault.Conflict("killed")) // as kill -9 does: the document stays
			l.wg.Wait()
		default:
			_ = l.Release(ctx) // lost or not
		}
		die()
		_ = nap(ctx, time.Duration(rng.Int63n(int64(2*ttl)+1)))
	}
}

// work writes to the resource while the lease is held; a zombie does not look.
func (m modelRun) work(l *Lease, who string, h *modelHost, rng *rand.Rand, res *resource) {
	for range rng.Intn(60) {
		if !h.zombie && l.Context().Err() != nil {
			return
		}
		at := h.now()
		time.Sleep(time.Duration(rng.Int63n(int64(100 * time.Millisecond)))) // on the way to the resource
		res.write(who, l.Epoch(), at)
		time.Sleep(time.Duration(rng.Int63n(int64(time.Second))))
	}
}

// TestLeaseHistories plays random schedules of faults and checks their histories:
// 400 in a normal run, KANAME_SOAK=1 plays 20,000.
func TestLeaseHistories(t *testing.T) {
	n := 400
	if os.Getenv("KANAME_SOAK") != "" {
		n = 20_000
	}
	refused, grants := 0, 0
	for seed := range n {
		out := modelRun{seed: int64(seed), patience: leasePatience}.play(t)
		if wrong := append(out.h.check(), out.late...); len(wrong) > 0 {
			t.Fatalf("seed %d:\n%s", seed, strings.Join(wrong, "\n"))
		}
		refused, grants = refused+out.refused, grants+out.grants
	}
	t.Logf("%d schedules, %d holdings, %d stale writes refused by the fence", n, grants, refused)
	if grants < 3*n || refused < n/4 {
		t.Errorf("the schedules are too tame: %d holdings, %d stale writes", grants, refused)
	}
}

// TestLeaseHistoriesCatchImpatience shows that the schedules can fail: rivals that
// wait only half a TTL are seen to believe at the same time as the holder.
func TestLeaseHistoriesCatchImpatience(t *testing.T) {
	for seed := range 400 {
		if out := (modelRun{seed: int64(seed), patience: 0.5}).play(t); len(out.h.check()) > 0 {
			return
		}
	}
	t.Error("400 schedules have not shown it")
}

// one returns a contender without faults.
func one(h *modelHost, who string, o LeaseOptions, hist *history) *contender {
	return &contender{name: "test", host: who, grant: who + time.Now().String(), store: h, seen: &sighting{}, o: o, now: h.now, patience: leasePatience, trace: hist.tracer(who)}
}

func calm(store *modelStore) *modelHost {
	return &modelHost{store: store, start: time.Now(), rng: rand.New(rand.NewSource(1)), slow: time.Millisecond} //nolint:gosec // repeatable
}

func TestLeaseIsHandedOverAtOnceOnRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, hist := newModelStore(), &history{}
		a, err := one(calm(store), "a", LeaseOptions{TTL: 20 * time.Second}, hist).take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a.start(t.Context())
		got := make(chan time.Duration)
		go func() {
			b, err := one(calm(store), "b", LeaseOptions{TTL: 20 * time.Second}, hist).take(t.Context())
			at := time.Now()
			if err != nil || b.Epoch() != 2 {
				t.Error(err)
			}
			got <- time.Since(at)
			b.start(t.Context())
			_ = b.Release(t.Context())
		}()
		time.Sleep(time.Minute) // a renews all the while
		if !a.Valid() || a.Context().Err() != nil {
			t.Error("the lease was lost in peace")
		}
		released := time.Now()
		if err := a.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if a.Valid() || !fault.Is(context.Cause(a.Context()), fault.KindConflict) || a.Release(t.Context()) != nil {
			t.Error("a released lease is still held")
		}
		<-got
		if took := time.Since(released); took > 100*time.Millisecond {
			t.Errorf("hand-over took %v", took)
		}
		synctest.Wait()
		if wrong := hist.check(); len(wrong) > 0 {
			t.Error(wrong)
		}
	})
}

func TestLeaseOfADeadHolderIsTakenAfterItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, hist := newModelStore(), &history{}
		a, err := one(calm(store), "a", LeaseOptions{TTL: 4 * time.Second, Why: "deploy of shop"}, hist).take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = a // never started: it dies here
		died := time.Now()
		try := one(calm(store), "b", LeaseOptions{TTL: 4 * time.Second, Try: true}, hist)
		_, err = try.take(t.Context())
		if !fault.Is(err, fault.KindConflict) || !strings.Contains(err.Error(), "held by a") || !strings.Contains(err.Error(), "deploy of shop") {
			t.Fatal(err)
		}
		time.Sleep(5100 * time.Millisecond)
		b, err := try.take(t.Context()) // it has been watched long enough by now
		if err != nil || b.Epoch() != 2 {
			t.Fatal(err)
		}
		if took := time.Since(died); took < 5*time.Second {
			t.Errorf("taken after %v", took)
		}
		if a.Valid() || a.Context().Err() == nil || b.Context().Err() != nil {
			t.Error("the dead one believes, or the living one does not")
		}
		a.end(nil)
		b.end(nil)
	})
}

func TestLeaseOutlivesALeaderlessEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newModelStore()
		store.gaps = []window{{30 * time.Second, 39 * time.Second}, {60 * time.Second, 72500 * time.Millisecond}}
		a, err := one(calm(store), "a", LeaseOptions{TTL: ttlCluster}, &history{}).take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a.start(t.Context())
		time.Sleep(2 * time.Minute)
		if !a.Valid() {
			t.Error(context.Cause(a.Context()))
		}
		_ = a.Release(t.Context())
	})
}

func TestLeaseEpochsGrowOverRemoval(t *testing.T) {
	core := openLone(t)
	var last Epoch
	for i := range 4 {
		l, err := core.Lease(t.Context(), "deploy/shop", LeaseOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if l.Epoch() <= last {
			t.Fatalf("epoch %d after %d", l.Epoch(), last)
		}
		last = l.Epoch()
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			docs := Documents[leaseRecord](core, bucketLeases)
			d, err := docs.Get(t.Context(), "deploy/shop")
			if err == nil {
				err = docs.Delete(t.Context(), d)
			}
			if err != nil {
				t.Fatal(err)
			}
			cur, err := leaseDocs{docs, "deploy/shop"}.get(t.Context())
			if err != nil || !cur.gone || cur.next() <= last {
				t.Fatalf("after the removal: %+v %v", cur, err)
			}
			return // it is granted again after 25 s only
		}
	}
}

// openLone opens an embedded core without a port.
func openLone(t *testing.T) *Plane {
	t.Helper()
	p, err := Open(t.Context(), Options{Host: "core1", Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return p
}
