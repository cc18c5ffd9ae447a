package api

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

// How much a core remembers and does at once.
const (
	maxRunning  = 256       // runs at the same time
	maxFinished = 500       // ended runs that are remembered with their events
	keepEnded   = time.Hour // how long at most
)

// Runs are the runs of one core: those under way and, for a while, those that
// have ended. It is safe for concurrent use.
type Runs struct {
	wg sync.WaitGroup // one for each run under way

	mu      sync.Mutex // guards the fields below; taken before a run's own
	runs    map[string]*run
	order   []string // ids, oldest first
	running int
	closed  bool
	seen    []Run // the last changes of state, for followAll
	first   uint64
	changed chan struct{}
}

// NewRuns returns an empty registry.
func NewRuns() *Runs {
	return &Runs{runs: map[string]*run{}, changed: make(chan struct{})}
}

// begin registers a run under the id, or joins the run that has it already if it
// is the same actor's call of the same action.
func (rs *Runs) begin(info Run, cancel context.CancelFunc) (r *run, joined bool, err error) {
	rs.mu.Lock()
	if old, ok := rs.runs[info.ID]; ok {
		rs.mu.Unlock()
		if have := old.snapshot(false); have.Action != info.Action || have.Actor.Name != info.Actor.Name {
			return nil, false, fault.Conflict("run " + info.ID + " is another call").Try("leave the header " + HeaderRun + " out, or send a new ULID")
		}
		return old, true, nil
	}
	defer rs.mu.Unlock()
	switch {
	case rs.closed:
		return nil, false, fault.Unavailable("kaname is stopping").Try("ask another core, or later")
	case rs.running >= maxRunning:
		return nil, false, fault.Unavailable("too many runs are under way").Try("see: kaname run list")
	}
	r = &run{cancel: cancel, done: make(chan struct{}), info: info, ticks: map[tick]int{}, changed: make(chan struct{}), tell: rs.tell}
	rs.runs[info.ID] = r
	rs.order = append(rs.order, info.ID)
	rs.running++
	rs.wg.Add(1)
	rs.forget(info.Started)
	rs.note(info)
	return r, false, nil
}

// forget drops ended runs that are too many or too old; mu is held.
func (rs *Runs) forget(now time.Time) {
	ended := len(rs.order) - rs.running
	rs.order = slices.DeleteFunc(rs.order, func(id string) bool {
		info := rs.runs[id].snapshot(false)
		if info.State == RunRunning || ended <= maxFinished && now.Sub(info.Ended) < keepEnded {
			return false
		}
		ended--
		delete(rs.runs, id)
		return true
	})
}

// tell takes note that a run has ended.
func (rs *Runs) tell(info Run) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.running--
	rs.note(info)
	rs.wg.Done()
}

// maxSeen is how many changes of state a follower may lag behind.
const maxSeen = 1024

// note keeps a change of state for followers; mu is held.
func (rs *Runs) note(info Run) {
	info.Result = nil
	rs.seen = append(rs.seen, info)
	if n := len(rs.seen) - maxSeen; n > 0 {
		rs.seen = slices.Clone(rs.seen[n:])
		rs.first += uint64(n)
	}
	close(rs.changed)
	rs.changed = make(chan struct{})
}

// since returns the changes of state from the position on, the next position, and
// a channel that is closed when there is more.
func (rs *Runs) since(pos uint64) (changes []Run, next uint64, more <-chan struct{}) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	end := rs.first + uint64(len(rs.seen))
	if pos < rs.first {
		pos = rs.first
	}
	if pos < end {
		changes = slices.Clone(rs.seen[pos-rs.first:])
	}
	return changes, end, rs.changed
}

// find returns the run whose id is, or ends with, id.
func (rs *Runs) find(id string) (*run, error) {
	id = strings.ToUpper(id)
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r, ok := rs.runs[id]; ok {
		return r, nil
	}
	var found *run
	for have, r := range rs.runs {
		if len(id) >= 4 && strings.HasSuffix(have, id) {
			if found != nil {
				return nil, fault.Invalid("run " + cut(id, 30) + " names more than one").Try("give more of its characters")
			}
			found = r
		}
	}
	if found == nil {
		return nil, fault.NotFound("run " + cut(id, 30) + " is not known on this core").Try("see: kaname run list")
	}
	return found, nil
}

// list returns the runs, newest first.
func (rs *Runs) list() []Run {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	list := make([]Run, 0, len(rs.order))
	for _, id := range slices.Backward(rs.order) {
		list = append(list, rs.runs[id].snapshot(false))
	}
	return list
}

// close refuses new runs, cancels those under way and waits for them.
func (rs *Runs) close(ctx context.Context) error {
	rs.mu.Lock()
	rs.closed = true
	for _, r := range rs.runs {
		r.cancel()
	}
	rs.mu.Unlock()
	done := make(chan struct{})
	go func() { rs.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fault.Timeout("runs did not end in time when kaname stopped").Because(ctx.Err())
	}
}

// newID returns a run's id: the one that the client chose, if it is a ULID.
func newID(chosen string) (string, error) {
	if chosen == "" {
		return ulid.Make().String(), nil
	}
	id, err := ulid.ParseStrict(chosen)
	if err != nil {
		return "", fault.Invalid("header " + HeaderRun + " is not a ULID: " + cut(chosen, 40))
	}
	return id.String(), nil
}

// info describes a run that begins now.
func beginning(id string, a action.Action, who action.Actor, in action.Inputs, host string) Run {
	return Run{
		ID: id, Action: a.Name, Effect: a.Effect.String(), Actor: who, Inputs: in.Redacted(a.Fields),
		State: RunRunning, Started: time.Now().UTC(), Host: host,
	}
}
