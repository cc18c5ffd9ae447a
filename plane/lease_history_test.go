package plane

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// history is what was seen of one lease in a run. Times are nanoseconds of one
// monotonic clock that all observers share.
type history struct {
	mu     sync.Mutex
	Spans  []*span `json:"spans"`
	Writes []wrote `json:"writes"`
}

// span is one holding: somebody believed to hold the lease from From to To.
type span struct {
	Who   string `json:"who"`
	Epoch Epoch  `json:"epoch"`
	From  int64  `json:"from"`
	To    int64  `json:"to"`
}

// wrote is one attempt to write to the fenced resource, in the order in which the
// resource decided.
type wrote struct {
	Who   string `json:"who"`
	Epoch Epoch  `json:"epoch"`
	At    int64  `json:"at"`
	OK    bool   `json:"ok"`
}

func (h *history) write(who string, e Epoch, at int64, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Writes = append(h.Writes, wrote{who, e, at, ok})
}

// tracer returns what notes the life of one holding.
func (h *history) tracer(who string) func(leaseTrace) {
	var s *span
	return func(t leaseTrace) {
		h.mu.Lock()
		defer h.mu.Unlock()
		switch {
		case s == nil:
			if t.over {
				return // never believed
			}
			s = &span{Who: who, Epoch: t.epoch, From: t.at.UnixNano(), To: t.until.UnixNano()}
			h.Spans = append(h.Spans, s)
		case t.over:
			s.To = min(s.To, t.at.UnixNano())
		default:
			s.To = t.until.UnixNano()
		}
	}
}

// check returns what must not be: two believers at one instant, an epoch that does
// not grow from one holding to the next, a write accepted under an epoch below one
// that the resource had seen, and a write refused under the highest.
func (h *history) check() (wrong []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	spans := slices.Clone(h.Spans)
	slices.SortFunc(spans, func(a, b *span) int { return cmp.Compare(a.From, b.From) })
	var last *span // the one that ends last so far
	for i, s := range spans {
		if i > 0 && s.Epoch <= spans[i-1].Epoch {
			wrong = append(wrong, fmt.Sprintf("epoch %d of %s after epoch %d of %s", s.Epoch, s.Who, spans[i-1].Epoch, spans[i-1].Who))
		}
		if last != nil && s.From < last.To {
			wrong = append(wrong, fmt.Sprintf("%s (epoch %d) and %s (epoch %d) both believe for %d ns", last.Who, last.Epoch, s.Who, s.Epoch, min(last.To, s.To)-s.From))
		}
		if last == nil || s.To > last.To {
			last = s
		}
	}
	var top Epoch
	for _, w := range h.Writes {
		switch {
		case w.OK && w.Epoch < top:
			wrong = append(wrong, fmt.Sprintf("write of %s under epoch %d accepted after epoch %d", w.Who, w.Epoch, top))
		case !w.OK && w.Epoch >= top:
			wrong = append(wrong, fmt.Sprintf("write of %s under epoch %d refused, the highest is %d", w.Who, w.Epoch, top))
		}
		if w.OK {
			top = max(top, w.Epoch)
		}
	}
	return wrong
}

func TestTheHistoryCheckerSees(t *testing.T) {
	good := []*span{{"a", 1, 0, 10}, {"b", 2, 10, 20}, {"a", 5, 30, 40}}
	for name, c := range map[string]struct {
		h    *history
		want int
	}{
		"nothing":        {&history{}, 0},
		"a good one":     {&history{Spans: good, Writes: []wrote{{"a", 1, 5, true}, {"b", 2, 15, true}, {"a", 1, 16, false}}}, 0},
		"two believers":  {&history{Spans: []*span{{"a", 1, 0, 11}, {"b", 2, 10, 20}}}, 1},
		"a long one":     {&history{Spans: []*span{{"a", 1, 0, 100}, {"b", 2, 10, 20}, {"c", 3, 30, 40}}}, 2},
		"the same epoch": {&history{Spans: []*span{{"a", 1, 0, 10}, {"b", 1, 10, 20}}}, 1},
		"back":           {&history{Spans: []*span{{"a", 2, 0, 10}, {"b", 1, 10, 20}}}, 1},
		"stale write":    {&history{Spans: good, Writes: []wrote{{"b", 2, 15, true}, {"a", 1, 16, true}}}, 1},
		"refused writer": {&history{Spans: good, Writes: []wrote{{"b", 2, 15, true}, {"b", 2, 16, false}}}, 1},
	} {
		if got := c.h.check(); len(got) != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
