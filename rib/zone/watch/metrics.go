package watch

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are what the watchers of a host count for Prometheus, by server and group,
// never by zone. The nil Metrics counts nothing.
type Metrics struct {
	zones    *prometheus.GaugeVec
	behind   *prometheus.GaugeVec
	lag      *prometheus.HistogramVec
	added    *prometheus.HistogramVec
	gone     *prometheus.HistogramVec
	probes   *prometheus.CounterVec
	failures *prometheus.CounterVec
}

// NewMetrics registers the metrics with reg; nil keeps them unseen.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	seconds := []float64{.05, .1, .25, .5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200, 86400}
	where := []string{"server", "group"}
	m := &Metrics{
		zones:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kaname_zone_watched_zones", Help: "Zones that a name server should answer, by state."}, []string{"server", "group", "state"}),
		behind:   prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kaname_zone_lag_max_seconds", Help: "How long the zone that is behind its primary the longest has been so."}, where),
		lag:      prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kaname_zone_lag_seconds", Help: "Time from the first sight of a new serial at the primary until it was served.", Buckets: seconds}, where),
		added:    prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kaname_zone_served_seconds", Help: "Time from the addition of a zone to the server until it was answered with authority.", Buckets: seconds}, where),
		gone:     prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kaname_zone_removed_seconds", Help: "Time from the removal of a zone from the server until it was not answered any more.", Buckets: seconds}, []string{"server"}),
		probes:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kaname_zone_probes_total", Help: "Questions for SOA records, to the server or to primaries."}, []string{"server", "to"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kaname_zone_probe_failures_total", Help: "Questions for SOA records that were not answered, or without sense."}, []string{"server", "to"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.zones, m.behind, m.lag, m.added, m.gone, m.probes, m.failures} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) probed(server, to string, k Kind) {
	if m == nil {
		return
	}
	m.probes.WithLabelValues(server, to).Inc()
	if k == NoAnswer || k == Odd {
		m.failures.WithLabelValues(server, to).Inc()
	}
}

func (m *Metrics) served(server, group string, took time.Duration) {
	if m != nil {
		m.added.WithLabelValues(server, group).Observe(took.Seconds())
	}
}

func (m *Metrics) removed(server string, took time.Duration) {
	if m != nil {
		m.gone.WithLabelValues(server).Observe(took.Seconds())
	}
}

func (m *Metrics) caughtUp(server, group string, lag time.Duration) {
	if m != nil {
		m.lag.WithLabelValues(server, group).Observe(lag.Seconds())
	}
}

// measure sets the gauges. w.mu is held.
func (w *Watcher) measure(now time.Time) {
	m := w.o.Metrics
	if m == nil {
		return
	}
	type place struct {
		group string
		state State
	}
	count, most := map[place]int{}, map[string]time.Duration{}
	for _, r := range w.routes {
		most[r.zone.Group] = 0
		for _, s := range States {
			count[place{r.zone.Group, s}] = 0
		}
	}
	for i := range w.zones {
		z := &w.zones[i]
		s, _ := w.stateOf(z)
		group := z.route.zone.Group
		count[place{group, s}]++
		if z.behind != 0 {
			most[group] = max(most[group], now.Sub(stamp(z.behind)))
		}
	}
	for p, n := range count {
		m.zones.WithLabelValues(w.o.Name, p.group, string(p.state)).Set(float64(n))
	}
	for group, lag := range most {
		m.behind.WithLabelValues(w.o.Name, group).Set(lag.Seconds())
	}
}
