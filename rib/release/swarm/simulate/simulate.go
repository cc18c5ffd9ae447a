// Package simulate spreads a pack over many hosts under virtual time with the real
// scheduler of package schedule: what would happen on 10,000 hosts, in racks with narrow
// uplinks, with hosts that die, come late, are slow or lie.
//
// It is a fluid model: a transfer runs at the smallest of the equal shares that it has in
// each link on its way; messages take a fixed latency and no bandwidth. What it leaves out
// makes it slower than a network (a share that a transfer cannot use is not given to
// the others of that link) or faster (no slow start, loss, headers: add about 5 %).
package simulate

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bits-and-blooms/bitset"

	"kaname.dev/kaname/rib/release/swarm/schedule"
)

// Config describes a run. Host 0 is the origin; hosts 1 to Hosts receive.
type Config struct {
	Hosts   int           // receivers
	Chunks  int           // chunks of the pack
	Chunk   time.Duration // how long a chunk takes on a host's link alone
	Latency time.Duration // of a message, one way
	Seed    uint64
	Policy  schedule.Policy

	Rack   int     // hosts per rack; 0: no racks, no labels
	Uplink float64 // capacity of a rack's uplink, each way, in links of a host; 0: unlimited

	Rate  map[int]float64       // link of a host relative to the others
	Late  map[int]time.Duration // when a host begins; it has nothing
	Die   map[int]time.Duration // when a host vanishes
	Liars map[int]bool          // hosts whose every chunk is corrupt
	Limit time.Duration         // end of the run; 100 times the bound when 0
}

// Result is what came of it.
type Result struct {
	Done   []time.Duration // per receiver (index 0 is host 1): when it was complete since it began; 0: never
	Bound  time.Duration   // pack size over link rate
	Origin float64         // copies of the pack that the origin sent
	Uplink float64         // copies that entered the racks, the average over the racks without the origin
	Spread int             // most chunks that any host held beyond its prefix
	Events int             // steps simulated
}

// Ratio returns the time at which the given share (0 to 1) of the hosts that completed were
// complete, over the bound.
func (r Result) Ratio(share float64) float64 {
	done := slices.Clone(r.Done)
	done = slices.DeleteFunc(done, func(d time.Duration) bool { return d == 0 })
	if len(done) == 0 {
		return 0
	}
	slices.Sort(done)
	i := min(int(share*float64(len(done))), len(done)-1)
	return float64(done[i]) / float64(r.Bound)
}

// String summarises r on one line.
func (r Result) String() string {
	n := 0
	for _, d := range r.Done {
		if d > 0 {
			n++
		}
	}
	return fmt.Sprintf("complete %d/%d, median %.3f, p99 %.3f, last %.3f of F/B; origin %.3f copies, rack %.2f; spread %d, %d events",
		n, len(r.Done), r.Ratio(.5), r.Ratio(.99), r.Ratio(1), r.Origin, r.Uplink, r.Spread, r.Events)
}

// host is one simulated machine.
type host struct {
	id        int
	rack      int
	alive     bool
	origin    bool
	begun     time.Duration
	done      time.Duration
	up, down  *link
	supplier  *schedule.Supplier
	requester *schedule.Requester
	asks      []int // suppliers
	have      *bitset.BitSet
	prefix    int
	starving  bool
}

// run is a simulation under way.
type run struct {
	Config
	hosts   []*host
	racks   []*link // up, down in turn
	entered []int   // chunks that came over each rack's uplink
	now     time.Duration
	queue   events
	flows   map[[3]int]*flow
	spread  int
	open    int // receivers that are to complete and have not
	events  int
	seq     int
}

// Run simulates until every living receiver is complete, or the limit.
func Run(c Config) Result {
	r := &run{Config: c, flows: map[[3]int]*flow{}}
	if r.Limit == 0 {
		r.Limit = 100 * c.Chunk * time.Duration(c.Chunks)
	}
	r.build()
	for r.open > 0 && len(r.queue) > 0 && r.now < r.Limit {
		e := heap.Pop(&r.queue).(event)
		r.now = e.at
		r.events++
		r.step(e)
	}
	res := Result{Bound: c.Chunk * time.Duration(c.Chunks), Spread: r.spread, Events: r.events}
	for _, h := range r.hosts[1:] {
		d := h.done
		if d > 0 {
			d -= h.begun
		}
		res.Done = append(res.Done, d)
	}
	res.Origin = float64(r.hosts[0].supplier.Given()) / float64(c.Chunks)
	if n := len(r.entered); n > 1 {
		sum := 0
		for _, e := range r.entered[1:] {
			sum += e
		}
		res.Uplink = float64(sum) / float64((n-1)*c.Chunks)
	}
	return res
}

func (r *run) build() {
	nodes := make([]schedule.Node, r.Hosts+1)
	for i := range nodes {
		nodes[i] = schedule.Node{Host: name(i)}
		if r.Rack > 0 {
			nodes[i].Place = fmt.Sprint("rack", i/r.Rack)
		}
	}
	if r.Rack > 0 {
		for range r.Hosts/r.Rack + 1 {
			r.racks = append(r.racks, &link{capacity: r.Uplink}, &link{capacity: r.Uplink})
		}
		r.entered = make([]int, r.Hosts/r.Rack+1)
	}
	graph := schedule.NewGraph(fmt.Sprint("pack", r.Seed), nodes)
	index := make(map[string]int, len(nodes))
	for i, n := range nodes {
		index[n.Host] = i
	}
	for i := range nodes {
		h := r.host(i)
		r.hosts = append(r.hosts, h)
		if i > 0 {
			for _, n := range graph.Neighbours(nodes[i].Host) {
				h.asks = append(h.asks, index[n])
			}
			slices.Sort(h.asks)
			r.at(h.begun, event{kind: begin, to: i})
			if d, ok := r.Die[i]; ok {
				r.at(d, event{kind: die, to: i})
			}
			if _, ok := r.Die[i]; !ok {
				r.open++
			}
		}
	}
	if d, ok := r.Die[0]; ok {
		r.at(d, event{kind: die, to: 0})
	}
}

func (r *run) host(i int) *host {
	rate := 1.0
	if v, ok := r.Rate[i]; ok {
		rate = v
	}
	have := bitset.New(uint(r.Chunks))
	if i == 0 {
		have = have.Complement()
	}
	h := &host{
		id: i, alive: true, origin: i == 0, begun: r.Late[i], have: have,
		up: &link{capacity: rate}, down: &link{capacity: rate},
		supplier: schedule.NewSupplier(r.Policy, have, i == 0, rand.New(rand.NewPCG(r.Seed, uint64(i)))),
	}
	if r.Rack > 0 {
		h.rack = i / r.Rack
	}
	return h
}

func name(i int) string { return fmt.Sprintf("h%05d", i) }
