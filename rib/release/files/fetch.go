package files

import (
	"context"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/store"
	"kaname.dev/kaname/rib/release/swarm"
)

// fetch brings a file here. However many ask for the same at once, it is fetched
// once; who gives up waiting does not stop it for the others.
func (f *Files) fetch(ctx context.Context, name string) error {
	found, err := f.find(ctx, name)
	if err != nil {
		return err
	}
	result := f.flights.DoChan(found.Pack.String(), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.o.FetchTimeout)
		defer cancel()
		return nil, f.bring(ctx, found)
	})
	select {
	case r := <-result:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *Files) bring(ctx context.Context, found Found) error {
	start := time.Now()
	if len(found.Peers) == 0 {
		return fault.Unavailable("no host that has file " + found.Name + " is alive").Try("start one of: kaname host list")
	}
	index, err := f.index(ctx, found)
	if err != nil {
		return err
	}
	p, err := f.o.Store.Receive(ctx, index)
	if err != nil {
		return err
	}
	if p.Digest() != found.Pack {
		return fault.Corrupt("file " + found.Name + ": the index received is not that of its pack")
	}
	f.share(found.Pack) // others may take from here what has arrived
	given := map[string]int64{}
	before := f.o.Stats.Peers()
	err = swarm.Fetch(ctx, p, swarm.FetchSpec{
		Self: f.o.Plane.Host(), Place: f.o.Place, Peers: found.Peers, Client: f.o.Client, Limits: f.o.Limits, Stats: f.o.Stats, Log: f.o.Log,
	})
	if err != nil {
		return err
	}
	if _, err := f.o.Store.AdoptOpaque(ctx, store.Opaque{
		Name: found.Name, ContentType: found.ContentType, Size: found.Size, Content: found.Content,
		Created: found.CreatedAt, Release: found.Release, Pack: found.Pack,
	}); err != nil {
		return err
	}
	for host, t := range f.o.Stats.Peers() {
		given[host] = t.Received - before[host].Received
	}
	f.tell(ctx, found, most(given, found.Peers), start)
	return nil
}

// index gets the pack's index from whoever has the file; it is checked by its digest.
func (f *Files) index(ctx context.Context, found Found) ([]byte, error) {
	var last error
	for _, p := range found.Peers {
		try, cancel := context.WithTimeout(ctx, 10*time.Second)
		b, err := swarm.FetchIndex(try, f.o.Client(p.Host), p, found.Pack.String())
		cancel()
		if err == nil && manifest.Sum(b) == found.Pack {
			return b, nil
		}
		if last = err; err == nil {
			last = fault.Corrupt("index from " + p.Host + " is not that of the pack")
		}
	}
	return nil, fault.Unavailable("no host gave the index of file " + found.Name).Because(last)
}

// most returns the host that gave most.
func most(given map[string]int64, peers []swarm.Peer) string {
	best := ""
	for _, p := range peers {
		if best == "" || given[p.Host] > given[best] {
			best = p.Host
		}
	}
	return best
}

// tell lets the cores know that this host has the file too, and from whom.
func (f *Files) tell(ctx context.Context, found Found, from string, start time.Time) {
	if _, err := plane.Ask[struct{}](ctx, f.o.Plane, "release.file.got", Got{
		Name: found.Name, Content: found.Content, From: from, Start: start, End: time.Now(), Gives: !f.o.Slave,
	}); err != nil {
		f.o.Log.Warn("cores do not know that a file is here", "file", found.Name, "err", err)
	}
}

// drop forgets what is here under a name.
func (f *Files) drop(name string) error {
	have, err := f.o.Store.Opaque(name)
	if fault.Is(err, fault.KindNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	f.unshare(have.Pack)
	if err := f.o.Store.DeleteOpaque(name); err != nil {
		return err
	}
	for _, other := range f.o.Store.OpaqueFiles() { // another name for the same bytes
		if other.Pack == have.Pack {
			f.share(have.Pack)
		}
	}
	return nil
}

func (f *Files) onFetch(ctx context.Context, _ *plane.Call, name string) (struct{}, error) {
	found, err := f.find(ctx, name)
	if err != nil {
		return struct{}{}, err
	}
	body, err := f.Read(ctx, found.Object, true)
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, body.Close()
}

func (f *Files) onDrop(ctx context.Context, _ *plane.Call, name string) (struct{}, error) {
	return struct{}{}, f.dropStale(ctx, name)
}

// dropStale forgets a name, unless it lives with the bytes that are here.
func (f *Files) dropStale(ctx context.Context, name string) error {
	have, err := f.o.Store.Opaque(name)
	if err != nil {
		return nil //nolint:nilerr // it is not here: nothing to drop
	}
	found, err := f.find(ctx, name)
	switch {
	case err == nil && found.Content == have.Content:
		return nil
	case err != nil && !fault.Is(err, fault.KindNotFound):
		return err
	}
	return f.drop(name)
}
