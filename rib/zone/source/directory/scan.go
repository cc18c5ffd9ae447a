package directory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/rib/zone/name"
)

// file is one file of the directory.
type file struct {
	path  string
	group string
	zone  name.Name // empty when it was never one
	wrong string    // what is wrong with it now
	since time.Time // since when it cannot be read
	noted bool      // that is among the notes
	info  fs.FileInfo
	retry time.Time // when it is read again though it did not change; zero when it was read
	gone  time.Time // since when it is not there; zero when it is
}

// again is when a file that was no zone is read again: its mode may have changed.
const again = 5 * time.Second

// pass is one look at the directory. A quick one looks at directories that changed, at
// new files and at unfinished ones; a thorough one at all.
type pass struct {
	*run
	now     time.Time
	quick   bool
	seen    map[string]bool      // files
	still   map[string]bool      // directories that did not change
	dirs    map[string]time.Time // their times
	changed bool
}

// The times of directories are only as fine as the kernel's clock ticks, and of other
// hosts': one that changed so shortly ago may have changed again.
const lately = 2 * time.Second

// A thorough pass comes so often, more seldom when it takes longer than a fiftieth.
const thorough = 10 * time.Second

// scan looks at the directory and reads the files that changed. It reports whether
// anything may be different. An error means that the set is unknown.
func (r *run) scan(ctx context.Context, now time.Time) (changed bool, err error) {
	p := pass{run: r, now: now, quick: now.Before(r.thorough), seen: map[string]bool{}, still: map[string]bool{}, dirs: map[string]time.Time{}}
	began := time.Now()
	if err := p.each(ctx); err != nil {
		return false, err
	}
	if len(p.seen)+len(p.still) == 0 && len(r.files) > 1 {
		return false, fmt.Errorf("directory of zone files: all %d files of %s vanished at once; is it mounted? when they are meant to go, restart kaname", len(r.files), r.o.Config)
	}
	if !p.quick {
		r.thorough = now.Add(max(thorough, 50*time.Since(began)))
	}
	r.dirs = p.dirs
	return p.vanished() || p.changed, nil
}

// directory looks at the files of one directory.
func (p *pass) directory(ctx context.Context, dir, group string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return unlisted(err)
	}
	p.dirs[dir] = info.ModTime()
	if p.quick && p.run.dirs[dir].Equal(info.ModTime()) && p.now.Sub(info.ModTime()) > lately {
		p.still[dir] = true
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return unlisted(err)
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !candidate(e.Name()) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if f := p.files[path]; p.quick && f != nil && f.gone.IsZero() && f.retry.IsZero() {
			p.seen[path] = true
			continue
		}
		if err := p.file(path, group); err != nil {
			return err
		}
	}
	return nil
}

// file looks at one file.
func (p *pass) file(path, group string) error {
	info, err := os.Stat(path) // through a link
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // it vanished, or the link leads nowhere
	case err != nil:
		return fmt.Errorf("zone file: %w; make it readable for kaname", err)
	case info.Mode().IsRegular():
		p.seen[path] = true
		p.changed = p.look(path, group, info, p.now) || p.changed
	}
	return nil
}

func unlisted(err error) error {
	return fmt.Errorf("directory of zone files: %w; is it there, mounted and readable for kaname", err)
}

// each looks at the directory, or its subdirectories, and at the unfinished files.
func (p *pass) each(ctx context.Context) error {
	if err := p.all(ctx); err != nil {
		return err
	}
	for path, f := range p.files {
		if p.still[filepath.Dir(path)] && !f.retry.IsZero() && f.gone.IsZero() {
			if err := p.file(path, f.group); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *pass) all(ctx context.Context) error {
	if !p.deep {
		return p.directory(ctx, p.o.Config, "")
	}
	entries, err := os.ReadDir(p.o.Config)
	if err != nil {
		return unlisted(err)
	}
	for _, e := range entries {
		path := filepath.Join(p.o.Config, e.Name())
		if info, err := os.Stat(path); err != nil || !info.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if err := p.directory(ctx, path, e.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// leavings are ends of names of files that are no zones: of editors, packages and servers.
var leavings = []string{
	"~", ".swp", ".swx", ".tmp", ".new", ".bak", ".orig", ".rej", ".jnl", ".jbk", ".key", ".private", ".state", ".dpkg-old", ".dpkg-new", ".dpkg-dist",
}

// candidate reports whether a file of this name may be a zone.
func candidate(base string) bool {
	return !strings.HasPrefix(base, ".") && !strings.HasPrefix(base, "#") &&
		!slices.ContainsFunc(leavings, func(end string) bool { return strings.HasSuffix(base, end) })
}

// look reads a file when it changed.
func (r *run) look(path, group string, info fs.FileInfo, now time.Time) (changed bool) {
	f := r.files[path]
	if f == nil {
		f = &file{path: path, group: group}
		r.files[path] = f
	}
	f.gone = time.Time{}
	due := !f.retry.IsZero() && !now.Before(f.retry)
	if !due && f.info != nil && f.info.Size() == info.Size() && f.info.ModTime().Equal(info.ModTime()) && os.SameFile(f.info, info) {
		return false
	}
	f.info = info
	zone, err := readZone(path)
	if err != nil {
		if f.retry.IsZero() {
			f.since = now
		}
		f.retry = now.Add(again)
		r.complain(f, fmt.Errorf("%w; what it was is kept", err))
		if !f.noted && now.Sub(f.since) >= r.times.note { // people save half files, and soon whole ones
			f.noted, r.fresh = true, true
		}
		return false
	}
	r.fresh = r.fresh || f.noted
	f.wrong, f.zone, f.retry, f.noted = "", zone, time.Time{}, false
	return true
}

// vanished notes the files that are not there any more, and forgets those that stay away.
func (p *pass) vanished() (changed bool) {
	for path, f := range p.files {
		switch {
		case p.seen[path], f.gone.IsZero() && p.still[filepath.Dir(path)]:
		case f.gone.IsZero():
			f.gone = p.now
		case p.now.Sub(f.gone) >= p.times.rest:
			delete(p.files, path)
			changed, p.fresh = true, p.fresh || f.noted
		}
	}
	return changed
}
