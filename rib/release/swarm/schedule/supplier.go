package schedule

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bits-and-blooms/bitset"
)

// Supplier is the giving half of one host for one pack. It is not safe for
// concurrent use.
//
// An offer goes through these states; those in brackets end it:
//
//	offered --Taken--> taken --Next--> sending --Sent--> [sent]
//	offered --Left--> [left]    offered, taken, sending --Dropped or Forget--> [dropped]
type Supplier struct {
	policy Policy
	origin bool
	rand   *rand.Rand
	have   *bitset.BitSet
	askers map[Peer]*asker
	order  []*asker // askers in the order of their arrival, so that choices repeat under a seed

	covered []int32         // per chunk: askers that hold it or were promised it, finished ones included
	given   []int32         // per chunk: how often it was sent from here
	last    []time.Duration // per chunk: when it was last sent to a starving asker
	fresh   int             // origin: no chunk below it is uncovered

	offers  int       // offered, not yet answered
	taken   []sending // answered, waiting for a slot
	sending []sending // in a slot
	usual   average   // how long a chunk takes to send
}

// asker is what a supplier knows about a host that asks it.
type asker struct {
	peer     Peer
	covered  *bitset.BitSet
	count    int   // chunks covered
	prefix   int   // all chunks below it are covered
	open     []int // offers not answered yet
	busy     bool
	starving bool
}

// sending is a chunk on its way to an asker.
type sending struct {
	peer  Peer
	chunk int
	since time.Duration // when the slot was given
	stuck bool          // it takes so long that the chunk does not count as covered
}

// Offer is a chunk held out to an asker.
type Offer struct {
	Peer  Peer
	Chunk int
}

// NewSupplier makes the giving half. have says which chunks are here already and
// gives the number of chunks; it is copied. An origin gives each chunk once before it
// repeats any. The randomness only breaks ties.
func NewSupplier(p Policy, have *bitset.BitSet, origin bool, r *rand.Rand) *Supplier {
	n := int(have.Len())
	p = p.WithDefaults()
	if origin {
		p.Slots = p.Origin
	}
	return &Supplier{
		policy: p, origin: origin, rand: r, have: have.Clone(),
		askers: map[Peer]*asker{}, covered: make([]int32, n), given: make([]int32, n), last: make([]time.Duration, n),
	}
}

// Add says that the chunk is here now.
func (s *Supplier) Add(chunk int) { s.have.Set(uint(chunk)) }

// Remove says that the chunk is no longer here, for instance because it was found corrupt.
func (s *Supplier) Remove(chunk int) { s.have.Clear(uint(chunk)) }

// Join says that a host asks now, with what it covers; the set must have as many
// bits as the pack has chunks, and is kept.
func (s *Supplier) Join(p Peer, covered *bitset.BitSet) {
	s.Forget(p, false)
	a := &asker{peer: p, covered: covered}
	s.askers[p] = a
	s.order = append(s.order, a)
	for c, ok := covered.NextSet(0); ok; c, ok = covered.NextSet(c + 1) {
		s.covered[c]++
		a.count++
	}
	s.advance(a)
}

// Forget says that an asker is gone. If it finished, what it holds still counts as
// covered; otherwise the origin may have to give it again.
func (s *Supplier) Forget(p Peer, finished bool) {
	a := s.askers[p]
	if a == nil {
		return
	}
	delete(s.askers, p)
	for i, o := range s.order {
		if o == a {
			s.order = append(s.order[:i], s.order[i+1:]...)
			break
		}
	}
	s.offers -= len(a.open)
	for _, x := range s.sending {
		if x.peer == p && x.stuck {
			s.covered[x.chunk]++
		}
	}
	s.taken = without(s.taken, func(x sending) bool { return x.peer == p })
	s.sending = without(s.sending, func(x sending) bool { return x.peer == p })
	if finished {
		return
	}
	for c, ok := a.covered.NextSet(0); ok; c, ok = a.covered.NextSet(c + 1) {
		s.covered[c]--
		s.fresh = min(s.fresh, int(c))
	}
}

// Covered says that an asker holds the chunk or was promised it by anybody.
func (s *Supplier) Covered(p Peer, chunk int) {
	if a := s.askers[p]; a != nil {
		s.cover(a, chunk)
	}
}

