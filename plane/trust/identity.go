package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"time"

	"kaname.dev/kaname/fault"
)

// identityFile is the one file of an Identity in its directory.
const identityFile = "identity.pem"

// timeNow is time.Now, named so that it can be the default of a field.
func timeNow() time.Time { return time.Now() }

// Identity is who this host is: its private key, its certificate, and whom it
// trusts. It is safe for concurrent use; TLS configurations made from it follow a
// renewal without being made again.
type Identity struct {
	host  string
	key   crypto.Signer
	state atomic.Pointer[state]
}

// state is what a renewal replaces.
type state struct {
	cert tls.Certificate // with the issuing CA's, so that Join can check its pin, and the cross-signed one
	leaf *x509.Certificate
	cas  []*x509.Certificate
	pool *x509.CertPool
	keys Keyring
}

// newKey makes a private key and a certificate request for it.
func newKey(host string) (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fault.Internal("make the key of host " + host).Because(err)
	}
	csr, err := newRequest(key, host)
	return key, csr, err
}

// newRequest makes a certificate request (DER, RFC 2986) for the key.
func newRequest(key crypto.Signer, host string) ([]byte, error) {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: commonName(host)}}, key)
	if err != nil {
		return nil, fault.Internal("make the certificate request of host " + host).Because(err)
	}
	return csr, nil
}

// newIdentity checks that the parts belong together.
func newIdentity(key crypto.Signer, leaf *x509.Certificate, cas []*x509.Certificate, keys Keyring) (*Identity, error) {
	name, err := Name(leaf)
	if err != nil {
		return nil, err
	}
	i := &Identity{host: name, key: key}
	return i, i.replace(leaf, cas, keys)
}

// replace installs a new certificate and trust after checking them. An expired
// certificate is accepted: it is the connection that must fail, with its own
// message, not the start of the program.
func (i *Identity) replace(leaf *x509.Certificate, cas []*x509.Certificate, keys Keyring) error {
	name, err := Name(leaf)
	if err != nil {
		return err
	}
	if name != i.host {
		return fault.Denied("certificate is of host " + name + ", not of " + i.host)
	}
	if !samePublic(i.key.Public(), leaf.PublicKey) {
		return fault.Denied("certificate of host " + name + " is for another key").Try("join again with a new token")
	}
	pool := x509.NewCertPool()
	for _, c := range cas {
		pool.AddCert(c)
	}
	at := leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return fault.Denied("certificate of host " + name + " is not of this plane's CA").Because(err)
	}
	if len(keys) == 0 {
		return fault.Denied("identity of host " + name + " pins no command key").Try("join again with a new token")
	}
	s := &state{leaf: leaf, cas: cas, pool: pool, keys: keys}
	s.cert = tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: i.key, Leaf: leaf}
	for _, c := range cas {
		if leaf.CheckSignatureFrom(c) == nil {
			s.cert.Certificate = append(s.cert.Certificate, c.Raw)
		}
	}
	i.state.Store(s)
	return nil
}

// LoadIdentity returns the Identity kept in dir, or a NotFound fault.
func LoadIdentity(dir string) (*Identity, error) {
	path := filepath.Join(dir, identityFile)
	b, err := readSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.NotFound("this host has not joined a plane").At(path).Try("run kaname token create on a core and kaname join here")
	}
	if err != nil {
		return nil, err
	}
	corrupt := fault.Corrupt("the identity of this host cannot be read").At(path).Try("join again with a new token")
	p, err := decode(b)
	if err != nil {
		return nil, corrupt.Because(err)
	}
	if p.key == nil || p.command != nil || len(p.certs) < 2 {
		return nil, corrupt.Because(errors.New("it needs a private key, a certificate and the CA's certificate, and nothing secret besides"))
	}
	i, err := newIdentity(p.key, p.certs[0], p.certs[1:], p.keys)
	if err != nil {
		return nil, corrupt.Because(err)
	}
	return i, nil
}

// Save writes the Identity into dir with mode 0600, replacing an older one in one
// step; dir is made with mode 0700 if needed.
func (i *Identity) Save(dir string) error {
	s := i.state.Load()
	certs := append([]*x509.Certificate{s.leaf}, s.cas...)
	return writeSecret(dir, identityFile, parts{key: i.key, certs: certs, keys: s.keys}.encode(), true)
}

// Host returns the name of the host.
func (i *Identity) Host() string { return i.host }

// Role returns what the certificate makes of the host.
func (i *Identity) Role() Role { return RoleOf(i.state.Load().leaf) }

// Certificate returns the present certificate.
func (i *Identity) Certificate() *x509.Certificate { return i.state.Load().leaf }

// Keys returns the pinned command keys.
func (i *Identity) Keys() Keyring { return i.state.Load().keys }

// RenewAt returns the time from which the certificate should be renewed: half of
// its life.
func (i *Identity) RenewAt() time.Time {
	c := i.state.Load().leaf
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 2)
}

// Request returns a certificate request (DER) for the host's key.
func (i *Identity) Request() ([]byte, error) { return newRequest(i.key, i.host) }
