package plane

import (
	"crypto/tls"

	"kaname.dev/kaname/plane/trust"
)

// PeerTLS returns TLS configurations for direct connections between hosts: the
// server side demands a certificate of the plane's CA, and the client side
// accepts only the certificate of the host it means to reach (ServerName = host name).
func (p *Plane) PeerTLS() (server, client *tls.Config) {
	return p.o.Identity.ServerTLS(), p.o.Identity.ClientTLS("")
}

// PeerName returns the host named in a verified peer certificate.
func PeerName(cs tls.ConnectionState) (string, error) { return trust.PeerName(cs) }
