package plane

import "maps"

// SetLabels replaces this host's labels, as at a reload of its configuration, and
// tells the cores at once.
func (p *Plane) SetLabels(labels map[string]string) {
	labels = maps.Clone(labels)
	p.labels.Store(&labels)
	select {
	case p.served.changed <- struct{}{}:
	default: // a heartbeat is due already
	}
}

// Labels returns this host's labels; they must not be changed.
func (p *Plane) Labels() map[string]string {
	if set := p.labels.Load(); set != nil {
		return *set
	}
	return p.o.Labels
}
