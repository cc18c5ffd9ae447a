package controller

import (
	"github.com/prometheus/client_golang/prometheus"

	"kaname.dev/kaname/rib/mysql/judge"
	"kaname.dev/kaname/rib/mysql/topology"
)

// meters are the controller's metrics; a core that is not it shows none of a topology.
type meters struct {
	state    *prometheus.GaugeVec
	findings *prometheus.GaugeVec
	moves    *prometheus.CounterVec
	took     *prometheus.GaugeVec
}

func newMeters(reg prometheus.Registerer) (*meters, error) {
	m := &meters{
		state:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kaname_mysql_topology_ok", Help: "1 when the verdict on a topology is fine; the label state has it."}, []string{"topology", "state"}),
		findings: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kaname_mysql_findings", Help: "What does not fit at the members of a topology."}, []string{"topology"}),
		moves:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kaname_mysql_moves_total", Help: "Moves of a primary that have ended."}, []string{"topology", "kind", "ok"}),
		took:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kaname_mysql_last_move_seconds", Help: "How long the last move of a primary took, until clients were led to the new one."}, []string{"topology", "kind"}),
	}
	for _, c := range []prometheus.Collector{m.state, m.findings, m.moves, m.took} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// verdict shows a verdict.
func (m *meters) verdict(name string, v judge.Verdict) {
	m.state.DeletePartialMatch(prometheus.Labels{"topology": name})
	ok := 0.0
	if v.State == judge.Fine {
		ok = 1
	}
	m.state.WithLabelValues(name, string(v.State)).Set(ok)
	m.findings.WithLabelValues(name).Set(float64(len(v.Findings)))
}

// moved counts a move.
func (m *meters) moved(name string, o topology.Outcome) {
	ok := "no"
	if o.OK {
		ok = "yes"
		m.took.WithLabelValues(name, string(o.Move.Kind)).Set(o.Took.Seconds())
	}
	m.moves.WithLabelValues(name, string(o.Move.Kind), ok).Inc()
}

// forget shows nothing of a topology any more.
func (m *meters) forget(name string) {
	l := prometheus.Labels{"topology": name}
	m.state.DeletePartialMatch(l)
	m.findings.DeletePartialMatch(l)
	m.moves.DeletePartialMatch(l)
	m.took.DeletePartialMatch(l)
}
