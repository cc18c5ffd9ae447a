package action

import (
	"encoding/json"
	"time"
)

// Plan is what an action would do, said before it does it.
type Plan struct {
	Summary  string   `json:"summary"`            // one sentence
	Steps    []Step   `json:"steps,omitempty"`    // in order; empty means there is nothing to do
	Warnings []string `json:"warnings,omitempty"` // what a careful person would want to know first
	// Ground identifies the state that the plan was made on. A door that shows a
	// plan hands its Ground back with the call; when a new plan's Ground differs,
	// the call is refused with a conflict.
	Ground string `json:"ground,omitempty"`
}

// Step is one line of a plan.
type Step struct {
	Host string `json:"host,omitempty"` // where; empty means the whole
	What string `json:"what"`           // what happens there
}

// State is how far a step of a run has come.
type State string

// The states of a step.
const (
	StateRunning State = "running"
	StateDone    State = "done"
	StateFailed  State = "failed"
	StateSkipped State = "skipped"
)

// Event is one line of a run's story: the command line prints it, the console
// and the bot show it, the audit keeps the outcome.
type Event struct {
	Time  time.Time       `json:"time"`
	Run   string          `json:"run,omitempty"`
	Host  string          `json:"host,omitempty"`  // where it happened; empty means the coordinator
	Step  string          `json:"step,omitempty"`  // "fetch", "unpack", "wave 2/3"
	State State           `json:"state,omitempty"` // how far the step has come
	Text  string          `json:"text,omitempty"`  // a sentence for people
	Done  int64           `json:"done,omitempty"`  // progress within the step, in Unit
	Total int64           `json:"total,omitempty"` // 0 when unknown
	Unit  string          `json:"unit,omitempty"`  // "bytes", "files", "hosts"
	Data  json.RawMessage `json:"data,omitempty"`  // for programs
}

// Actor is who asked, through which door, with which role.
type Actor struct {
	Name string `json:"name"`           // "alice", "root@unix"
	Door string `json:"door"`           // cli, console, api, bot, agent
	Role string `json:"role,omitempty"` // viewer, operator, admin
}

// Run is one call of an action in progress.
type Run struct {
	ID    string // a ULID
	Actor Actor
	// Emit receives each event; it must not block for long. Nil drops them.
	Emit func(Event)
}

// Say emits an event with the run's id and the present time filled in.
func (r *Run) Say(e Event) {
	if r == nil || r.Emit == nil {
		return
	}
	e.Run = r.ID
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	r.Emit(e)
}

// Note emits a text event for the coordinator.
func (r *Run) Note(text string) { r.Say(Event{Text: text}) }
