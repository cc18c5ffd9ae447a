package netpath

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/netpath/bundle"
)

type bundleIn struct {
	Hosts []string `name:"hosts" help:"only these hosts, as Neutron calls them; empty means all" ja:"対象ホスト（Neutron での名前）。空ならすべて" complete:"netpath-hosts"`
}

// Bundled is what became of a bundle.
type Bundled struct {
	File    string       `json:"file"` // on the core
	Bytes   action.Bytes `json:"bytes"`
	Hosts   int          `json:"hosts"`
	Missing []string     `json:"missing,omitempty"`
}

// maxBundles is how many bundles a core keeps; the oldest goes.
const maxBundles = 10

// bundle writes what Neutron says and what hosts have into a file of this core.
func (r *service) bundle(ctx context.Context, run *action.Run, in bundleIn) (Bundled, error) {
	src := live{r, run.Actor}
	c, err := src.cloud(ctx)
	if err != nil {
		return Bundled{}, err
	}
	names, missing, err := wanted(ctx, src, c, in.Hosts)
	if err != nil {
		return Bundled{}, err
	}
	if err := r.node.Root.MkdirAll("bundles", 0o750); err != nil {
		return Bundled{}, fault.Of(err)
	}
	name := filepath.Join("bundles", "netpath-"+time.Now().UTC().Format("20060102-150405.000")+".tar.zst")
	f, err := r.node.Root.OpenFile(name+".part", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return Bundled{}, fault.Of(err)
	}
	out := Bundled{File: filepath.Join(r.node.Dir, name), Missing: missing}
	err = errors.Join(out.write(ctx, f, src, names, run), f.Sync(), f.Close())
	if err == nil {
		err = r.node.Root.Rename(name+".part", name)
	}
	if err != nil {
		_ = r.node.Root.Remove(name + ".part") // what is half is of no use
		return Bundled{}, fault.Of(err)
	}
	if i, err := r.node.Root.Stat(name); err == nil {
		out.Bytes = action.Bytes(i.Size())
	}
	return out, r.prune()
}

// write looks at hosts, some at a time, and writes each as it comes.
func (b *Bundled) write(ctx context.Context, to io.Writer, src source, names []string, run *action.Run) error {
	w, err := bundle.NewWriter(to)
	if err != nil {
		return err
	}
	c, err := src.cloud(ctx)
	if err != nil {
		return err
	}
	if err := w.Cloud(c); err != nil {
		return err
	}
	for batch := range slices.Chunk(names, atOnce) {
		found, failed := src.hosts(ctx, batch)
		for _, n := range batch {
			if h := found[n]; h != nil {
				if err := w.Host(h); err != nil {
					return err
				}
				b.Hosts++
			} else {
				b.Missing = append(b.Missing, n+": "+failed[n].Error())
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		run.Say(action.Event{Step: "look", State: action.StateRunning, Done: int64(b.Hosts), Total: int64(len(names)), Unit: "hosts"})
	}
	return w.Close()
}

// prune removes the oldest bundles.
func (r *service) prune() error {
	list, err := filepath.Glob(filepath.Join(r.node.Dir, "bundles", "netpath-*.tar.zst"))
	if err != nil {
		return err
	}
	slices.Sort(list) // by time
	for _, old := range list[:max(0, len(list)-maxBundles)] {
		if err := os.Remove(old); err != nil {
			return fault.Of(err)
		}
	}
	return nil
}
