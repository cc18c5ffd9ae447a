package site

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/activate"
	"kaname.dev/kaname/rib/release/unpack"
)

// maxDrifts is how many differences are told one by one.
const maxDrifts = 50

// verify is the command: compare a tree with its manifest.
func (s *Site) verify(ctx context.Context, _ *plane.Call, in VerifyIn) (out Verified, err error) {
	root, err := s.root(in.Root)
	if err != nil {
		return out, err
	}
	v, err := activate.Look(root, in.App)
	if err != nil {
		return out, err
	}
	if in.Version == "" {
		in.Version = v.Live
	}
	r, ok, err := s.here(root, in.App, in.Version)
	if err != nil || !ok {
		return out, errors.Join(err, fault.NotFound("release "+in.App+" "+in.Version+" is not on this host").At(s.o.Host))
	}
	m, err := s.o.Store.Manifest(r.Manifest)
	if err != nil {
		return out, err
	}
	dir, err := os.OpenRoot(filepath.Join(v.Dir, "releases", in.Version))
	if err != nil {
		return out, err
	}
	defer dir.Close() //nolint:errcheck // only read
	o := unpack.Options{Owners: unpack.Owners(in.Owners), Log: s.o.Log, Ignore: func(p string) bool {
		for _, shared := range in.Shared {
			if p == strings.TrimSuffix(shared, "/") {
				return true
			}
		}
		return false
	}}
	drifts, err := o.Compare(ctx, dir, m)
	if err != nil {
		return out, err
	}
	out = Verified{Version: in.Version, Files: m.Files, Drifts: len(drifts)}
	for _, d := range drifts[:min(len(drifts), maxDrifts)] {
		out.First = append(out.First, d.String())
	}
	return out, nil
}
