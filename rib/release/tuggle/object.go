// Package tuggle speaks tuggle's HTTP interface, so that scripts written for it keep
// working: PUT, GET, HEAD and DELETE of /NAME, GET / as a list, ?sync, ?graph, ?ping,
// the slave mode, its headers. Behind it stands a Cluster, which stores, finds and
// moves the bytes the way releases are moved: verified, from several peers at once.
//
// The interface has no authentication, as tuggle's has none; it therefore listens
// on loopback unless told otherwise. Hosts fetch from each other over mutual TLS,
// not through it.
package tuggle

import (
	"context"
	"crypto/md5" //nolint:gosec // tuggle's object id is the MD5 of the name; nothing depends on its strength
	"encoding/hex"
	"io"
	"time"

	"kaname.dev/kaname/rib/release/manifest"
)

// Object is a stored file, as tuggle's list shows it.
type Object struct {
	ID          string    `json:"id"` // MD5 of the name, hexadecimal
	Name        string    `json:"name"`
	ContentType string    `json:"content_type"`
	Size        int64     `json:"size"` // bytes
	CreatedAt   time.Time `json:"created_at"`

	// Content is the digest of the bytes: a host that was away while a name was
	// deleted and put again cannot serve what it held under it before.
	Content manifest.Digest `json:"sha256"`
}

// ID returns tuggle's object id for a name.
func ID(name string) string {
	sum := md5.Sum([]byte(name)) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

// Edge is one transfer, for the graph.
type Edge struct {
	From  string    `json:"from"` // the host that gave most of the bytes
	To    string    `json:"to"`
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// Cluster is what the interface needs of the hosts together.
type Cluster interface {
	// List returns all objects, sorted by name.
	List(ctx context.Context) ([]Object, error)
	// Find returns the object with the name, or a NotFound fault.
	Find(ctx context.Context, name string) (Object, error)
	// Create stores the bytes on this host and registers the name; when the name is
	// taken, also in a race, it returns an Exists fault and keeps nothing.
	Create(ctx context.Context, name, contentType string, r io.Reader) (Object, error)
	// Read opens the bytes from this host or, if remote is set, fetches them from
	// those that have them first; a NotFound fault otherwise.
	Read(ctx context.Context, o Object, remote bool) (io.ReadSeekCloser, error)
	// Replicate tells every host to fetch the object; it does not wait for them.
	Replicate(ctx context.Context, o Object) error
	// Delete removes the name everywhere, or returns a NotFound fault.
	Delete(ctx context.Context, name string) error
	// Graph returns who fetched the object from whom, in order of their start.
	Graph(ctx context.Context, name string) ([]Edge, error)
}
