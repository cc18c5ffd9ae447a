// Package fault is the one error type that people meet: what went wrong, where,
// why, and what to do about it.
//
// Inside a package plain errors travel wrapped with %w. A Fault is made once,
// where the user's noun is known ("release app 1.4.2", "host web3"), and is
// rendered by the doors: as an exit code, an HTTP status or a chat message.
// The kind crosses the wire; so do what, where and remedy.
package fault

import (
	"encoding/json"
	"errors"
	"strings"
)

// Kind says which sort of failure a Fault is. The doors map it, and only it,
// to exit codes and HTTP statuses.
type Kind string

// The kinds, with their meaning for the caller.
const (
	KindInvalid       Kind = "invalid"        // the input or the configuration is wrong; asking again will not help
	KindNotFound      Kind = "not_found"      // the named thing does not exist
	KindExists        Kind = "exists"         // the thing to be created exists already
	KindDenied        Kind = "denied"         // the asker may not do this
	KindNeedsApproval Kind = "needs_approval" // somebody else must agree first
	KindConflict      Kind = "conflict"       // the ground moved since it was looked at
	KindUnavailable   Kind = "unavailable"    // a part that is needed does not answer; asking later may help
	KindTimeout       Kind = "timeout"        // the time given ran out; the outcome may be unknown
	KindPartial       Kind = "partial"        // done on some hosts, not on others
	KindUnsupported   Kind = "unsupported"    // this version cannot do it
	KindCorrupt       Kind = "corrupt"        // stored or received bytes are not what they must be
	KindFull          Kind = "full"           // a quota or the disk leaves no room
	KindCanceled      Kind = "canceled"       // the asker went away or interrupted it
	KindInternal      Kind = "internal"       // a bug, or an error nobody has given a kind yet
)

// Fault is an error with a kind, a place and a remedy.
type Fault struct {
	Kind   Kind   // which sort of failure
	What   string // the user's noun and what happened to it: "release app 1.4.2 is not in the store"
	Where  string // the host, file or line, if there is one
	Remedy string // what to do: a sentence or a command
	Err    error  // the cause, if any; part of the text, and reachable with errors.As
}

// Invalid makes a fault for wrong input or configuration.
func Invalid(what string) *Fault { return &Fault{Kind: KindInvalid, What: what} }

// NotFound makes a fault for a named thing that does not exist.
func NotFound(what string) *Fault { return &Fault{Kind: KindNotFound, What: what} }

// Exists makes a fault for a thing that was to be created and is there already.
func Exists(what string) *Fault { return &Fault{Kind: KindExists, What: what} }

// Denied makes a fault for an asker who may not do this.
func Denied(what string) *Fault { return &Fault{Kind: KindDenied, What: what} }

// Conflict makes a fault for ground that moved since it was looked at.
func Conflict(what string) *Fault { return &Fault{Kind: KindConflict, What: what} }

// Unavailable makes a fault for a needed part that does not answer.
func Unavailable(what string) *Fault { return &Fault{Kind: KindUnavailable, What: what} }

// Timeout makes a fault for a wait that ran out; the outcome may be unknown.
func Timeout(what string) *Fault { return &Fault{Kind: KindTimeout, What: what} }

// Partial makes a fault for work done on some hosts and not on others.
func Partial(what string) *Fault { return &Fault{Kind: KindPartial, What: what} }

// Unsupported makes a fault for something this version cannot do.
func Unsupported(what string) *Fault { return &Fault{Kind: KindUnsupported, What: what} }

// Corrupt makes a fault for bytes that are not what they must be.
func Corrupt(what string) *Fault { return &Fault{Kind: KindCorrupt, What: what} }

// Full makes a fault for a quota or disk without room.
func Full(what string) *Fault { return &Fault{Kind: KindFull, What: what} }

// Internal makes a fault for a bug or an unclassified error.
func Internal(what string) *Fault { return &Fault{Kind: KindInternal, What: what} }

// At returns f with the place set.
func (f *Fault) At(where string) *Fault { f.Where = where; return f }

// Because returns f with the cause set.
func (f *Fault) Because(err error) *Fault { f.Err = err; return f }

// Try returns f with the remedy set: a sentence or a command to run.
func (f *Fault) Try(remedy string) *Fault { f.Remedy = remedy; return f }

// Error renders "where: what: cause; remedy", leaving out what is empty.
func (f *Fault) Error() string {
	var b strings.Builder
	if f.Where != "" {
		b.WriteString(f.Where + ": ")
	}
	b.WriteString(f.What)
	if f.Err != nil {
		b.WriteString(": " + f.Err.Error())
	}
	if f.Remedy != "" {
		b.WriteString("; " + f.Remedy)
	}
	return b.String()
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

// wire is how a Fault looks as JSON; the cause travels as text.
type wire struct {
	Kind   Kind   `json:"kind"`
	What   string `json:"what"`
	Where  string `json:"where,omitempty"`
	Cause  string `json:"cause,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// MarshalJSON writes kind, what, where, cause (as text) and remedy.
func (f *Fault) MarshalJSON() ([]byte, error) {
	w := wire{Kind: f.Kind, What: f.What, Where: f.Where, Remedy: f.Remedy}
	if f.Err != nil {
		w.Cause = f.Err.Error()
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads what MarshalJSON wrote; unknown fields are ignored, an
// unknown kind is kept as it is, so that a newer peer's fault is not lost.
func (f *Fault) UnmarshalJSON(b []byte) error {
	var w wire
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*f = Fault{Kind: w.Kind, What: w.What, Where: w.Where, Remedy: w.Remedy}
	if w.Cause != "" {
		f.Err = errors.New(w.Cause)
	}
	return nil
}
