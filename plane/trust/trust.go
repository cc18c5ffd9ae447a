// Package trust is who may speak in the plane: the plane's own certificate
// authority, the identities of hosts, the tokens with which hosts join, and the
// signatures on commands.
//
// The model. An Authority is the pair of secrets that all cores of one plane
// share: the CA key, which says who is a host, and the command key, which says
// what a host shall do. An Identity is what one host has: a private key made
// there and never sent anywhere, a certificate of seven days that names the host
// (URI SAN kaname://host/NAME, DNS SAN NAME) and, on cores, carries the DNS SAN
// CoreName as well, the CA certificates, and the pinned command keys of the
// cores. A Token lets one unknown host ask for its first certificate.
//
// Two locks, not one: a connection needs a certificate of the CA whose host is
// enrolled and not revoked (package plane looks that up for each connection), and
// a command needs a signature by a pinned key. A flaw in the first still
// commands nobody.
//
// A second core gets the Authority in one of two ways. It joins with a token of
// role core and the answer carries the bundle (over TLS, after the CA pin has
// been checked); or the operator copies the file written by Authority.Export to
// it and calls Import. The bundle is the root password of the plane: mode 0600,
// moved by scp, deleted after the import.
package trust

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/fault"
)

// CoreName is the DNS name that the certificates of cores carry besides their own.
// Hosts dial cores with it, so that no other host can pose as a core.
const CoreName = "core.kaname"

// Life is how long a certificate of a host is valid unless a Grant says otherwise.
const Life = 7 * 24 * time.Hour

// Skew is how far the clocks of two hosts may differ: certificates and commands
// are valid this much earlier than they were made, commands also this much later
// than their end.
const Skew = 10 * time.Minute

// Role is what a certificate makes of its host.
type Role string

// The roles of hosts.
const (
	RoleAgent Role = "agent" // a plain host: announces itself and serves commands
	RoleCore  Role = "core"  // holds the store and the Authority, commands
)

// Valid reports whether r is a role that this version knows.
func (r Role) Valid() bool { return r == RoleAgent || r == RoleCore }

// CheckName refuses what cannot be the name of a host. A name is a DNS name in
// lower case (RFC 1123, section 2.1) of at most 253 bytes, and not CoreName.
func CheckName(name string) error {
	bad := func(why string) error {
		return fault.Invalid("host name " + quote(name) + " " + why).Try("use lower-case letters, digits, dashes and dots, as in web1 or web1.example.jp")
	}
	if name == "" || len(name) > 253 {
		return bad("must have 1 to 253 characters")
	}
	if name == CoreName || name == "localhost" {
		return bad("is reserved")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return bad("has a part that is empty, too long or has a dash at its edge")
		}
		for _, c := range []byte(label) {
			if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
				return bad("has a character that a host name cannot have")
			}
		}
	}
	return nil
}

// quote renders a foreign text for a message: quoted, and cut at 80 bytes.
func quote(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return strings.ToValidUTF8(`"`+strings.Map(func(r rune) rune {
		if r < ' ' || r == '"' || r == 0x7f {
			return '?'
		}
		return r
	}, s)+`"`, "?")
}

// hostURI is the URI SAN of a host's certificate.
func hostURI(name string) *url.URL { return &url.URL{Scheme: "kaname", Host: "host", Path: "/" + name} }

// Name returns the host that a certificate names, or a Denied fault. It does not
// verify the certificate.
func Name(c *x509.Certificate) (string, error) {
	for _, u := range c.URIs {
		if u.Scheme == "kaname" && u.Host == "host" {
			name := strings.TrimPrefix(u.Path, "/")
			if err := CheckName(name); err != nil {
				return "", fault.Denied("certificate names no host").Because(err)
			}
			return name, nil
		}
	}
	return "", fault.Denied("certificate names no host (no URI kaname://host/…)").Try("use a certificate of this plane; see kaname join")
}

// RoleOf returns the role that a certificate grants. It does not verify the
// certificate.
func RoleOf(c *x509.Certificate) Role {
	if slices.Contains(c.DNSNames, CoreName) {
		return RoleCore
	}
	return RoleAgent
}

// PeerName returns the host named in the verified certificate of the other side,
// or a Denied fault. It is for servers whose configuration comes from
// Identity.ServerTLS or Identity.WebTLS.
func PeerName(cs tls.ConnectionState) (string, error) {
	c, err := PeerCertificate(cs)
	if err != nil {
		return "", err
	}
	return Name(c)
}

// PeerCertificate returns the verified certificate of the other side, or a Denied
// fault.
func PeerCertificate(cs tls.ConnectionState) (*x509.Certificate, error) {
	if len(cs.VerifiedChains) == 0 || len(cs.VerifiedChains[0]) == 0 {
		return nil, fault.Denied("the other side showed no verified certificate").Try("connect with the identity of a host; see kaname join")
	}
	return cs.VerifiedChains[0][0], nil
}

// KeyPrint returns the SHA-256 of a certificate's public key (its
// SubjectPublicKeyInfo, as in RFC 7469, section 2.4) in unpadded base64url. It
// stays the same when a certificate is renewed, and pins the CA in tokens.
func KeyPrint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
