package schedule

import (
	"slices"
	"time"

	"github.com/bits-and-blooms/bitset"
)

// Requester is the taking half of one host for one pack. It is not safe for
// concurrent use.
type Requester struct {
	policy  Policy
	have    *bitset.BitSet // verified and stored
	covered *bitset.BitSet // have, or promised
	flights map[int]*flight
	usual   average // from promise to stored
	strikes map[Peer]int
	waiting map[Peer]bool // told to hold its offers
	fed     time.Duration // when something was last promised or stored
}

// flight is a chunk that a supplier has promised.
type flight struct {
	from    Peer
	since   time.Duration
	started bool // its first byte has come
}

// Flight is a promised chunk and who promised it.
type Flight struct {
	Peer  Peer
	Chunk int
}

// Answer is what a requester says to an offer.
type Answer int

// The answers.
const (
	Take  Answer = iota // send it
	Leave               // covered already
	Hold                // wanted, but no more promises for now: wait for Room
)

// NewRequester makes the taking half; have says which chunks are here already and
// gives the number of chunks. It is copied.
func NewRequester(p Policy, have *bitset.BitSet, now time.Duration) *Requester {
	return &Requester{
		policy: p.WithDefaults(), have: have.Clone(), covered: have.Clone(), flights: map[int]*flight{},
		strikes: map[Peer]int{}, waiting: map[Peer]bool{}, fed: now,
	}
}

// Covered returns a copy of what is here or promised: what a new supplier is told.
func (r *Requester) Covered() *bitset.BitSet { return r.covered.Clone() }

// Complete reports whether every chunk is stored.
func (r *Requester) Complete() bool { return r.have.All() }

// Missing returns the number of chunks not stored yet.
func (r *Requester) Missing() int { return int(r.have.Len() - r.have.Count()) }

// Offered answers an offer. After Take, all other suppliers must be told that the
// chunk is covered.
func (r *Requester) Offered(from Peer, chunk int, now time.Duration) Answer {
	if r.covered.Test(uint(chunk)) {
		return Leave
	}
	if len(r.flights) >= r.policy.Intake {
		r.waiting[from] = true
		return Hold
	}
	r.covered.Set(uint(chunk))
	r.flights[chunk] = &flight{from: from, since: now}
	r.fed = now
	return Take
}

// Started says that the first byte of a promised chunk has come.
func (r *Requester) Started(from Peer, chunk int) {
	if f := r.flights[chunk]; f != nil && f.from == from {
		f.started = true
	}
}

// Expects reports whether the supplier has promised the chunk and it is still awaited.
func (r *Requester) Expects(from Peer, chunk int) bool {
	f := r.flights[chunk]
	return f != nil && f.from == from
}

// Stored says that a chunk was verified and stored, wherever it came from. If meanwhile
// another supplier promised it too, that one is returned and must be told to cancel.
func (r *Requester) Stored(from Peer, chunk int, now time.Duration) (other Peer, promised bool) {
	if f := r.flights[chunk]; f != nil {
		if f.from == from {
			r.usual.add(now - f.since)
			delete(r.strikes, from)
		} else {
			other, promised = f.from, true
		}
		delete(r.flights, chunk)
	}
	r.covered.Set(uint(chunk))
	r.have.Set(uint(chunk))
	r.fed = now
	return other, promised
}

// Lost says that a promised chunk will not come, or came corrupt. It reports whether
// the chunk is wanted again: then all suppliers must be told.
func (r *Requester) Lost(from Peer, chunk int) bool {
	f := r.flights[chunk]
	if f == nil || f.from != from || r.have.Test(uint(chunk)) {
		return false
	}
	delete(r.flights, chunk)
	r.covered.Clear(uint(chunk))
	return true
}

// Gone says that a supplier is gone; it returns the chunks that are wanted again.
func (r *Requester) Gone(from Peer) []int {
	delete(r.waiting, from)
	delete(r.strikes, from)
	var lost []int
	for c, f := range r.flights {
		if f.from == from {
			lost = append(lost, c)
		}
	}
	slices.Sort(lost)
	for _, c := range lost {
		r.Lost(from, c)
	}
	return lost
}

// Room returns the suppliers that were told to hold and may offer again.
func (r *Requester) Room() []Peer {
	if len(r.waiting) == 0 || len(r.flights) >= r.policy.Intake {
		return nil
	}
	var ps []Peer
	for p := range r.waiting {
		ps = append(ps, p)
	}
	slices.Sort(ps)
	clear(r.waiting)
	return ps
}

// Overdue returns the promised chunks that take far longer than the others did, and
// the suppliers that did so too often and should be dropped. The chunks count as
// lost: the supplier must be told to cancel, and all that they are wanted again.
func (r *Requester) Overdue(now time.Duration) (lost []Flight, drop []Peer) {
	limit, known := r.usual.times(r.policy.SlowFactor)
	if !known {
		return nil, nil
	}
	limit = max(limit, r.policy.SlowFloor)
	for c, f := range r.flights {
		if now-f.since > limit {
			lost = append(lost, Flight{Peer: f.from, Chunk: c})
		}
	}
	slices.SortFunc(lost, func(a, b Flight) int { return a.Chunk - b.Chunk })
	for _, l := range lost {
		r.Lost(l.Peer, l.Chunk)
		if r.strikes[l.Peer]++; r.strikes[l.Peer] == r.policy.Strikes {
			drop = append(drop, l.Peer)
		}
	}
	return lost, drop
}

// Starving reports whether nothing is promised and nothing came for a while: then
// the origin may repeat itself, and more peers should be asked.
func (r *Requester) Starving(now, patience time.Duration) bool {
	return len(r.flights) == 0 && !r.Complete() && now-r.fed > patience
}
