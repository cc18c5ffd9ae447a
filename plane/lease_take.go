package plane

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"kaname.dev/kaname/fault"
)

// leasePatience is how many TTLs a rival waits: the quarter is for clocks that run at
// different speeds, and for a holder that notices late that its time is over.
const leasePatience = 1.25

// leaseRecord is the document of a lease.
type leaseRecord struct {
	Holder string        `json:"holder,omitempty"` // host; empty when the lease is free
	Grant  string        `json:"grant,omitempty"`  // unique to one holding
	Epoch  Epoch         `json:"epoch"`            // of the present or last holding
	N      uint64        `json:"n"`                // writes in this holding
	Why    string        `json:"why,omitempty"`
	TTL    time.Duration `json:"ttl"`
	Since  time.Time     `json:"since,omitzero"` // by the holder's wall clock, for people
}

// leaseVersion is the document at one revision. The zero leaseVersion was never
// stored; gone means that it was removed.
type leaseVersion struct {
	leaseRecord
	rev  uint64
	gone bool
}

// free reports whether nobody holds the lease.
func (v leaseVersion) free() bool { return v.gone || v.rev == 0 || v.Holder == "" }

// next returns the epoch of the holding that follows. An epoch is never above the
// revision that grants it: at first both are counted from 1, and each grant raises
// the epoch by one and the revision by at least one. So the revision at which a
// document was removed, though its content is gone, is a bound for what was granted.
func (v leaseVersion) next() Epoch {
	if v.gone {
		return Epoch(v.rev) + 1
	}
	return v.Epoch + 1
}

// leaseStore is what a lease needs of the store; see leaseDocs.
type leaseStore interface {
	// get returns the document. It may be old.
	get(ctx context.Context) (leaseVersion, error)
	// swap replaces the document if its revision is still rev and returns the new
	// revision. A Conflict fault means that it surely has not, any other error that
	// it may have, or may yet.
	swap(ctx context.Context, r leaseRecord, rev uint64) (uint64, error)
	// hints returns a channel that tells when looking again is worthwhile. Hints
	// may be missing. stop ends them.
	hints() (c <-chan struct{}, stop func())
}

// leaseTrace is one step in a holding's life, for tests.
type leaseTrace struct {
	epoch     Epoch
	at, until time.Time
	over      bool
}

// sighting is since when this process has seen a lease's document unchanged.
type sighting struct {
	mu  sync.Mutex // guards the fields below
	rev uint64
	at  time.Time
}

// note takes what was read. It returns for how long it is unchanged, and whether it
// is older than what was seen before.
func (s *sighting) note(rev uint64, now time.Time) (unchanged time.Duration, stale bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case rev < s.rev:
		return 0, true
	case rev > s.rev || s.at.IsZero():
		s.rev, s.at = rev, now
	}
	return now.Sub(s.at), false
}

// sightings are those of a process, by lease. They outlive a call of Lease, so that
// one who tries twice without waiting gets a lease whose holder is dead.
type sightings struct {
	mu sync.Mutex
	by map[string]*sighting
}

func (s *sightings) of(name string) *sighting {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[string]*sighting{}
	}
	if s.by[name] == nil {
		s.by[name] = &sighting{}
	}
	return s.by[name]
}

// contender is one attempt to hold a lease, and later its holding.
type contender struct {
	name, host string
	o          LeaseOptions
	grant      string
	store      leaseStore
	seen       *sighting
	now        func() time.Time // monotonic
	patience   float64          // TTLs
	trace      func(leaseTrace)

	sent bool // a write of ours may have been done, or may yet
}

// take waits for the lease and takes it; the caller calls start on it.
func (c *contender) take(ctx context.Context) (*Lease, error) {
	hints, stop := c.store.hints()
	defer stop()
	for n := 0; ; n++ {
		l, wait, err := c.step(ctx)
		if l != nil || err != nil {
			return l, err
		}
		if wait == 0 {
			wait = min(10*time.Millisecond<<min(n, 5), c.o.TTL/8)
			wait += rand.N(wait) //nolint:gosec // jitter
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-hints:
		case <-t.C:
		}
		t.Stop()
		if ctx.Err() != nil {
			c.withdraw(ctx)
			return nil, fault.Of(context.Cause(ctx)).At("lease " + c.name)
		}
	}
}

// step looks at the document and tries to take it. With neither a lease nor an error
// one waits and comes again; wait 0 means a moment.
func (c *contender) step(ctx context.Context) (l *Lease, wait time.Duration, err error) {
	cur, err := c.store.get(ctx)
	if err != nil {
		if c.o.Try && ctx.Err() == nil {
			return nil, 0, err
		}
		return nil, 0, nil
	}
	unchanged, stale := c.seen.note(cur.rev, c.now())
	if stale {
		return nil, 0, nil
	}
	next := leaseRecord{Holder: c.host, Grant: c.grant, Epoch: cur.next(), Why: c.o.Why, TTL: c.o.TTL, Since: time.Now().UTC()}
	switch {
	case cur.Grant == c.grant && !cur.free(): // a write of ours that was given up was done
		next = cur.leaseRecord
		next.N++
	case cur.free() && !cur.gone:
	case unchanged >= c.wait(cur):
	case c.o.Try:
		return nil, 0, c.taken(cur)
	default:
		return nil, min(c.wait(cur)-unchanged, time.Second), nil
	}
	began := c.now()
	c.sent = true
	rev, err := c.store.swap(ctx, next, cur.rev)
	if err != nil {
		return nil, 0, nil //nolint:nilerr // somebody else was faster, or the next look tells
	}
	l = c.hold(ctx, leaseVersion{leaseRecord: next, rev: rev})
	l.believe(began.Add(c.o.TTL))
	if !l.Valid() {
		return nil, 0, nil // the write took too long; the next look finds it and renews
	}
	return l, 0, nil
}

// wait is for how long a document must be unchanged before its lease may be taken.
// Of one that was removed, which only an operator does, the TTL is not known.
func (c *contender) wait(cur leaseVersion) time.Duration {
	ttl := max(cur.TTL, ttlLeast)
	if cur.gone {
		ttl = max(c.o.TTL, ttlCluster)
	}
	return time.Duration(c.patience * float64(ttl))
}

// hold makes the lease for a document that was written.
func (c *contender) hold(ctx context.Context, v leaseVersion) *Lease {
	own, end := context.WithCancelCause(context.WithoutCancel(ctx))
	return &Lease{c: c, epoch: v.Epoch, cur: v, own: own, end: end}
}

func (c *contender) taken(cur leaseVersion) error {
	why := ""
	if cur.Why != "" {
		why = " for " + cur.Why
	}
	return fault.Conflict("lease " + c.name + " is held by " + cur.Holder + " since " + cur.Since.Format(time.RFC3339) + why).
		Try("wait until it is done; if " + cur.Holder + " is dead, try again in " + cur.TTL.Round(time.Second).String())
}

// withdraw frees the lease if a write of ours was done after all.
func (c *contender) withdraw(ctx context.Context) {
	if !c.sent {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(c.o.TTL, time.Second))
	defer cancel()
	cur, err := c.store.get(ctx)
	if err == nil && cur.Grant == c.grant && !cur.free() {
		_ = c.hold(ctx, cur).giveBack(ctx) // else it ends by itself
	}
}
