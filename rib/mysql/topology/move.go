package topology

import (
	"maps"
	"slices"
	"time"
)

// Kind is why the primary moves.
type Kind string

// The kinds of moves.
const (
	Failover   Kind = "failover"
	Switchover Kind = "switchover"
)

// Step is how far a move has come. Each step can be done again by the next controller.
type Step string

// The steps, in their order. A switchover closes the old primary by consent before it
// freezes the others; a failover begins with Freeze and fences the old one besides.
const (
	Close   Step = "close"   // switchover: the old primary takes no more writes and says where it ended
	Freeze  Step = "freeze"  // no acker receives from the old primary any more
	Choose  Step = "choose"  // by coverage, then by policy; stored before anything follows from it
	Level   Step = "level"   // the candidate gets what others have and it lacks
	Promote Step = "promote" // it opens, when the old one is closed for certain
	Lead    Step = "lead"    // endpoints lead to it
	Follow  Step = "follow"  // the others replicate from it
	Undo    Step = "undo"    // before Promote nothing is lost: back to the old primary
	Done    Step = "done"
)

// Move is a move of the primary, in progress or ended.
type Move struct {
	Kind    Kind      `json:"kind"`
	From    string    `json:"from"`
	To      string    `json:"to,omitempty"` // once chosen, or as asked for
	Asked   string    `json:"asked,omitempty"`
	Step    Step      `json:"step"`
	Started time.Time `json:"started"`
	By      string    `json:"by"`    // the person, or "kaname"
	Why     []string  `json:"why"`   // the verdict's reasons
	Forced  bool      `json:"force"` // an operator accepts that acknowledged writes may be missing
	Drill   bool      `json:"drill,omitempty"`
	// Quiet: the verdict stands on silence, so that a replica that still hears the old
	// primary calls the move off. Kill: the old primary may be killed.
	Quiet bool `json:"quiet,omitempty"`
	Kill  bool `json:"kill,omitempty"`
	// Doubt says why acknowledged writes may be on no replica, as far as that was known
	// before the move: the primary had fallen back to asynchronous replication.
	Doubt []string `json:"doubt,omitempty"`
	// Frozen is what each frozen replica said, by name.
	Frozen map[string]Frozen `json:"frozen,omitempty"`
	// Fenced says how the old primary was closed; empty while that is not certain.
	Fenced string `json:"fenced,omitempty"`
	// Need is the GTID set that the new primary must have before it opens.
	Need string `json:"need,omitempty"`
	// Proven: Need covers every acknowledged write. Missing says what may be missing otherwise.
	Proven  bool     `json:"proven"`
	Missing []string `json:"missing,omitempty"`
	Log     []Entry  `json:"log,omitempty"` // what was done, and why
}

// Frozen is what a replica says when it has stopped receiving.
type Frozen struct {
	Received string `json:"received"` // GTID set: what is applied or in the relay log
	Executed string `json:"executed"`
	// Granted is how long ago it last told the old primary's agent that this may stay
	// open; negative when it never has since its start.
	Granted time.Duration `json:"granted"`
	// Applies is false when what it has received cannot be applied: Trouble says why.
	Applies bool   `json:"applies"`
	Trouble string `json:"trouble,omitempty"`
	Version string `json:"version,omitempty"`
	// Short says why it may lack something that it has acknowledged: its server was started
	// again, MariaDB (or relay_log_recovery) then drops what was received and not applied,
	// and it has not caught up with the primary since.
	Short string `json:"short,omitempty"`
	// Behind is how far the applier was behind what had been received.
	Behind time.Duration `json:"behind,omitempty"`
}

// Entry is a line of a move's story.
type Entry struct {
	At   time.Duration `json:"at"` // since Started
	Text string        `json:"text"`
}

// Outcome is a move that has ended.
type Outcome struct {
	Move     Move          `json:"move"`
	Ended    time.Time     `json:"ended"`
	OK       bool          `json:"ok"`
	Took     time.Duration `json:"took"`                   // from Started until clients were led to the new primary
	Acked    string        `json:"acknowledged,omitempty"` // by whom
	Epoch    uint64        `json:"epoch"`
	Problems []string      `json:"problems,omitempty"` // what is left: a replica that does not follow
}

func (m *Move) clone() Move {
	c := *m
	c.Why, c.Missing, c.Log = slices.Clone(m.Why), slices.Clone(m.Missing), slices.Clone(m.Log)
	c.Doubt = slices.Clone(m.Doubt)
	c.Frozen = maps.Clone(m.Frozen)
	return c
}
