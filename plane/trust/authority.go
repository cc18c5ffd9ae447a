package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"kaname.dev/kaname/fault"
)

// authorityFile is the one file of an Authority in its directory: one file, so
// that it is written whole or not at all.
const authorityFile = "authority.pem"

// authorityLife is how long a CA certificate is valid.
const authorityLife = 10 * 365 * 24 * time.Hour

// Authority is what makes a core a core: the key of the plane's CA and the key
// that signs commands. It is immutable and safe for concurrent use.
type Authority struct {
	key     crypto.Signer       // of cas[0]
	cas     []*x509.Certificate // the issuing one first, then those still trusted
	command ed25519.PrivateKey  // signs commands
	keys    Keyring             // what hosts pin: the public half of command, then those still trusted
	now     func() time.Time
}

// NewAuthority makes fresh keys for a new plane.
func NewAuthority() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fault.Internal("make the key of the CA").Because(err)
	}
	pub, command, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fault.Internal("make the key that signs commands").Because(err)
	}
	ca, err := selfSigned(key, time.Now())
	if err != nil {
		return nil, err
	}
	return &Authority{key: key, cas: []*x509.Certificate{ca}, command: command, keys: Keyring{{Public: pub}}, now: time.Now}, nil
}

func selfSigned(key crypto.Signer, now time.Time) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "kaname CA " + serial.Text(16)[:8]},
		NotBefore:             now.Add(-24 * time.Hour), // a host with a slow clock must be able to join
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLen:            1, // the CA that follows it in a rotation, see RotateCA
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fault.Internal("sign the certificate of the CA").Because(err)
	}
	return x509.ParseCertificate(der)
}

// newSerial returns a random serial number of 127 bits (RFC 5280, section
// 4.1.2.2, wants it positive and at most 20 bytes).
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fault.Internal("make a serial number").Because(err)
	}
	return n.SetBit(n, 126, 1), nil
}

// OpenAuthority returns the Authority kept in dir, made now if there is none. Two
// processes that open it at once get the same one.
func OpenAuthority(dir string) (*Authority, error) {
	a, err := LoadAuthority(dir)
	if f, ok := errors.AsType[*fault.Fault](err); !ok || f.Kind != fault.KindNotFound {
		return a, err
	}
	if a, err = NewAuthority(); err != nil {
		return nil, err
	}
	err = a.Save(dir)
	if errors.Is(err, fs.ErrExist) {
		return LoadAuthority(dir)
	}
	return a, err
}

// LoadAuthority returns the Authority kept in dir, or a NotFound fault.
func LoadAuthority(dir string) (*Authority, error) {
	path := filepath.Join(dir, authorityFile)
	b, err := readSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.NotFound("no authority of a plane is kept here").At(path).Try("this host is no core; start one with kaname up, or join one with a token of role core")
	}
	if err != nil {
		return nil, err
	}
	a, err := Import(b)
	if err != nil {
		return nil, fault.Corrupt("the authority of the plane cannot be read").At(path).Because(err).Try("restore it from the backup or from another core")
	}
	return a, nil
}

// Save writes the Authority into dir, which it makes with mode 0700 if needed. It
// never replaces one: when another is there, the error is fs.ErrExist.
func (a *Authority) Save(dir string) error {
	return writeSecret(dir, authorityFile, a.Export(), false)
}

// Print returns the pin of the issuing CA, as tokens carry it.
func (a *Authority) Print() string { return KeyPrint(a.cas[0]) }

// Keys returns the keys that hosts pin: commands signed by them are obeyed.
func (a *Authority) Keys() Keyring { return a.keys }

// CAs returns the CA certificates that hosts trust, the issuing one first.
func (a *Authority) CAs() []*x509.Certificate { return a.cas }

// Grant is what a certificate is issued for.
type Grant struct {
	Host string        // the name, see CheckName
	Role Role          // what it may be
	Life time.Duration // how long from now; Life when zero
	// Names are further DNS names and IP addresses under which the host is reached
	// by browsers and command lines. Only cores get them.
	Names []string
}

// Issue signs a certificate for the public key of a certificate request (DER,
// RFC 2986). Of the request only the key counts: who it is for is said by the
// grant. The request's self-signature proves that the asker has the private key.
func (a *Authority) Issue(csr []byte, g Grant) (*x509.Certificate, error) {
	if err := CheckName(g.Host); err != nil {
		return nil, err
	}
	if !g.Role.Valid() {
		return nil, fault.Unsupported("role " + quote(string(g.Role)) + " is not known to this version").Try("use agent or core")
	}
	pub, err := requestKey(csr)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	life, now := g.Life, a.now()
	if life == 0 {
		life = Life
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: commonName(g.Host)},
		NotBefore:             now.Add(-Skew),
		NotAfter:              now.Add(life),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{g.Host},
	}
	tmpl.URIs = append(tmpl.URIs, hostURI(g.Host))
	if g.Role == RoleCore {
		tmpl.DNSNames = append(tmpl.DNSNames, CoreName)
		addNames(tmpl, g.Names)
	}
	if tmpl.NotAfter.After(a.cas[0].NotAfter) {
		tmpl.NotAfter = a.cas[0].NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cas[0], pub, a.key)
	if err != nil {
		return nil, fault.Internal("sign the certificate of host " + g.Host).Because(err)
	}
	return x509.ParseCertificate(der)
}

// requestKey returns the public key of a certificate request after checking its
// signature and that it is of a kind in use here.
func requestKey(csr []byte) (crypto.PublicKey, error) {
	r, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, fault.Invalid("certificate request cannot be read").Because(err)
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fault.Denied("certificate request is not signed by its own key").Because(err)
	}
	switch k := r.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return nil, fault.Invalid("certificate request has a key on curve " + k.Curve.Params().Name).Try("use ECDSA P-256 or Ed25519")
		}
		return k, nil
	case ed25519.PublicKey:
		return k, nil
	default:
		return nil, fault.Invalid("certificate request has a key of a kind that is not used here").Try("use ECDSA P-256 or Ed25519")
	}
}

// commonName cuts a host name to what a subject may hold (RFC 5280, appendix A:
// ub-common-name is 64). It is for human eyes only; the SANs decide.
func commonName(host string) string { return host[:min(len(host), 64)] }

func addNames(tmpl *x509.Certificate, names []string) {
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else if n != "" && n != tmpl.DNSNames[0] {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
}

// NewIdentity makes an identity with a fresh key on the spot: for the core that
// holds the Authority, and for tests. Other hosts use Join.
func (a *Authority) NewIdentity(g Grant) (*Identity, error) {
	key, csr, err := newKey(g.Host)
	if err != nil {
		return nil, err
	}
	c, err := a.Issue(csr, g)
	if err != nil {
		return nil, err
	}
	return newIdentity(key, c, a.cas, a.keys)
}

// readSecret reads a file that must belong to its owner alone.
func readSecret(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fault.Unavailable("read the key file").At(path).Because(err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fault.Denied("the key file may be read by others than its owner (" + st.Mode().Perm().String() + ")").At(path).Try("chmod 600 " + path + "; if others have had access, revoke the host and let it join again")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Unavailable("read the key file").At(path).Because(err)
	}
	return b, nil
}
