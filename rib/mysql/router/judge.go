package router

import "time"

// Why a connection through the router ended, as in metrics and logs.
const (
	byClient   = "client"      // it said goodbye, or went away
	byServer   = "server"      // the server closed it, or was lost
	drained    = "drained"     // between two transactions, for the primary moves
	overdue    = "overdue"     // a transaction was open longer than Drain
	superseded = "superseded"  // its server is no longer led to
	noPrimary  = "no-primary"  // it waited for Hold in vain
	stopped    = "stopped"     // the router ends
	denied     = "denied"      // wrong user or password
	notMovable = "not-movable" // its session could not be set up again elsewhere
)

// Times of draining.
const (
	// young connections may be those of clients that connect, ask a few things and go.
	// They get the time to do so.
	young = 500 * time.Millisecond
	// A client that was idle so long is closed without waiting for its next command; before
	// that it is closed right after the answer to that, when drivers look whether a
	// connection still stands before they use it again.
	quiet = 50 * time.Millisecond
)

// standing is how a connection stands.
type standing struct {
	leads    bool // the view leads to its server
	opaque   bool
	loggedIn bool
	command  bool // in the middle of one
	trans    bool // in a transaction
	movable  bool // the session can be carried over
	age      time.Duration
	idle     time.Duration // since the last answer ended
	ended    bool          // an answer to work ends now
}

// fate is what becomes of a connection.
type fate int

const (
	stay  fate = iota
	part       // closed in peace: nothing is under way
	cut        // closed at once
	leave      // only the server's side is closed; the session goes on elsewhere
)

// judge decides what becomes of a connection while the view stands since then.
func judge(s standing, held bool, since, drain time.Duration) (fate, string) {
	atRest := s.loggedIn && !s.opaque && !s.command && !s.trans
	if !held {
		switch {
		case s.leads:
			return stay, ""
		case atRest && s.movable:
			return leave, ""
		case atRest:
			return part, superseded
		}
		return cut, superseded
	}
	over := since >= drain
	switch {
	case s.opaque || !s.loggedIn:
		if over {
			return cut, overdue
		}
	case s.command:
	case s.trans:
		if over {
			return part, overdue
		}
	case s.movable: // its next command waits
	case over, s.age >= young && (s.ended || s.idle >= quiet):
		return part, drained
	}
	return stay, ""
}
