package schedule

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/bits-and-blooms/bitset"
	"pgregory.net/rapid"
)

func set(n int, members ...int) *bitset.BitSet {
	b := bitset.New(uint(n))
	for _, m := range members {
		b.Set(uint(m))
	}
	return b
}

func full(n int) *bitset.BitSet { return bitset.New(uint(n)).Complement() }

func supplier(p Policy, have *bitset.BitSet, origin bool) *Supplier {
	return NewSupplier(p, have, origin, rand.New(rand.NewPCG(1, 2)))
}

func TestServesTheOneWithLeast(t *testing.T) {
	s := supplier(Policy{}, full(10), false)
	s.Join(1, set(10, 0, 1, 2))
	s.Join(2, set(10, 0))
	if o, ok := s.Offer(0); !ok || o.Peer != 2 {
		t.Errorf("%+v %v", o, ok)
	}
}

func TestOffersTheRarestInTheWindow(t *testing.T) {
	s := supplier(Policy{Window: 4}, full(10), false)
	s.Join(1, set(10))
	s.Join(2, set(10, 0, 1, 3, 4, 5))
	s.Join(3, set(10, 0, 1, 2, 3))
	s.Busy(2, true)
	s.Busy(3, true)
	// In the window of 1 (0 to 3) chunk 2 is covered once, the others twice; beyond there are rarer ones.
	if o, ok := s.Offer(0); !ok || o != (Offer{Peer: 1, Chunk: 2}) {
		t.Errorf("%+v %v", o, ok)
	}
}

func TestOriginGivesEachChunkOnce(t *testing.T) {
	p := Policy{Origin: 100, Ahead: 100, Repeat: time.Second}
	s := supplier(p, full(5), true)
	s.Join(1, set(5))
	s.Join(2, set(5))
	s.Join(3, set(5))
	s.Busy(3, true)
	given := map[int]Peer{}
	for {
		for {
			o, ok := s.Offer(0)
			if !ok {
				break
			}
			if _, twice := given[o.Chunk]; twice {
				t.Errorf("chunk %d is offered twice", o.Chunk)
			}
			given[o.Chunk] = o.Peer
			s.Taken(o.Peer, o.Chunk)
		}
		o, ok := s.Next(0)
		if !ok {
			break
		}
		s.Sent(o.Peer, o.Chunk, time.Millisecond)
	}
	if len(given) != 5 || s.Given() != 5 {
		t.Fatalf("%d chunks offered, %d given", len(given), s.Given())
	}
	s.Busy(3, false)
	if o, ok := s.Offer(time.Second); ok {
		t.Errorf("it repeats %+v for one who does not starve", o)
	}
	s.Starving(3, true)
	if o, ok := s.Offer(time.Second); !ok || o.Peer != 3 {
		t.Error("it does not help the starving")
	}
	// The only holder of a chunk vanishes: it is given again.
	s.Starving(3, false)
	lost := given[4]
	s.Forget(lost, false)
	o, ok := s.Offer(time.Second)
	if !ok || given[o.Chunk] != lost {
		t.Errorf("%+v %v, wanted what %d had", o, ok, lost)
	}
}

func TestStuckAskerDoesNotKeepAChunk(t *testing.T) {
	s := supplier(Policy{Origin: 2, Ahead: 1}, full(4), true)
	s.Join(1, set(4))
	s.Join(2, set(4))
	for range 2 { // what is usual
		o, _ := s.Offer(0)
		s.Taken(o.Peer, o.Chunk)
		s.Next(0)
		s.Sent(o.Peer, o.Chunk, 10*time.Millisecond)
	}
	o, _ := s.Offer(0)
	s.Taken(o.Peer, o.Chunk)
	s.Next(0)
	again := func(now time.Duration) bool {
		for {
			x, ok := s.Offer(now)
			if !ok {
				return false
			}
			if x.Chunk == o.Chunk {
				return x.Peer != o.Peer
			}
			s.Left(x.Peer, x.Chunk, false)
		}
	}
	if again(100 * time.Millisecond) {
		t.Error("a chunk on its way is given to another at once")
	}
	if !again(10 * time.Second) {
		t.Error("a chunk stuck with one asker is given to no other")
	}
}

func TestAnswersThatWereNotAskedForChangeNothing(t *testing.T) {
	s := supplier(Policy{}, full(4), false)
	s.Join(1, set(4))
	s.Taken(1, 3)
	s.Left(1, 2, true)
	s.Taken(9, 1)
	if _, ok := s.Next(0); ok {
		t.Error("it sends what it did not offer")
	}
	if s.offers != 0 {
		t.Errorf("%d offers out", s.offers)
	}
}

