package keeper

import (
	"github.com/prometheus/client_golang/prometheus"

	"kaname.dev/kaname/rib/zone/exchange"
)

// meters are what the keeper counts, for Prometheus. They are of the keeper only; on
// other cores they are absent.
type meters struct {
	zones  *prometheus.GaugeVec
	source *prometheus.GaugeVec
	server *prometheus.GaugeVec
}

func newMeters(reg prometheus.Registerer) (*meters, error) {
	m := &meters{
		zones:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kaname_zone_source_zones", Help: "Zones of each source, by whether they are desired or in quarantine."}, []string{"source", "state"}),
		source: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kaname_zone_source_state", Help: "1 for the state in which a source is: ok, held, trouble, silent, waiting."}, []string{"source", "state"}),
		server: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kaname_zone_server_zones", Help: "Zones on each server, by state, as the keeper knows them."}, []string{"server", "state"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.zones, m.source, m.server} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// measure sets the gauges.
func (r *reign) measure() {
	r.mu.Lock()
	var v exchange.View
	for src := range r.sources {
		v.Sources = append(v.Sources, r.sourceView(src))
	}
	for _, o := range r.servers {
		v.Servers = append(v.Servers, r.serverView(o))
	}
	r.mu.Unlock()
	m := r.k.meters
	m.source.Reset()
	for i := range v.Sources {
		s := &v.Sources[i]
		m.zones.WithLabelValues(s.Name, "desired").Set(float64(s.Zones))
		m.zones.WithLabelValues(s.Name, "quarantined").Set(float64(s.Gone))
		m.source.WithLabelValues(s.Name, s.State).Set(1)
	}
	m.server.Reset()
	for i := range v.Servers {
		s := &v.Servers[i]
		for state, n := range s.Count {
			m.server.WithLabelValues(s.Host+"/"+s.Name, state).Set(float64(n))
		}
	}
}
