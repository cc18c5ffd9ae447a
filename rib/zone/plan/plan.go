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
	// Rescue is set when the zone is served from contents that its host kept, for its
	// source has it no longer: it is then there with a template named RescueTemplate.
	Rescue bool `json:"rescue,omitempty"`
}

// RescueTemplate is the name of the templates of zones whose contents come from what
// the host kept; their ID begins with it and a dash.
const RescueTemplate = "rescue"

// Op is one thing to do.
type Op struct {
	Kind OpKind    `json:"kind"`
	Name name.Name `json:"name"`
	Why  string    `json:"why"`           // "desired, not on the server"
	Want Want      `json:"want,omitzero"` // zero of a removal
}

// OpKind is what to do.
type OpKind string

// The operations, in the order in which they are done: what is gained before what
// is lost.
const (
	Add    OpKind = "add"
	Change OpKind = "change" // it is there with another template, or is adopted
	Reset  OpKind = "reset"  // its contents are thrown away; stands beside a Change of the same zone
	Remove OpKind = "remove"
)

// Policy is what a plan depends on besides the zones. The zero Policy holds every
// removal.
type Policy struct {
	Share  float64 // removals of more than this share of Total are held; 0.1 is a tenth, 1 and more hold nothing
	Least  int     // but only if they are at least so many
	Total  int     // zones that the server has; 0: its owned ones are counted
	Recent int     // removals already done to this server within the guard's window; they count too
	// Accepted are hashes of plans whose removals an operator let through.
	Accepted []string
	// Let reports whether an operator has let this zone go before, in a plan that was
	// not done to its end: its removal is neither counted nor held. nil lets none.
	Let func(n name.Name) bool
	// Resets are, by zone, the last Want.Reset that was done on this server.
	Resets map[name.Name]string
}

// Plan is what is to be done to one server, and what is not done though it differs.
type Plan struct {
	Ops       []Op        `json:"ops"`            // sorted by kind in the order of the kinds, then name
	Conflicts []name.Name `json:"conflicts"`      // desired, but there and not ours; sorted
	Held      []Op        `json:"held"`           // removals stopped by the guard; sorted by name
	Foreign   int         `json:"foreign"`        // not desired and not ours; never touched
	Hash      string      `json:"hash,omitempty"` // of the removals, when they are too many: what an operator accepts
	Why       string      `json:"why,omitempty"`  // why removals are held
}

// Have is what a server has, as far as a plan is concerned.
type Have = server.Zone