func TestRequesterTakesEachChunkOnce(t *testing.T) {
	r := NewRequester(Policy{Intake: 2}, set(4, 0), 0)
	for _, c := range []struct {
		from  Peer
		chunk int
		want  Answer
	}{{1, 0, Leave}, {1, 1, Take}, {2, 1, Leave}, {2, 2, Take}, {3, 3, Hold}} {
		if got := r.Offered(c.from, c.chunk, 0); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	if r.Room() != nil {
		t.Error("there is no room yet")
	}
	r.Stored(1, 1, time.Second)
	if ps := r.Room(); !slices.Equal(ps, []Peer{3}) {
		t.Errorf("room for %v", ps)
	}
	if lost := r.Gone(2); !slices.Equal(lost, []int{2}) {
		t.Errorf("lost %v", lost)
	}
	if r.Offered(3, 2, 0) != Take {
		t.Error("what was lost is not wanted again")
	}
}

func TestSlowSupplierLosesItsPlace(t *testing.T) {
	r := NewRequester(Policy{Strikes: 2}, set(10), 0)
	ms := time.Millisecond
	for c := range 4 {
		r.Offered(1, c, 0)
		r.Stored(1, c, 10*ms)
	}
	r.Offered(2, 4, 0)
	if lost, drop := r.Overdue(1900 * ms); lost != nil || drop != nil {
		t.Errorf("too early: %v %v", lost, drop)
	}
	lost, drop := r.Overdue(3 * time.Second)
	if len(lost) != 1 || lost[0] != (Flight{2, 4}) || drop != nil {
		t.Errorf("%v %v", lost, drop)
	}
	r.Offered(2, 5, 3*time.Second)
	if _, drop := r.Overdue(6 * time.Second); !slices.Equal(drop, []Peer{2}) {
		t.Errorf("dropped %v", drop)
	}
}

func TestUniformlySlowIsNotSlow(t *testing.T) {
	r := NewRequester(Policy{}, set(10), 0)
	for c := range 4 {
		r.Offered(1, c, 0)
		r.Stored(1, c, time.Minute)
	}
	r.Offered(2, 4, time.Minute)
	if lost, _ := r.Overdue(3 * time.Minute); lost != nil {
		t.Errorf("%v", lost)
	}
}

// TestCountsStayTrue plays random calls and compares the supplier's counts with what
// they count.
func TestCountsStayTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const n = 12
		s := supplier(Policy{Slots: 2, Origin: 3}, full(n), rapid.Bool().Draw(t, "origin"))
		now := time.Duration(0)
		peer := rapid.IntRange(1, 4)
		chunk := rapid.IntRange(0, n-1)
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond
			p, c := Peer(peer.Draw(t, "peer")), chunk.Draw(t, "chunk")
			switch rapid.IntRange(0, 10).Draw(t, "call") {
			case 0:
				s.Join(p, set(n, c))
			case 1:
				s.Forget(p, false)
			case 2:
				s.Covered(p, c)
			case 3:
				s.Uncovered(p, c)
			case 4, 5:
				if o, ok := s.Offer(now); ok {
					s.Taken(o.Peer, o.Chunk)
				}
			case 6:
				if o, ok := s.Offer(now); ok {
					s.Left(o.Peer, o.Chunk, rapid.Bool().Draw(t, "busy"))
				}
			case 7:
				s.Next(now)
			case 8:
				s.Sent(p, c, now)
			case 9:
				s.Dropped(p, c)
			case 10:
				s.Starving(p, rapid.Bool().Draw(t, "starving"))
				s.Busy(p, false)
			}
			check(t, s, n)
		}
	})
}

func check(t *rapid.T, s *Supplier, n int) {
	open := 0
	covered := make([]int32, n)
	for _, a := range s.order {
		open += len(a.open)
		if a.count != int(a.covered.Count()) {
			t.Fatalf("asker %d: count %d of %d", a.peer, a.count, a.covered.Count())
		}
		for c := range n {
			if a.covered.Test(uint(c)) {
				covered[c]++
			} else if c < a.prefix {
				t.Fatalf("asker %d: prefix %d, but %d is not covered", a.peer, a.prefix, c)
			}
		}
	}
	for _, x := range s.sending {
		if x.stuck {
			covered[x.chunk]--
		}
	}
	if open != s.offers {
		t.Fatalf("%d offers, counted %d", open, s.offers)
	}
	if !slices.Equal(covered, s.covered) {
		t.Fatalf("covered %v, counted %v", covered, s.covered)
	}
}

func TestGraph(t *testing.T) {
	for _, c := range []struct{ hosts, racks int }{{2, 1}, {13, 1}, {14, 1}, {15, 3}, {200, 1}, {200, 10}, {1000, 33}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			var nodes []Node
			for i := range c.hosts {
				nodes = append(nodes, Node{Host: fmt.Sprint("h", i), Place: fmt.Sprint("rack", i%c.racks)})
			}
			g := NewGraph("pack", nodes)
			seen := map[string]bool{"h0": true}
			for next := []string{"h0"}; len(next) > 0; next = next[1:] {
				list := g.Neighbours(next[0])
				if len(list) > Degree || slices.Contains(list, next[0]) {
					t.Fatalf("%s has %d neighbours: %v", next[0], len(list), list)
				}
				near := 0
				for _, n := range list {
					if g.Near(n, next[0]) {
						near++
					}
					if !slices.Contains(g.Neighbours(n), next[0]) {
						t.Fatalf("%s asks %s and is not asked back", next[0], n)
					}
					if !seen[n] {
						seen[n] = true
						next = append(next, n)
					}
				}
				if c.hosts == 200 && near < Degree-farDegree {
					t.Fatalf("%s has %d neighbours near", next[0], near)
				}
			}
			if len(seen) != c.hosts {
				t.Errorf("%d of %d hosts are connected", len(seen), c.hosts)
			}
		})
	}
	if NewGraph("pack", nil).Neighbours("stranger") != nil {
		t.Error("a stranger has neighbours")
	}
}
