package trust

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"slices"

	"kaname.dev/kaname/fault"
)

// Pin is a public key of which commands are obeyed. Unless it came with the first
// certificate, it is endorsed: signed by a key that was pinned before.
type Pin struct {
	Public    ed25519.PublicKey `json:"public"`
	By        string            `json:"by,omitempty"`        // ID of the endorsing key
	Signature []byte            `json:"signature,omitempty"` // over endorsement(Public)
}

// ID names the key: the first 8 bytes of its SHA-256 in hexadecimal.
func (p Pin) ID() string {
	sum := sha256.Sum256(p.Public)
	return hex.EncodeToString(sum[:8])
}

// Keyring is the pinned command keys of the cores, the one in use first.
type Keyring []Pin

// endorsement is what a key signs to introduce its successor.
func endorsement(next ed25519.PublicKey) []byte {
	return append([]byte("kaname endorses command key\n"), next...)
}

// Find returns the pinned key with the ID.
func (k Keyring) Find(id string) (Pin, bool) {
	i := slices.IndexFunc(k, func(p Pin) bool { return p.ID() == id })
	if i < 0 {
		return Pin{}, false
	}
	return k[i], true
}

// Adopt returns the keyring offered by a core, if each key in it is pinned already or
// endorsed, directly or over several steps, by one that is. A key that is no
// longer offered is dropped: that is how a rotation ends. An empty or unendorsed
// offer is a Denied fault and changes nothing.
func (k Keyring) Adopt(offer Keyring) (Keyring, error) {
	trusted := slices.Clone(k)
	for range offer { // the order of the offer is not that of the endorsements
		for _, p := range offer {
			if _, ok := trusted.Find(p.ID()); ok || len(p.Public) != ed25519.PublicKeySize {
				continue
			}
			by, ok := trusted.Find(p.By)
			if ok && ed25519.Verify(by.Public, endorsement(p.Public), p.Signature) {
				trusted = append(trusted, p)
			}
		}
	}
	for _, p := range offer {
		if _, ok := trusted.Find(p.ID()); !ok {
			return nil, fault.Denied("command key " + p.ID() + " is not endorsed by a key pinned here").Try("if the plane was set up anew, join it again with a new token")
		}
	}
	if len(offer) == 0 {
		return nil, fault.Denied("a core offered no command keys at all")
	}
	return slices.Clone(offer), nil
}

// headers returns the endorsement as PEM headers.
func (p Pin) headers() map[string]string {
	if p.By == "" {
		return nil
	}
	return map[string]string{headerBy: p.By, headerSignature: base64.StdEncoding.EncodeToString(p.Signature)}
}

// pinnedKey reads a PEM block of kind blockPinned.
func pinnedKey(block *pem.Block) (Pin, error) {
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return Pin{}, err
	}
	ed, ok := k.(ed25519.PublicKey)
	if !ok {
		return Pin{}, errors.New("a pinned key must be Ed25519")
	}
	sig, err := base64.StdEncoding.DecodeString(block.Headers[headerSignature])
	if err != nil {
		return Pin{}, err
	}
	p := Pin{Public: ed, By: block.Headers[headerBy]}
	if len(sig) > 0 {
		p.Signature = sig
	}
	return p, nil
}
