package trust

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"strings"

	"kaname.dev/kaname/fault"
)

// Token is a one-time password with which a host joins: who asks (ID), the proof
// (Secret), and by which CA the core is recognised before the proof is sent (Pin).
type Token struct {
	ID     string // 16 hexadecimal digits; no secret
	Secret string // 160 random bits in unpadded base64url
	Pin    string // of the CA, see KeyPrint
}

// tokenForm is the text form: kn1.<id>.<secret>.<pin>.
var tokenForm = regexp.MustCompile(`^kn1\.([0-9a-f]{16})\.([A-Za-z0-9_-]{27})\.([A-Za-z0-9_-]{43})$`)

// NewToken makes a token for the plane of the Authority. It works only after a
// TokenStore has been told of it; store Hash, never the Secret.
func (a *Authority) NewToken() Token {
	b := make([]byte, 28)
	_, _ = rand.Read(b) // never returns an error (crypto/rand)
	return Token{ID: hex.EncodeToString(b[:8]), Secret: base64.RawURLEncoding.EncodeToString(b[8:]), Pin: a.Print()}
}

// ParseToken reads the text form. The fault does not repeat the text, which may
// be a secret.
func ParseToken(s string) (Token, error) {
	m := tokenForm.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		f := fault.Invalid("this is not a join token (kn1.ID.SECRET.PIN)").Try("copy the whole line that kaname token create printed")
		if head, _, ok := strings.Cut(s, "."); ok && strings.HasPrefix(head, "kn") && head != "kn1" {
			f = fault.Unsupported("this join token is of a kind that this version does not know").Try("install the version of kaname that the core has")
		}
		return Token{}, f
	}
	return Token{ID: m[1], Secret: m[2], Pin: m[3]}, nil
}

// Text returns the text form, secret included.
func (t Token) Text() string { return "kn1." + t.ID + "." + t.Secret + "." + t.Pin }

// String returns the token without its secret, fit for logs.
func (t Token) String() string { return "kn1." + t.ID + ".***" }

// GoString hides the secret too.
func (t Token) GoString() string { return t.String() }

// Hash returns what is stored of the secret: its SHA-256 in hexadecimal. The secret
// is random, so that a slow hash would add nothing.
func (t Token) Hash() string {
	sum := sha256.Sum256([]byte("kaname join token\n" + t.ID + "\n" + t.Secret))
	return hex.EncodeToString(sum[:])
}

// Matches reports, in constant time, whether hash is that of the token.
func (t Token) Matches(hash string) bool {
	return subtle.ConstantTimeCompare([]byte(t.Hash()), []byte(hash)) == 1
}
