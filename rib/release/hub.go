package release

import (
	"sync"
	"time"

	"kaname.dev/kaname/action"
)

// maxHubEvents is how many events of a deploy are kept for those who come late.
const maxHubEvents = 2000

// hub tells the events of one deploy to everybody who watches it on this core.
type hub struct {
	mu      sync.Mutex // guards the fields below
	events  []action.Event
	first   int // number of events[0]
	changed chan struct{}
	over    bool
}

func newHub() *hub { return &hub{changed: make(chan struct{})} }

// say adds an event. A mere progress event replaces the host's last one of that step.
func (h *hub) say(e action.Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
	if n := len(h.events) - maxHubEvents; n > 0 {
		h.events, h.first = h.events[n:], h.first+n
	}
	close(h.changed)
	h.changed = make(chan struct{})
}

// end says that no more events come.
func (h *hub) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	close(h.changed)
	h.changed = make(chan struct{})
}

// since returns the events from a number on, the next number, whether it is over, and
// a channel that is closed when there is more.
func (h *hub) since(n int) (events []action.Event, next int, over bool, more <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n = max(n, h.first)
	end := h.first + len(h.events)
	return append([]action.Event(nil), h.events[n-h.first:]...), end, h.over, h.changed
}
