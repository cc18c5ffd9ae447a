package manifest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"aead.dev/minisign"

	"kaname.dev/kaname/fault"
)

// PublicKey verifies signatures; its text form is minisign's public key file.
type PublicKey = minisign.PublicKey

// PrivateKey makes signatures.
type PrivateKey = minisign.PrivateKey

// GenerateKey makes a key pair in minisign's file formats. With a password the
// private key is encrypted as minisign does (scrypt: takes some seconds and 1 GiB of memory).
func GenerateKey(password string) (public, private []byte, err error) {
	pub, priv, err := minisign.GenerateKey(nil)
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	if public, err = pub.MarshalText(); err != nil {
		return nil, nil, fmt.Errorf("write public key: %w", err)
	}
	if password == "" {
		private, err = priv.MarshalText()
	} else {
		private, err = minisign.EncryptKey(password, priv)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("write private key: %w", err)
	}
	return append(bytes.TrimRight(public, "\n"), '\n'), append(bytes.TrimRight(private, "\n"), '\n'), nil
}

// ParsePublicKey reads minisign's public key file, or only its second line.
func ParsePublicKey(text []byte) (PublicKey, error) {
	var k PublicKey
	if err := k.UnmarshalText(bytes.TrimSpace(text)); err != nil {
		return k, fault.Invalid("not a minisign public key").Because(err).
			Try(`it has two lines, the second beginning with "RW"; "minisign -G" or "kaname release key" makes one`)
	}
	return k, nil
}

// ParsePrivateKey reads minisign's private key file; the password is "" for one
// made without.
func ParsePrivateKey(text []byte, password string) (PrivateKey, error) {
	var k PrivateKey
	var err error
	text = bytes.TrimSpace(text)
	switch {
	case !minisign.IsEncrypted(text):
		err = k.UnmarshalText(text)
	case password == "":
		return k, fault.Invalid("the private key is encrypted and no password was given")
	default:
		k, err = minisign.DecryptKey(password, text)
	}
	if err != nil {
		return k, fault.Invalid("not a minisign private key, or a wrong password").Because(err)
	}
	return k, nil
}

// Sign returns a detached signature of the canonical form in minisign's format
// (prehashed ed25519), as `minisign -V -m MANIFEST` reads it. App and version
// stand in its trusted comment.
func (m *Manifest) Sign(key PrivateKey) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	r, err := m.hashed()
	if err != nil {
		return nil, err
	}
	return r.SignWithComments(key, m.trustedComment(), "signature of a kaname release manifest"), nil
}

func (m *Manifest) trustedComment() string { return "app:" + m.App + "\tversion:" + m.Version }

// hashed returns the reader of the canonical form after its end.
func (m *Manifest) hashed() (*minisign.Reader, error) {
	in, out := io.Pipe()
	go func() { out.CloseWithError(m.Encode(out)) }()
	r := minisign.NewReader(in)
	_, err := io.Copy(io.Discard, r)
	return r, err
}

// Verify returns the key among trusted that made the signature. A signature that
// cannot be read, or that belongs to other bytes, is a Corrupt fault; one by a key
// that is not trusted, a Denied fault.
func (m *Manifest) Verify(signature []byte, trusted []PublicKey) (PublicKey, error) {
	var s minisign.Signature
	if err := s.UnmarshalText(bytes.TrimSpace(signature)); err != nil {
		return PublicKey{}, fault.Corrupt("release " + m.String() + ": not a minisign signature").Because(err)
	}
	r, err := m.hashed()
	if err != nil {
		return PublicKey{}, err
	}
	var ids []string
	for _, k := range trusted {
		ids = append(ids, fmt.Sprintf("%016X", k.ID()))
		if k.ID() != s.KeyID {
			continue
		}
		if !m.verifies(r, &s, k, signature) {
			return PublicKey{}, fault.Corrupt(fmt.Sprintf("release %s: the signature by key %016X belongs to something else", m.String(), s.KeyID)).
				Try("do not use it; push the release again")
		}
		return k, nil
	}
	return PublicKey{}, fault.Denied(fmt.Sprintf("release %s: signed by key %016X, which is not trusted here", m.String(), s.KeyID)).
		Because(errors.New("trusted: " + cmp.Or(strings.Join(ids, ", "), "none"))).
		Try("add its public key to release.trusted_keys, or sign with a trusted one")
}

// verifies checks prehashed signatures from the stream, and legacy ones, which
// sign the bytes themselves, from memory.
func (m *Manifest) verifies(r *minisign.Reader, s *minisign.Signature, k PublicKey, signature []byte) bool {
	if s.Algorithm == minisign.EdDSA {
		return minisign.Verify(k, m.Bytes(), signature)
	}
	return r.Verify(k, signature)
}
