// Package rib says what a rib is: one capability of kaname, in one folder under
// rib/, that hangs on the plane and declares actions. A rib never imports another
// rib, a door or the agent; what it may touch is handed to it as a Node.
package rib

import (
	"context"
	"log/slog"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/plane"
)

// Rib is what a rib's folder exports, by a function Rib() that does no I/O: its
// actions can be listed, documented and completed with no agent running.
//
// The agent runs the rooms in this order: Config is filled, Attach, Run (in its
// own goroutine), and at the end ctx is cancelled and Run waited for.
type Rib struct {
	Name    string          // the folder's name and the first word of each action
	Summary action.Text     // one sentence without a final period
	Actions []action.Action // they run on a core
	// Config points to a struct holding the defaults of the configuration section
	// of the rib's name, with yaml tags; nil when there is none. If it has a
	// method Check() error, it is called after decoding.
	Config any
	// Attach readies the rib on this node: commands served, routes registered. It
	// must not block. Actions are called only afterwards, and only on cores.
	Attach func(n Node) error
	// Run is the rib's loop on this node; it returns when ctx ends. May be nil.
	Run func(ctx context.Context) error
	// Reload is given a freshly decoded and checked Config when the configuration was
	// read again, to take over what can change while the rib runs (limits); it must
	// not block. May be nil: then changes wait for the next start.
	Reload func(config any)
	// Complete finds, by the complete tag of a field, the candidates that begin with a
	// prefix; it is asked on cores and must end soon. Only what this rib knows of its own.
	Complete map[string]func(ctx context.Context, prefix string) ([]string, error)
	// Checks are what `kaname doctor` asks about this rib on this node.
	Checks []Check
}

// Node is what a rib gets to work with on one host, and all that it gets.
type Node struct {
	Host    string            // this host's name
	Labels  map[string]string // this host's labels
	Log     *slog.Logger      // carries host and rib already
	Plane   *plane.Plane
	Dir     string                // the rib's own state directory, on a local file system; exists
	Root    *os.Root              // Dir, opened
	Metrics prometheus.Registerer // names begin with kaname_<rib>_
	// Peers is the mux of this host's peer listener (mTLS: only hosts of the plane
	// reach it, see plane.PeerName). Patterns begin with /<rib>/.
	Peers *http.ServeMux
	// PeerClient makes requests to the peer listeners of other hosts. The URL names
	// the member's Address; the client accepts only the certificate of host.
	PeerClient func(host string) *http.Client
	// Actions lists everything that all ribs can do; a rib calls another by the
	// name of its action, never by import.
	Actions action.Catalog
}

// Check is one thing that `kaname doctor` looks at.
type Check struct {
	Name string // "disk space of the release store"
	// Look returns the verdict; it must end soon after ctx.
	Look func(ctx context.Context) Verdict
}

// Verdict is the outcome of a check.
type Verdict struct {
	OK       bool   `json:"ok"`
	Warn     bool   `json:"warn,omitempty"` // not OK, but nothing is broken yet
	Evidence string `json:"evidence"`       // what was seen: "12 % of /var/lib/kaname free"
	Remedy   string `json:"remedy,omitempty"`
}
