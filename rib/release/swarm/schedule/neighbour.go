package schedule

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
)

// Node is a host as far as the choice of neighbours is concerned.
type Node struct {
	Host string
	// Place is where the host stands, the widest first: "zone/rack". Hosts with the same
	// place are near each other; an empty place is a place like any other.
	Place string
}

// Degree is how many neighbours a host asks when there are more hosts than that.
const Degree = 12

// farDegree is how many of them stand anywhere, if there are several places.
const farDegree = 4

// Graph says who asks whom for one pack.
//
// All hosts of a place stand on a ring in an order that depends on the pack, and
// each has as neighbours those at some distances both ways, the same distances for all
// and 1 among them; so do all hosts together for the far neighbours. The graph is
// therefore connected, everybody has about the same number of neighbours, and whoever
// asks is asked back, provided that all compute it from the same nodes. Random
// distances keep the number of hops near log N. With up to Degree+1 nodes everybody
// asks everybody.
type Graph struct {
	place map[string]string
	near  map[string]*ring // by place; nil when there is one place only
	all   *ring
}

// NewGraph makes the graph of the nodes for a pack; a host named twice counts once.
func NewGraph(pack string, nodes []Node) *Graph {
	g := &Graph{place: make(map[string]string, len(nodes))}
	places := map[string][]string{}
	var all []string
	for _, n := range nodes {
		if _, twice := g.place[n.Host]; twice {
			continue
		}
		g.place[n.Host] = n.Place
		places[n.Place] = append(places[n.Place], n.Host)
		all = append(all, n.Host)
	}
	if len(places) < 2 || len(all) <= Degree+1 {
		g.all = newRing(pack, all, Degree)
		return g
	}
	g.all = newRing(pack, all, farDegree)
	g.near = make(map[string]*ring, len(places))
	for p, hosts := range places {
		g.near[p] = newRing(pack, hosts, Degree-farDegree)
	}
	return g
}

// Neighbours returns the hosts that host asks, in no particular order; nil if it is
// not in the graph.
func (g *Graph) Neighbours(host string) []string {
	place, known := g.place[host]
	if !known {
		return nil
	}
	list := g.all.neighbours(host)
	if g.near != nil {
		for _, n := range g.near[place].neighbours(host) {
			if !slices.Contains(list, n) {
				list = append(list, n)
			}
		}
	}
	return list
}

// Near reports whether two hosts stand at the same place, or there is one place only.
func (g *Graph) Near(a, b string) bool { return g.near == nil || g.place[a] == g.place[b] }

// ring is a circle of hosts with the distances at which each has its neighbours.
type ring struct {
	order     []string
	at        map[string]int
	distances []int // none: everybody is everybody's neighbour
}

func newRing(pack string, hosts []string, degree int) *ring {
	n := len(hosts)
	r := &ring{order: slices.Clone(hosts), at: make(map[string]int, n)}
	key := make(map[string]uint64, n)
	for _, h := range hosts {
		key[h] = hash(pack, h)
	}
	slices.SortFunc(r.order, func(a, b string) int { return cmp.Or(cmp.Compare(key[a], key[b]), cmp.Compare(a, b)) })
	for i, h := range r.order {
		r.at[h] = i
	}
	if n-1 <= degree {
		return r
	}
	r.distances = []int{1}
	for i := 1; len(r.distances) < degree/2; i++ {
		// n > degree+1, so that there are at least degree/2 distances up to (n-1)/2.
		if d := 1 + int(hash(pack, "distance", strconv.Itoa(i))%uint64((n-1)/2)); !slices.Contains(r.distances, d) {
			r.distances = append(r.distances, d)
		}
	}
	return r
}

func (r *ring) neighbours(host string) []string {
	at, n := r.at[host], len(r.order)
	var list []string
	if r.distances == nil {
		return slices.Concat(r.order[:at], r.order[at+1:])
	}
	for _, d := range r.distances {
		list = append(list, r.order[(at+d)%n], r.order[(at-d+n)%n])
	}
	return list
}

func hash(parts ...string) uint64 {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}
