package simulate

import (
	"container/heap"
	"slices"
	"time"

	"kaname.dev/kaname/rib/release/swarm/schedule"
)

// kind says what an event is.
type kind uint8

const (
	begin    kind = iota // host to begins to fetch
	die                  // host to vanishes
	tick                 // host to looks at its clocks
	offer                // from offers chunk to to
	answer               // from answers to: value is a schedule.Answer
	covered              // from tells all that it asks
	wanted               // from tells all that it asks
	room                 // from tells to
	cancel               // from tells to
	starving             // from tells to: value 0 or 1
	end                  // a flow ends
)

// event is something that happens at a time.
type event struct {
	at       time.Duration
	seq      int
	kind     kind
	from, to int
	chunk    int
	value    int
	flow     *flow
	version  int
}

// events is a heap by time, and by order of creation.
type events []event

func (q events) Len() int { return len(q) }

func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}

func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push is part of heap.Interface.
func (q *events) Push(x any) { *q = append(*q, x.(event)) }

// Pop is part of heap.Interface.
func (q *events) Pop() any {
	n := len(*q) - 1
	x := (*q)[n]
	(*q)[n] = event{}
	*q = (*q)[:n]
	return x
}

func (r *run) at(t time.Duration, e event) {
	e.at = t
	r.seq++
	e.seq = r.seq
	heap.Push(&r.queue, e)
}

// tell sends a message.
func (r *run) tell(e event) { r.at(r.now+r.Latency, e) }

const patience = 2 * time.Second

// step lets an event happen.
func (r *run) step(e event) {
	switch e.kind {
	case begin:
		r.begin(r.hosts[e.to])
	case die:
		r.die(r.hosts[e.to])
	case tick:
		r.tick(r.hosts[e.to])
	case covered, wanted:
		r.heard(e)
	case end:
		if e.version == e.flow.version {
			r.arrived(e.flow)
		}
	default:
		r.message(e)
	}
}

// message delivers what is for one host; what comes from or for a dead one is lost.
func (r *run) message(e event) {
	from, to := r.hosts[e.from], r.hosts[e.to]
	if !from.alive || !to.alive {
		return
	}
	p := schedule.Peer(e.from)
	switch e.kind {
	case offer:
		if to.requester == nil {
			return
		}
		a := to.requester.Offered(p, e.chunk, r.now)
		r.tell(event{kind: answer, from: e.to, to: e.from, chunk: e.chunk, value: int(a)})
		if a == schedule.Take {
			r.tell(event{kind: covered, from: e.to, to: e.from, chunk: e.chunk})
		}
		return
	case answer:
		if schedule.Answer(e.value) == schedule.Take {
			to.supplier.Taken(p, e.chunk)
		} else {
			to.supplier.Left(p, e.chunk, schedule.Answer(e.value) == schedule.Hold)
		}
	case room:
		to.supplier.Busy(p, false)
	case starving:
		to.supplier.Starving(p, e.value == 1)
	case cancel:
		to.supplier.Dropped(p, e.chunk)
		if f := r.flows[[3]int{e.to, e.from, e.chunk}]; f != nil {
			r.stop(f)
		}
	default: // the others are no messages
	}
	r.pump(to)
}

// heard delivers a broadcast to all that a host asks, except the one in to.
func (r *run) heard(e event) {
	if !r.hosts[e.from].alive {
		return
	}
	for _, s := range r.hosts[e.from].asks {
		h := r.hosts[s]
		switch {
		case !h.alive || s == e.to:
			continue
		case e.kind == covered:
			h.supplier.Covered(schedule.Peer(e.from), e.chunk)
		default:
			h.supplier.Uncovered(schedule.Peer(e.from), e.chunk)
		}
		r.pump(h)
	}
}

// pump lets a host make offers and fill its slots.
func (r *run) pump(h *host) {
	for {
		o, ok := h.supplier.Next(r.now)
		if !ok {
			break
		}
		r.hosts[o.Peer].requester.Started(schedule.Peer(h.id), o.Chunk)
		r.start(h.id, int(o.Peer), o.Chunk)
	}
	for {
		o, ok := h.supplier.Offer(r.now)
		if !ok {
			return
		}
		r.tell(event{kind: offer, from: h.id, to: int(o.Peer), chunk: o.Chunk})
	}
}

