package site

import (
	"github.com/prometheus/client_golang/prometheus"

	"kaname.dev/kaname/rib/mysql/order"
)

// Metrics are the counters of the sites of a host.
type Metrics struct {
	fences prometheus.Counter
	orders *prometheus.CounterVec
}

// NewMetrics registers the counters.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		fences: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kaname_mysql_fences_total", Help: "Times that the agent closed its server without an order.",
		}),
		orders: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kaname_mysql_orders_total", Help: "Orders of the controller, by verb and outcome.",
		}, []string{"verb", "outcome"}),
	}
	for _, c := range []prometheus.Collector{m.fences, m.orders} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) fenced() {
	if m != nil {
		m.fences.Inc()
	}
}

func (m *Metrics) ordered(v order.Verb, err error) {
	if m == nil {
		return
	}
	outcome := "done"
	if err != nil {
		outcome = "refused"
	}
	m.orders.WithLabelValues(string(v), outcome).Inc()
}
