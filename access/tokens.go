package access

import (
	"context"
	"crypto/subtle"
	"strings"
	"time"

	"kaname.dev/kaname/fault"
)

// token is a document of the bucket "tokens", keyed by its id.
type token struct {
	Hash    string    `json:"hash"` // SHA-256 of the secret, in hex: the secret has 160 random bits
	Role    Role      `json:"role"`
	Note    string    `json:"note,omitempty"`
	By      string    `json:"by"` // who made it
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// Token is an API token as it may be shown: everything but the secret.
type Token struct {
	ID      string    `json:"id"`
	Role    Role      `json:"role"`
	Note    string    `json:"note,omitempty"`
	By      string    `json:"by"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// Sizes of an API token in random bytes.
const (
	tokenID     = 5
	tokenSecret = 20
)

// maxTokenTTL bounds the life of an API token.
const maxTokenTTL = 2 * 366 * 24 * time.Hour

// CreateToken makes an API token "kt1.ID.SECRET" or, with a pin, "kt1.ID.SECRET.PIN".
// The text is shown once; the plane keeps a hash.
func (a *Access) CreateToken(ctx context.Context, role Role, ttl time.Duration, note, by string) (text string, t Token, err error) {
	s, err := a.store()
	if err != nil {
		return "", Token{}, err
	}
	if ttl <= 0 || ttl > maxTokenTTL {
		return "", Token{}, fault.Invalid("token cannot live for " + ttl.String()).Try("use a --ttl between 1s and 17568h (two years)")
	}
	now := time.Now().UTC()
	if _, err := sweep(ctx, s.tokens, func(t token) bool { return now.After(t.Expires) }); err != nil && !fault.Is(err, fault.KindConflict) {
		return "", Token{}, err
	}
	id, secret := random(tokenID), random(tokenSecret)
	v := token{Hash: digest(secret), Role: role, Note: note, By: by, Created: now, Expires: now.Add(ttl)}
	if _, err := s.tokens.Create(ctx, id, v); err != nil {
		return "", Token{}, err
	}
	text = "kt1." + id + "." + secret
	if s.Pin != "" {
		text += "." + s.Pin
	}
	return text, v.show(id), nil
}

func (t token) show(id string) Token {
	return Token{ID: id, Role: t.Role, Note: t.Note, By: t.By, Created: t.Created, Expires: t.Expires}
}

// Tokens returns the API tokens, sorted by id.
func (a *Access) Tokens(ctx context.Context) ([]Token, error) {
	s, err := a.store()
	if err != nil {
		return nil, err
	}
	docs, err := s.tokens.List(ctx, "")
	if err != nil {
		return nil, err
	}
	list := make([]Token, 0, len(docs))
	for _, d := range docs {
		list = append(list, d.Value.show(d.Key))
	}
	return list, nil
}

// RevokeToken removes an API token; it is refused from then on.
func (a *Access) RevokeToken(ctx context.Context, id string) (Token, error) {
	s, err := a.store()
	if err != nil {
		return Token{}, err
	}
	none := fault.NotFound("token " + id + " does not exist").Try("see: kaname token list")
	if !nameShape.MatchString(id) {
		return Token{}, none
	}
	doc, err := s.tokens.Get(ctx, id)
	if fault.Is(err, fault.KindNotFound) {
		return Token{}, none
	} else if err != nil {
		return Token{}, err
	}
	if err := s.tokens.Delete(ctx, doc); err != nil {
		return Token{}, err
	}
	return doc.Value.show(id), nil
}

// Token returns the identity behind an API token, or a Denied fault.
func (a *Access) Token(ctx context.Context, text string) (Identity, error) {
	s, err := a.store()
	if err != nil {
		return Identity{}, err
	}
	bad := fault.Denied("token is unknown, revoked or has expired").Try("an admin makes one with: kaname token create --role ROLE")
	parts := strings.Split(text, ".")
	if len(parts) < 3 || len(parts) > 4 || parts[0] != "kt1" || !nameShape.MatchString(parts[1]) {
		return Identity{}, bad
	}
	doc, err := s.tokens.Get(ctx, parts[1])
	if fault.Is(err, fault.KindNotFound) {
		return Identity{}, bad
	} else if err != nil {
		return Identity{}, err
	}
	t := doc.Value
	if subtle.ConstantTimeCompare([]byte(digest(parts[2])), []byte(t.Hash)) != 1 || time.Now().After(t.Expires) {
		return Identity{}, bad
	}
	name := "token-" + parts[1]
	if t.Note != "" {
		name = t.Note + "@token"
	}
	return Identity{Name: name, Role: t.Role, Via: ViaToken, Expires: t.Expires}, nil
}
