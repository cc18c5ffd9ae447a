package bind

import (
	"context"
	"strings"
	"sync"
	"time"

	"kaname.dev/kaname/rib/zone/control/rndc"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/source"
)

// hints are zones that NOTIFYs tell of: one that is new is looked at alone, for with
// very many zones a list takes seconds.
type hints struct {
	names chan name.Name

	mu    sync.Mutex // guards the fields below
	known source.Set // as told last; nil until something was
	found map[name.Name]time.Time
}

func newHints() *hints {
	return &hints{names: make(chan name.Name, 256), found: map[name.Name]time.Time{}}
}

// hear takes a zone that is not known; when many come the list is soon enough.
func (h *hints) hear(n name.Name) {
	h.mu.Lock()
	known := h.known == nil || h.known[n]
	h.mu.Unlock()
	if known {
		return
	}
	select {
	case h.names <- n:
	default:
	}
}

// few is how many zones are looked at one by one; when more come at once the list is
// quicker.
const few = 16

// drain forgets what waits.
func (h *hints) drain() {
	for {
		select {
		case <-h.names:
		default:
			return
		}
	}
}

// told notes what is known.
func (h *hints) told(members source.Set) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known = members
}

// add notes a zone that was found by itself.
func (h *hints) add(n name.Name) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.found[n] = time.Now()
}

// missed adds to a list that was begun at a time the zones that were found since: it
// may be older than they are.
func (h *hints) missed(members source.Set, begun time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n, at := range h.found {
		if at.Before(begun) {
			delete(h.found, n)
			continue
		}
		members[n] = true
	}
}

// hurry reports zones of hints as soon as named says that it is their primary, until ctx
// ends. It needs rndc; without it the list finds them.
func (s *bind) hurry(ctx context.Context, tell func(context.Context, source.Report) error) {
	if s.o.Control == "" || s.o.KeyFile == "" {
		return
	}
	key, err := rndc.ReadKey(s.o.KeyFile, "")
	if err != nil {
		s.o.Log.Warn("new zones are found by lists only", "source", s.o.Name, "why", err)
		return
	}
	view, err := rndc.ViewOf(s.o.View)
	if err != nil {
		return // the list says it
	}
	control := rndc.New(s.o.Control, key, 5*time.Second)
	defer func() { _ = control.Close() }() // nothing is lost with it
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-s.quick.names:
			if len(s.quick.names) > few {
				s.quick.drain()
				continue
			}
			if !s.o.Allowed(n) || !isPrimary(ctx, control, n, view) {
				continue
			}
			s.quick.add(n)
			if err := tell(ctx, source.Report{Delta: &source.Delta{Add: []source.Member{{Name: n}}}}); err != nil {
				s.o.Log.Debug("a report was not taken", "source", s.o.Name, "error", err) // the list reports it again
			}
		}
	}
}

// isPrimary asks named whether it has the zone as a primary.
func isPrimary(ctx context.Context, c *rndc.Client, n name.Name, v rndc.View) bool {
	text, err := c.Do(ctx, rndc.ZoneStatus(n, v))
	if err != nil {
		return false
	}
	for line := range strings.Lines(text) {
		if kind, ok := strings.CutPrefix(strings.TrimSpace(line), "type: "); ok {
			return kind == "primary" || kind == "master"
		}
	}
	return false
}
