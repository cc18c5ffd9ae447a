package activate

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

// CheckShared refuses a list of shared paths that cannot be linked into a release.
func CheckShared(paths []string) error {
	for i, p := range paths {
		clean := strings.TrimSuffix(p, "/")
		if err := manifest.CheckPath(clean); err != nil {
			return fault.Invalid(fmt.Sprintf("shared path %q is not a path inside a release", p)).Because(err).Try("name it as log/ or config/database.yml")
		}
		for _, q := range paths[:i] {
			q = strings.TrimSuffix(q, "/")
			if q == clean || strings.HasPrefix(clean+"/", q+"/") || strings.HasPrefix(q+"/", clean+"/") {
				return fault.Invalid(fmt.Sprintf("shared paths %q and %q are one inside the other", q, p)).Try("name the outer one only")
			}
		}
	}
	return nil
}

// share links the shared paths into a release, in place of what the release has
// there. A directory that is missing in shared/ is made; a file must be there.
func (a *App) share(version string, paths []string) error {
	if err := CheckShared(paths); err != nil {
		return err
	}
	for _, p := range paths {
		name := strings.TrimSuffix(p, "/")
		link := path.Join(releasesDir, version, name)
		if err := a.shared(link, name, strings.HasSuffix(p, "/")); err != nil {
			return err
		}
		up := strings.Repeat("../", strings.Count(link, "/"))
		target := up + path.Join(sharedDir, name)
		if now, err := a.root.Readlink(link); err == nil && now == target {
			continue
		}
		if err := a.removeAll(link); err != nil {
			return fmt.Errorf("make room for shared path %s: %w", p, err)
		}
		if err := a.root.MkdirAll(path.Dir(link), 0o755); err != nil {
			return fmt.Errorf("link shared path %s: %w", p, err)
		}
		if err := a.root.Symlink(target, link); err != nil {
			return fmt.Errorf("link shared path %s: %w", p, err)
		}
		a.at("shared path linked")
	}
	return nil
}

// shared makes sure that shared/<name> exists: a directory if it is said to be one or
// the release has one there.
func (a *App) shared(link, name string, isDir bool) error {
	at := path.Join(sharedDir, name)
	_, err := a.root.Stat(at)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if info, err := a.root.Lstat(link); err == nil && info.IsDir() {
		isDir = true
	}
	if !isDir {
		return fault.NotFound("shared file " + name + " of app " + a.name + " is missing").At(filepath.Join(a.dir, at)).
			Try("put it there, or write " + name + "/ if it is a directory")
	}
	return a.root.MkdirAll(at, 0o755)
}
