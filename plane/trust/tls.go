package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"

	"kaname.dev/kaname/fault"
)

// ServerTLS returns a configuration for a listener that only hosts of this plane
// may reach: TLS 1.3, a client certificate of the plane's CA demanded. It does not
// ask whether the host is revoked; PeerName tells the listener who it is.
func (i *Identity) ServerTLS() *tls.Config {
	return i.server(tls.RequireAndVerifyClientCert, nil)
}

// WebTLS returns a configuration for a listener that anybody may reach, and where
// hosts may show their certificate: the API, the console, joining and renewing.
func (i *Identity) WebTLS() *tls.Config {
	return i.server(tls.VerifyClientCertIfGiven, []string{"h2", "http/1.1"})
}

// server makes a configuration that is read anew for each connection, so that it
// follows renewals.
func (i *Identity) server(auth tls.ClientAuthType, protocols []string) *tls.Config {
	present := func() *tls.Config {
		s := i.state.Load()
		return &tls.Config{
			MinVersion:             tls.VersionTLS13,
			Certificates:           []tls.Certificate{s.cert},
			ClientAuth:             auth,
			ClientCAs:              s.pool,
			NextProtos:             protocols,
			SessionTicketsDisabled: true, // each connection is checked in full
		}
	}
	c := present()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return present(), nil }
	return c
}

// ClientTLS returns a configuration for a connection to the host serverName, or to
// any core when it is CoreName: TLS 1.3, this host's certificate shown, and no
// other host's certificate accepted. When serverName is empty, the caller sets
// ServerName in a clone.
func (i *Identity) ClientTLS(serverName string) *tls.Config {
	return i.client(serverName, func(cs tls.ConnectionState) string { return cs.ServerName })
}

// RouteTLS returns a configuration for both ends of the connections between cores:
// each accepts only a core, under whatever address.
func (i *Identity) RouteTLS() *tls.Config {
	c := i.client(CoreName, func(tls.ConnectionState) string { return CoreName })
	c.ClientAuth = tls.RequireAnyClientCert // verified by VerifyConnection, as the server's is
	c.SessionTicketsDisabled = true
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &i.state.Load().cert, nil }
	return c
}

// client makes a configuration that verifies the other side by hand: the standard
// check reads RootCAs once, this one follows a rotation of the CA.
func (i *Identity) client(serverName string, want func(tls.ConnectionState) string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         serverName,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection does all of it, with the pool of the moment
		VerifyConnection: func(cs tls.ConnectionState) error {
			return verifyPeer(cs.PeerCertificates, i.state.Load().pool, want(cs), time.Now())
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &i.state.Load().cert, nil
		},
	}
}

// verifyPeer checks that the first certificate is valid now, issued by a CA of the
// pool, and for the name.
func verifyPeer(certs []*x509.Certificate, pool *x509.CertPool, name string, now time.Time) error {
	if len(certs) == 0 {
		return fault.Denied("the other side showed no certificate")
	}
	if name == "" { // Verify would take any name
		return fault.Internal("a connection was begun without saying to which host")
	}
	leaf, between := certs[0], x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: pool, Intermediates: between, DNSName: name, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	if err == nil {
		return nil
	}
	f := fault.Denied("certificate of " + quote(leaf.Subject.CommonName) + " is refused, expected " + name).Because(err)
	if inv, ok := errors.AsType[x509.CertificateInvalidError](err); ok && inv.Reason == x509.Expired {
		return f.Try("compare the clocks of both hosts; a host that was off for more than 7 days must join again")
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return f.Try("the other side belongs to another plane; check the address")
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return f.Try("check the address: another host answers there")
	}
	return f
}
