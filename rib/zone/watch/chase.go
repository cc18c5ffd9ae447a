package watch

import (
	"container/heap"
	"math"
	"time"

	"kaname.dev/kaname/rib/zone/name"
)

// reason is why a zone is asked for at short intervals.
type reason uint8

const (
	loading reason = iota // until it is answered with authority
	leaving               // until it is not
	behind                // until its serial is the primary's
	doubted               // until an answer is confirmed
)

// chase is one zone that is asked for at short intervals.
type chase struct {
	name  name.Name
	why   reason
	told  bool      // by Added or Removed, so that the time it takes counts
	from  time.Time // the start
	due   time.Time
	wait  time.Duration
	place int // in the heap; -1 while an answer is awaited
}

// The intervals of a chase: they grow by half each time.
const (
	chaseFirst = 20 * time.Millisecond
	chaseMost  = time.Second      // in the first minute
	chaseSlow  = 10 * time.Second // after it
	chaseLong  = time.Minute
)

// chaseRate is about how many questions a second all chases ask together: when very many
// zones are added at once, the server has better things to do than to answer us.
const chaseRate = 200

// youth is how long a chase is among those that have just begun: these share the rate
// with each other, so that one more zone is seen at once where many are ill.
const youth = 5 * time.Second

// next lays the next question down; n is how many chases share the rate.
func (c *chase) next(now time.Time, n int) {
	most := chaseMost
	if now.Sub(c.from) > chaseLong {
		most = chaseSlow
	}
	fair := time.Duration(n) * time.Second / chaseRate
	if n < chaseRate {
		fair = 0
	}
	c.due = now.Add(max(c.wait, fair))
	c.wait = min(c.wait+c.wait/2, most)
}

// chases are all of them, by name and by time.
type chases struct {
	by  map[name.Name]*chase
	due chaseHeap

	young float64 // about how many began lately, as of since
	since time.Time
}

// share returns how many chases share the rate with c.
func (s *chases) share(c *chase, now time.Time) int {
	if now.Sub(c.from) >= youth {
		return len(s.by)
	}
	return min(int(s.lately(now)), len(s.by))
}

// lately returns about how many chases began within youth.
func (s *chases) lately(now time.Time) float64 {
	return s.young * math.Exp(-now.Sub(s.since).Seconds()/youth.Seconds())
}

// start begins a chase, the first question after a time; one for the same reason goes on
// unless it is told anew.
func (s *chases) start(n name.Name, why reason, told bool, now time.Time, after time.Duration) {
	if c := s.by[n]; c != nil {
		if !told && (c.why == why || c.told) {
			s.later(c, now)
			return
		}
		s.end(n)
	}
	c := &chase{name: n, why: why, told: told, from: now, due: now.Add(after), wait: chaseFirst, place: -1}
	if why == behind {
		c.wait = 10 * chaseFirst
	}
	s.young, s.since = s.lately(now)+1, now
	s.by[n] = c
	heap.Push(&s.due, c)
}

// later asks again after the chase's interval.
func (s *chases) later(c *chase, now time.Time) {
	if c.place < 0 {
		c.next(now, s.share(c, now))
		heap.Push(&s.due, c)
	}
}

// end ends a chase, if there is one.
func (s *chases) end(n name.Name) {
	c := s.by[n]
	if c == nil {
		return
	}
	if c.place >= 0 {
		heap.Remove(&s.due, c.place)
	}
	delete(s.by, n)
}

// take returns a chase that is due and waits for its answer from then on; nil for none.
func (s *chases) take(now time.Time) *chase {
	if len(s.due) == 0 || s.due[0].due.After(now) {
		return nil
	}
	c, _ := heap.Pop(&s.due).(*chase)
	return c
}

// chaseHeap is a heap by time.
type chaseHeap []*chase

func (h chaseHeap) Len() int           { return len(h) }
func (h chaseHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h chaseHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push is heap.Interface's.
func (h *chaseHeap) Push(x any) {
	c, _ := x.(*chase)
	c.place = len(*h)
	*h = append(*h, c)
}

// Pop is heap.Interface's.
func (h *chaseHeap) Pop() any {
	end := len(*h) - 1
	c := (*h)[end]
	(*h)[end] = nil
	*h = (*h)[:end]
	c.place = -1
	return c
}
