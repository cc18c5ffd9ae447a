package api

import (
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"os"
	"strings"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane/trust"
)

// errPermission is what a socket of somebody else answers with.
var errPermission = fs.ErrPermission

// trusted returns whom the client trusts: the CA of the file, else the CA that the
// token's pin names, else the system's CAs.
func trusted(o ClientOptions) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS13}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fault.Invalid("CA file cannot be read").Because(err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fault.Invalid("CA file " + o.CAFile + " holds no certificate in PEM form")
		}
		return conf, nil
	}
	if pin := tokenPin(o.Token); pin != "" {
		conf.InsecureSkipVerify = true //nolint:gosec // VerifyConnection checks chain and name against the pin
		conf.VerifyConnection = func(cs tls.ConnectionState) error { return checkPin(cs, pin) }
	}
	return conf, nil
}

// tokenPin returns the pin of a token "kt1.ID.SECRET.PIN"; see trust.KeyPrint.
func tokenPin(token string) string {
	if parts := strings.Split(strings.TrimSpace(token), "."); len(parts) == 4 {
		return parts[3]
	}
	return ""
}

// checkPin accepts a server whose certificate is valid for its name under the one
// CA that has the pin. The server must send that CA along.
func checkPin(cs tls.ConnectionState, pin string) error {
	roots, rest := x509.NewCertPool(), x509.NewCertPool()
	found := false
	for _, c := range cs.PeerCertificates {
		if trust.KeyPrint(c) == pin {
			roots.AddCert(c)
			found = true
		} else {
			rest.AddCert(c)
		}
	}
	if !found {
		return fault.Denied("server " + cs.ServerName + " does not belong to the plane that made the token").Try("check the address, or get a token from the plane behind it")
	}
	_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: rest, DNSName: cs.ServerName})
	if err != nil {
		return fault.Denied("certificate of server " + cs.ServerName + " is not valid").Because(err)
	}
	return nil
}
