package release

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// meters count what the rib does, for Prometheus.
type meters struct {
	deploys *prometheus.CounterVec
	took    prometheus.Histogram
	caught  *prometheus.CounterVec
}

func newMeters(reg prometheus.Registerer) (*meters, error) {
	m := &meters{
		deploys: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kaname_release_deploys_total", Help: "Deploys that this core has ended, by outcome."}, []string{"outcome"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kaname_release_deploy_seconds", Help: "How long deploys took.", Buckets: prometheus.ExponentialBuckets(0.5, 2, 12),
		}),
		caught: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kaname_release_catch_ups_total", Help: "Hosts brought to the wanted release outside a deploy, by outcome."}, []string{"outcome"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.deploys, m.took, m.caught} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *meters) deploy(s deployState, took time.Duration) {
	m.deploys.WithLabelValues(string(s)).Inc()
	m.took.Observe(took.Seconds())
}

func (m *meters) catchUp(err error) {
	outcome := "done"
	if err != nil {
		outcome = "failed"
	}
	m.caught.WithLabelValues(outcome).Inc()
}