// Uncovered says that an asker wants the chunk again.
func (s *Supplier) Uncovered(p Peer, chunk int) {
	if a := s.askers[p]; a != nil {
		s.uncover(a, chunk)
	}
}

// Busy says whether an asker has all the promises that it wants for now.
func (s *Supplier) Busy(p Peer, busy bool) {
	if a := s.askers[p]; a != nil {
		a.busy = busy
	}
}

// Starving says whether an asker finds nobody who gives it anything.
func (s *Supplier) Starving(p Peer, starving bool) {
	if a := s.askers[p]; a != nil {
		a.starving = starving
	}
}

// Offer returns the next offer to make, if there is one and few enough are out.
func (s *Supplier) Offer(now time.Duration) (Offer, bool) {
	if s.offers+len(s.taken)+s.moving(now) >= s.policy.Slots+s.policy.Ahead {
		return Offer{}, false
	}
	a, c := s.choose(now)
	if a == nil {
		return Offer{}, false
	}
	s.cover(a, c)
	s.offers++
	a.open = append(a.open, c)
	if s.given[c] > 0 {
		s.last[c] = now
	}
	return Offer{Peer: a.peer, Chunk: c}, true
}

// Taken says that an asker took the chunk that it was offered.
func (s *Supplier) Taken(p Peer, chunk int) {
	if a := s.askers[p]; a != nil && s.answered(a, chunk) {
		s.taken = append(s.taken, sending{peer: p, chunk: chunk})
	}
}

// Left says that an asker did not take the offer, because it covers the chunk
// already or, when busy, because it wants no more promises for now.
func (s *Supplier) Left(p Peer, chunk int, busy bool) {
	a := s.askers[p]
	if a == nil || !s.answered(a, chunk) {
		return
	}
	if busy {
		a.busy = true
		s.uncover(a, chunk)
	}
}

// Next returns the next chunk to send, if one was taken and a slot is free.
func (s *Supplier) Next(now time.Duration) (Offer, bool) {
	if len(s.taken) == 0 || s.moving(now) >= s.policy.Slots {
		return Offer{}, false
	}
	x := s.taken[0]
	s.taken = s.taken[1:]
	x.since = now
	s.sending = append(s.sending, x)
	return Offer{Peer: x.peer, Chunk: x.chunk}, true
}

// Sent says that a chunk has left, and frees its slot.
func (s *Supplier) Sent(p Peer, chunk int, now time.Duration) {
	if x, ok := s.drop(p, chunk); ok {
		s.given[chunk]++
		s.usual.add(now - x.since)
	}
}

// Dropped says that a chunk will not be sent after all: the asker cancelled it, or
// it cannot be read here. It reports whether the chunk was waiting or being sent.
func (s *Supplier) Dropped(p Peer, chunk int) bool {
	_, ok := s.drop(p, chunk)
	return ok
}

// Given returns how many chunks were sent from here, repeats included.
func (s *Supplier) Given() int {
	n := 0
	for _, g := range s.given {
		n += int(g)
	}
	return n
}

// answered takes an offer off the list of those that are out; false if it was not made.
func (s *Supplier) answered(a *asker, chunk int) bool {
	i := slices.Index(a.open, chunk)
	if i < 0 {
		return false
	}
	a.open = slices.Delete(a.open, i, i+1)
	s.offers--
	return true
}

func (s *Supplier) drop(p Peer, chunk int) (sending, bool) {
	is := func(x sending) bool { return x.peer == p && x.chunk == chunk }
	for _, list := range []*[]sending{&s.taken, &s.sending} {
		for _, x := range *list {
			if is(x) {
				*list = without(*list, is)
				if x.stuck {
					s.covered[x.chunk]++
				}
				return x, true
			}
		}
	}
	return sending{}, false
}

// moving counts the slots in use. A slot whose chunk takes far longer than usual is
// not counted: an asker at a hundredth of the rate must not hold up the others. Nor does its
// chunk count as covered any longer: the origin gives it to somebody else.
func (s *Supplier) moving(now time.Duration) int {
	limit, known := s.usual.times(s.policy.SlowFactor)
	limit = max(limit, s.policy.SlowFloor)
	n := 0
	for i := range s.sending {
		x := &s.sending[i]
		if !known || now-x.since <= limit {
			n++
			continue
		}
		if !x.stuck {
			x.stuck = true
			s.covered[x.chunk]--
			s.fresh = min(s.fresh, x.chunk)
		}
	}
	// Bound the memory and connections that stuck askers hold.
	return max(n, len(s.sending)-4*s.policy.Slots)
}

