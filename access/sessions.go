package access

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"kaname.dev/kaname/fault"
)

// How long a session lasts.
const (
	SessionIdle = 8 * time.Hour      // without a request
	SessionMax  = 7 * 24 * time.Hour // whatever happens

	// sessionTouch is how old the time of the last request may be on the plane: a
	// session costs at most one write in this time.
	sessionTouch = 5 * time.Minute
)

// session is a document of the bucket "sessions", keyed by the SHA-256 of what
// the browser holds: reading the store does not let anybody in.
type session struct {
	User  string    `json:"user"`
	Begun time.Time `json:"begun"`
	Seen  time.Time `json:"seen"`
	From  string    `json:"from,omitempty"` // address at sign-in
}

func (s session) over(now time.Time) bool {
	return now.Sub(s.Begun) > SessionMax || now.Sub(s.Seen) > SessionIdle
}

// sessionSecret is the number of random bytes in a session's secret.
const sessionSecret = 32

func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// SignIn checks a password and begins a session. It returns the secret that the
// browser holds. from is the asker's address: tries are limited per address and
// name. A wrong name and a wrong password are the same fault.
func (a *Access) SignIn(ctx context.Context, name, password, from string) (secret string, id Identity, err error) {
	s, err := a.store()
	if err != nil {
		return "", Identity{}, err
	}
	if err := a.guesses.take(name, from); err != nil {
		return "", Identity{}, err
	}
	var p person
	if checkName(name) == nil && len(password) <= maxPassword {
		doc, err := s.users.Get(ctx, name)
		if err != nil && !fault.Is(err, fault.KindNotFound) {
			return "", Identity{}, err
		}
		p = doc.Value
	}
	if !a.match(ctx, p.Password, password) {
		return "", Identity{}, fault.Denied("name or password is wrong").Try("an admin sets a new password with: kaname user password NAME")
	}
	a.guesses.forgive(name, from)
	now := time.Now().UTC()
	if _, err := sweep(ctx, s.sessions, func(v session) bool { return v.over(now) }); err != nil && !fault.Is(err, fault.KindConflict) {
		return "", Identity{}, err
	}
	secret = random(sessionSecret)
	if _, err := s.sessions.Create(ctx, digest(secret), session{User: name, Begun: now, Seen: now, From: from}); err != nil {
		return "", Identity{}, err
	}
	return secret, Identity{Name: name, Role: p.Role, Via: ViaSession, Expires: now.Add(SessionMax)}, nil
}

// match compares a password; only two are compared at a time, because each takes
// 64 MiB.
func (a *Access) match(ctx context.Context, hash, password string) bool {
	select {
	case a.hashing <- struct{}{}:
		defer func() { <-a.hashing }()
		return matchPassword(hash, password[:min(len(password), maxPassword)])
	case <-ctx.Done():
		return false
	}
}

// Session returns the identity behind a session's secret, or a Denied fault. The
// role is the person's present one.
func (a *Access) Session(ctx context.Context, secret string) (Identity, error) {
	s, err := a.store()
	if err != nil {
		return Identity{}, err
	}
	over := fault.Denied("session is over").Try("sign in again")
	key := digest(secret)
	doc, err := s.sessions.Get(ctx, key)
	if fault.Is(err, fault.KindNotFound) {
		return Identity{}, over
	} else if err != nil {
		return Identity{}, err
	}
	now := time.Now().UTC()
	v := doc.Value
	if v.over(now) {
		return Identity{}, over
	}
	p, err := s.users.Get(ctx, v.User)
	if fault.Is(err, fault.KindNotFound) || err == nil && p.Value.Changed.After(v.Begun) {
		return Identity{}, over
	} else if err != nil {
		return Identity{}, err
	}
	if now.Sub(v.Seen) > sessionTouch {
		doc.Value.Seen = now
		if _, err := s.sessions.Swap(ctx, doc); err != nil && !fault.Is(err, fault.KindConflict) {
			s.Log.Warn("session not prolonged", "user", v.User, "err", err)
		}
	}
	return Identity{Name: v.User, Role: p.Value.Role, Via: ViaSession, Expires: v.Begun.Add(SessionMax)}, nil
}

// SignOut ends a session; one that is over already is no error.
func (a *Access) SignOut(ctx context.Context, secret string) error {
	s, err := a.store()
	if err != nil {
		return err
	}
	doc, err := s.sessions.Get(ctx, digest(secret))
	if fault.Is(err, fault.KindNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	return s.sessions.Delete(ctx, doc)
}
