package load

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Evidence is what a check stands on: at most one move of the primary.
type Evidence struct {
	History History
	// Kept are the ids on the primary of the end, and no replica's.
	Kept map[int64]bool
	// Fault is when the old primary broke; zero when nothing was broken.
	Fault time.Time
	// Old is the server_id of the primary before the move; 0: the one with the first
	// acknowledgement.
	Old int
}

// Result is what a check has found.
type Result struct {
	Acks int
	// Resumed: a write that began after the fault was acknowledged by another server,
	// Downtime after the fault.
	Resumed  bool
	Downtime time.Duration
	New      int // that server's server_id, 0 when there is none
	// Lost are acknowledged ids that are not on the primary of the end.
	Lost []int64
	// Doubles are the ids that the old primary acknowledged after the new one's first
	// acknowledgement and that are not on the primary of the end: there were two
	// primaries. Late are those that are there: the acknowledgement was only on its way.
	Doubles, Late []int64
	// Duplicates are the ids that were written twice because the first outcome had been
	// unknown; of them, Gone were there when that was tried and are not now. They were
	// never acknowledged.
	Duplicates, Gone []int64
	// Pause is the longest time without an acknowledgement, and PausedAt its beginning.
	Pause    time.Duration
	PausedAt time.Time
	Errors   map[string]int // failures by class
	Bad      []string       // texts of failures that no retry would have healed
}

// Check compares what was acknowledged with what is there.
func Check(e Evidence) Result {
	acks := slices.SortedFunc(slices.Values(e.History.Acks), func(a, b Ack) int { return a.Ended.Compare(b.Ended) })
	r := Result{Acks: len(acks), Errors: map[string]int{}}
	old := e.Old
	if old == 0 && len(acks) > 0 {
		old = acks[0].Server
	}
	var opened time.Time // first acknowledgement of another server
	for _, a := range acks {
		if !e.Kept[a.ID] {
			r.Lost = append(r.Lost, a.ID)
		}
		if a.Server != old && opened.IsZero() {
			opened, r.New = a.Ended, a.Server
		}
		if a.Server != old && !r.Resumed && !e.Fault.IsZero() && a.Started.After(e.Fault) {
			r.Resumed, r.Downtime = true, a.Ended.Sub(e.Fault)
		}
		if a.Server == old && !opened.IsZero() && a.Ended.After(opened) {
			if e.Kept[a.ID] {
				r.Late = append(r.Late, a.ID)
			} else {
				r.Doubles = append(r.Doubles, a.ID)
			}
		}
	}
	r.pauses(e.History.Began, e.History.Ended, acks)
	r.failures(e)
	return r
}

// pauses finds the longest time without an acknowledgement.
func (r *Result) pauses(from, to time.Time, acks []Ack) {
	last := from
	for _, a := range append(acks, Ack{Ended: to}) {
		if gap := a.Ended.Sub(last); gap > r.Pause {
			r.Pause, r.PausedAt = gap, last
		}
		last = a.Ended
	}
}

// failures counts what was not acknowledged.
func (r *Result) failures(e Evidence) {
	for _, f := range e.History.Found {
		r.Duplicates = append(r.Duplicates, f.ID)
		if !e.Kept[f.ID] {
			r.Gone = append(r.Gone, f.ID)
		}
	}
	for _, f := range e.History.Failures {
		r.Errors[f.Class]++
		if f.Bad {
			r.Bad = append(r.Bad, f.Text)
		}
	}
}

// String says it in a line.
func (r Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d acknowledged, %d lost, %d by two servers (%d late), %d written twice", r.Acks, len(r.Lost), len(r.Doubles), len(r.Late), len(r.Duplicates))
	if len(r.Gone) > 0 {
		fmt.Fprintf(&b, " (%d of them gone)", len(r.Gone))
	}
	if r.Resumed {
		fmt.Fprintf(&b, ", down %s", r.Downtime.Round(time.Millisecond))
	}
	fmt.Fprintf(&b, ", longest pause %s", r.Pause.Round(time.Millisecond))
	for _, class := range slices.SortedFunc(maps.Keys(r.Errors), func(x, y string) int { return cmp.Compare(r.Errors[y], r.Errors[x]) }) {
		fmt.Fprintf(&b, ", %d× %s", r.Errors[class], class)
	}
	if len(r.Bad) > 0 {
		fmt.Fprintf(&b, "; %d errors that no retry heals, such as %q", len(r.Bad), r.Bad[0])
	}
	return b.String()
}
