// Package watch looks at what one name server serves, from beside it: the serial of
// each zone there and at its primary, how far behind it is, whether it will expire, and
// why what should be served is not. It asks DNS questions and reads no logs.
package watch

import (
	"fmt"
	"time"

	"kaname.dev/kaname/rib/zone/wire"
)

// State is how a zone stands on one server.
type State string

// The states of a zone on a server.
const (
	Unknown     State = "unknown"     // not asked yet
	Serving     State = "serving"     // answered with authority, as the primary has it
	Loading     State = "loading"     // in the server's configuration, and not answered yet
	Stale       State = "stale"       // the primary has had a newer serial for longer than the grace
	Ahead       State = "ahead"       // a newer serial than the primary's: it will not be transferred again
	Expiring    State = "expiring"    // not refreshed for so long that it will expire
	Expired     State = "expired"     // was answered, and is not any more: the server has given it up
	Extra       State = "extra"       // made by kaname, and not desired
	Foreign     State = "foreign"     // neither desired nor made by kaname
	Conflict    State = "conflict"    // desired, and there without having been made by kaname
	Held        State = "held"        // not desired, and its removal is held by the guard
	Quarantined State = "quarantined" // not desired, and still kept
	Missing     State = "missing"     // desired, and never there
	Drift       State = "drift"       // it was there, and somebody else removed it
	Lame        State = "lame"        // answered, but without authority
	Silent      State = "silent"      // the server does not answer at all
)

// States are all of them, in the order from well to ill.
var States = []State{
	Serving, Loading, Unknown, Quarantined, Held, Foreign, Extra, Stale, Ahead, Expiring, Lame, Conflict, Missing, Drift, Expired, Silent,
}

// Grace is how long a server may be behind its primary before its zone is stale: a
// NOTIFY and a transfer take some time.
const Grace = 5 * time.Second

// Facts are what is known of a zone on a server.
type Facts struct {
	Now         time.Time
	Desired     bool
	Present     bool // in the server's configuration
	Owned       bool // made or adopted by kaname
	Held        bool // its removal is held
	Quarantined bool
	Ever        bool // it was there, or answered with authority, before

	Answer  Answer    // of the server; Kind is Unasked when there was none yet
	Primary Answer    // of the zone's primary, the last one that was one
	Alone   bool      // the primary does not answer now
	Behind  time.Time // since when the primary has had a serial newer than the server's; zero: it has none
	// Fresh is when the server was last known to be level with the primary; zero: never.
	Fresh time.Time
	// Expires is when the server gives the zone up, as it says itself (RFC 7314); zero:
	// it is reckoned from Fresh.
	Expires time.Time
}

// Classify returns the state of a zone, and a note in words where the facts explain it.
func Classify(f Facts) (State, string) {
	switch {
	case f.Desired && f.Present && !f.Owned:
		return Conflict, "the server has a zone of this name that kaname did not make; adopt it, or remove it there"
	case f.Present && !f.Owned:
		return Foreign, ""
	case !f.Desired && f.Held:
		return Held, "its removal is held, for too many zones would go at once; look at the difference and accept it"
	case !f.Desired && f.Quarantined:
		return Quarantined, ""
	case !f.Desired && (f.Present || f.Answer.Kind == Authoritative):
		return Extra, "it is served though it is not desired"
	case !f.Desired:
		return Unknown, ""
	case !f.Present && f.Ever:
		return Drift, "it was on the server, and somebody removed it there; it is added again"
	case !f.Present:
		return Missing, ""
	}
	return answered(&f)
}

// answered classifies a zone that should be answered.
func answered(f *Facts) (State, string) {
	switch f.Answer.Kind {
	case Unasked:
		return Unknown, ""
	case NoAnswer:
		return Silent, "the server does not answer; is it running, and does it listen there"
	case Authoritative:
		return aged(f)
	case Failing:
		if f.Ever {
			return Expired, "the server has the zone and no contents of it any more (SERVFAIL): it expired, or its file cannot be read"
		}
		return Loading, ""
	case Referral:
		if f.Ever {
			return Lame, "the server answers for the zone without authority: it is not in its configuration any more, or not loaded"
		}
		return Loading, ""
	default:
		if f.Ever {
			return Drift, "the server answered it with authority, and now says " + f.Answer.Kind.String() + ": somebody removed it there"
		}
		return Loading, ""
	}
}

// aged classifies a zone that is answered with authority.
func aged(f *Facts) (State, string) {
	if at, expire := f.expires(); !at.IsZero() {
		left := at.Sub(f.Now)
		unfresh := expire - left
		refresh := time.Duration(f.Answer.Refresh) * time.Second
		if left < expire/3 || left < 24*time.Hour && unfresh > max(expire/3, 2*refresh) {
			return Expiring, fmt.Sprintf("it was not refreshed for %s and expires in %s, at %s",
				round(unfresh), round(max(left, 0)), at.UTC().Format("2006-01-02 15:04:05Z"))
		}
	}
	if f.Primary.Kind != Authoritative {
		return Serving, ""
	}
	switch served, newest := f.Answer.Serial, f.Primary.Serial; {
	case wire.Newer(newest, served) && !f.Behind.IsZero() && f.Now.Sub(f.Behind) >= Grace:
		return Stale, fmt.Sprintf("it serves %d, and the primary has had %d for %s", served, newest, round(f.Now.Sub(f.Behind)))
	case wire.Newer(served, newest):
		return Ahead, fmt.Sprintf("it serves %d, newer than the primary's %d, and so takes no more changes; raise the serial at the primary above it", served, newest)
	default:
		return Serving, ""
	}
}

// expires returns when the zone will be given up, and its expire time. When the server
// does not say so itself it is reckoned cautiously: the last refresh may have been a
// refresh interval before the primary was last seen.
func (f *Facts) expires() (time.Time, time.Duration) {
	expire := time.Duration(f.Answer.Expire) * time.Second
	if expire == 0 {
		return time.Time{}, 0
	}
	if !f.Expires.IsZero() {
		return f.Expires, expire
	}
	if f.Fresh.IsZero() || !f.Alone && f.Primary.Kind == Authoritative && f.Behind.IsZero() {
		return time.Time{}, 0
	}
	return f.Fresh.Add(expire - min(time.Duration(f.Answer.Refresh)*time.Second, expire/3)), expire
}

func round(d time.Duration) time.Duration {
	switch {
	case d > time.Hour:
		return d.Round(time.Minute)
	case d > 10*time.Second:
		return d.Round(time.Second)
	default:
		return d.Round(time.Millisecond)
	}
}
