package api

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

// RunState is how far a run has come.
type RunState string

// The states of a run. From running it goes to exactly one of the others, and stays.
const (
	RunRunning  RunState = "running"
	RunDone     RunState = "done"
	RunFailed   RunState = "failed"
	RunCanceled RunState = "canceled"
)

// Run is one call of an action as the API shows it.
type Run struct {
	ID      string                     `json:"id"` // a ULID: sorts by time
	Action  string                     `json:"action"`
	Effect  string                     `json:"effect,omitempty"`
	Actor   action.Actor               `json:"actor"`
	Inputs  map[string]json.RawMessage `json:"inputs,omitempty"` // secrets starred
	State   RunState                   `json:"state"`
	Started time.Time                  `json:"started"`
	Ended   time.Time                  `json:"ended,omitzero"`
	Fault   *fault.Fault               `json:"fault,omitempty"`
	Result  json.RawMessage            `json:"result,omitempty"` // only for the actor: it may hold a token
	Host    string                     `json:"host,omitempty"`   // the core it ran on
}

// Line is one line of a run's stream: an event, or at the end the result or fault.
type Line struct {
	Seq    uint64          `json:"seq,omitempty"` // of the event; what Last-Event-ID names
	Event  *action.Event   `json:"event,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Fault  *fault.Fault    `json:"fault,omitempty"`
}

// Last reports whether the line ends the stream.
func (l Line) Last() bool { return l.Event == nil }

// maxLines is how many events of one run are kept; the oldest go first.
const maxLines = 4096

// run is one call in this process. Its lines are kept so that whoever comes late
// sees them too.
type run struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended

	mu      sync.Mutex // guards the fields below
	info    Run
	lines   []Line         // in order of Seq
	ticks   map[tick]int   // where in lines the last mere progress of a step stands
	gone    int            // lines left out in place: zero Seq
	seq     uint64         // of the newest line
	changed chan struct{}  // closed and replaced whenever something is added
	tell    func(seen Run) // told when it has ended
}

// tick names a step of which only the newest progress matters.
type tick struct{ host, step string }

// add keeps an event. A mere progress event takes the place of the step's last
// one, so that a long transfer does not push out what was said before it.
func (r *run) add(e action.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.info.State != RunRunning {
		return // a goroutine of the action that outlived it
	}
	key := tick{e.Host, e.Step}
	if old, ok := r.ticks[key]; ok {
		r.lines[old] = Line{}
		r.gone++
		delete(r.ticks, key)
	}
	r.seq++
	if e.State == action.StateRunning && e.Text == "" && e.Data == nil {
		r.ticks[key] = len(r.lines)
	}
	r.lines = append(r.lines, Line{Seq: r.seq, Event: &e})
	if len(r.lines) > maxLines || r.gone > 256 && r.gone > len(r.lines)/2 {
		r.compact()
	}
	r.wake()
}

// compact closes the gaps and drops the oldest lines beyond three quarters of the
// bound, so that it is not called for each event.
func (r *run) compact() {
	kept := make([]Line, 0, len(r.lines)-r.gone+1)
	for _, l := range r.lines {
		if l.Seq != 0 {
			kept = append(kept, l)
		}
	}
	if most := maxLines * 3 / 4; len(kept) > most {
		kept = kept[len(kept)-most:]
	}
	clear(r.ticks)
	for i, l := range kept {
		if e := l.Event; e.State == action.StateRunning && e.Text == "" && e.Data == nil {
			r.ticks[tick{e.Host, e.Step}] = i
		}
	}
	r.lines, r.gone = kept, 0
}

func (r *run) wake() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// end sets the outcome.
func (r *run) end(result json.RawMessage, err error, now time.Time) {
	r.mu.Lock()
	r.info.Ended, r.info.Result, r.info.Fault = now, result, fault.Of(err)
	switch {
	case err == nil:
		r.info.State = RunDone
	case fault.Is(err, fault.KindCanceled):
		r.info.State = RunCanceled
	default:
		r.info.State = RunFailed
	}
	info, tell := r.info, r.tell
	r.wake()
	r.mu.Unlock()
	close(r.done)
	tell(info)
}

// since returns the lines after the sequence, whether the run has ended, and a
// channel that is closed when there is more.
func (r *run) since(after uint64) (lines []Line, ended bool, more <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range slices.Backward(r.lines) {
		if seq := v.Seq; seq != 0 && seq <= after {
			break
		} else if seq != 0 {
			lines = append(lines, v)
		}
	}
	slices.Reverse(lines)
	return lines, r.info.State != RunRunning, r.changed
}

// snapshot returns the run as it is now; the result only if the viewer may see it.
func (r *run) snapshot(withResult bool) Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	info := r.info
	if !withResult {
		info.Result = nil
	}
	return info
}

// last returns the line that ends the stream.
func (r *run) last(withResult bool) Line {
	info := r.snapshot(withResult)
	if info.Fault != nil {
		return Line{Fault: info.Fault}
	}
	if info.Result == nil {
		info.Result = json.RawMessage("null")
	}
	return Line{Result: info.Result}
}
