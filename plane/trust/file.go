package trust

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"

	"kaname.dev/kaname/fault"
)

// The PEM blocks of authority.pem and identity.pem, in this order. The first two
// kinds are what openssl reads.
const (
	blockKey     = "PRIVATE KEY"        // PKCS #8: of the CA or of the host
	blockCert    = "CERTIFICATE"        // identity: the host's first; then the CA's, the issuing one first
	blockCommand = "KANAME COMMAND KEY" // PKCS #8, Ed25519: signs commands; only in an authority
	blockPinned  = "KANAME PINNED KEY"  // PKIX, Ed25519: checks commands
)

// Endorsement headers of a pinned key; see Keyring.
const (
	headerBy        = "Endorsed-By"
	headerSignature = "Endorsement"
)

// parts is the content of either file.
type parts struct {
	key     crypto.Signer
	command ed25519.PrivateKey
	certs   []*x509.Certificate
	keys    Keyring
}

// encode writes the parts as PEM.
func (p parts) encode() []byte {
	var out []byte
	add := func(kind string, der []byte, headers map[string]string) {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der, Headers: headers})...)
	}
	if p.key != nil {
		add(blockKey, mustPKCS8(p.key), nil)
	}
	for _, c := range p.certs {
		add(blockCert, c.Raw, nil)
	}
	if p.command != nil {
		add(blockCommand, mustPKCS8(p.command), nil)
	}
	for _, k := range p.keys {
		der, err := x509.MarshalPKIXPublicKey(k.Public)
		if err != nil {
			panic(err) // an Ed25519 key always has an encoding
		}
		add(blockPinned, der, k.headers())
	}
	return out
}

// mustPKCS8 encodes a key that this package made or parsed; such keys always have
// an encoding.
func mustPKCS8(key any) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return der
}

// decode reads what encode wrote. Blocks of unknown kinds are refused, since this
// file decides who is trusted.
func decode(b []byte) (parts, error) {
	var p parts
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			break
		}
		b = rest
		if err := p.add(block); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (p *parts) add(block *pem.Block) error {
	switch block.Type {
	case blockKey:
		k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return err
		}
		s, ok := k.(crypto.Signer)
		if !ok || p.key != nil {
			return errors.New("it must hold one private key that can sign")
		}
		p.key = s
	case blockCert:
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return err
		}
		p.certs = append(p.certs, c)
	case blockCommand:
		k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return err
		}
		ed, ok := k.(ed25519.PrivateKey)
		if !ok || p.command != nil {
			return errors.New("it must hold one Ed25519 key for commands")
		}
		p.command = ed
	case blockPinned:
		k, err := pinnedKey(block)
		if err != nil {
			return err
		}
		p.keys = append(p.keys, k)
	default:
		return errors.New("unknown block " + quote(block.Type))
	}
	return nil
}

// Export returns the whole Authority, private keys included, as PEM: the bundle
// with which a further core is set up. Guard it as the root password of the plane.
func (a *Authority) Export() []byte {
	return parts{key: a.key, command: a.command, certs: a.cas, keys: a.keys}.encode()
}

// Import reads what Export wrote and checks that its parts belong together.
func Import(bundle []byte) (*Authority, error) {
	p, err := decode(bundle)
	if err != nil {
		return nil, fault.Corrupt("the authority bundle cannot be read").Because(err)
	}
	if p.key == nil || p.command == nil || len(p.certs) == 0 || len(p.keys) == 0 {
		return nil, fault.Corrupt("the authority bundle is incomplete: it needs the CA's key and certificate and the command key and its pin").Try("export it again on a core")
	}
	if !samePublic(p.key.Public(), p.certs[0].PublicKey) || !samePublic(p.command.Public(), p.keys[0].Public) {
		return nil, fault.Corrupt("the authority bundle has keys that do not belong to its certificates").Try("export it again on a core")
	}
	for _, c := range p.certs {
		if !c.IsCA {
			return nil, fault.Corrupt("the authority bundle has a certificate that is no CA's: " + c.Subject.CommonName).Try("export it again on a core")
		}
	}
	return &Authority{key: p.key, cas: p.certs, command: p.command, keys: p.keys, now: timeNow}, nil
}

// samePublic compares two public keys.
func samePublic(a, b crypto.PublicKey) bool {
	eq, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && eq.Equal(b)
}

// writeSecret writes a file with mode 0600 whole or not at all, and makes it
// durable. With replace false an existing file is left alone and the error is
// fs.ErrExist.
func writeSecret(dir, name string, b []byte, replace bool) (err error) {
	where := filepath.Join(dir, name)
	defer func() {
		if err != nil {
			err = fault.Unavailable("write the key file").At(where).Because(err).Try("check the permissions and the free space of " + dir)
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+name+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // after a rename there is nothing to remove
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if replace {
		err = os.Rename(f.Name(), where)
	} else {
		err = os.Link(f.Name(), where)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
