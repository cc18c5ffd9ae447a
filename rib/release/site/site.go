// Package site is the part of a release that happens on one host: it fetches, verifies
// and unpacks, makes live and takes back, as cores command.
//
// Each command names everything that it needs (the app, its root, the digests), is
// idempotent, and knows nothing of waves. A host refuses what its own configuration
// does not allow, whoever commands it: roots outside the list, hooks, releases without
// a trusted signature.
//
// Commands for one app are done one after the other, except that a release may be
// staged while another one is made live.
package site

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
	"kaname.dev/kaname/rib/release/activate"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/store"
	"kaname.dev/kaname/rib/release/swarm"
)

// Settings are what the host's configuration allows.
type Settings struct {
	Root             string   // the default root
	Roots            []string // further roots that may be named
	Keep             int      // releases of an app kept, the live one among them
	RequireSignature bool
	TrustedKeys      []string // minisign public keys, or paths of files that hold one
	Hooks            bool     // whether commands may run
	HookUser         string   // as whom; empty: as this process
}

// Options are what a Site works with.
type Options struct {
	Host     string
	Place    string   // "zone/rack"
	Core     bool     // the store is also that of a core, which decides itself what it keeps
	Root     *os.Root // the rib's state directory
	Store    *store.Store
	Server   *swarm.Server
	Limits   *swarm.Limits
	Stats    *swarm.Stats
	Client   func(host string) *http.Client
	Settings func() Settings // as they are now
	Log      *slog.Logger
	// Tell puts an event on the record, under a topic such as "release.activate"; it
	// must not block.
	Tell func(topic string, v any)
}

// Site is this host's part. It is safe for concurrent use.
type Site struct {
	o Options

	mu        sync.Mutex // guards the fields below
	apps      map[string]*app
	roots     map[string]string  // app to root, also on disk
	transfers map[string]*moving // by app
	shares    map[string]*shared // by pack
	failed    map[string]error   // by app: why it could not be recovered
}

// app is an app's directory, and the turn to change it.
type app struct {
	turn  chan struct{} // holds one token: of changing the app
	stage chan struct{} // likewise: of staging a release of it
	dir   *activate.App // nil until it is first opened; for whoever has turn
}

// rootsFile says where each app lives, so that it is found after a restart.
const rootsFile = "apps.json"

// New makes the host's part; nothing happens before Start.
func New(o Options) (*Site, error) {
	s := &Site{
		o: o, apps: map[string]*app{}, roots: map[string]string{}, transfers: map[string]*moving{},
		shares: map[string]*shared{}, failed: map[string]error{},
	}
	if err := readJSON(o.Root, rootsFile, &s.roots); err != nil {
		return nil, err
	}
	return s, nil
}

// Start settles what a crash left in the middle: activations are finished or undone,
// trees in the making removed. What cannot be settled is told in the inventory.
func (s *Site) Start(ctx context.Context) {
	for name, root := range s.known() {
		err := s.with(ctx, root, name, func(a *activate.App) error {
			r, err := a.Recover(ctx, s.o.Settings().HookUser)
			if err == nil {
				err = a.Sweep()
			}
			if r != nil {
				s.o.Log.Warn("an interrupted activation was settled", "app", name, "version", r.Version, "finished", r.Finished, "live", r.Live)
				s.o.Tell("release.recovered", r)
			}
			return err
		})
		if err != nil {
			s.o.Log.Error("app is not well", "app", name, "err", err)
		}
		s.mu.Lock()
		s.failed[name] = err
		s.mu.Unlock()
	}
}

// Close stops giving packs and closes the apps' directories. No command may run any more.
func (s *Site) Close() error {
	s.unshareAll()
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, a := range s.apps {
		if a.dir != nil {
			errs = append(errs, a.dir.Close())
		}
	}
	clear(s.apps)
	return errors.Join(errs...)
}

// known returns the apps that are here, with their roots: those on record, and what
// stands in the configured root.
func (s *Site) known() map[string]string {
	out := map[string]string{}
	set := s.o.Settings()
	for _, root := range append([]string{set.Root}, set.Roots...) {
		names, err := activate.Apps(root)
		if err != nil {
			s.o.Log.Warn("root cannot be read", "root", root, "err", err)
		}
		for _, n := range names {
			out[n] = root
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(out, s.roots)
	return out
}

// root returns the root for an app: the given one if it is allowed here, or the default.
func (s *Site) root(given string) (string, error) {
	set := s.o.Settings()
	if given == "" || given == set.Root || slices.Contains(set.Roots, given) {
		if given == "" {
			given = set.Root
		}
		return given, nil
	}
	return "", fault.Denied("root " + given + " is not allowed on this host").At(s.o.Host).
		Try("add it to release.roots in the configuration there")
}

// at returns the app's entry, made when it is new, and remembers its root.
func (s *Site) at(root, name string) (*app, error) {
	if err := manifest.CheckApp(name); err != nil {
		return nil, err
	}
	key := filepath.Join(root, name)
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.apps[key]
	if a == nil {
		a = &app{turn: make(chan struct{}, 1), stage: make(chan struct{}, 1)}
		a.turn <- struct{}{}
		a.stage <- struct{}{}
		s.apps[key] = a
	}
	if s.roots[name] != root {
		s.roots[name] = root
		if err := writeJSON(s.o.Root, rootsFile, s.roots); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// with does something to an app when it is its turn.
func (s *Site) with(ctx context.Context, root, name string, do func(*activate.App) error) error {
	root, err := s.root(root)
	if err != nil {
		return err
	}
	a, err := s.at(root, name)
	if err != nil {
		return err
	}
	done, err := s.wait(ctx, a.turn, name)
	if err != nil {
		return err
	}
	defer done()
	if a.dir == nil {
		if a.dir, err = activate.Open(root, name); err != nil {
			a.dir = nil
			return err
		}
	}
	return do(a.dir)
}

// wait takes the token of a turn; done gives it back.
func (s *Site) wait(ctx context.Context, turn chan struct{}, name string) (done func(), err error) {
	select {
	case <-turn:
		return func() { turn <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, fault.Timeout("app " + name + " is busy with another command").At(s.o.Host).Because(context.Cause(ctx))
	}
}

// here returns whether a release of an app is here completely, with what is known of it.
func (s *Site) here(root, name, version string) (activate.Release, bool, error) {
	v, err := activate.Look(root, name)
	if err != nil {
		return activate.Release{}, false, err
	}
	i := slices.IndexFunc(v.Releases, func(r activate.Release) bool { return r.Version == version })
	if i < 0 {
		return activate.Release{}, false, nil
	}
	return v.Releases[i], true, nil
}

// free returns the free bytes of the file system that holds the root or, as long as that
// is missing, of the nearest directory above.
func free(root string) (host.Space, error) {
	for ; ; root = filepath.Dir(root) {
		sp, err := host.DiskSpace(root)
		if !errors.Is(err, os.ErrNotExist) || root == "/" {
			if err != nil {
				return sp, fmt.Errorf("space of %s: %w", root, err)
			}
			return sp, nil
		}
	}
}
