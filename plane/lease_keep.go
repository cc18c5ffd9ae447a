package plane

import (
	"context"
	"time"

	"kaname.dev/kaname/fault"
)

// start runs what keeps the lease until it is lost, released, or life ends.
func (l *Lease) start(life context.Context) {
	l.wg.Go(func() { l.renewing(life) })
	l.wg.Go(l.expiring)
}

// expiring ends the belief in time, whatever a renewal in progress waits for.
func (l *Lease) expiring() {
	for {
		l.mu.Lock()
		until := l.until
		l.mu.Unlock()
		t := time.NewTimer(until.Sub(l.c.now()))
		select {
		case <-l.own.Done():
			t.Stop()
			return
		case <-t.C:
		}
		if !l.Valid() {
			l.lose(l.lateFault())
			return
		}
	}
}

// renewing writes the document each third of the TTL.
func (l *Lease) renewing(life context.Context) {
	third := l.c.o.TTL / 3
	wait := third
	for {
		t := time.NewTimer(wait)
		select {
		case <-l.own.Done():
			t.Stop()
			return
		case <-life.Done():
			t.Stop()
			l.closing(life)
			return
		case <-t.C:
		}
		began := l.c.now()
		if l.renew(began) {
			wait = max(0, third-l.c.now().Sub(began))
		} else {
			wait = l.c.o.TTL / 20
		}
	}
}

// renew makes one attempt, and reports whether it was done.
func (l *Lease) renew(began time.Time) bool {
	ctx, cancel := context.WithTimeout(l.own, l.c.o.TTL/3)
	defer cancel()
	next := l.cur.leaseRecord
	next.N++
	rev, err := l.c.store.swap(ctx, next, l.cur.rev)
	if err == nil {
		l.cur = leaseVersion{leaseRecord: next, rev: rev}
		l.believe(began.Add(l.c.o.TTL))
		return true
	}
	if !fault.Is(err, fault.KindConflict) {
		return false
	}
	cur, err := l.c.store.get(ctx)
	switch {
	case err != nil || cur.rev <= l.cur.rev: // old news
	case cur.Grant == l.c.grant && !cur.free(): // an attempt that was given up was done
		l.cur = cur
	default:
		by := "its document was removed"
		if !cur.gone {
			by = "epoch " + itoa(int(cur.Epoch)) + " went to " + cur.Holder
		}
		l.lose(fault.Conflict("lease " + l.c.name + " was lost: " + by).At(l.c.host))
	}
	return false
}

// closing releases the lease when the plane closes.
func (l *Lease) closing(life context.Context) {
	if !l.lose(fault.Conflict("lease " + l.c.name + " ends: the plane of host " + l.c.host + " is closing")) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(life), 2*time.Second)
	defer cancel()
	_ = l.giveBack(ctx) // else it ends by itself
}

// giveBack frees the document. Nobody believes in the lease any more.
func (l *Lease) giveBack(ctx context.Context) error {
	var err error
	for n := 0; ; n++ {
		next := leaseRecord{Epoch: l.epoch, N: l.cur.N + 1, TTL: l.c.o.TTL}
		if _, err = l.c.store.swap(ctx, next, l.cur.rev); err == nil {
			return nil
		}
		if fault.Is(err, fault.KindConflict) {
			cur, getErr := l.c.store.get(ctx)
			if getErr == nil && cur.rev > l.cur.rev {
				if cur.free() || cur.Grant != l.c.grant {
					return nil // an attempt that was given up was done, or another has it
				}
				l.cur = cur
			}
		}
		if !pause(ctx, n) {
			return fault.Timeout("lease " + l.c.name + " was not given back and ends by itself in " + l.c.o.TTL.String()).At(l.c.host).Because(err)
		}
	}
}
