// Package access says who may do what, and keeps the record of what was done.
//
// An Identity is who asks: a process on this machine (unix peer credentials), a
// program with an API token, or a person with a password and a session. Each has
// one of three roles, and an action's effect alone decides the least role that
// may call it: viewer for Reads, operator for Changes, admin for Destroys.
//
// People, tokens and sessions are documents of the plane; passwords are kept as
// argon2id, tokens and sessions as SHA-256 of what only the asker holds. Every
// call that changes something and every refusal is an event under the topic
// "audit", chained by hashes so that a missing or altered record shows.
//
// The package does not know HTTP: door/api carries tokens and cookies to it.
package access

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
)

// Role is what an identity may do, in three steps.
type Role string

// The roles, in rising order.
const (
	RoleViewer   Role = "viewer"   // may look
	RoleOperator Role = "operator" // may also change what can be changed back
	RoleAdmin    Role = "admin"    // may also destroy, and say who may do what
)

var ranks = []Role{RoleViewer, RoleOperator, RoleAdmin}

// Least returns the least role that may call an action of the effect.
func Least(e action.Effect) Role {
	switch e {
	case action.Reads:
		return RoleViewer
	case action.Changes:
		return RoleOperator
	default:
		return RoleAdmin
	}
}

// Covers reports whether r may do what least may do. An unknown role covers nothing.
func (r Role) Covers(least Role) bool {
	have, need := slices.Index(ranks, r), slices.Index(ranks, least)
	return have >= 0 && need >= 0 && have >= need
}

// ParseRole returns the role with the name, or an Invalid fault.
func ParseRole(name string) (Role, error) {
	if !slices.Contains(ranks, Role(name)) {
		return "", fault.Invalid("role \"" + name + "\" does not exist").Try("use viewer, operator or admin")
	}
	return Role(name), nil
}

// Via is how an identity was established.
type Via string

// The ways in.
const (
	ViaUnix    Via = "unix"    // peer credentials of the unix socket
	ViaToken   Via = "token"   // an API token
	ViaSession Via = "session" // a person who signed in
)

// Identity is who asks, as established by one of the ways in.
type Identity struct {
	Name    string    `json:"name"` // "alice", "root@unix", "token ci (k3v7…)"
	Role    Role      `json:"role"`
	Via     Via       `json:"via"`
	Expires time.Time `json:"expires,omitzero"` // of the token or session; zero means never
}

// Allow returns nil if the identity may call the action, otherwise a Denied
// fault that names both roles.
func (i Identity) Allow(a action.Action) error {
	least := Least(a.Effect)
	if i.Role.Covers(least) {
		return nil
	}
	return fault.Denied(i.Name + " may not call " + a.Name + ": it needs role " + string(least) + ", not " + string(i.Role)).
		Try("ask an admin; a person's role is changed with: kaname user role NAME " + string(least))
}

// Options is what Attach needs to know.
type Options struct {
	Plane *plane.Plane // a core's
	Log   *slog.Logger
	// JoinToken makes a one-time token with which a host joins the plane, bound to
	// the host's name if that is not empty. by is who asked for it.
	JoinToken func(ctx context.Context, ttl time.Duration, host, by string) (string, error)
	// Pin names the plane's CA, see trust.KeyPrint; it is appended to API tokens, so
	// that a command line elsewhere knows whom to trust. May be empty.
	Pin string
}

// Access is the door guard of a core. It is safe for concurrent use.
type Access struct {
	mu       sync.Mutex // guards attached
	attached *store

	guesses *guesses      // of passwords
	hashing chan struct{} // a place for each password being compared
}

// New returns an Access that does no I/O: its actions can be listed with no plane
// there. It works once Attach has been called.
func New() *Access {
	return &Access{guesses: newGuesses(time.Now), hashing: make(chan struct{}, 2)}
}

// Attach hangs the access on the plane of a core.
func (a *Access) Attach(o Options) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.attached = openStore(o)
}

func (a *Access) store() (*store, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.attached == nil {
		return nil, fault.Unavailable("access is not ready: this kaname is still starting or is not a core")
	}
	return a.attached, nil
}
