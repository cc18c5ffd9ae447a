package judge

import (
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// View is all that the controller knows of a topology at one moment.
type View struct {
	Record  *topology.Record
	Members map[string]Known // by name; a member that is not there has never been heard of
	// Now is how long the controller has been reigning, on a monotonic clock. What was
	// heard before belongs to another reign.
	Now time.Duration
	// Began is the wall clock at the beginning of the reign. Pauses and the cooldown are
	// compared with Began plus Now, so that a clock that is stepped later changes nothing.
	Began time.Time
	// Late is for how long, of the last seconds, the controller itself did not come to
	// reading what was sent to it: that much silence proves nothing.
	Late time.Duration
	// Troubled is how many of the Watched topologies, this one included, have a primary
	// that does not speak. Many at once are a fault of the network or of the controller.
	Troubled, Watched int
}

// Known is what is known of a member.
type Known struct {
	Report *topology.Report `json:"report,omitempty"` // the last one; nil: none in this reign
	Age    time.Duration    `json:"age"`              // since the controller received it
	// Sight is the controller's own view of the member's SQL port; nil: it does not look.
	// Its durations are as of now.
	Sight *topology.Sight `json:"sight,omitempty"`
	// Look is what was found when the member was last asked for all; nil: not yet. It is
	// used for findings and repairs only, never for a failover.
	Look *Look `json:"-"`
}

// Look is what order.Look of a member, and then of the primary, has told.
type Look struct {
	Executed gtid.Set
	// Errants are what it has and the primary has not: see gtid.Errant, also for why the
	// primary must have been asked after it.
	Errants gtid.Errants
	// Contained: the primary, asked after it, had executed all that it had.
	Contained bool
	// Aside is what its agent has written to a file last.
	Aside    *order.Aside
	Below    []string        // order.Details.Below
	Findings []order.Finding // what its agent found by itself: settings, clock, name resolution
}

// Fresh is how old a report may be so that what it says still counts as how it is.
// Agents report each topology.Beat, and at once when something changes.
const Fresh = 2 * topology.Beat

// first is how long an agent may take to find a controller that has just begun.
const first = 2 * topology.Beat
