package openflow

import (
	"cmp"
	"slices"
)

// table finds the flow of the highest priority that a packet meets. Flows that look at the
// same bits are together, found by the value of those bits: a look-up takes one step for each
// such shape, not for each flow.
type table struct {
	id     uint8
	shapes []shape // the one with the highest priority first
	soft   []shape // of flows that are clauses of conjunctions
	odd    []*Flow // that have fields which are not understood
	flows  []*Flow // all of them, the highest priority last
}

// shape is the flows that look at the same bits.
type shape struct {
	masks []term // values do not count
	max   int    // the highest priority
	heads map[uint64]*entry
}

type entry struct {
	flow *Flow
	next *entry // of the same hash; of no higher priority
}

const hashPrime = 0x9e3779b97f4a7c15

func mix(h, v uint64) uint64 {
	h = (h ^ v) * hashPrime
	return h ^ h>>29
}

func hashFlow(terms []term) uint64 {
	var h uint64
	for i := range terms {
		h = mix(h, terms[i].value)
	}
	return h
}

func hashPacket(masks []term, w *words) uint64 {
	var h uint64
	for i := range masks {
		h = mix(h, w[masks[i].word]&masks[i].mask)
	}
	return h
}

// newTable indexes flows of one table.
func newTable(id uint8, flows []*Flow) *table {
	t := &table{id: id, flows: flows}
	slices.SortStableFunc(flows, func(a, b *Flow) int { return cmp.Compare(a.Priority, b.Priority) })
	hard, soft := shaper{}, shaper{}
	for _, f := range flows {
		switch {
		case len(f.Match.unknown) > 0:
			t.odd = append(t.odd, f)
		case len(f.Actions) > 0 && f.Actions[0].Kind == ActConjunction:
			soft.add(f)
		default:
			hard.add(f)
		}
	}
	t.shapes, t.soft = hard.done(), soft.done()
	return t
}

// shaper sorts flows, which come in rising priority, into shapes.
type shaper struct {
	byMasks map[uint64][]int
	shapes  []shape
}

func (s *shaper) add(f *Flow) {
	terms := f.Match.terms
	var h uint64
	for i := range terms {
		h = mix(mix(h, uint64(terms[i].word)), terms[i].mask)
	}
	if s.byMasks == nil {
		s.byMasks = map[uint64][]int{}
	}
	at := -1
	for _, i := range s.byMasks[h] {
		if sameMasks(s.shapes[i].masks, terms) {
			at = i
		}
	}
	if at < 0 {
		at = len(s.shapes)
		s.byMasks[h] = append(s.byMasks[h], at)
		s.shapes = append(s.shapes, shape{masks: terms, heads: map[uint64]*entry{}})
	}
	sh := &s.shapes[at]
	sh.max = f.Priority
	k := hashFlow(terms)
	sh.heads[k] = &entry{f, sh.heads[k]}
}

func (s *shaper) done() []shape {
	slices.SortStableFunc(s.shapes, func(a, b shape) int { return cmp.Compare(b.max, a.max) })
	return s.shapes
}

func sameMasks(a, b []term) bool {
	return slices.EqualFunc(a, b, func(x, y term) bool { return x.word == y.word && x.mask == y.mask })
}

// hard returns the flow of the highest priority, clauses of conjunctions aside.
func (t *table) hard(w *words) *Flow {
	var best *Flow
	for i := range t.shapes {
		s := &t.shapes[i]
		if best != nil && s.max <= best.Priority {
			break
		}
		for e := s.heads[hashPacket(s.masks, w)]; e != nil; e = e.next {
			if best != nil && e.flow.Priority <= best.Priority {
				break
			}
			if e.flow.Match.fits(w) {
				best = e.flow
				break
			}
		}
	}
	return best
}

// find returns the flow that a packet meets, nil if none. Conjunctions as in ovs-fields(7):
// where each clause of one has a flow that fits, at the same priority, which is above that of
// any other flow that fits, the packet is looked up again with that conj_id.
func (t *table) find(w *words) *Flow {
	best := t.hard(w)
	if len(t.soft) == 0 {
		return best
	}
	var clauses []*Flow
	for i := range t.soft {
		s := &t.soft[i]
		if best != nil && s.max <= best.Priority {
			break
		}
		for e := s.heads[hashPacket(s.masks, w)]; e != nil; e = e.next {
			if best != nil && e.flow.Priority <= best.Priority {
				break
			}
			if e.flow.Match.fits(w) {
				clauses = append(clauses, e.flow)
			}
		}
	}
	slices.SortStableFunc(clauses, func(a, b *Flow) int { return cmp.Compare(b.Priority, a.Priority) })
	for len(clauses) > 0 {
		n := 1
		for n < len(clauses) && clauses[n].Priority == clauses[0].Priority {
			n++
		}
		for _, id := range complete(clauses[:n]) {
			again := *w
			again[slotTP] = again[slotTP]&^ones(32) | uint64(id)
			if f := t.hard(&again); f != nil {
				return f
			}
		}
		clauses = clauses[n:]
	}
	return best
}

// complete returns the conjunctions all of whose clauses are there.
func complete(clauses []*Flow) []uint32 {
	have := map[uint32]uint64{}
	var ids []uint32
	for _, f := range clauses {
		for i := range f.Actions {
			c := f.Actions[i].conj
			if c == nil {
				continue
			}
			full := ones(c.of)
			if have[c.id]&full == full {
				continue
			}
			if have[c.id] |= 1 << c.clause; have[c.id]&full == full {
				ids = append(ids, c.id)
			}
		}
	}
	return ids
}
