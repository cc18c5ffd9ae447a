package lease

import (
	"fmt"
	"sync"
	"time"
)

// Promise is what a voter must not forget: it is on disk before an answer follows from it.
type Promise struct {
	Epoch   uint64 `json:"epoch"`             // the highest that it knows
	Primary string `json:"primary,omitempty"` // to whom it granted in Epoch: nobody else gets a grant there
	// Frozen: it has stopped receiving for a move in Epoch, and grants nothing to From.
	Frozen bool   `json:"frozen,omitempty"`
	From   string `json:"from,omitempty"`
}

// Voter is the side that grants. Its methods can be called from several goroutines.
type Voter struct {
	topology string
	clock    Clock
	save     func(Promise) error

	writing sync.Mutex // held while a promise changes; the disk may take its time
	start   Now

	mu      sync.Mutex // guards the fields below
	promise Promise
	last    Now    // when it last granted
	to      string // and to whom
}

// NewVoter returns the voter of a topology with what it promised before; save stores a
// promise durably before it returns.
func NewVoter(topology string, p Promise, save func(Promise) error, clock Clock) *Voter {
	return &Voter{topology: topology, clock: clock, save: save, promise: p, start: clock()}
}

// Vote answers a question. A higher epoch than it has known is adopted: only the
// controller makes them.
func (v *Voter) Vote(a Ask) Answer {
	v.writing.Lock()
	defer v.writing.Unlock()
	p := v.Promise()
	known := p.Epoch
	deny := func(why string) Answer { return Answer{Epoch: known, Why: why} }
	switch {
	case a.Topology != v.topology:
		return deny(fmt.Sprintf("this is a member of topology %q, not of %q", v.topology, a.Topology))
	case a.Epoch < p.Epoch:
		return deny(fmt.Sprintf("epoch %d is over, %d has begun", a.Epoch, p.Epoch))
	case a.Epoch > p.Epoch:
		p = Promise{Epoch: a.Epoch, Primary: a.Primary}
	case p.Primary != "" && p.Primary != a.Primary:
		return deny(fmt.Sprintf("the primary of epoch %d is %s", p.Epoch, p.Primary))
	case p.Frozen && p.From == a.Primary:
		return deny(fmt.Sprintf("epoch %d moves the primary away from %s", p.Epoch, p.From))
	default:
		p.Primary = a.Primary
	}
	if err := v.keep(p); err != nil {
		return deny(err.Error())
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last, v.to = v.clock(), a.Primary
	return Answer{Granted: true, Epoch: p.Epoch}
}

// Adopt makes a higher epoch known, as an order or a record brings it; a lower one is an
// OldError. primary is the one that the epoch is known to have, or empty.
func (v *Voter) Adopt(epoch uint64, primary string) error {
	v.writing.Lock()
	defer v.writing.Unlock()
	p := v.Promise()
	if epoch < p.Epoch {
		return &OldError{Asked: epoch, Known: p.Epoch}
	}
	if epoch > p.Epoch {
		p = Promise{Epoch: epoch}
	}
	if p.Primary == "" {
		p.Primary = primary
	}
	return v.keep(p)
}

// Freeze stops granting to from, and to everyone below epoch. It returns how long ago the
// last grant was given: when there was none since the voter's start, how long ago that
// was, for one may have been given just before.
func (v *Voter) Freeze(epoch uint64, from string) (granted time.Duration, err error) {
	v.writing.Lock()
	defer v.writing.Unlock()
	before := v.Promise()
	if epoch < before.Epoch {
		return 0, &OldError{Asked: epoch, Known: before.Epoch}
	}
	p := Promise{Epoch: epoch, Frozen: true, From: from}
	if epoch == before.Epoch && before.Primary != from {
		p.Primary = before.Primary
	}
	if err := v.keep(p); err != nil {
		return 0, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	last := v.last
	if v.to == "" {
		last = v.start
	}
	return v.clock().Boot - last.Boot, nil
}

// Thaw ends a freeze of the epoch, or of a lower one.
func (v *Voter) Thaw(epoch uint64) error {
	v.writing.Lock()
	defer v.writing.Unlock()
	p := v.Promise()
	if epoch < p.Epoch {
		return &OldError{Asked: epoch, Known: p.Epoch}
	}
	if epoch > p.Epoch {
		p = Promise{Epoch: epoch}
	}
	p.Frozen, p.From = false, ""
	return v.keep(p)
}

// Promise returns what it has promised. It never waits for the disk.
func (v *Voter) Promise() Promise {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.promise
}

// Granted returns to whom it last granted since its start, and how long ago; "" to nobody.
func (v *Voter) Granted() (to string, ago time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.to, v.clock().Boot - v.last.Boot
}

// keep has a promise on disk before it counts; writing is held.
func (v *Voter) keep(p Promise) error {
	if p == v.Promise() {
		return nil
	}
	if err := v.save(p); err != nil {
		return fmt.Errorf("keep epoch %d of topology %s on disk: %w", p.Epoch, v.topology, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.promise = p
	return nil
}

// OldError says that what was asked belongs to an epoch that is over.
type OldError struct{ Asked, Known uint64 }

// Error names both epochs.
func (e *OldError) Error() string {
	return fmt.Sprintf("epoch %d is over, %d has begun", e.Asked, e.Known)
}
