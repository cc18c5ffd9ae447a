// Package plan decides, and does nothing: from what a server should serve and what
// it has, to what is to be done to it.
package plan

import (
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// Want is a zone that a server should serve.
type Want struct {
	Name     name.Name `json:"name"`
	Template string    `json:"template"` // server.Template.ID
	Adopt    bool      `json:"adopt,omitempty"`
	Pin      bool      `json:"pin,omitempty"` // leave it as it is on the server, whatever that is
	// Reset is not empty when the zone's contents are to be thrown away once (RFC 9432 section 5.6); a value
	// that was not yet done on this server means that it is to be done.
	Reset string `json:"reset,omitempty"`
}

// Op is one thing to do.
type Op struct {
	Kind OpKind    `json:"kind"`
	Name name.Name `json:"name"`
	Why  string    `json:"why"` // "desired by main, not on the server"
	Want Want      `json:"want,omitzero"`
}

// OpKind is what to do.
type OpKind string

// The operations, in the order in which they are done: what is gained before what
// is lost.
const (
	Add    OpKind = "add"
	Change OpKind = "change" // it is there with another template
	Reset  OpKind = "reset"  // remove and add again
	Remove OpKind = "remove"
)

// Plan is what is to be done to one server, and what is not done though it differs.
type Plan struct {
	Ops       []Op        `json:"ops"`       // sorted by kind, then name
	Conflicts []name.Name `json:"conflicts"` // desired, but there and not ours
	Held      []Op        `json:"held"`      // stopped by the guard
	Foreign   int         `json:"foreign"`   // not desired and not ours; never touched
}

// Have is what a server has, as far as a plan is concerned.
type Have = server.Zone
