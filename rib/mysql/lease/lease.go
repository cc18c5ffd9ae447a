// Package lease keeps a primary open only while nobody else can have been opened. The
// agent of the primary asks the agents of other members, the voters, for grants; each
// counts for topology.Policy.Lease from the moment at which it was asked for. Who is
// frozen for a move of the primary grants no more, and as many are frozen as it takes
// that the rest cannot suffice: Rule has that arithmetic, Voter and Holder the two sides.
//
// All times are of the clock of one machine; clocks of two machines are never compared.
package lease

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// Ask is what the agent of a primary asks a voter: may Primary stay open in Epoch?
type Ask struct {
	Topology string `json:"topology"`
	Epoch    uint64 `json:"epoch"`
	Primary  string `json:"primary"`
}

// Answer is a voter's. Epoch is the highest that it knows; Why says why not.
type Answer struct {
	Granted bool   `json:"granted"`
	Epoch   uint64 `json:"epoch"`
	Why     string `json:"why,omitempty"`
}

// Every is the time between two questions to a voter.
const Every = 250 * time.Millisecond

// Now is an instant of two clocks: Boot goes on while the machine is suspended, Mono
// does not.
type Now struct{ Boot, Mono time.Duration }

// Clock tells the time of this machine. Its instants are comparable with each other only.
type Clock func() Now

// SystemClock reads CLOCK_BOOTTIME and CLOCK_MONOTONIC (clock_gettime(2)) so that not much
// time passes between the two: a thread that a busy machine sets aside there would look
// like a machine that was suspended. Where the kernel has no CLOCK_BOOTTIME both are the
// monotonic one.
func SystemClock() Now {
	var best Now
	least := time.Duration(math.MaxInt64)
	for range 20 {
		before := read(unix.CLOCK_MONOTONIC)
		boot := read(unix.CLOCK_BOOTTIME)
		took := read(unix.CLOCK_MONOTONIC) - before
		if boot == 0 {
			boot = before
		}
		if took < least {
			least, best = took, Now{Boot: boot, Mono: before}
		}
		if took < time.Millisecond {
			break
		}
	}
	return best
}

func read(clock int32) time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(clock, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// slept returns for how long the machine was suspended between two instants.
func slept(a, b Now) time.Duration { return (b.Boot - b.Mono) - (a.Boot - a.Mono) }