// held returns what is on its way to an asker, and whether any of it is stuck.
func (s *Supplier) held(a *asker) (n int, stuck bool) {
	n = len(a.open)
	for _, x := range s.taken {
		if x.peer == a.peer {
			n++
		}
	}
	for _, x := range s.sending {
		if x.peer == a.peer {
			n++
			stuck = stuck || x.stuck
		}
	}
	return n, stuck
}

// choose picks the asker that has least among those with something to offer, and
// the chunk for it.
func (s *Supplier) choose(now time.Duration) (*asker, int) {
	var best *asker
	chunk, ties := -1, 0
	for _, a := range s.order {
		if a.busy || best != nil && a.count > best.count {
			continue
		}
		if n, stuck := s.held(a); stuck || n > 1 && len(s.order) > s.policy.Slots {
			continue // it has enough to do with what it was given
		}
		c := s.pick(a, now)
		if c < 0 {
			continue
		}
		if best == nil || a.count < best.count {
			best, chunk, ties = a, c, 1
		} else if ties++; s.rand.IntN(ties) == 0 {
			best, chunk = a, c
		}
	}
	return best, chunk
}

// pick returns the chunk to offer to a, or -1.
func (s *Supplier) pick(a *asker, now time.Duration) int {
	if s.origin {
		return s.pickOnce(a, now)
	}
	for from := a.prefix; from < len(s.covered); from += s.policy.Window {
		if c := s.rarest(a, from, min(from+s.policy.Window, len(s.covered))); c >= 0 {
			return c
		}
	}
	return -1
}

// rarest returns the chunk in [from, to) that is here, not covered by a, and
// covered by fewest askers; ties are broken at random.
func (s *Supplier) rarest(a *asker, from, to int) int {
	best, ties := -1, 0
	have, covered := s.have.Words(), a.covered.Words()
	for w := from / 64; w*64 < to; w++ {
		word := have[w] &^ covered[w]
		if w*64 < from {
			word &= ^uint64(0) << (from % 64)
		}
		for ; word != 0; word &= word - 1 {
			c := w*64 + bits.TrailingZeros64(word)
			if c >= to {
				break
			}
			switch {
			case best < 0 || s.covered[c] < s.covered[best]:
				best, ties = c, 1
			case s.covered[c] == s.covered[best]:
				if ties++; s.rand.IntN(ties) == 0 {
					best = c
				}
			}
		}
	}
	return best
}

// pickOnce is the origin's way: the first chunk that nobody covers; a repeat only
// for an asker that finds nobody else, the least given first and not too often.
func (s *Supplier) pickOnce(a *asker, now time.Duration) int {
	for s.fresh < len(s.covered) && (s.covered[s.fresh] > 0 || !s.have.Test(uint(s.fresh))) {
		s.fresh++
	}
	if s.fresh < len(s.covered) {
		return s.fresh // nobody covers it, so a does not
	}
	if !a.starving {
		return -1
	}
	best := -1
	for c := a.prefix; c < len(s.covered); c++ {
		if a.covered.Test(uint(c)) || !s.have.Test(uint(c)) || s.last[c] > 0 && now-s.last[c] < s.policy.Repeat {
			continue
		}
		if best < 0 || s.given[c] < s.given[best] {
			best = c
		}
	}
	return best
}

func (s *Supplier) cover(a *asker, chunk int) {
	if a.covered.Test(uint(chunk)) {
		return
	}
	a.covered.Set(uint(chunk))
	a.count++
	s.covered[chunk]++
	s.advance(a)
}

func (s *Supplier) uncover(a *asker, chunk int) {
	if !a.covered.Test(uint(chunk)) {
		return
	}
	a.covered.Clear(uint(chunk))
	a.count--
	s.covered[chunk]--
	a.prefix = min(a.prefix, chunk)
	s.fresh = min(s.fresh, chunk)
}

func (s *Supplier) advance(a *asker) {
	if c, ok := a.covered.NextClear(uint(a.prefix)); ok {
		a.prefix = int(c)
	} else {
		a.prefix = len(s.covered)
	}
}

func without(list []sending, drop func(sending) bool) []sending {
	kept := list[:0:0]
	for _, x := range list {
		if !drop(x) {
			kept = append(kept, x)
		}
	}
	return kept
}
