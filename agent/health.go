package agent

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// Part is the state of one part of the agent, as /readyz shows it.
type Part struct {
	Name   string    `json:"name"` // "plane", "rib release", "listener peer"
	OK     bool      `json:"ok"`
	Detail string    `json:"detail,omitempty"` // "joined as web3", or what is wrong
	Since  time.Time `json:"since"`            // of this state
}

// Readiness is the answer of /readyz.
type Readiness struct {
	Ready    bool   `json:"ready"`
	Host     string `json:"host"`
	Core     bool   `json:"core"`
	Version  string `json:"version"`
	Protocol int    `json:"protocol"` // revision of what hosts say to each other
	Parts    []Part `json:"parts"`
}

// health collects the states of the parts. It is safe for concurrent use.
type health struct {
	now   func() time.Time
	mu    sync.Mutex
	parts map[string]Part
}

func newHealth() *health { return &health{now: time.Now, parts: map[string]Part{}} }

// set notes the state of a part; an unchanged verdict keeps its time.
func (h *health) set(name string, ok bool, detail string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, known := h.parts[name]
	if !known || p.OK != ok {
		p.Since = h.now().UTC()
	}
	p.Name, p.OK, p.Detail = name, ok, detail
	h.parts[name] = p
}

// report returns the parts by name, and whether all are well. Nothing is well
// before the first part has spoken.
func (h *health) report() (parts []Part, ready bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ready = len(h.parts) > 0
	for _, p := range h.parts {
		parts = append(parts, p)
		ready = ready && p.OK
	}
	slices.SortFunc(parts, func(a, b Part) int { return strings.Compare(a.Name, b.Name) })
	return parts, ready
}

// wrong names the parts that are not well, for the status line of systemd.
func (h *health) wrong() string {
	parts, _ := h.report()
	var list []string
	for _, p := range parts {
		if !p.OK {
			list = append(list, p.Name+": "+p.Detail)
		}
	}
	return strings.Join(list, "; ")
}
