// Package flow is the state of a site's move from one name server to another, as a
// pure machine: it is told what happened and when, and says what may happen next. The
// document that it works on can be stored as JSON.
package flow

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// State is how far a move is.
type State string

// States, in their order. Released and Abandoned are ends.
const (
	Imported  State = "imported"  // the configuration has been read
	Shadow    State = "shadow"    // the new server has the zones, at an address that no client asks
	Green     State = "green"     // compared without a difference, often and long enough
	CutOver   State = "cutover"   // clients ask the new server; the old one is kept warm
	Released  State = "released"  // the old server is given up: no way back
	Abandoned State = "abandoned" // the move was given up; clients ask the old server
)

// maxRuns and maxSteps bound the document.
const (
	maxRuns  = 50
	maxSteps = 100
)

// Policy says when comparisons are enough.
type Policy struct {
	Hours float64 `json:"hours"` // that all comparisons must have been green; 24 by default
	Runs  int     `json:"runs"`  // green comparisons in a row; 3 by default
	Fresh float64 `json:"fresh"` // hours that the last may be old at the cutover; 1 by default
}

// Default is the policy when none is given.
var Default = Policy{Hours: 24, Runs: 3, Fresh: 1}

// Graduation is a move, as it is stored.
type Graduation struct {
	ID         string    `json:"id"`
	State      State     `json:"state"`
	Since      time.Time `json:"since"` // of the state
	Old        string    `json:"old"`   // address:port of the server that is left
	New        string    `json:"new"`
	Zones      int       `json:"zones"`
	Blockers   int       `json:"blockers"` // findings that nobody has accepted yet
	Policy     Policy    `json:"policy"`
	Runs       []Run     `json:"runs,omitempty"`       // the newest last, as many as fit
	GreenSince time.Time `json:"green_since,omitzero"` // begin of the first of the last green runs in a row
	GreenRuns  int       `json:"green_runs,omitempty"` // in a row
	Steps      []Step    `json:"steps,omitempty"`      // what was done, the newest last
	Rollbacks  int       `json:"rollbacks,omitempty"`
}

// Run is one comparison.
type Run struct {
	At          time.Time `json:"at"` // its end
	Began       time.Time `json:"began"`
	Zones       int       `json:"zones"`
	Differing   int       `json:"differing"`
	Differences int       `json:"differences"`
	Weak        int       `json:"weak"` // zones whose names could only be guessed
	Complete    bool      `json:"complete"`
	Without     []string  `json:"without,omitempty"` // what was left out by the operator's choice: "TTLs"
}

// Green reports whether the run had all of n zones and found nothing.
func (r Run) Green(n int) bool {
	return r.Complete && r.Differences == 0 && r.Weak == 0 && r.Zones >= n && n > 0
}

// Step is something that was done.
type Step struct {
	At    time.Time `json:"at"`
	From  State     `json:"from"`
	To    State     `json:"to"`
	Actor string    `json:"actor,omitempty"`
	Why   string    `json:"why,omitempty"`
}

// Errors of events that may not happen now, wrapped with what to do.
var (
	ErrOrder = errors.New("it is not the turn of this step")
	ErrGate  = errors.New("the comparisons are not enough")
)

// Start begins a move.
func Start(id, old, other string, zones, blockers int, p Policy, at time.Time) (Graduation, error) {
	switch {
	case old == other:
		return Graduation{}, fmt.Errorf("graduation %s: old and new server are the same, %s; name another address for the new one", id, old)
	case zones == 0:
		return Graduation{}, fmt.Errorf("graduation %s: no zones; nothing is to be moved", id)
	}
	if p.Hours < 0 || p.Runs < 0 || p.Fresh < 0 {
		return Graduation{}, fmt.Errorf("graduation %s: a policy with negative figures; use hours and runs of 0 or more", id)
	}
	if p == (Policy{}) {
		p = Default
	}
	return Graduation{ID: id, State: Imported, Since: at, Old: old, New: other, Zones: zones, Blockers: blockers, Policy: p}, nil
}

// Provisioned says that the new server has all zones.
func (g Graduation) Provisioned(at time.Time, actor string) (Graduation, error) {
	if g.State != Imported {
		return g, g.order("provision", Imported)
	}
	return g.to(Shadow, at, actor, "the new server has the zones"), nil
}

// Accepted says that a person has dealt with all blockers, why says how.
func (g Graduation) Accepted(at time.Time, actor, why string) (Graduation, error) {
	if g.over() || g.State == CutOver {
		return g, g.order("accept", Shadow)
	}
	g.Blockers = 0
	return g.to(g.State, at, actor, "findings accepted: "+why), nil
}

// Compared takes a comparison. A difference takes Green back; after the cutover it is
// only noted, for then the old server may lag behind.
func (g Graduation) Compared(r Run) (Graduation, error) {
	if g.State == Imported || g.over() {
		return g, g.order("compare", Shadow)
	}
	g.Runs = tail(append(slices.Clip(g.Runs), r), maxRuns)
	if !r.Green(g.Zones) {
		g.GreenSince, g.GreenRuns = time.Time{}, 0
		if g.State == Green {
			return g.to(Shadow, r.At, "", fmt.Sprintf("%d differences in %d zones", r.Differences, r.Differing)), nil
		}
		return g, nil
	}
	if g.GreenRuns == 0 {
		g.GreenSince = r.Began
	}
	g.GreenRuns++
	if ok, _ := g.enough(); ok && g.State == Shadow {
		return g.to(Green, r.At, "", fmt.Sprintf("%d comparisons without a difference since %s", g.GreenRuns, g.GreenSince.UTC().Format(time.RFC3339))), nil
	}
	return g, nil
}

