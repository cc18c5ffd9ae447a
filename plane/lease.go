package plane

import (
	"context"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"kaname.dev/kaname/fault"
)

// Epoch is the fencing token of a lease: it only grows, also over releases and over
// the removal of the lease's document.
type Epoch uint64

// LeaseOptions sets how long a lease lasts without renewal.
type LeaseOptions struct {
	TTL time.Duration // zero means the plane's default for its mode: 5 s embedded, 20 s clustered; at least 200 ms
	// Why is shown to those who find the lease taken: "deploy of shop 1.4.2 by alice".
	Why string
	// Try returns a Conflict fault naming the holder at once instead of waiting.
	Try bool
}

// Default times to live. An engine with one node answers or is dead; one with
// several needs up to 9 s to replace its leader, or 12.5 s after a restart of all,
// and a lease must outlive that.
const (
	ttlAlone   = 5 * time.Second
	ttlCluster = 20 * time.Second
	ttlLeast   = 200 * time.Millisecond
)

// Lease is held by at most one process at any time.
//
// How: the lease is a document that is changed by compare-and-set only. The holder
// renews it each third of its TTL and believes itself the holder until one TTL
// after the moment before the last successful renewal was sent. A rival waits until
// it has seen the document unchanged for 1.25 TTL, and then replaces it under the
// next epoch. Each measures on its own monotonic clock; no wall clock and no clock
// of the server is involved. When a renewal's outcome is unknown, it counts as
// not done.
//
// What that does not cover: Linux's monotonic clock stands still while the machine
// is suspended, and in some hypervisors while it is migrated, so that a holder which
// wakes up may believe for as long as it had left. And a process can be stopped
// between asking Valid and acting on it. Both are covered by the epoch, and only by
// it: whatever the lease protects must remember the highest epoch that it has seen
// and refuse a lower one. Commands sent under a lease are so fenced by each host.
type Lease struct {
	c     *contender
	epoch Epoch
	own   context.Context //nolint:containedctx // handed out by Context; it ends with the lease
	end   context.CancelCauseFunc
	wg    sync.WaitGroup // the goroutines that keep it; they end with own

	cur leaseVersion // as last written; only for the keeper, and for Release after it

	mu       sync.Mutex // guards the fields below
	until    time.Time  // of the belief
	over     bool       // the belief has ended, early or not
	released bool       // Release was called
}

// Lease blocks until the lease is held or ctx ends. Closing the plane releases it.
func (p *Plane) Lease(ctx context.Context, name string, o LeaseOptions) (*Lease, error) {
	if err := p.needCore("holding a lease"); err != nil {
		return nil, err
	}
	if o.TTL == 0 {
		o.TTL = ttlCluster
		if p.o.Mode == Embedded {
			o.TTL = ttlAlone
		}
	}
	if name == "" || o.TTL < ttlLeast {
		return nil, fault.Invalid("a lease needs a name and a time to live of at least " + ttlLeast.String())
	}
	ctx, stop := p.within(ctx)
	defer stop()
	c := &contender{
		name: name, host: p.o.Host, o: o, grant: ulid.Make().String(),
		store: leaseDocs{Documents[leaseRecord](p, bucketLeases), name}, seen: p.sightings.of(name),
		now: time.Now, patience: leasePatience,
	}
	l, err := c.take(ctx)
	if err != nil {
		return nil, err
	}
	l.start(p.life)
	p.wg.Go(l.wg.Wait)
	return l, nil
}

// Name returns the lease's name.
func (l *Lease) Name() string { return l.c.name }

// Epoch returns the fencing token under which the lease was granted.
func (l *Lease) Epoch() Epoch { return l.epoch }

// Valid reports whether the lease is held at this moment. It looks at the clock, so
// that it is right also when the process was just stopped and continued.
func (l *Lease) Valid() bool {
	now := l.c.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.over && now.Before(l.until)
}

// Context is cancelled before the lease can be granted to another; its cause is
// a Conflict fault. Its Err looks at the clock as Valid does.
func (l *Lease) Context() context.Context { return leaseContext{l.own, l} }

// leaseContext is a context whose Err is not late.
type leaseContext struct {
	context.Context //nolint:containedctx // it is one
	l               *Lease
}

// Err implements context.Context.
func (c leaseContext) Err() error {
	if c.Context.Err() == nil && !c.l.Valid() {
		c.l.lose(c.l.lateFault())
	}
	return c.Context.Err()
}

// Release gives the lease back, so that the next one need not wait for its TTL. The
// belief ends before the document is freed. After a Timeout or Unavailable fault the
// lease ends by itself. When the lease was lost before, the fault says so.
func (l *Lease) Release(ctx context.Context) error {
	l.mu.Lock()
	twice := l.released
	l.released = true
	l.mu.Unlock()
	if twice {
		return nil
	}
	first := l.lose(fault.Conflict("lease " + l.c.name + " was released"))
	l.wg.Wait()
	if !first {
		return context.Cause(l.own)
	}
	ctx, cancel := context.WithTimeout(ctx, max(l.c.o.TTL, 2*time.Second)) // by then it has ended by itself
	defer cancel()
	return l.giveBack(ctx)
}

// lose ends the belief and the context; false means that it had ended before.
func (l *Lease) lose(why *fault.Fault) bool {
	now := l.c.now()
	l.mu.Lock()
	first := !l.over
	l.over = true
	if first && l.c.trace != nil {
		l.c.trace(leaseTrace{epoch: l.epoch, at: now, until: l.until, over: true})
	}
	l.mu.Unlock()
	l.end(why)
	return first
}

// believe extends the belief.
func (l *Lease) believe(until time.Time) {
	now := l.c.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || !until.After(l.until) || !now.Before(until) {
		return
	}
	l.until = until
	if l.c.trace != nil {
		l.c.trace(leaseTrace{epoch: l.epoch, at: now, until: until})
	}
}

func (l *Lease) lateFault() *fault.Fault {
	return fault.Conflict("lease " + l.c.name + " was lost: it could not be renewed within " + l.c.o.TTL.String()).At(l.c.host).
		Try("are most of the cores up? What was done under the lease may have been half done")
}
