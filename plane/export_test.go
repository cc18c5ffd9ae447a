package plane

import "github.com/nats-io/nats.go"

// Conn returns the process's connection: for tests that go around the permissions
// of the server, as a flaw in it would.
func (p *Plane) Conn() *nats.Conn { return p.link.nc }
