package site

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// swap replaces a data directory by a copy. Both lie on one file system: the copy beside
// the directory, or inside where that is a mount point, which cannot be renamed. Whatever
// kills the agent in between, what is there says how far it came: a mark lies in the copy,
// and only a directory with all of the copy's data has it at its top.
type swap struct {
	dir   string // the data directory, without symbolic links
	copy  string // where the copy is made
	aside string // pattern of the paths to which old data go; one star
	mount bool
}

// Names beside a data directory, and inside of one that is a mount point.
const (
	copyName   = ".kaname-copy"
	beforeName = ".before-"
	insideName = ".kaname-before-"
)

// newSwap looks at a data directory.
func newSwap(dir string) (*swap, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_TYPE, &st); err != nil {
		return nil, fmt.Errorf("statx %s: %w", dir, err)
	}
	s := &swap{dir: dir, copy: dir + copyName, aside: dir + beforeName + "*"}
	if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		s.mount, s.copy, s.aside = true, filepath.Join(dir, copyName), filepath.Join(dir, insideName+"*")
	}
	return s, nil
}

// before returns the path for the old data.
func (s *swap) before(now time.Time) string {
	return strings.Replace(s.aside, "*", now.UTC().Format("20060102T150405"), 1)
}

// putBack undoes an exchange that was interrupted before the mark was in place: old data
// that were on their way out of a mount point. Before the mark nothing else comes in.
func (s *swap) putBack() error {
	if !s.mount {
		return nil
	}
	out, err := filepath.Glob(s.aside)
	if err != nil {
		return err
	}
	for _, dir := range out {
		if err := s.moveAll(dir, s.dir); err != nil {
			return err
		}
	}
	return nil
}

// carryOn ends an exchange of which the mark is in place.
func (s *swap) carryOn(before string) error {
	if _, err := os.Lstat(s.copy); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if s.mount {
		return s.moveAll(s.copy, s.dir)
	}
	return s.rename(s.copy, before) // the directories had changed places only
}

// exchange puts the copy in place, and the old data at before. A server must not run.
func (s *swap) exchange(before string) error {
	if s.mount {
		if err := os.Mkdir(before, 0o700); err != nil {
			return err
		}
		if err := s.move(s.dir, before); err != nil {
			return err
		}
		return s.moveAll(s.copy, s.dir)
	}
	err := unix.Renameat2(unix.AT_FDCWD, s.copy, unix.AT_FDCWD, s.dir, unix.RENAME_EXCHANGE)
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS): // not on this file system
		if err := s.rename(s.dir, before); err != nil {
			return err
		}
		return s.rename(s.copy, s.dir)
	case err != nil:
		return fmt.Errorf("exchange %s and %s: %w", s.copy, s.dir, err)
	}
	return s.rename(s.copy, before)
}

// undo puts the old data back, and removes the copy.
func (s *swap) undo(before string) error {
	if s.mount {
		if err := os.Mkdir(s.copy, 0o700); err != nil {
			return err
		}
		if err := errors.Join(s.move(s.dir, s.copy), s.moveAll(before, s.dir)); err != nil {
			return err
		}
		return os.RemoveAll(s.copy)
	}
	if err := s.rename(s.dir, s.copy); err != nil {
		return err
	}
	if err := s.rename(before, s.dir); err != nil {
		return err
	}
	return os.RemoveAll(s.copy)
}

// rename renames durably.
func (s *swap) rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

// moveAll moves what is in a directory to another, and removes it.
func (s *swap) moveAll(from, to string) error {
	if err := s.move(from, to); err != nil {
		return err
	}
	return os.Remove(from)
}

// move moves what is in a directory to another, the mark first, and leaves what is ours and
// the file system's.
func (s *swap) move(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(from, markName), filepath.Join(to, markName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := syncDir(to); err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if name == markName || name == "lost+found" || name == copyName || strings.HasPrefix(name, insideName) {
			continue
		}
		if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return errors.Join(syncDir(to), syncDir(from))
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // of the server, as it or the kernel says
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func ignore(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}
