// Package swarm spreads a pack from host to host while the hosts still receive it.
//
// A host gives with a Server, on which packs are shared, and takes with Fetch; both
// stand on the decisions of package schedule. Between two hosts there is one
// connection for each direction of asking: an HTTP/1.1 request on the peer listener
// that is upgraded (RFC 9110 §7.8) to a stream of frames, see wire.go. The asker tells what
// it covers; the supplier offers chunks, and sends those that are taken. Whatever
// arrives is verified by Pack.Put before it counts or goes on to others.
//
// The package does no authentication of its own: the caller brings clients and a
// listener that know their peers (mTLS), and says which hosts take part in a pack.
package swarm

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/bits-and-blooms/bitset"

	"kaname.dev/kaname/rib/release/swarm/schedule"
)

// Pack is what swarm needs of a pack that is here or being received. It is safe for
// concurrent use.
type Pack interface {
	// ID is the digest of the index, 64 lower-case hex digits.
	ID() string
	// Index returns the pack's index as it travels.
	Index() ([]byte, error)
	// Chunks returns how many chunks there are, at most MaxChunks.
	Chunks() int
	// Size returns the wire bytes of a chunk, from 1 to MaxChunk.
	Size(chunk int) int
	// Have returns a copy of the set of the chunks that are here; its length is Chunks.
	Have() *bitset.BitSet
	// Changed returns a channel that is closed at the next change of Have.
	Changed() <-chan struct{}
	// Put verifies a chunk and stores it; bytes that are not the chunk's are answered
	// with a fault of kind corrupt. Putting what is here already does nothing. The
	// bytes belong to the caller again when it returns.
	Put(ctx context.Context, chunk int, wire []byte) error
	// Open opens a chunk that is here.
	Open(chunk int) (io.ReadCloser, error)
}

// Bounds of what a pack may be; a peer that goes beyond them is dropped.
const (
	MaxChunks = 1 << 20  // chunks of a pack
	MaxChunk  = 16 << 20 // bytes of a chunk on the wire
	MaxIndex  = 64 << 20 // bytes of an index
)

// Peer is a host that takes part in the spread of a pack.
type Peer struct {
	Host    string `json:"host"`
	Address string `json:"address"` // host:port of its peer listener
	// Place is where it stands, the widest first: "zone/rack"; hosts of a place prefer
	// each other.
	Place string `json:"place,omitempty"`
	// Origin says that it has the whole pack from the start.
	Origin bool `json:"origin,omitempty"`
}

// FetchSpec says from whom and how a pack is fetched.
type FetchSpec struct {
	Self  string // this host's name, as the peers know it
	Place string // where this host stands
	// Peers are all hosts that take part, this one may be among them. All hosts should be
	// given the same, so that those who ask each other agree.
	Peers []Peer
	// Client makes requests to the peer listener of a host, HTTP/1.1 only; it must have
	// no total Timeout, since a connection lasts as long as the transfer.
	Client func(host string) *http.Client
	Limits *Limits // nil: unlimited
	Stats  *Stats  // nil: not counted
	Log    *slog.Logger
	Policy schedule.Policy
	// Progress is called now and then, and once at the end; may be nil.
	Progress func(Progress)
	// Dropped is called when a peer is dropped because it sent bad bytes or is far
	// slower than the others; may be nil.
	Dropped func(host string, why error)
	// Retry is the longest pause before a peer that does not answer is tried again; 5 s.
	Retry time.Duration
}

// Progress says how far a fetch is.
type Progress struct {
	Have   int   `json:"have"`   // chunks here
	Chunks int   `json:"chunks"` // chunks of the pack
	Bytes  int64 `json:"bytes"`  // wire bytes received by this fetch, verified
	Peers  int   `json:"peers"`  // peers connected to
	// Waiting says why nothing comes, when nothing does.
	Waiting string `json:"waiting,omitempty"`
}

// Paths on the peer listener; {id} is the pack's ID.
const (
	pathChunks = "/release/packs/{id}/chunks"
	pathIndex  = "/release/packs/{id}/index"
	protocol   = "kaname-swarm/1" // in the Upgrade header
)
