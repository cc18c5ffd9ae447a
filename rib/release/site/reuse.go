package site

import (
	"io"
	"os"
	"path/filepath"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/activate"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/pack"
)

// maxReused is how many releases of the app files are taken from.
const maxReused = 4

// reuse finds files in the releases of the app that are here: unpack.Reuse.
type reuse struct {
	trees []tree
	files map[manifest.Digest][]found
}

// tree is a release that is here.
type tree struct {
	id       manifest.Digest
	dir      string
	manifest *manifest.Manifest
}

// found is a file with certain contents.
type found struct {
	tree  int
	entry *manifest.Entry
}

// reuse lists what the app's releases hold: the live one first, then the newest. A
// release whose manifest is lost is left out.
func (s *Site) reuse(in StageIn) (*reuse, error) {
	v, err := activate.Look(in.Root, in.App)
	if err != nil {
		return nil, err
	}
	u := &reuse{files: map[manifest.Digest][]found{}}
	for _, wantLive := range []bool{true, false} {
		for _, r := range v.Releases {
			if r.Live != wantLive || len(u.trees) == maxReused {
				continue
			}
			m, err := s.o.Store.Manifest(r.Manifest)
			if err != nil {
				s.o.Log.Warn("a release is not reused", "app", in.App, "version", r.Version, "err", err)
				continue
			}
			u.add(tree{r.Manifest, filepath.Join(v.Dir, "releases", r.Version), m})
		}
	}
	return u, nil
}

func (u *reuse) add(t tree) {
	n := len(u.trees)
	u.trees = append(u.trees, t)
	for i := range t.manifest.Entries {
		if e := &t.manifest.Entries[i]; e.Type == manifest.File && e.Digest != nil {
			u.files[*e.Digest] = append(u.files[*e.Digest], found{n, e})
		}
	}
}

// Find implements unpack.Reuse: best a file that also has the same attributes, since
// that one can be hard-linked.
func (u *reuse) Find(e manifest.Entry) (string, bool) {
	if e.Digest == nil {
		return "", false
	}
	list := u.files[*e.Digest]
	if len(list) == 0 {
		return "", false
	}
	best := list[0]
	for _, f := range list {
		if manifest.SameAttributes(&e, f.entry) {
			best = f
			break
		}
	}
	return filepath.Join(u.trees[best.tree].dir, filepath.FromSlash(best.entry.Path)), true
}

// basis returns the base release of a delta pack as it is here; nil for a full pack.
func (u *reuse) basis(base manifest.Digest) (*pack.Basis, error) {
	if base.IsZero() {
		return nil, nil //nolint:nilnil // a full pack has none
	}
	for i, t := range u.trees {
		if t.id == base {
			return &pack.Basis{Manifest: t.manifest, Files: baseFiles{u, i}}, nil
		}
	}
	return nil, fault.NotFound("the base of the delta, release " + base.Short() + ", is not on this host")
}

// baseFiles opens files of one tree by their contents: pack.Base.
type baseFiles struct {
	u    *reuse
	tree int
}

// Open implements pack.Base.
func (b baseFiles) Open(d manifest.Digest) (io.ReadCloser, error) {
	for _, f := range b.u.files[d] {
		if f.tree == b.tree {
			return os.Open(filepath.Join(b.u.trees[f.tree].dir, filepath.FromSlash(f.entry.Path)))
		}
	}
	return nil, fault.NotFound("contents " + d.Short() + " are not in the base of the delta")
}
