package plane

import (
	"context"
	"fmt"
	"math/rand"
	"sync"
	"time"

	"kaname.dev/kaname/fault"
)

// This file is the model of the store and of processes under which the logic of
// leases runs in virtual time. The real engine does file and socket input and
// output, which a synctest bubble does not take for idle; lease_real_test.go runs
// the same logic on it.

// modelStore is a linearizable register with all versions that it has had, so
// that stale reads can be given.
type modelStore struct {
	mu       sync.Mutex
	versions []leaseVersion // the first is the zero one
	gaps     []window       // nobody is answered: the engine has no leader
	watchers []chan struct{}
}

// window is a span of time, since the start of the run.
type window struct{ from, to time.Duration }

func (w window) holds(at time.Duration) bool { return at >= w.from && at < w.to }

func newModelStore() *modelStore { return &modelStore{versions: []leaseVersion{{}}} }

func (s *modelStore) last() leaseVersion { return s.versions[len(s.versions)-1] }

// apply is one compare-and-set.
func (s *modelStore) apply(r leaseRecord, rev uint64, gone bool) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last().rev != rev {
		return 0, false
	}
	if gone {
		r = leaseRecord{}
	}
	v := leaseVersion{leaseRecord: r, rev: rev + 1 + uint64(len(s.versions)%3), gone: gone} // other documents take revisions too
	s.versions = append(s.versions, v)
	for _, w := range s.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
	return v.rev, true
}

// host is one simulated process: what happens to it and to its connection.
type modelHost struct {
	store *modelStore
	start time.Time

	rng    *rand.Rand // used only from this host's own store calls, under mu
	mu     sync.Mutex
	pauses []window // the process is stopped (SIGSTOP): nothing of it runs
	cuts   []window // nothing gets through, in either direction
	slow   time.Duration
	lose   float64 // chance that an answer is lost: applied, but timed out
	late   float64 // chance that a lost request is applied seconds later
	stale  float64 // chance that a read is old
	zombie bool    // goes on writing to the resource without asking whether it still holds
}

func (h *modelHost) at() time.Duration { return time.Since(h.start) }

// run stalls the calling goroutine while the process is stopped.
func (h *modelHost) run() {
	for {
		stalled := time.Duration(0)
		for _, p := range h.pauses {
			if p.holds(h.at()) {
				stalled = max(stalled, p.to-h.at())
			}
		}
		if stalled == 0 {
			return
		}
		time.Sleep(stalled)
	}
}

// stopped reports whether the process is stopped, or was within the last moments.
func (h *modelHost) stopped(moments time.Duration) bool {
	for _, p := range h.pauses {
		if p.holds(h.at()) || p.holds(h.at()-moments) {
			return true
		}
	}
	return false
}

// now is the clock as the process sees it: it cannot look while it is stopped.
func (h *modelHost) now() time.Time {
	h.run()
	return time.Now()
}

func (h *modelHost) chance(p float64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rng.Float64() < p
}

func (h *modelHost) upTo(d time.Duration) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Duration(h.rng.Int63n(int64(d) + 1))
}

func (h *modelHost) cut() bool {
	for _, c := range h.cuts {
		if c.holds(h.at()) {
			return true
		}
	}
	return false
}

// leaderless waits until the engine has a leader, or until ctx ends.
func (h *modelHost) leaderless(ctx context.Context) error {
	for _, g := range h.store.gaps {
		if at := h.at(); g.holds(at) {
			if err := nap(ctx, g.to-at); err != nil {
				return err
			}
		}
	}
	return nil
}

func nap(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

var errNoAnswer = fault.Timeout("the model gave no answer")

// silence is how a lost answer looks: the caller's time runs out.
func (h *modelHost) silence(ctx context.Context) error {
	_ = nap(ctx, 5*time.Second)
	h.run()
	return errNoAnswer
}

func (h *modelHost) get(ctx context.Context) (leaseVersion, error) {
	h.run()
	if nap(ctx, h.upTo(h.slow)) != nil || h.cut() || h.leaderless(ctx) != nil {
		return leaseVersion{}, h.silence(ctx)
	}
	h.store.mu.Lock()
	v := h.store.last()
	if n := len(h.store.versions); h.chance(h.stale) && n > 1 {
		v = h.store.versions[max(0, n-1-int(h.upTo(3)))]
	}
	h.store.mu.Unlock()
	if nap(ctx, h.upTo(h.slow)) != nil || h.cut() {
		return leaseVersion{}, h.silence(ctx)
	}
	h.run()
	return v, nil
}

func (h *modelHost) swap(ctx context.Context, r leaseRecord, rev uint64) (uint64, error) {
	h.run()
	if nap(ctx, h.upTo(h.slow)) != nil || h.cut() {
		return 0, h.silence(ctx)
	}
	if h.chance(h.late) { // stuck in a queue on the way
		delay := h.upTo(8 * time.Second)
		store := h.store
		time.AfterFunc(delay, func() { store.apply(r, rev, false) })
		return 0, h.silence(ctx)
	}
	if h.leaderless(ctx) != nil {
		return 0, h.silence(ctx)
	}
	now, ok := h.store.apply(r, rev, false)
	if nap(ctx, h.upTo(h.slow)) != nil || h.cut() || h.chance(h.lose) {
		return 0, h.silence(ctx)
	}
	h.run()
	if !ok {
		return 0, fault.Conflict("the document has changed")
	}
	return now, nil
}

func (h *modelHost) hints() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	h.store.watchers = append(h.store.watchers, c)
	return c, func() {
		h.store.mu.Lock()
		defer h.store.mu.Unlock()
		for i, w := range h.store.watchers {
			if w == c {
				h.store.watchers = append(h.store.watchers[:i], h.store.watchers[i+1:]...)
				return
			}
		}
	}
}

// resource is what the lease protects: it remembers the highest epoch.
type resource struct {
	mu  sync.Mutex
	top Epoch
	h   *history
}

func (r *resource) write(who string, e Epoch, at time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	ok := e >= r.top
	if ok {
		r.top = e
	}
	r.h.write(who, e, at.UnixNano(), ok)
	return ok
}

// randomHost draws what happens to a host within the run.
func randomHost(rng *rand.Rand, store *modelStore, start time.Time, length time.Duration) *modelHost {
	h := &modelHost{store: store, start: start, rng: rand.New(rand.NewSource(rng.Int63()))} //nolint:gosec // a schedule must be repeatable
	h.slow = []time.Duration{time.Millisecond, 20 * time.Millisecond, 300 * time.Millisecond, 2 * time.Second}[rng.Intn(4)]
	h.lose = []float64{0, 0.02, 0.3}[rng.Intn(3)]
	h.late = []float64{0, 0.02, 0.2}[rng.Intn(3)]
	h.stale = []float64{0, 0.1, 0.7}[rng.Intn(3)]
	h.zombie = rng.Intn(3) == 0
	some := func(most int, longest time.Duration) (out []window) {
		for range rng.Intn(most + 1) {
			from := time.Duration(rng.Int63n(int64(length)))
			out = append(out, window{from, from + time.Duration(rng.Int63n(int64(longest)))})
		}
		return out
	}
	h.pauses, h.cuts = some(3, 15*time.Second), some(3, 20*time.Second)
	return h
}

func hostName2(i int) string { return fmt.Sprintf("core%d", i) }
