// Package schedule decides which host gives which chunk to whom while a pack
// spreads. It is pure: no I/O, no clock and no randomness of its own, so the same
// code runs in the agent and in a simulation of ten thousand hosts.
//
// The model. Every host that takes part asks some neighbours and is asked by some.
// A Supplier is the giving half of a host: it knows what each asker covers (holds,
// or has been promised) and offers the asker that has least the chunk that is
// rarest among its askers, inside a window just beyond the asker's prefix, so that
// chunks come nearly in order. A Requester is the taking half: it takes an offer
// unless the chunk is covered already, tells all suppliers what it covers, and
// notices suppliers that are slower than the others.
//
// An offer is made while earlier chunks are still being sent, so its answer is on
// no critical path; and since a chunk moves only after it was taken, it travels to
// a host once. The origin offers a chunk only if nobody it knows covers it: it
// sends about one copy, whatever the number of hosts.
//
// Times are durations since an arbitrary start, from a monotonic clock.
package schedule

import "time"

// Peer is a number that the caller gives to each of its connections.
type Peer int

// Policy holds what can be tuned. The zero value of a field means its default.
type Policy struct {
	Slots  int // chunks sent at once by a supplier; 4
	Origin int // chunks sent at once by the origin; 6
	Ahead  int // offers out or taken beyond the slots; 2
	Window int // chunks beyond an asker's prefix among which the rarest is chosen; 64
	Intake int // chunks that a requester lets be promised to it at once; 8

	// SlowFactor and SlowFloor say when a promised chunk is overdue: its age is above
	// the floor and above the factor times what chunks usually take. 6 and 2 s.
	SlowFactor int
	SlowFloor  time.Duration
	// Strikes is how many overdue chunks in a row cost a supplier its place; 2.
	Strikes int
	// Repeat is the pause before the origin gives a chunk again to a starving asker; 2 s.
	Repeat time.Duration
}

// WithDefaults returns p with the zero fields set to their defaults.
func (p Policy) WithDefaults() Policy {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&p.Slots, 4)
	set(&p.Origin, 6)
	set(&p.Ahead, 2)
	set(&p.Window, 64)
	set(&p.Intake, 8)
	set(&p.SlowFactor, 6)
	set(&p.Strikes, 2)
	if p.SlowFloor <= 0 {
		p.SlowFloor = 2 * time.Second
	}
	if p.Repeat <= 0 {
		p.Repeat = 2 * time.Second
	}
	return p
}