// begin lets a host join its neighbours.
func (r *run) begin(h *host) {
	h.requester = schedule.NewRequester(r.Policy, h.have, r.now)
	for _, s := range h.asks {
		r.hosts[s].supplier.Join(schedule.Peer(h.id), h.requester.Covered())
	}
	for _, s := range h.asks {
		r.pump(r.hosts[s])
	}
	r.at(r.now+r.pulse(h), event{kind: tick, to: h.id})
}

// pulse is how often a host looks at its clocks; not all at the same moment.
func (r *run) pulse(h *host) time.Duration {
	return 200*time.Millisecond + time.Duration(h.id%64)*time.Millisecond
}

// die removes a host; its neighbours notice at once.
func (r *run) die(h *host) {
	h.alive = false
	for _, f := range r.flows {
		if f.from == h.id || f.to == h.id {
			r.stop(f)
		}
	}
	for _, o := range r.hosts {
		if !o.alive || o == h {
			continue
		}
		o.supplier.Forget(schedule.Peer(h.id), false)
		if o.requester != nil {
			for _, c := range o.requester.Gone(schedule.Peer(h.id)) {
				r.tell(event{kind: wanted, from: o.id, to: -1, chunk: c})
			}
		}
	}
	for _, o := range r.hosts {
		if o.alive {
			r.pump(o)
		}
	}
}

// tick is a host's look at its clocks.
func (r *run) tick(h *host) {
	if !h.alive {
		return
	}
	r.pump(h)
	if h.done > 0 {
		if r.open > 0 {
			r.at(r.now+r.pulse(h), event{kind: tick, to: h.id})
		}
		return
	}
	r.at(r.now+r.pulse(h), event{kind: tick, to: h.id})
	lost, drop := h.requester.Overdue(r.now)
	for _, l := range lost {
		r.tell(event{kind: cancel, from: h.id, to: int(l.Peer), chunk: l.Chunk})
		r.tell(event{kind: wanted, from: h.id, to: -1, chunk: l.Chunk})
	}
	for _, p := range drop {
		r.dismiss(h, int(p))
	}
	if s := h.requester.Starving(r.now, patience); s != h.starving {
		h.starving = s
		value := 0
		if s {
			value = 1
			if !contains(h.asks, 0) && r.hosts[0].alive { // the origin is asked too
				h.asks = append(h.asks, 0)
				r.hosts[0].supplier.Join(schedule.Peer(h.id), h.requester.Covered())
			}
		}
		for _, p := range h.asks {
			r.tell(event{kind: starving, from: h.id, to: p, value: value})
		}
	}
	r.room(h)
}

// dismiss ends a host's asking of a supplier.
func (r *run) dismiss(h *host, p int) {
	for i, s := range h.asks {
		if s == p {
			h.asks = append(h.asks[:i:i], h.asks[i+1:]...)
			break
		}
	}
	for _, c := range h.requester.Gone(schedule.Peer(p)) {
		r.tell(event{kind: wanted, from: h.id, to: -1, chunk: c})
	}
	for k, f := range r.flows {
		if k[0] == p && k[1] == h.id {
			r.stop(f)
		}
	}
	r.hosts[p].supplier.Forget(schedule.Peer(h.id), false)
	r.pump(r.hosts[p])
}

func (r *run) room(h *host) {
	for _, p := range h.requester.Room() {
		r.tell(event{kind: room, from: h.id, to: int(p)})
	}
}

// arrived is the end of a flow: the slot is free, the chunk is verified and stored.
func (r *run) arrived(f *flow) {
	r.stop(f)
	from, to := r.hosts[f.from], r.hosts[f.to]
	p := schedule.Peer(f.from)
	from.supplier.Sent(schedule.Peer(f.to), f.chunk, r.now)
	if r.Liars[f.from] {
		to.requester.Lost(p, f.chunk)
		r.tell(event{kind: wanted, from: f.to, to: -1, chunk: f.chunk})
		r.dismiss(to, f.from)
		return
	}
	to.requester.Stored(p, f.chunk, r.now)
	to.have.Set(uint(f.chunk))
	to.supplier.Add(f.chunk)
	if c, ok := to.have.NextClear(uint(to.prefix)); ok {
		to.prefix = int(c)
		r.spread = max(r.spread, int(to.have.Count())-to.prefix)
	} else if to.done == 0 {
		to.done = r.now
		if _, dies := r.Die[to.id]; !dies {
			r.open--
		}
		for _, s := range to.asks {
			r.hosts[s].supplier.Forget(schedule.Peer(to.id), true)
		}
	}
	r.room(to)
	r.pump(from)
	r.pump(to)
}

func contains(list []int, x int) bool {
	return slices.Contains(list, x)
}
