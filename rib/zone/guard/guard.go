// Package guard judges, purely, whether one set of zones may replace another without a
// person: not if it loses too many, nor all, nor any when it is older than what was
// there. Losses are summed up over a window, so that many small steps are one large
// one. A set that cannot be seen is not judged at all: unknown is never empty.
package guard

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/rib/zone/name"
)

// Policy says what is let through unseen. The zero Policy holds every loss.
type Policy struct {
	Limit
	Window time.Duration // over which losses are summed up; 0: an hour
	AckFor time.Duration // how long an operator's word holds; 0: an hour
}

// Default is what counts unless it is configured otherwise: a tenth and at least five
// zones in an hour are held.
func Default() Policy {
	return Policy{Limit: Limit{Share: 0.1, Least: 5}, Window: time.Hour, AckFor: time.Hour}
}

// State is what the guard of one set remembers; it is kept with the set.
type State struct {
	Losses []Loss  `json:"losses,omitempty"` // within the window, oldest first, at most some sixty
	Serial *uint32 `json:"serial,omitempty"` // of the set that was let through last
}

// Loss is how many zones went within a part of the window.
type Loss struct {
	At    int64 `json:"at"` // Unix time in seconds, of the last of them
	Zones int   `json:"zones"`
}

// Change is a step from one set to the next.
type Change struct {
	Had    int         // zones before
	Next   int         // zones after
	Gone   []name.Name // before and not after; sorted
	Serial *uint32     // of the set after, when it has one
}

// Ack is an operator's word that a held change may be done.
type Ack struct {
	Hash string
	At   time.Time
}

// Verdict says what may be done.
type Verdict struct {
	Held  bool        // none of the losses may be done; gains may
	Acked bool        // it would be held, but an operator let it through
	Hash  string      // names the losses, when they are held or acked
	Why   string      // they are held
	Count int         // zones that would go
	Names []name.Name // the first ten of them
	State State       // what to remember, together with the change if that is done
}

// Judge decides about a change at a moment.
func Judge(p Policy, s State, now time.Time, c Change, ack Ack) Verdict {
	v := Verdict{Count: len(c.Gone), Names: c.Gone[:min(len(c.Gone), 10)], State: s}
	recent := s.Recent(p, now)
	why, serials := reasons(p, s, c, recent)
	if len(why) > 0 {
		v.Hash = Hash(c.Gone)
		if serials != "" {
			v.Hash = hashOf(serials, c.Gone)
		}
		age := now.Sub(ack.At)
		v.Acked = ack.Hash == v.Hash && age <= orHour(p.AckFor) && age >= -orHour(p.AckFor)
		v.Held = !v.Acked
	}
	if v.Held {
		v.Why = strings.Join(why, "; ")
		return v
	}
	if c.Serial != nil {
		v.State.Serial = c.Serial
	}
	if len(c.Gone) > 0 && !v.Acked { // what a person saw is no creeping loss
		v.State.Losses = remember(s.Losses, len(c.Gone), now, orHour(p.Window))
	}
	return v
}

// reasons says why a change is to be held, and between which serials it goes back.
func reasons(p Policy, s State, c Change, recent int) (why []string, serials string) {
	if len(c.Gone) == 0 {
		return nil, ""
	}
	if s.Serial != nil && c.Serial != nil && !notBefore(*c.Serial, *s.Serial) {
		serials = fmt.Sprintf("%d %d", *s.Serial, *c.Serial)
		why = append(why, fmt.Sprintf("the serial went back from %d to %d, and %d zones with it", *s.Serial, *c.Serial, len(c.Gone)))
	}
	switch n, total := len(c.Gone)+recent, c.Had+recent; {
	case c.Next == 0 && p.Share < 1:
		why = append(why, fmt.Sprintf("all %d zones would go", c.Had))
	case p.Exceeded(n, total) && recent > 0:
		why = append(why, p.Why(n, total)+fmt.Sprintf(", counting %d that went within %s", recent, orHour(p.Window)))
	case p.Exceeded(n, total):
		why = append(why, p.Why(n, total))
	}
	return why, serials
}

// Recent returns how many zones went within the window before now.
func (s State) Recent(p Policy, now time.Time) int {
	sum := 0
	for _, l := range s.Losses {
		if now.Unix()-l.At < int64(orHour(p.Window)/time.Second) {
			sum += l.Zones
		}
	}
	return sum
}

// remember adds a loss. Losses that are near in time are one, with the time of the
// last, so that few are kept and none is forgotten early.
func remember(losses []Loss, zones int, now time.Time, window time.Duration) []Loss {
	at, long := now.Unix(), int64(window/time.Second)
	kept := slices.DeleteFunc(slices.Clone(losses), func(l Loss) bool { return at-l.At >= long })
	if len(kept) > 0 {
		last := &kept[len(kept)-1]
		if part := long / 60; last.At/max(part, 1) == at/max(part, 1) {
			last.At, last.Zones = max(last.At, at), last.Zones+zones
			return kept
		}
	}
	return append(kept, Loss{at, zones})
}

// notBefore reports whether serial a is b or later, as RFC 1982 section 3.2 compares;
// of two that are 2^31 apart neither is.
func notBefore(a, b uint32) bool { return a == b || a-b < 1<<31 }

func orHour(d time.Duration) time.Duration {
	if d <= 0 {
		return time.Hour
	}
	return d
}

// hashOf is Hash of a loss that a serial going back brings.
func hashOf(serials string, gone []name.Name) string {
	h := sha256.New()
	write(h, "serial "+serials)
	for _, n := range gone {
		write(h, string(n))
	}
	return digest(h)
}
