// Package plane is the pin of the fan: the few primitives on which every rib
// stands. Members are the hosts; Documents are typed values changed only by
// compare-and-set; a Lease has one holder and an epoch that only grows; Events
// are an append-only log; Serve and Call let a core command hosts.
//
// Behind it is NATS JetStream, embedded, clustered or external by configuration.
// No other package imports NATS. Bulk bytes never travel here: hosts exchange
// them directly.
//
// A process is either a core, which holds or reaches the store, decides and
// commands, or a plain host, which may only announce itself, append its own events and
// serve the commands that cores have signed.
package plane

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"iter"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

// Plane is one process's hold on the plane. It is safe for concurrent use.
type Plane struct{}

// Host returns the name of this host.
func (p *Plane) Host() string { panic("unwritten") }

// IsCore reports whether this process may use Documents, Lease, Events and Call.
// On a plain host these return a Denied fault.
func (p *Plane) IsCore() bool { panic("unwritten") }

// Member is a host as the cores know it.
type Member struct {
	Host     string            `json:"host"`
	Labels   map[string]string `json:"labels,omitempty"`
	Version  string            `json:"version"`            // of kaname on that host
	Address  string            `json:"address,omitempty"`  // host:port of its peer listener (mTLS)
	Core     bool              `json:"core,omitempty"`     // whether it is a core
	Commands map[string]int    `json:"commands,omitempty"` // commands served there, with their newest version
	Alive    bool              `json:"alive"`              // heard of within the last three heartbeats
	Seen     time.Time         `json:"seen"`               // of the last heartbeat, by the core's clock
	Started  time.Time         `json:"started"`            // of the process there
}

// Members returns all known hosts, sorted by name, dead ones included.
func (p *Plane) Members(ctx context.Context) ([]Member, error) { panic("unwritten") }

// WatchMembers yields a member whenever one joins, changes, goes silent or comes
// back, beginning with all that are known. It ends with ctx.
func (p *Plane) WatchMembers(ctx context.Context) iter.Seq[Member] { panic("unwritten") }

// Doc is one version of a document.
type Doc[T any] struct {
	Key      string
	Value    T
	Revision uint64 // rises with each change; 0 means not stored
}

// Docs is a bucket of documents of one type.
type Docs[T any] struct{}

// Documents returns the bucket with the name, made at first use. Values are
// stored as JSON; fields unknown to T are lost when T is written back, so types
// only grow.
func Documents[T any](p *Plane, bucket string) Docs[T] { panic("unwritten") }

// Get returns the document, or a NotFound fault. What it returns may be old
// already: decide with Swap or Update.
func (d Docs[T]) Get(ctx context.Context, key string) (Doc[T], error) { panic("unwritten") }

// Create stores a new document, or returns an Exists fault.
func (d Docs[T]) Create(ctx context.Context, key string, v T) (Doc[T], error) { panic("unwritten") }

// Swap replaces the document if its revision is still doc.Revision, otherwise
// returns a Conflict fault. It returns the new revision.
func (d Docs[T]) Swap(ctx context.Context, doc Doc[T]) (Doc[T], error) { panic("unwritten") }

// Update reads, changes and swaps until no one else interfered; a missing
// document is given as the zero T with Revision 0. An error from change ends it.
func (d Docs[T]) Update(ctx context.Context, key string, change func(*T) error) (Doc[T], error) {
	panic("unwritten")
}

// Delete removes the document if its revision is still doc.Revision.
func (d Docs[T]) Delete(ctx context.Context, doc Doc[T]) error { panic("unwritten") }

// List returns the documents whose keys begin with prefix, sorted by key.
func (d Docs[T]) List(ctx context.Context, prefix string) ([]Doc[T], error) { panic("unwritten") }

// Change is one step of a Watch.
type Change[T any] struct {
	Doc[T]
	Deleted bool
	Ready   bool // all documents present at the start have been given; carries no document
}

// Watch yields the documents whose keys begin with prefix, a Change with Ready,
// and then each change as it happens. It survives reconnections and ends with ctx.
func (d Docs[T]) Watch(ctx context.Context, prefix string) iter.Seq2[Change[T], error] {
	panic("unwritten")
}

// Epoch is the fencing token of a lease: it only grows.
type Epoch uint64

