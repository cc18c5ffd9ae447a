// Package activate makes a release live on one host, and takes it back.
//
// An app's directory looks like this:
//
//	<root>/<app>/releases/<version>   complete trees, never changed once they are there
//	<root>/<app>/current              a symlink to releases/<version>, replaced by rename(2)
//	<root>/<app>/shared               what outlives releases, linked into them
//	<root>/<app>/.kaname              records, trees in the making, what is being removed
//
// An activation is: intent recorded, shared paths linked in, hook pre, current
// switched, hook post, hook success, history recorded. When pre fails nothing has
// been switched; when post fails current is switched back, post runs again for the
// release that is live again (whatever it restarts, it restarts with that), and hook
// failure runs. After a crash Recover finishes what was switched and undoes what was
// not, so hooks run at least once, and current names a complete release, the old or
// the new one, at every instant.
package activate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

// Names in an app's directory.
const (
	releasesDir = "releases"
	sharedDir   = "shared"
	currentLink = "current"
	recordsDir  = ".kaname"
	stagingDir  = recordsDir + "/staging"
	trashDir    = recordsDir + "/trash"
	stagedDir   = recordsDir + "/releases"
	lockFile    = recordsDir + "/lock"
)

// App is one app's directory on this host, opened by one process for changing. Its
// methods are not safe for concurrent use, except those of staging.
type App struct {
	name string
	dir  string   // <root>/<app>
	root *os.Root // of dir
	lock *os.File
	step func(point string) // tests stop here; nil otherwise
}

// Open opens an app's directory for changing and makes it when it is missing. While
// another process has it open it returns a Conflict fault.
func Open(root, app string) (*App, error) {
	if err := manifest.CheckApp(app); err != nil {
		return nil, err
	}
	dir := filepath.Join(root, app)
	for _, d := range []string{releasesDir, sharedDir, stagingDir, trashDir, stagedDir} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil { //nolint:gosec // root is the host's own setting, app is checked
			return nil, openFault(app, dir, err)
		}
	}
	r, err := os.OpenRoot(dir)
	if err != nil {
		return nil, openFault(app, dir, err)
	}
	a := &App{name: app, dir: dir, root: r}
	if a.lock, err = r.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, errors.Join(openFault(app, dir, err), r.Close())
	}
	if err := unix.Flock(int(a.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f := fault.Conflict("app " + app + " is being changed by another process").At(dir).Because(err).Try("wait for it, or see who holds " + lockFile + ": fuser -v " + filepath.Join(dir, lockFile))
		return nil, errors.Join(f, a.Close())
	}
	return a, nil
}

func openFault(app, dir string, err error) error {
	f := fault.Of(err)
	return &fault.Fault{Kind: f.Kind, What: "app " + app + " has no usable directory", Where: dir, Err: err, Remedy: "give the agent a root that it may write: release.root in the configuration, and ReadWritePaths= in its systemd unit"}
}

// Close gives the directory free.
func (a *App) Close() error {
	return errors.Join(a.lock.Close(), a.root.Close())
}

// Dir returns the app's directory.
func (a *App) Dir() string { return a.dir }

// Path returns the absolute path of a release's tree.
func (a *App) Path(version string) string { return filepath.Join(a.dir, releasesDir, version) }

func (a *App) at(point string) {
	if a.step != nil {
		a.step(point)
	}
}

// Live returns the version that current names; empty when there is none. A current
// that is anything but a symlink to a release is a Conflict fault with a remedy.
func (a *App) Live() (string, error) { return live(a.root, a.name, a.dir) }

func live(root *os.Root, app, dir string) (string, error) {
	info, err := root.Lstat(currentLink)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look at current of %s: %w", app, err)
	}
	where := filepath.Join(dir, currentLink)
	if info.Mode().Type() != fs.ModeSymlink {
		what := "a file"
		if info.IsDir() {
			what = "a directory"
		}
		return "", fault.Conflict("current of app " + app + " is " + what + ", not a symlink to a release").At(where).
			Try("move it out of the way; it can become the first release: mv " + where + " " + filepath.Join(dir, releasesDir, "before"))
	}
	target, err := root.Readlink(currentLink)
	if err != nil {
		return "", fmt.Errorf("read current of %s: %w", app, err)
	}
	rel := strings.TrimPrefix(path.Clean(target), dir+"/")
	version, ok := strings.CutPrefix(rel, releasesDir+"/")
	if !ok || manifest.CheckVersion(version) != nil {
		return "", fault.Conflict("current of app " + app + " points to " + target + ", which is not a release of it").At(where).
			Try("point it to one, or remove the link: rm " + where)
	}
	return version, nil
}

// point makes current name the version, or removes it when version is empty. The
// rename is atomic, and durable when point returns.
func (a *App) point(version string) error {
	if version == "" {
		if err := a.root.Remove(currentLink); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return a.sync(".")
	}
	const tmp = ".current.new"
	if err := a.root.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := a.root.Symlink(path.Join(releasesDir, version), tmp); err != nil {
		return err
	}
	a.at("link made")
	if err := a.root.Rename(tmp, currentLink); err != nil {
		return err
	}
	a.at("renamed")
	return a.sync(".")
}

// sync makes the names in a directory durable.
func (a *App) sync(dir string) error {
	d, err := a.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
