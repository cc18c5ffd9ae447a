// Package files keeps single files that must come back bit-exact on the hosts of
// the plane: what the tuggle interface puts and gets.
//
// The cores hold one document per name: digest, pack, who has it, who took it from
// whom. Hosts ask them, and fetch the bytes from each other as they fetch releases.
// A name belongs to one content for as long as its document lives, so a host that
// was away while a name was deleted and put again cannot serve what it held before.
package files

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/store"
	"kaname.dev/kaname/rib/release/swarm"
	"kaname.dev/kaname/rib/release/tuggle"
)

// Options is what a node brings.
type Options struct {
	Plane        *plane.Plane
	Store        *store.Store
	Server       *swarm.Server
	Client       func(host string) *http.Client // as swarm.FetchSpec.Client
	Limits       *swarm.Limits
	Stats        *swarm.Stats
	Place        string        // where this host stands, as swarm.Peer.Place
	Slave        bool          // takes files and gives none
	FetchTimeout time.Duration // of one file; 10 m when 0, as tuggle's
	Log          *slog.Logger
}

// Files is the part of a node in it. It implements tuggle.Cluster.
type Files struct {
	o       Options
	core    *registry          // nil on plain hosts
	flights singleflight.Group // one fetch per content, however many ask

	mu     sync.Mutex // guards shared
	shared map[manifest.Digest]func()
}

var _ tuggle.Cluster = (*Files)(nil)

// New readies this node: it answers and serves. It gives nothing before Open.
func New(o Options) (*Files, error) {
	if o.FetchTimeout == 0 {
		o.FetchTimeout = 10 * time.Minute
	}
	f := &Files{o: o, shared: map[manifest.Digest]func(){}}
	if o.Plane.IsCore() {
		f.core = newRegistry(o.Plane, o.Log)
		if err := f.core.answer(); err != nil {
			return nil, err
		}
	}
	if err := plane.Serve(o.Plane, "release.file.fetch", 1, f.onFetch); err != nil {
		return nil, err
	}
	if err := plane.Serve(o.Plane, "release.file.drop", 1, f.onDrop); err != nil {
		return nil, err
	}
	return f, nil
}

// Open gives what this node has to whoever asks, until Close.
func (f *Files) Open() {
	for _, have := range f.o.Store.OpaqueFiles() {
		f.share(have.Pack)
	}
}

// Tidy forgets the files whose names were deleted, or put again with other bytes,
// while this host was away. It waits for the cores until ctx ends.
func (f *Files) Tidy(ctx context.Context) error {
	for _, have := range f.o.Store.OpaqueFiles() {
		if err := f.dropStale(ctx, have.Name); err != nil {
			return err
		}
	}
	return nil
}

// Close stops giving, and ends the orders under way. Open may follow.
func (f *Files) Close() {
	if f.core != nil {
		f.core.close()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, stop := range f.shared {
		stop()
		delete(f.shared, id)
	}
}

// share gives a pack to every host that asks, unless this node is a slave.
func (f *Files) share(id manifest.Digest) {
	if f.o.Slave {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shared[id] != nil {
		return
	}
	p, err := f.o.Store.Pack(id)
	if err == nil {
		f.shared[id], err = f.o.Server.Share(p, swarm.ShareSpec{Everyone: true})
	}
	if err != nil {
		delete(f.shared, id)
		f.o.Log.Warn("file is not given to others", "pack", id.Short(), "err", err)
	}
}

func (f *Files) unshare(id manifest.Digest) {
	f.mu.Lock()
	stop := f.shared[id]
	delete(f.shared, id)
	f.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// List implements tuggle.Cluster.
func (f *Files) List(ctx context.Context) ([]tuggle.Object, error) {
	return plane.Ask[[]tuggle.Object](ctx, f.o.Plane, "release.file.list", struct{}{})
}

// Find implements tuggle.Cluster.
func (f *Files) Find(ctx context.Context, name string) (tuggle.Object, error) {
	found, err := f.find(ctx, name)
	return found.Object, err
}

func (f *Files) find(ctx context.Context, name string) (Found, error) {
	return plane.Ask[Found](ctx, f.o.Plane, "release.file.find", name)
}

// Create implements tuggle.Cluster: the bytes first, then the name; of two hosts that
// create it at once one gets the Exists fault and forgets its bytes.
func (f *Files) Create(ctx context.Context, name, contentType string, r io.Reader) (tuggle.Object, error) {
	if _, err := f.find(ctx, name); err == nil {
		return tuggle.Object{}, fault.Exists("file " + name + " exists already").Try("delete it first")
	} else if !fault.Is(err, fault.KindNotFound) {
		return tuggle.Object{}, err
	}
	// What this host has under the name is of a former life of it.
	if err := f.drop(name); err != nil {
		return tuggle.Object{}, err
	}
	kept, err := f.o.Store.CreateOpaque(ctx, store.Opaque{Name: name, ContentType: contentType}, r)
	if err != nil {
		return tuggle.Object{}, err
	}
	found := Found{Object: objectOf(kept), Release: kept.Release, Pack: kept.Pack}
	if _, err := plane.Ask[struct{}](ctx, f.o.Plane, "release.file.add", found); err != nil {
		return tuggle.Object{}, errors.Join(err, f.drop(name))
	}
	f.share(kept.Pack)
	return found.Object, nil
}

func objectOf(o store.Opaque) tuggle.Object {
	return tuggle.Object{ID: tuggle.ID(o.Name), Name: o.Name, ContentType: o.ContentType, Size: o.Size, CreatedAt: o.Created, Content: o.Content}
}

// Read implements tuggle.Cluster.
func (f *Files) Read(ctx context.Context, o tuggle.Object, remote bool) (io.ReadSeekCloser, error) {
	if have, err := f.o.Store.Opaque(o.Name); err == nil && have.Content == o.Content && have.Size == o.Size && f.whole(have) {
		return f.o.Store.OpenOpaque(ctx, o.Name)
	}
	if !remote {
		return nil, fault.NotFound("file " + o.Name + " is not on this host").At(f.o.Plane.Host())
	}
	if err := f.fetch(ctx, o.Name); err != nil {
		return nil, err
	}
	return f.o.Store.OpenOpaque(ctx, o.Name)
}

// whole reports whether all chunks are here; some may have been found damaged.
func (f *Files) whole(o store.Opaque) bool {
	p, err := f.o.Store.Pack(o.Pack)
	return err == nil && p.Complete()
}

// Replicate implements tuggle.Cluster.
func (f *Files) Replicate(ctx context.Context, o tuggle.Object) error {
	_, err := plane.Ask[struct{}](ctx, f.o.Plane, "release.file.replicate", o.Name)
	return err
}

// Delete implements tuggle.Cluster.
func (f *Files) Delete(ctx context.Context, name string) error {
	if _, err := plane.Ask[struct{}](ctx, f.o.Plane, "release.file.remove", name); err != nil {
		return err
	}
	return f.drop(name)
}

// Graph implements tuggle.Cluster.
func (f *Files) Graph(ctx context.Context, name string) ([]tuggle.Edge, error) {
	found, err := f.find(ctx, name)
	return found.Edges, err
}
