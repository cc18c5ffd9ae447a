package demo

import (
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"kaname.dev/kaname/fault"
)

// Summary is what a demo came to.
type Summary struct {
	OK                bool    `json:"ok"` // whether all is as it should be
	Hosts             int     `json:"hosts"`
	Live              int     `json:"live"`                // hosts on which the first release went live
	LiveSecond        int     `json:"live_second"`         // the same of the second
	Release           string  `json:"release"`             // archive of the first
	Files             int     `json:"files"`               // in the first
	BytesTree         int64   `json:"bytes_tree"`          // of their contents
	BytesFull         int64   `json:"bytes_full"`          // of the first on the wire, once
	BytesOrigin       int64   `json:"bytes_origin"`        // that the core sent for all hosts together
	BytesFullSecond   int64   `json:"bytes_full_second"`   // of the second, if it were sent whole
	BytesDelta        int64   `json:"bytes_delta"`         // of the second as it was sent
	BytesOriginSecond int64   `json:"bytes_origin_second"` // that the core sent of it
	TreesCompared     int     `json:"trees_compared"`      // with tar -x: type, mode, owner, time, links, contents
	RolledBack        bool    `json:"rolled_back"`         // whether the broken release was taken back everywhere
	SecondsStart      float64 `json:"seconds_start"`       // until all hosts had joined
	SecondsPush       float64 `json:"seconds_push"`
	SecondsDeploy     float64 `json:"seconds_deploy"`
	SecondsDelta      float64 `json:"seconds_delta"` // push and deploy of the second
	SecondsRollback   float64 `json:"seconds_rollback"`
	Seconds           float64 `json:"seconds"` // all of it
	Console           string  `json:"console,omitempty"`
}

// smallRelease is the wire size up to which the origin's share is not judged:
// there are too few chunks to share.
const smallRelease = 4 << 20

// wrong returns the first thing that is not as it should be.
func (s *Summary) wrong() error {
	switch {
	case s.Live != s.Hosts || s.LiveSecond != s.Hosts:
		return fault.Partial(fmt.Sprintf("live on %d and %d of %d hosts", s.Live, s.LiveSecond, s.Hosts))
	case s.BytesFull > smallRelease && 10*s.BytesOrigin > 13*s.BytesFull:
		return fault.Internal(fmt.Sprintf("the origin sent %d bytes, more than 1.3 times the %d of the release", s.BytesOrigin, s.BytesFull))
	case s.BytesDelta <= 0 || s.BytesDelta > s.BytesFullSecond:
		return fault.Internal(fmt.Sprintf("the delta has %d bytes, the whole release %d", s.BytesDelta, s.BytesFullSecond))
	case !s.RolledBack:
		return fault.Internal("the broken release was not taken back")
	}
	return nil
}

// String says it in words.
func (s Summary) String() string {
	size := func(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }
	share := func(a, b int64) float64 { return 100 * float64(a) / float64(max(b, 1)) }
	var b strings.Builder
	fmt.Fprintf(&b, "%d files (%s, on the wire %s) went live on %d of %d hosts in %.1f s.\n", s.Files, size(s.BytesTree), size(s.BytesFull), s.Live, s.Hosts, s.SecondsDeploy)
	fmt.Fprintf(&b, "The origin sent %s for all of them: %.2f copies; the hosts gave each other the rest.\n", size(s.BytesOrigin), share(s.BytesOrigin, s.BytesFull)/100)
	fmt.Fprintf(&b, "The second release travelled as a delta of %s instead of %s (%.1f %%), pushed and live in %.1f s.\n", size(s.BytesDelta), size(s.BytesFullSecond), share(s.BytesDelta, s.BytesFullSecond), s.SecondsDelta)
	if s.RolledBack {
		fmt.Fprintf(&b, "A broken third one failed its health gate and was taken back in %.1f s.\n", s.SecondsRollback)
	}
	fmt.Fprintf(&b, "%d trees were compared with tar -x: the same files, modes, owners, times, links and contents.\n", s.TreesCompared)
	fmt.Fprintf(&b, "All of it took %.1f s.", s.Seconds)
	return b.String()
}
