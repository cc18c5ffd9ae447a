package store

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
	"kaname.dev/kaname/rib/release/manifest"
)

// PruneOptions say what Prune spares.
type PruneOptions struct {
	Keep         int               // the newest releases besides the live one and those below
	KeepPrevious bool              // the target of a rollback
	Protect      []manifest.Digest // others
	DryRun       bool              // only say what would go
	// Before is called before a release is forgotten, to remove its tree; an error keeps
	// it. May be nil.
	Before func(Release) error
}

// Prune removes the old releases of an app: packs, manifests, signatures, records. The
// live release is never removed, and none that is being received. It returns what was
// removed, the oldest first.
func (s *Store) Prune(ctx context.Context, app string, o PruneOptions) ([]Release, error) {
	var gone []Release
	for _, r := range s.prunable(app, o) {
		if err := ctx.Err(); err != nil {
			return gone, err
		}
		if !o.DryRun {
			if o.Before != nil {
				if err := o.Before(r); err != nil {
					return gone, err
				}
			}
			if err := s.Remove(r.ID); err != nil {
				return gone, err
			}
		}
		gone = append(gone, r)
	}
	return gone, nil
}

// prunable returns what may go, the oldest first.
func (s *Store) prunable(app string, o PruneOptions) []Release {
	var list []Release
	kept := 0
	for _, r := range s.Releases(app) {
		switch {
		case r.State == Live, r.State == Receiving, r.State == Previous && o.KeepPrevious, slices.Contains(o.Protect, r.ID):
		case kept < o.Keep:
			kept++
		default:
			list = append(list, r)
		}
	}
	slices.Reverse(list)
	return list
}

// Remove removes a release: packs, also those that build on it, manifest, signature,
// record. A live release gives a Conflict fault. Its tree is not touched.
func (s *Store) Remove(id manifest.Digest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.releases[id]
	if !ok {
		return unknown(id)
	}
	if r.State == Live {
		return fault.Conflict(fmt.Sprintf("release %s is live on this host and is not removed", r.String())).Try("activate another release first")
	}
	for _, p := range s.packsOf(manifest.Digest{}) {
		if p.Release == id || p.Base != nil && *p.Base == id {
			if err := s.removePack(p.ID); err != nil {
				return err
			}
		}
	}
	// The record last: after a crash the rest can still be found and removed.
	var errs []error
	for _, dir := range []string{dirManifests, dirSignatures, dirReleases} {
		errs = append(errs, s.dropLocked(path.Join(dir, id.String())))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	delete(s.releases, id)
	return host.SyncDir(s.root, dirReleases)
}