// LeaseOptions sets how long a lease lasts without renewal.
type LeaseOptions struct {
	TTL time.Duration // zero means the plane's default for its mode: 5 s embedded, 20 s clustered
	// Why is shown to those who find the lease taken: "deploy of shop 1.4.2 by alice".
	Why string
	// Try returns a Conflict fault naming the holder at once instead of waiting.
	Try bool
}

// Lease is held by at most one process at any time.
type Lease struct{}

// Lease blocks until the lease is held or ctx ends.
func (p *Plane) Lease(ctx context.Context, name string, o LeaseOptions) (*Lease, error) {
	panic("unwritten")
}

// Epoch returns the fencing token under which the lease was granted.
func (l *Lease) Epoch() Epoch { panic("unwritten") }

// Context is cancelled before the lease can be granted to another; its cause is
// a Conflict fault.
func (l *Lease) Context() context.Context { panic("unwritten") }

// Release gives the lease back, so that the next one need not wait for its TTL.
func (l *Lease) Release(ctx context.Context) error { panic("unwritten") }

// Event is an entry of the plane's log.
type Event struct {
	Seq   uint64          `json:"seq"`
	Time  time.Time       `json:"time"` // when the store took it
	Host  string          `json:"host"` // who appended it; enforced by permissions, not claimed
	Topic string          `json:"topic"`
	Data  json.RawMessage `json:"data"`
}

// Emit appends an event under a topic such as "release.deploy"; it returns when
// the store has it.
func (p *Plane) Emit(ctx context.Context, topic string, v any) error { panic("unwritten") }

// Follow yields the events whose topic begins with prefix, from sequence from
// (0: from now on; 1: all that are kept), and then those that come. It ends with ctx.
func (p *Plane) Follow(ctx context.Context, prefix string, from uint64) iter.Seq2[Event, error] {
	panic("unwritten")
}

// Call identifies one command on one host, as its server sees it.
type Call struct {
	ID    string       // the caller's ULID; the same id is never done twice on a host within 24 h
	Actor action.Actor // who asked, as signed by the core
	Epoch Epoch        // of the lease under which it was sent; 0 without
	// Progress streams a value back to the caller; at most 64 KiB as JSON.
	Progress func(v any)
}

// Serve offers a command on this host under a name such as "release.stage".
// version rises when a required field is added. A command that is unknown here,
// of a newer version, badly signed, expired, not for this host or of an epoch
// lower than one seen before for its lease is answered with a clear fault.
func Serve[In, Out any](p *Plane, name string, version int, fn func(ctx context.Context, c *Call, in In) (Out, error)) error {
	panic("unwritten")
}

// CallSpec is one command to some hosts.
type CallSpec struct {
	ID      string        // a ULID; made when empty
	Command string        // "release.stage"
	Version int           // the version that In was written for; 1 when 0
	Hosts   []string      // the addressed hosts
	In      any           // marshalled to JSON; at most 512 KiB
	Timeout time.Duration // until a host counts as silent after its last frame; 30 s when 0
	Lease   *Lease        // the lease under which it is sent, if any; its epoch goes along
	Actor   action.Actor  // who asked
}

// Frame is one message of a call on its way back.
type Frame struct {
	Host     string
	Progress json.RawMessage // set for progress
	Result   json.RawMessage // set for the last frame of a host that succeeded
	Fault    *fault.Fault    // set for the last frame of a host that failed or fell silent
}

// Last reports whether no more frames come from the host.
func (f Frame) Last() bool { return f.Progress == nil }

// Call sends a command and yields the frames of all hosts as they come, each
// host ending with exactly one last frame. It ends when all have, or with ctx.
func (p *Plane) Call(ctx context.Context, c CallSpec) iter.Seq[Frame] { panic("unwritten") }

// CallOne sends a command to one host and waits for its result; progress, if not
// nil, is given each progress frame.
func CallOne[Out any](ctx context.Context, p *Plane, host string, c CallSpec, progress func(json.RawMessage)) (Out, error) {
	panic("unwritten")
}

// PeerTLS returns TLS configurations for direct connections between hosts: the
// server side demands a certificate of the plane's CA, and the client side
// accepts only the certificate of the host it means to reach (ServerName = host name).
func (p *Plane) PeerTLS() (server, client *tls.Config) { panic("unwritten") }

// PeerName returns the host named in a verified peer certificate.
func PeerName(cs tls.ConnectionState) (string, error) { panic("unwritten") }
