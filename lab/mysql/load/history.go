package load

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
)

// History is what the writers of a Client have seen. Its times have a monotonic reading.
type History struct {
	Began, Ended time.Time
	Acks         []Ack // acknowledged by a server
	// Found are writes whose outcome was unknown until a retry was told that the row is
	// there already: the client wrote twice what a server had committed.
	Found    []Ack
	Failures []Failure
}

// Ack is a write that is there.
type Ack struct {
	ID       int64
	Writer   int
	Server   int       // server_id, as the connection said at its beginning
	First    time.Time // beginning of the first attempt
	Started  time.Time // of the attempt that was acknowledged
	Ended    time.Time // acknowledgement
	Attempts int
	Unknown  bool // an attempt before had ended without an answer
}

// Failure is an attempt that was not acknowledged.
type Failure struct {
	At      time.Time
	ID      int64
	Server  int    // 0: there was no connection
	Class   string // see classify; those of a connection that was not made begin with "connect: "
	Text    string
	Unknown bool // the row may be there
	Bad     bool // not to be expected of a failover: trying again would not help
}

// Window returns what was acknowledged, found or failed between two instants.
func (h *History) Window(from, to time.Time) History {
	w := History{Began: from, Ended: to}
	within := func(at time.Time) bool { return !at.Before(from) && at.Before(to) }
	for _, a := range h.Acks {
		if within(a.Ended) {
			w.Acks = append(w.Acks, a)
		}
	}
	for _, a := range h.Found {
		if within(a.Ended) {
			w.Found = append(w.Found, a)
		}
	}
	for _, f := range h.Failures {
		if within(f.At) {
			w.Failures = append(w.Failures, f)
		}
	}
	return w
}

func (h *History) clone(now time.Time) History {
	return History{Began: h.Began, Ended: now, Acks: slices.Clone(h.Acks), Found: slices.Clone(h.Found), Failures: slices.Clone(h.Failures)}
}

// closed are the numbers of errors by which a server says that it takes no writes, or no
// more connections: nothing was written, and another try may succeed.
var closed = map[uint16]bool{
	1040: true, // too many connections
	1203: true, // the same, for a user
	1290: true, // read-only
	1836: true, // read-only mode
	3032: true, // offline mode
	1205: true, // lock wait timeout
	1213: true, // deadlock
}

// killed are those after which the outcome is unknown.
var killed = map[uint16]bool{
	1053: true, // server shutdown in progress
	1317: true, // query execution was interrupted
	1927: true, // connection was killed
	3024: true, // maximum execution time
}

// classify names the kind of an error.
func classify(err error) string {
	var refusal *mysql.MySQLError
	var timeout net.Error
	switch {
	case errors.As(err, &refusal):
		switch n := refusal.Number; {
		case n == 1290 || n == 1836:
			return "read-only"
		case n == 3032:
			return "offline"
		case killed[n]:
			return "killed"
		default:
			return "error " + strconv.Itoa(int(n))
		}
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, driver.ErrBadConn):
		return "cut"
	default:
		return "other"
	}
}
