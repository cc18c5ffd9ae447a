package plane

import (
	"crypto/tls"

	"kaname.dev/kaname/fault"
)

// PeerTLS returns TLS configurations for direct connections between hosts: the
// server side demands a certificate of the plane's CA, and the client side
// accepts only the certificate of the host it means to reach (ServerName = host name).
func (p *Plane) PeerTLS() (server, client *tls.Config) { panic("unwritten") }

// PeerName returns the host named in a verified peer certificate.
func PeerName(cs tls.ConnectionState) (string, error) {
	return "", fault.Denied("no verified certificate")
}
