package host

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Clock is what the kernel knows about its own clock.
type Clock struct {
	Synced   bool          // whether a time daemon has declared it synchronised
	MaxError time.Duration // the bound of the error that the daemon keeps (adjtimex maxerror)
}

// ReadClock asks the kernel; it changes nothing (adjtimex(2) with modes 0).
func ReadClock() (Clock, error) {
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	if err != nil {
		return Clock{}, fmt.Errorf("adjtimex: %w", err)
	}
	return Clock{
		Synced:   state != unix.TIME_ERROR && tx.Status&unix.STA_UNSYNC == 0,
		MaxError: time.Duration(tx.Maxerror) * time.Microsecond,
	}, nil
}

// Monotonic returns the time since boot as CLOCK_MONOTONIC counts it, the clock
// that systemd wants to hear at a reload.
func Monotonic() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("clock_gettime: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}
