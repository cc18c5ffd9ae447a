package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

// State says how far a release is on this host.
type State string

// The states of a release. Exactly one release of an app is live, at most one previous.
const (
	Receiving State = "receiving" // known; its pack is arriving or its tree is being made
	Stored    State = "stored"    // a full pack is here, no tree
	Staged    State = "staged"    // its tree is unpacked at Path, and it is not live
	Live      State = "live"      // its tree is what the app runs
	Previous  State = "previous"  // it was live before the one that is: the target of a rollback
)

// Release is a release on this host.
type Release struct {
	ID      manifest.Digest `json:"id"` // the manifest's
	App     string          `json:"app"`
	Version string          `json:"version"`
	Kind    manifest.Kind   `json:"kind"`
	Created time.Time       `json:"created"`
	Files   int             `json:"files"`
	Size    int64           `json:"size"` // bytes of all files
	State   State           `json:"state"`
	Path    string          `json:"path,omitempty"` // of the tree, absolute; empty while there is none
	Since   time.Time       `json:"since"`          // when the release came here
	Changed time.Time       `json:"changed"`        // when the state last changed

	Packs []PackInfo `json:"packs,omitempty"` // those here; filled when asked, not stored
}

// String returns "app version".
func (r *Release) String() string { return r.App + " " + r.Version }

// loadReleases reads the registry. A record that is damaged is removed; whoever
// knows the tree registers it again.
func (s *Store) loadReleases(context.Context) error {
	names, err := s.names(dirReleases)
	if err != nil {
		return err
	}
	for _, name := range names {
		b, err := s.root.ReadFile(path.Join(dirReleases, name))
		var r Release
		if err == nil {
			err = json.Unmarshal(b, &r)
		}
		if err == nil && r.ID.String() != name {
			err = errors.New("the file has another name than the release")
		}
		if err != nil {
			s.options.Log.Warn("a damaged record of a release is removed", "release", name, "cause", err)
			s.used -= int64(len(b))
			if err := s.root.Remove(path.Join(dirReleases, name)); err != nil {
				return fmt.Errorf("remove record: %w", err)
			}
			continue
		}
		s.releases[r.ID] = r
	}
	return nil
}

// Register notes a release in state Receiving and keeps its manifest. Registering what
// is known changes nothing. A version that is known with other contents gives an Exists
// fault.
func (s *Store) Register(m *manifest.Manifest) (Release, error) { return s.register(m, Receiving) }

func (s *Store) register(m *manifest.Manifest, state State) (Release, error) {
	id, err := s.PutManifest(m)
	if err != nil {
		return Release{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.releases[id]; ok {
		return s.filled(r), nil
	}
	if r, ok := s.named(m.App, m.Version); ok {
		return Release{}, errors.Join(taken(&r), s.dropLocked(path.Join(dirManifests, id.String())))
	}
	now := s.options.Now().UTC()
	r := Release{
		ID: id, App: m.App, Version: m.Version, Kind: m.Kind, Created: m.Created, Files: m.Files, Size: m.Header.Size,
		State: state, Since: now, Changed: now,
	}
	return s.filled(r), s.record(r)
}

func taken(r *Release) error {
	return fault.Exists(fmt.Sprintf("release %s is here already, with other contents (%s)", r.String(), r.ID.Short())).
		Try("choose another version, or remove that release first")
}

// record writes one record; s.mu is held.
func (s *Store) record(r Release) error {
	r.Packs = nil
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := s.keepLocked(path.Join(dirReleases, r.ID.String()), b); err != nil {
		return err
	}
	s.releases[r.ID] = r
	return nil
}

func (s *Store) filled(r Release) Release {
	r.Packs = s.packsOf(r.ID)
	return r
}

// named finds a release by name; s.mu is held.
func (s *Store) named(app, version string) (Release, bool) {
	for _, r := range s.releases {
		if r.App == app && r.Version == version {
			return r, true
		}
	}
	return Release{}, false
}

// Mark notes the state of a release and, unless it is empty, where its tree is. With
// Live, the release that was live becomes the previous one, and that staged.
func (s *Store) Mark(id manifest.Digest, state State, tree string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.releases[id]
	if !ok {
		return unknown(id)
	}
	now := s.options.Now().UTC()
	if tree != "" {
		r.Path = tree
	}
	if state == Stored || state == Receiving {
		r.Path = tree
	}
	change := r.State != state
	if change {
		r.State, r.Changed = state, now
	}
	// The new record first: after a crash between two of them the later Live counts.
	if err := s.record(r); err != nil {
		return err
	}
	if state != Live || !change {
		return nil
	}
	return s.demote(r, now)
}

// demote makes the releases that were live or previous what they are after r became
// live.
func (s *Store) demote(live Release, now time.Time) error {
	var was *Release
	for _, r := range s.ofApp(live.App) {
		if r.ID != live.ID && r.State == Live && (was == nil || r.Changed.After(was.Changed)) {
			was = &r
		}
	}
	for _, r := range s.ofApp(live.App) {
		next := r.State
		switch {
		case r.ID == live.ID:
		case was != nil && r.ID == was.ID:
			next = Previous
		case r.State == Live, r.State == Previous && was != nil:
			next = Staged
		}
		if next == r.State {
			continue
		}
		r.State, r.Changed = next, now
		if err := s.record(r); err != nil {
			return err
		}
	}
	return nil
}

func unknown(id manifest.Digest) error {
	return fault.NotFound("release " + id.Short() + " is not in the release store")
}

// ofApp returns the releases of an app, or of all, the newest first; s.mu is held.
func (s *Store) ofApp(app string) []Release {
	var list []Release
	for _, r := range s.releases {
		if app == "" || r.App == app {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b Release) int {
		return cmp.Or(cmp.Compare(a.App, b.App), b.Since.Compare(a.Since), slices.Compare(a.ID[:], b.ID[:]))
	})
	return list
}

// Releases lists the releases of an app, or for "" of all apps, the newest first.
func (s *Store) Releases(app string) []Release {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.ofApp(app)
	for i := range list {
		list[i] = s.filled(list[i])
	}
	return list
}

// Release returns one release, or a NotFound fault.
func (s *Store) Release(id manifest.Digest) (Release, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.releases[id]
	if !ok {
		return Release{}, unknown(id)
	}
	return s.filled(r), nil
}

// Find returns the release with that name, or a NotFound fault.
func (s *Store) Find(app, version string) (Release, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.named(app, version)
	if !ok {
		return Release{}, fault.NotFound(fmt.Sprintf("release %s %s is not in the release store", app, version))
	}
	return s.filled(r), nil
}