// enough says whether the green runs fulfil the policy, and what is lacking.
func (g Graduation) enough() (bool, string) {
	need := time.Duration(g.Policy.Hours * float64(time.Hour))
	switch {
	case g.GreenRuns == 0 && len(g.Runs) == 0:
		return false, "nothing was compared yet; run: kaname zone compare --name " + g.ID
	case g.GreenRuns == 0:
		last := g.Runs[len(g.Runs)-1]
		switch {
		case last.Green(g.Zones): // the count was begun anew
			return false, "nothing was compared since clients were sent back; run: kaname zone compare --name " + g.ID
		case last.Differences == 0 && last.Weak > 0:
			return false, fmt.Sprintf("the names of %d zones could only be guessed; allow a transfer or give their zone files", last.Weak)
		case last.Differences == 0:
			return false, fmt.Sprintf("the last comparison had %d of %d zones; compare all", last.Zones, g.Zones)
		}
		return false, fmt.Sprintf("the last comparison found %d differences in %d zones; mend them and compare again", last.Differences, last.Differing)
	case g.GreenRuns < g.Policy.Runs:
		return false, fmt.Sprintf("%d of %d green comparisons in a row", g.GreenRuns, g.Policy.Runs)
	}
	// Counted to the last run, not to now: nobody knows what was after it.
	if span := g.Runs[len(g.Runs)-1].At.Sub(g.GreenSince); span < need {
		return false, fmt.Sprintf("green for %s of %s", span.Round(time.Second), need)
	}
	return true, ""
}

// Ready says whether clients may be sent to the new server now, and if not, what is
// lacking.
func (g Graduation) Ready(at time.Time) (bool, string) {
	switch {
	case g.State == Imported:
		return false, "the new server does not have the zones yet"
	case g.State != Shadow && g.State != Green:
		return false, "the move is " + string(g.State)
	case g.Blockers > 0:
		return false, fmt.Sprintf("%d findings of the import block the move; deal with them and accept them", g.Blockers)
	}
	if ok, why := g.enough(); !ok {
		return false, why
	}
	last := g.Runs[len(g.Runs)-1].At
	if fresh := time.Duration(g.Policy.Fresh * float64(time.Hour)); fresh > 0 && at.Sub(last) > fresh {
		return false, fmt.Sprintf("the last comparison is %s old, more than %s; compare again", at.Sub(last).Round(time.Minute), fresh)
	}
	return true, ""
}

// Switched says that clients are sent to the new server. Unless the move is ready it is
// refused; force, with why, overrides all but the order.
func (g Graduation) Switched(at time.Time, actor string, force bool, why string) (Graduation, error) {
	if g.State != Shadow && g.State != Green {
		return g, g.order("cut over", Green)
	}
	if ok, lack := g.Ready(at); !ok && !force {
		return g, fmt.Errorf("graduation %s: %w: %s", g.ID, ErrGate, lack)
	} else if !ok {
		why = "forced though " + lack + ": " + why
	}
	return g.to(CutOver, at, actor, why), nil
}

// RolledBack says that clients are sent to the old server again. The new one keeps its
// zones, and comparisons start anew.
func (g Graduation) RolledBack(at time.Time, actor, why string) (Graduation, error) {
	if g.State != CutOver {
		return g, g.order("roll back", CutOver)
	}
	g.Rollbacks++
	g.GreenSince, g.GreenRuns = time.Time{}, 0
	return g.to(Shadow, at, actor, why), nil
}

// Released says that the old server is given up. There is no way back.
func (g Graduation) Released(at time.Time, actor string) (Graduation, error) {
	if g.State != CutOver {
		return g, g.order("release", CutOver)
	}
	return g.to(Released, at, actor, "the old server is given up"), nil
}

// Abandoned says that the move is given up before clients were sent over.
func (g Graduation) Abandoned(at time.Time, actor, why string) (Graduation, error) {
	if g.over() || g.State == CutOver {
		return g, g.order("abandon", Shadow)
	}
	return g.to(Abandoned, at, actor, why), nil
}

func (g Graduation) over() bool { return g.State == Released || g.State == Abandoned }

// order is the error of a step that is not due.
func (g Graduation) order(step string, want State) error {
	hint := "it is " + string(g.State) + ", and this step follows " + string(want)
	if g.over() {
		hint = "it has ended as " + string(g.State) + "; begin a new one"
	} else if g.State == CutOver && want != CutOver {
		hint = "it is cut over; roll back first, or release"
	}
	return fmt.Errorf("graduation %s: cannot %s: %w: %s", g.ID, step, ErrOrder, hint)
}

func (g Graduation) to(s State, at time.Time, actor, why string) Graduation {
	g.Steps = tail(append(slices.Clip(g.Steps), Step{At: at, From: g.State, To: s, Actor: actor, Why: why}), maxSteps)
	if g.State != s {
		g.State, g.Since = s, at
	}
	return g
}

// tail returns the last n.
func tail[T any](list []T, n int) []T { return list[max(0, len(list)-n):] }
