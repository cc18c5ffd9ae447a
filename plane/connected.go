package plane

// Connected reports whether this process reaches the plane now, and through which
// core.
func (p *Plane) Connected() (core string, ok bool) {
	if p.link == nil || !p.link.nc.IsConnected() {
		return "", false
	}
	return p.link.nc.ConnectedUrlRedacted(), true
}
