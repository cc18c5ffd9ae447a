// Package server says what a name server is to kaname: something that lists, adds
// and removes secondary zones. Each kind has a folder below; servertest holds what
// all of them must do.
package server

import (
	"context"
	"errors"
	"net/netip"

	"kaname.dev/kaname/rib/zone/name"
)

// Driver makes one running server serve secondary zones. It never touches a zone
// that it does not own unless it is told to adopt it. Its methods are called one at
// a time, except Status, which may run beside any other. All work in bulk, are idempotent, and
// end soon after ctx; after an error of one zone the others are still done.
//
// A driver trusts no "ok" of its server that the server is known to give wrongly.
type Driver interface {
	// Probe asks the server who it is, and looks whether its configuration allows
	// what the driver will do.
	Probe(ctx context.Context) (Info, error)
	// List returns every zone that the server has in its configuration, foreign
	// ones too, catalogs and built-in ones left out. Serial and Loaded may be unset.
	// An error means unknown, never empty.
	List(ctx context.Context) ([]Zone, error)
	// Add makes the zones be there as asked; one that is there with another
	// template is changed. The results stand in the order of the additions.
	Add(ctx context.Context, zones []Addition) []error
	// Remove makes the zones not be there, their contents on the server's disk
	// included; one that is not there is no error.
	Remove(ctx context.Context, zones []Removal) []error
	// Status returns what the server knows of zones, in the order of the names: at
	// least Present and, where the server can tell, Loaded, Serial and Note.
	Status(ctx context.Context, zones []name.Name) ([]Zone, error)
	// Kick makes the server try the transfer of zones again, now.
	Kick(ctx context.Context, zones []name.Name) error
	Close() error
}

// Info is what a server says of itself.
type Info struct {
	Kind     string   `json:"kind"`               // "bind"
	Version  string   `json:"version"`            // "9.18.49"
	Boot     string   `json:"boot,omitempty"`     // differs after a restart of the server
	Problems []string `json:"problems,omitempty"` // what its configuration lacks, each with what to do
	Batch    int      `json:"batch"`              // additions that are best given at once
	Pending  int      `json:"pending,omitempty"`  // additions that may wait for their first transfer at a time; 0: no limit
}

// Zone is a zone as a server has it.
type Zone struct {
	Name     name.Name `json:"name"`
	Present  bool      `json:"present"`
	Owned    bool      `json:"owned,omitempty"`    // carries kaname's tag in the server itself
	Template string    `json:"template,omitempty"` // Template.ID it was added with; empty when not owned or not known
	Loaded   bool      `json:"loaded,omitempty"`
	Serial   uint32    `json:"serial,omitempty"`
	Note     string    `json:"note,omitempty"` // why it is not loaded, in the server's words
}

// Addition asks for one secondary zone.
type Addition struct {
	Name     name.Name
	Template Template
	Adopt    bool // take over a zone of this name that is not owned
}

// Removal asks for one zone to go.
type Removal struct {
	Name  name.Name
	Adopt bool // though it is not owned
}

// Template is how zones of a group are served.
type Template struct {
	Name      string            `json:"name"`               // of the group: letters, digits, '-'; "default"
	Primaries []Primary         `json:"primaries"`          // at least one
	Transfer  []string          `json:"transfer,omitempty"` // who may take transfers: addresses, prefixes, "key NAME"
	Options   map[string]string `json:"options,omitempty"`  // by server kind, in the words of its configuration
}

// Primary is where a zone is transferred from.
type Primary struct {
	Address netip.AddrPort `json:"address"`
	Key     string         `json:"key,omitempty"` // name of a TSIG key that the server has; empty for none
}

// Errors that drivers return, wrapped, for a zone or for a call.
var (
	ErrForeign     = errors.New("the zone is there and was not made by kaname")
	ErrTemplate    = errors.New("the server lacks the template")
	ErrName        = errors.New("the server cannot hold a zone of this name")
	ErrDenied      = errors.New("the server refuses the control key")
	ErrUnreachable = errors.New("the server's control channel does not answer")
	ErrFull        = errors.New("the server's disk is full")
)
