package wire

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the protocol's own
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Ways to prove a password.
const (
	Native  = "mysql_native_password"
	Caching = "caching_sha2_password"
)

// Nonce returns 20 random bytes without zeros, as greetings have them.
func Nonce() []byte {
	b := make([]byte, 20)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		if b[i] = b[i] & 0x7f; b[i] == 0 || b[i] == '$' {
			b[i]++
		}
	}
	return b
}

// Prove returns the proof of a password for a nonce; ok is false for an unknown plugin.
// An empty password has an empty proof.
func Prove(plugin, password string, nonce []byte) (proof []byte, ok bool) {
	if plugin != Native && plugin != Caching {
		return nil, false
	}
	if password == "" {
		return nil, true
	}
	if plugin == Native {
		one := sha1.Sum([]byte(password))                      //nolint:gosec // the protocol's own
		two := sha1.Sum(one[:])                                //nolint:gosec // the same
		mix := sha1.Sum(append(bytes.Clone(nonce), two[:]...)) //nolint:gosec // the same
		subtle.XORBytes(one[:], one[:], mix[:])
		return one[:], true
	}
	one := sha256.Sum256([]byte(password))
	two := sha256.Sum256(one[:])
	mix := sha256.Sum256(append(two[:], nonce...))
	subtle.XORBytes(one[:], one[:], mix[:])
	return one[:], true
}

// Proves reports whether a client's proof is that of the password.
func Proves(plugin, password string, nonce, proof []byte) bool {
	want, ok := Prove(plugin, password, nonce)
	return ok && subtle.ConstantTimeCompare(want, proof) == 1
}

// seal encrypts a password with a server's public key for a full login of
// caching_sha2_password in the clear.
func seal(password string, nonce, key []byte) ([]byte, error) {
	block, _ := pem.Decode(key)
	if block == nil {
		return nil, errors.New("the server's public key is no PEM")
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the server's public key: %w", err)
	}
	k, ok := pub.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("the server's public key is not one of RSA")
	}
	plain := append([]byte(password), 0)
	for i := range plain {
		plain[i] ^= nonce[i%len(nonce)]
	}
	return rsa.EncryptOAEP(sha1.New(), rand.Reader, k, plain, nil) //nolint:gosec // the protocol's own
}
