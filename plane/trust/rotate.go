package trust

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"slices"

	"kaname.dev/kaname/fault"
)

// A rotation has three steps, and between them each host must have renewed once
// (Life/2 at the latest, or by hand): rotate on one core; import the bundle on the
// other cores with Replace; retire the old keys likewise.

// RotateCommandKey returns an Authority that signs with a fresh key, endorsed by the
// present one; hosts that adopt it obey both until Retire.
func (a *Authority) RotateCommandKey() (*Authority, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fault.Internal("make the key that signs commands").Because(err)
	}
	pin := Pin{Public: pub, By: a.keys[0].ID(), Signature: ed25519.Sign(a.command, endorsement(pub))}
	b := *a
	b.command, b.keys = key, append(Keyring{pin}, a.keys...)
	return &b, nil
}

// RotateCA returns an Authority that issues from a fresh CA. Hosts that do not know
// the new CA yet accept its certificates because the old CA has signed its key too;
// that cross-signed certificate is shown along with each new one.
func (a *Authority) RotateCA() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fault.Internal("make the key of the CA").Because(err)
	}
	ca, err := selfSigned(key, a.now())
	if err != nil {
		return nil, err
	}
	tmpl := *ca
	tmpl.NotAfter, tmpl.SignatureAlgorithm, tmpl.AuthorityKeyId = a.cas[0].NotAfter, x509.UnknownSignatureAlgorithm, nil
	if tmpl.SerialNumber, err = newSerial(); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, a.cas[0], key.Public(), a.key)
	if err != nil {
		return nil, fault.Internal("have the old CA sign the new one").Because(err)
	}
	cross, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fault.Internal("have the old CA sign the new one").Because(err)
	}
	b := *a
	b.key, b.cas = key, append([]*x509.Certificate{ca, cross}, a.cas...)
	return &b, nil
}

// Retire returns an Authority without the keys and CAs that rotations have left
// behind.
func (a *Authority) Retire() *Authority {
	b := *a
	b.cas, b.keys = slices.Clone(a.cas[:1]), slices.Clone(a.keys[:1])
	return &b
}

// Replace writes the Authority into dir in place of the one that is there.
func (a *Authority) Replace(dir string) error {
	return writeSecret(dir, authorityFile, a.Export(), true)
}
