package activate

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"kaname.dev/kaname/rib/release/manifest"
)

// View is what one app looks like on this host.
type View struct {
	App      string    `json:"app"`
	Dir      string    `json:"dir"`
	Live     string    `json:"live,omitempty"`     // empty: none
	Previous string    `json:"previous,omitempty"` // what a rollback goes to
	Releases []Release `json:"releases,omitempty"` // complete ones, the newest first
	History  []Step    `json:"history,omitempty"`
	Busy     string    `json:"busy,omitempty"`    // version that is being activated
	Problem  string    `json:"problem,omitempty"` // why Live is not known
}

// Look reads what the app looks like.
func (a *App) Look() (View, error) { return Look(filepath.Dir(a.dir), a.name) }

// Look reads what an app looks like, without opening it for changing. An app that is
// not here has an empty View.
func Look(root, app string) (View, error) {
	v := View{App: app, Dir: filepath.Join(root, app)}
	if err := manifest.CheckApp(app); err != nil {
		return v, err
	}
	r, err := os.OpenRoot(v.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	if err != nil {
		return v, err
	}
	defer r.Close() //nolint:errcheck // only read
	if v.Live, err = live(r, app, v.Dir); err != nil {
		v.Problem = err.Error()
	}
	h, _, err := load[history](r, historyFile)
	if err != nil {
		return v, err
	}
	v.History, v.Previous = h.Steps, h.before(v.Live)
	in, _, err := load[intent](r, intentFile)
	if err != nil {
		return v, err
	}
	v.Busy = in.Version
	v.Releases, err = releases(r)
	for i := range v.Releases {
		v.Releases[i].Live = v.Releases[i].Version == v.Live
	}
	return v, err
}

// Apps lists the apps that kaname has under a root.
func Apps(root string) ([]string, error) {
	names, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var apps []string
	for _, n := range names {
		if manifest.CheckApp(n.Name()) != nil {
			continue
		}
		if info, err := os.Stat(filepath.Join(root, n.Name(), recordsDir)); err == nil && info.IsDir() {
			apps = append(apps, n.Name())
		}
	}
	return apps, nil
}
