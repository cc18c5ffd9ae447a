package router

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are what the routers of a host count for Prometheus. The nil Metrics counts
// nothing.
type Metrics struct {
	conns   *prometheus.GaugeVec
	opens   *prometheus.CounterVec
	closes  *prometheus.CounterVec
	waits   *prometheus.HistogramVec
	moves   *prometheus.CounterVec
	dials   *prometheus.CounterVec
	epoch   *prometheus.GaugeVec
	holding *prometheus.GaugeVec
}

// NewMetrics registers the metrics with reg; nil keeps them unseen.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	by := []string{"topology", "target"}
	why := []string{"topology", "target", "reason"}
	seconds := []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2, 5, 10, 30}
	m := &Metrics{
		conns:   prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kaname_mysql_router_connections", Help: "Connections of clients."}, by),
		opens:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kaname_mysql_router_connections_total", Help: "Connections of clients since the start."}, by),
		closes:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kaname_mysql_router_closed_total", Help: "Connections that have ended, by reason."}, why),
		waits:   prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kaname_mysql_router_hold_seconds", Help: "How long connections and commands waited for a primary.", Buckets: seconds}, by),
		moves:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kaname_mysql_router_sessions_moved_total", Help: "Sessions that were carried over to another server."}, by),
		dials:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kaname_mysql_router_dial_failures_total", Help: "Connections to servers that were refused or not answered."}, by),
		epoch:   prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kaname_mysql_router_epoch", Help: "The highest epoch seen."}, by),
		holding: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kaname_mysql_router_held", Help: "1 while new work waits for a primary."}, by),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.conns, m.opens, m.closes, m.waits, m.moves, m.dials, m.epoch, m.holding} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) opened(r *Router) {
	if m != nil {
		m.conns.WithLabelValues(r.o.Topology, r.o.Target).Inc()
		m.opens.WithLabelValues(r.o.Topology, r.o.Target).Inc()
	}
}

func (m *Metrics) closed(r *Router, why string) {
	if m != nil {
		m.conns.WithLabelValues(r.o.Topology, r.o.Target).Dec()
		m.closes.WithLabelValues(r.o.Topology, r.o.Target, why).Inc()
	}
}

func (m *Metrics) refused(r *Router, why string) {
	if m != nil {
		m.closes.WithLabelValues(r.o.Topology, r.o.Target, why).Inc()
	}
}

func (m *Metrics) waited(r *Router, d time.Duration) {
	if m != nil {
		m.waits.WithLabelValues(r.o.Topology, r.o.Target).Observe(d.Seconds())
	}
}

func (m *Metrics) moved(r *Router) {
	if m != nil {
		m.moves.WithLabelValues(r.o.Topology, r.o.Target).Inc()
	}
}

func (m *Metrics) undialled(r *Router) {
	if m != nil {
		m.dials.WithLabelValues(r.o.Topology, r.o.Target).Inc()
	}
}

func (m *Metrics) led(r *Router, v *view) {
	if m == nil {
		return
	}
	m.epoch.WithLabelValues(r.o.Topology, r.o.Target).Set(float64(v.target.Epoch))
	held := 0.0
	if v.held {
		held = 1
	}
	m.holding.WithLabelValues(r.o.Topology, r.o.Target).Set(held)
}
