package activate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

// Release is a complete release on this host.
type Release struct {
	Version  string          `json:"version"`
	Manifest manifest.Digest `json:"manifest"`
	Time     time.Time       `json:"time"` // when it was staged
	Files    int             `json:"files"`
	Size     int64           `json:"size"` // bytes of its files
	Live     bool            `json:"live,omitempty"`
}

// Staged returns the release with the version if it is here completely.
func (a *App) Staged(version string) (Release, bool, error) { return staged(a.root, version) }

func staged(root *os.Root, version string) (Release, bool, error) {
	if err := manifest.CheckVersion(version); err != nil {
		return Release{}, false, err
	}
	r, ok, err := load[Release](root, path.Join(stagedDir, version+".json"))
	if err != nil || !ok {
		return r, false, err
	}
	info, err := root.Lstat(path.Join(releasesDir, version))
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	return r, err == nil && info.IsDir(), err
}

// Stage makes an empty directory for a tree in the making and returns it opened, with
// its absolute path. It may be left behind by a crash; Sweep removes it then.
func (a *App) Stage(version string) (dir *os.Root, where string, err error) {
	if err := manifest.CheckVersion(version); err != nil {
		return nil, "", err
	}
	name := path.Join(stagingDir, version+"."+strconv.FormatInt(time.Now().UnixNano(), 36))
	if err := a.root.Mkdir(name, 0o755); err != nil {
		return nil, "", fmt.Errorf("make a place for %s %s: %w", a.name, version, err)
	}
	dir, err = a.root.OpenRoot(name)
	return dir, filepath.Join(a.dir, name), err
}

// Commit makes a complete tree, made in a directory that Stage returned, the release
// of r.Version: everything is on disk before the rename. A release of that version
// that is here already is replaced, but never the live one.
func (a *App) Commit(where string, r Release) error {
	from, err := filepath.Rel(a.dir, where)
	if err != nil {
		return err
	}
	if now, err := a.Live(); err != nil || now == r.Version {
		if err != nil {
			return err
		}
		return fault.Conflict("release " + a.name + " " + r.Version + " is live and cannot be replaced").At(a.dir).Try("give the new contents a version of their own")
	}
	if err := a.syncTree(from); err != nil {
		return fmt.Errorf("flush %s to disk: %w", where, err)
	}
	if err := a.discard(r.Version); err != nil {
		return err
	}
	if r.Time.IsZero() {
		r.Time = time.Now().UTC()
	}
	r.Live = false
	a.at("old tree removed")
	if err := save(a.root, path.Join(stagedDir, r.Version+".json"), r); err != nil {
		return err
	}
	a.at("tree recorded")
	if err := a.root.Rename(from, path.Join(releasesDir, r.Version)); err != nil {
		return fmt.Errorf("put %s %s in place: %w", a.name, r.Version, err)
	}
	a.at("tree in place")
	return a.sync(releasesDir)
}

// syncTree flushes the file system that holds dir: one call for a whole tree, where
// fsync of each file would take minutes.
func (a *App) syncTree(dir string) error {
	d, err := a.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}

// discard takes a release out of the way at once and then removes it.
func (a *App) discard(version string) error {
	old := path.Join(releasesDir, version)
	if _, err := a.root.Lstat(old); errors.Is(err, fs.ErrNotExist) {
		return a.drop(path.Join(stagedDir, version+".json"))
	}
	trash := path.Join(trashDir, version+"."+strconv.FormatInt(time.Now().UnixNano(), 36))
	if err := a.root.Rename(old, trash); err != nil {
		return fmt.Errorf("remove %s %s: %w", a.name, version, err)
	}
	a.at("tree in the trash")
	if err := a.drop(path.Join(stagedDir, version+".json")); err != nil {
		return err
	}
	return a.removeAll(trash)
}

// removeAll removes a tree, also one whose directories forbid writing.
func (a *App) removeAll(name string) error {
	err := a.root.RemoveAll(name)
	if err == nil {
		return nil
	}
	full := filepath.Join(a.dir, name)
	_ = filepath.WalkDir(full, func(p string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(p, 0o700) //nolint:gosec // a directory being removed, only so that it can be
		}
		return nil
	})
	if err := a.root.RemoveAll(name); err != nil {
		return fmt.Errorf("remove %s: %w", full, err)
	}
	return nil
}

// Remove removes a release; the live one and one being activated are refused.
func (a *App) Remove(version string) error {
	if err := manifest.CheckVersion(version); err != nil {
		return err
	}
	keep, err := a.needed()
	if err != nil {
		return err
	}
	if keep[version] {
		return fault.Conflict("release " + a.name + " " + version + " is live").At(a.dir).Try("roll back or deploy another first")
	}
	return a.discard(version)
}

// needed returns the versions that must not go: the live one and those of an
// activation in progress.
func (a *App) needed() (map[string]bool, error) {
	now, err := a.Live()
	if err != nil {
		return nil, err
	}
	in, _, err := load[intent](a.root, intentFile)
	if err != nil {
		return nil, err
	}
	keep := map[string]bool{now: true, in.Version: true, in.From: true}
	delete(keep, "")
	return keep, nil
}

// Prune removes the oldest releases until keep are left. The live one and those in
// except stay whatever keep is; the one that was live before goes last. It returns
// what it removed, and stops early with ctx.
func (a *App) Prune(ctx context.Context, keep int, except ...string) (removed []string, err error) {
	victims, err := a.Victims(keep, except...)
	if err != nil {
		return nil, err
	}
	for _, r := range victims {
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		if err := a.discard(r.Version); err != nil {
			return removed, err
		}
		removed = append(removed, r.Version)
	}
	return removed, nil
}

// Victims returns what Prune would remove, the oldest first.
func (a *App) Victims(keep int, except ...string) ([]Release, error) {
	needed, err := a.needed()
	if err != nil {
		return nil, err
	}
	h, _, err := load[history](a.root, historyFile)
	if err != nil {
		return nil, err
	}
	now, err := a.Live()
	if err != nil {
		return nil, err
	}
	all, err := releases(a.root)
	if err != nil {
		return nil, err
	}
	before := h.before(now)
	rank := func(r Release) int {
		switch {
		case needed[r.Version], slices.Contains(except, r.Version):
			return 0
		case r.Version == before:
			return 1
		default:
			return 2
		}
	}
	slices.SortStableFunc(all, func(x, y Release) int {
		return cmp.Or(cmp.Compare(rank(x), rank(y)), y.Time.Compare(x.Time))
	})
	var victims []Release
	for i, r := range all {
		if i >= max(keep, 1) && rank(r) != 0 {
			victims = append(victims, r)
		}
	}
	slices.Reverse(victims)
	return victims, nil
}

// Sweep removes what crashes left behind: trees in the making, and what was being
// removed. Nothing may be staging meanwhile.
func (a *App) Sweep() error {
	var errs []error
	for _, dir := range []string{stagingDir, trashDir} {
		names, err := fs.ReadDir(a.root.FS(), dir)
		errs = append(errs, err)
		for _, n := range names {
			errs = append(errs, a.removeAll(path.Join(dir, n.Name())))
		}
	}
	if err := a.root.Remove(".current.new"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// releases lists the complete releases, the newest first.
func releases(root *os.Root) ([]Release, error) {
	names, err := fs.ReadDir(root.FS(), releasesDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []Release
	for _, n := range names {
		if manifest.CheckVersion(n.Name()) != nil {
			continue
		}
		r, ok, err := staged(root, n.Name())
		if err != nil {
			return nil, err
		}
		if ok {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(x, y Release) int { return y.Time.Compare(x.Time) })
	return list, nil
}
