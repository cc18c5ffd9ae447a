package swarm

import (
	"maps"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Traffic counts what went between this host and one peer.
type Traffic struct {
	Sent     int64 `json:"sent"`     // chunk bytes sent to it
	Received int64 `json:"received"` // chunk bytes received from it, verified
	Wasted   int64 `json:"wasted"`   // chunk bytes received from it in vain: cancelled, cut off or corrupt
	Corrupt  int64 `json:"corrupt"`  // chunks from it that were not what they should be
	Dropped  int64 `json:"dropped"`  // how often it was dropped, as a liar or as slow
}

// Stats counts the traffic of this host, per peer and in total. It is safe for
// concurrent use; a nil Stats counts nothing.
type Stats struct {
	mu    sync.Mutex // guards peers
	peers map[string]Traffic

	bytes   *prometheus.CounterVec
	corrupt prometheus.Counter
	dropped prometheus.Counter
	given   prometheus.Gauge
	taken   prometheus.Gauge
}

// NewStats makes counters and registers them; reg may be nil.
func NewStats(reg prometheus.Registerer) (*Stats, error) {
	s := &Stats{
		peers: map[string]Traffic{},
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kaname_release_swarm_bytes_total", Help: "Bytes of chunks exchanged with peers (sent, received, wasted).",
		}, []string{"direction"}),
		corrupt: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kaname_release_swarm_corrupt_chunks_total", Help: "Chunks from peers that were not what they should be.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kaname_release_swarm_dropped_peers_total", Help: "Peers dropped because they sent bad bytes or were far slower than the others.",
		}),
		given: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kaname_release_swarm_askers", Help: "Connections over which peers ask this host now.",
		}),
		taken: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kaname_release_swarm_suppliers", Help: "Connections over which this host asks peers now.",
		}),
	}
	if reg == nil {
		return s, nil
	}
	for _, c := range []prometheus.Collector{s.bytes, s.corrupt, s.dropped, s.given, s.taken} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Peers returns the traffic with each peer so far.
func (s *Stats) Peers() map[string]Traffic {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.peers)
}

// Total returns the traffic with all peers so far.
func (s *Stats) Total() Traffic {
	var t Traffic
	for _, p := range s.Peers() {
		t.Sent += p.Sent
		t.Received += p.Received
		t.Wasted += p.Wasted
		t.Corrupt += p.Corrupt
		t.Dropped += p.Dropped
	}
	return t
}

func (s *Stats) count(host string, change func(*Traffic)) {
	if s == nil {
		return
	}
	s.mu.Lock()
	t := s.peers[host]
	before := t
	change(&t)
	s.peers[host] = t
	s.mu.Unlock()
	s.bytes.WithLabelValues("sent").Add(float64(t.Sent - before.Sent))
	s.bytes.WithLabelValues("received").Add(float64(t.Received - before.Received))
	s.bytes.WithLabelValues("wasted").Add(float64(t.Wasted - before.Wasted))
	s.corrupt.Add(float64(t.Corrupt - before.Corrupt))
	s.dropped.Add(float64(t.Dropped - before.Dropped))
}

// connections counts connections by which others ask this host, and it others.
func (s *Stats) connections(given, taken float64) {
	if s != nil {
		s.given.Add(given)
		s.taken.Add(taken)
	}
}
