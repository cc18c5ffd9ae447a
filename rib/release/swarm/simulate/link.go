package simulate

import (
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

// share computes the rates of all flows on the links anew.
func (r *run) share(links []*link) {
	for _, l := range links {
		for _, f := range l.flows {
			rate := f.links[0].capacity
			for _, l := range f.links {
				rate = min(rate, l.capacity/float64(len(l.flows)))
			}
			if rate == f.rate {
				continue
			}
			f.left -= float64(r.now-f.since) / float64(r.Chunk) * f.rate
			f.since, f.rate = r.now, rate
			f.version++
			rest := time.Duration(max(f.left, 0) / rate * float64(r.Chunk))
			r.at(r.now+rest, event{kind: end, flow: f, version: f.version})
		}
	}
}
