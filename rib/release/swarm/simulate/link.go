package simulate

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// link is one direction of a cable, shared equally by the flows on it.
type link struct {
	capacity float64 // in links of an ordinary host; 0: unlimited
	flows    []*flow
}

// flow is a chunk on its way.
type flow struct {
	from, to, chunk int
	links           []*link
	left            float64 // chunks still to go, 0 to 1
	rate            float64 // in links of an ordinary host
	since           time.Duration
	version         int // of its end event; older ones are void
}

// start puts a flow on its links.
func (r *run) start(from, to, chunk int) {
	f := &flow{from: from, to: to, chunk: chunk, left: 1, since: r.now}
	a, b := r.hosts[from], r.hosts[to]
	f.links = []*link{a.up, b.down}
	if len(r.racks) > 0 && a.rack != b.rack {
		if r.Uplink > 0 {
			f.links = append(f.links, r.racks[2*a.rack], r.racks[2*b.rack+1])
		}
		r.entered[b.rack]++
	}
	r.flows[[3]int{from, to, chunk}] = f
	for _, l := range f.links {
		l.flows = append(l.flows, f)
	}
	r.share(f.links)
}

// stop takes a flow off its links.
func (r *run) stop(f *flow) {
	delete(r.flows, [3]int{f.from, f.to, f.chunk})
	f.version++
	for _, l := range f.links {
		if i := slices.Index(l.flows, f); i >= 0 {
			l.flows[i] = l.flows[len(l.flows)-1]
			l.flows = l.flows[:len(l.flows)-1]
		}
	}
	r.share(f.links)
}

// share computes the rates of the flows on the links anew. With few hosts all flows are
// given their max-min fair rates, as TCP tends to; with many, which would take too long, each
// gets the smallest of its equal shares.
func (r *run) share(links []*link) {
	if r.Hosts <= 64 {
		r.fair()
		return
	}
	for _, l := range links {
		for _, f := range l.flows {
			rate := f.links[0].capacity
			for _, l := range f.links {
				rate = min(rate, l.capacity/float64(len(l.flows)))
			}
			r.pace(f, rate)
		}
	}
}

// pace lets a flow go on at a rate.
func (r *run) pace(f *flow, rate float64) {
	if rate == f.rate {
		return
	}
	f.left -= float64(r.now-f.since) / float64(r.Chunk) * f.rate
	f.since, f.rate = r.now, rate
	f.version++
	rest := time.Duration(max(f.left, 0) / rate * float64(r.Chunk))
	r.at(r.now+rest, event{kind: end, flow: f, version: f.version})
}

// fair fills the links step by step: the link with the smallest share per flow fixes the
// rates of its flows, and what they leave elsewhere is shared by the others.
func (r *run) fair() { //nolint:gocognit // one algorithm, progressive filling; in pieces it is harder to follow
	type state struct {
		left float64
		open int
	}
	links := map[*link]*state{}
	open := make([]*flow, 0, len(r.flows))
	for _, f := range r.flows {
		open = append(open, f)
	}
	slices.SortFunc(open, func(a, b *flow) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to), cmp.Compare(a.chunk, b.chunk))
	})
	for _, f := range open {
		for _, l := range f.links {
			if links[l] == nil {
				links[l] = &state{left: l.capacity}
			}
			links[l].open++
		}
	}
	for len(open) > 0 {
		share := math.Inf(1)
		for _, s := range links {
			if s.open > 0 {
				share = min(share, s.left/float64(s.open))
			}
		}
		kept := open[:0]
		var fixed []*flow
		for _, f := range open {
			tight := false
			for _, l := range f.links {
				s := links[l]
				tight = tight || s.left/float64(s.open) <= share*(1+1e-9)
			}
			if tight {
				fixed = append(fixed, f)
			} else {
				kept = append(kept, f)
			}
		}
		for _, f := range fixed {
			r.pace(f, share)
			for _, l := range f.links {
				links[l].left = max(links[l].left-share, 0)
				links[l].open--
			}
		}
		open = kept
	}
}
