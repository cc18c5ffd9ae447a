package unpack

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

// Drift is one way in which a tree differs from its manifest.
type Drift struct {
	Path string `json:"path"`
	What Aspect `json:"what"`
	Want string `json:"want,omitempty"`
	Have string `json:"have,omitempty"`
}

// String renders "path: what (want, have)".
func (d Drift) String() string {
	switch d.What {
	case Gone, Extra:
		return fmt.Sprintf("%q: %s", d.Path, d.What)
	default:
		return fmt.Sprintf("%q: %s is %s instead of %s", d.Path, d.What, d.Have, d.Want)
	}
}

// Aspect is what differs.
type Aspect string

// The aspects that Compare looks at.
const (
	Gone   Aspect = "missing"  // not there
	Extra  Aspect = "extra"    // there, but not in the manifest
	Sort   Aspect = "type"     // a file where a directory should be, and so on
	Size   Aspect = "size"     // of the contents
	Text   Aspect = "contents" // their digest
	Mode   Aspect = "mode"     // permissions
	Owner  Aspect = "owner"    // uid:gid
	Time   Aspect = "time"     // modification time
	Target Aspect = "link"     // of a symbolic link
	Inode  Aspect = "hardlink" // two names that should be one file
	Attr   Aspect = "xattrs"   // extended attributes
)

// Compare looks at the tree below root as Options.Compare does, with the defaults.
func Compare(ctx context.Context, root *os.Root, m *manifest.Manifest) ([]Drift, error) {
	return Options{}.Compare(ctx, root, m)
}

// Compare reads the whole tree below root and returns how it differs from m,
// sorted by path; nothing when it is exactly what Tree makes. Entries that are
// implied, and paths that Ignore names, are only looked through.
func (o Options) Compare(ctx context.Context, root *os.Root, m *manifest.Manifest) ([]Drift, error) {
	o = o.withDefaults()
	c := &comparer{o: o, m: m, dirs: newDirs(root), attrs: newAttrs(o)}
	defer c.dirs.close()
	var g errgroup.Group
	g.SetLimit(o.Workers)
	for some := range slices.Chunk(m.Entries, batch) {
		g.Go(func() error {
			for i := range some {
				if err := ctx.Err(); err != nil {
					return err
				}
				if o.ignored(some[i].Path) {
					continue
				}
				if err := c.entry(ctx, &some[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	if err == nil && m.Root != nil {
		err = c.dirs.with(".", func(fd int, _ string) error { return c.top(fd, m.Root) })
	}
	if err == nil {
		err = c.extras(ctx)
	}
	if err != nil {
		return nil, compareFault(m, root, err)
	}
	slices.SortFunc(c.drifts, func(a, b Drift) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(string(a.What), string(b.What)))
	})
	return c.drifts, nil
}

func compareFault(m *manifest.Manifest, root *os.Root, err error) error {
	f := fault.Of(err)
	return (&fault.Fault{Kind: f.Kind, What: "release " + m.String() + " could not be compared"}).At(root.Name()).Because(err)
}

// ignored reports whether a path, or a directory above it, is to be left alone.
func (o Options) ignored(p string) bool {
	for ; p != "."; p = path.Dir(p) {
		if o.Ignore(p) {
			return true
		}
	}
	return false
}

type comparer struct {
	o     Options
	m     *manifest.Manifest
	dirs  *dirs
	attrs *attrs

	mu     sync.Mutex // guards drifts
	drifts []Drift
}

func (c *comparer) note(p string, what Aspect, want, have any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drifts = append(c.drifts, Drift{Path: p, What: what, Want: fmt.Sprint(want), Have: fmt.Sprint(have)})
}

// absent reports whether an error says that a path is not there, or not to be
// reached because something else stands above it.
func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

func (c *comparer) entry(ctx context.Context, e *manifest.Entry) error {
	err := c.dirs.with(e.Path, func(dirfd int, name string) error {
		var st unix.Stat_t
		if err := again(func() error { return unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
			return err
		}
		if want, have := sortOf(e), st.Mode&unix.S_IFMT; want != have {
			c.note(e.Path, Sort, sortName(want), sortName(have))
			return nil
		}
		switch e.Type {
		case manifest.Hardlink:
			return c.hardlink(e, &st)
		case manifest.Symlink:
			return c.symlink(dirfd, name, e, &st)
		default:
			return c.node(ctx, dirfd, name, e, &st)
		}
	})
	if absent(err) {
		c.note(e.Path, Gone, "", "")
		return nil
	}
	return err
}

// top compares the tree's own directory.
func (c *comparer) top(fd int, e *manifest.Entry) error {
	var st unix.Stat_t
	if err := again(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return err
	}
	c.common(e, &st)
	return nil
}

// common compares what every inode has.
func (c *comparer) common(e *manifest.Entry, st *unix.Stat_t) {
	uid, gid := c.attrs.owner(e)
	if int(st.Uid) != uid || int(st.Gid) != gid {
		c.note(e.Path, Owner, fmt.Sprintf("%d:%d", uid, gid), fmt.Sprintf("%d:%d", st.Uid, st.Gid))
	}
	if want := c.attrs.mode(e); e.Type != manifest.Symlink && st.Mode&0o7777 != want {
		c.note(e.Path, Mode, fmt.Sprintf("%04o", want), fmt.Sprintf("%04o", st.Mode&0o7777))
	}
	if have := time.Unix(st.Mtim.Unix()).UTC(); !have.Equal(e.MTime) {
		c.note(e.Path, Time, e.MTime.Format(time.RFC3339Nano), have.Format(time.RFC3339Nano))
	}
}

// node compares a file or directory.
func (c *comparer) node(ctx context.Context, dirfd int, name string, e *manifest.Entry, st *unix.Stat_t) error {
	c.common(e, st)
	if e.Type == manifest.File && st.Size != e.Size {
		c.note(e.Path, Size, e.Size, st.Size)
		return nil
	}
	var fd int
	err := again(func() (err error) {
		fd, err = unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name) //nolint:gosec // descriptors are not negative
	defer f.Close()                    //nolint:errcheck // only read
	if !c.attrs.sameXattrs(fd, e) {
		c.note(e.Path, Attr, "the archive's", "others")
	}
	if e.Type != manifest.File || e.Size == 0 {
		return nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, &untilDone{ctx, f}); err != nil {
		return err
	}
	if d := manifest.Digest(h.Sum(nil)); d != *e.Digest {
		c.note(e.Path, Text, e.Digest.Short(), d.Short())
	}
	return nil
}

func (c *comparer) symlink(dirfd int, name string, e *manifest.Entry, st *unix.Stat_t) error {
	c.common(e, st)
	buf := make([]byte, manifest.MaxPath)
	n, err := unix.Readlinkat(dirfd, name, buf)
	if err != nil {
		return err
	}
	if have := string(buf[:n]); have != e.Link {
		c.note(e.Path, Target, fmt.Sprintf("%q", e.Link), fmt.Sprintf("%q", have))
	}
	return nil
}

func (c *comparer) hardlink(e *manifest.Entry, st *unix.Stat_t) error {
	if c.o.ignored(e.Link) {
		return nil
	}
	return c.dirs.with(e.Link, func(dirfd int, name string) error {
		var to unix.Stat_t
		if err := again(func() error { return unix.Fstatat(dirfd, name, &to, unix.AT_SYMLINK_NOFOLLOW) }); err != nil && !absent(err) {
			return err
		}
		if to.Ino != st.Ino || to.Dev != st.Dev {
			c.note(e.Path, Inode, fmt.Sprintf("a link to %q", e.Link), "a file of its own")
		}
		return nil
	})
}

// extras finds what the manifest does not have, in the directories that it has.
func (c *comparer) extras(ctx context.Context) error {
	known := make(map[string]bool, len(c.m.Entries))
	for i := range c.m.Entries {
		known[c.m.Entries[i].Path] = true
	}
	dirs := newPlan(c.m, nil).dirs
	for _, p := range dirs {
		known[p] = true
	}
	for _, p := range append([]string{"."}, dirs...) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if c.o.ignored(p) {
			continue
		}
		names, err := c.list(p)
		if absent(err) {
			continue
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if full := path.Join(p, name); !known[full] && !c.o.ignored(full) {
				c.note(full, Extra, "", "")
			}
		}
	}
	return nil
}

func (c *comparer) list(p string) ([]string, error) {
	h, err := c.dirs.use(p)
	if err != nil {
		return nil, err
	}
	defer c.dirs.done(h)
	fd, err := openDirAt(h.fd, ".")
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), p) //nolint:gosec // descriptors are not negative
	defer f.Close()                 //nolint:errcheck // only read
	return f.Readdirnames(-1)
}

func sortOf(e *manifest.Entry) uint32 {
	switch e.Type {
	case manifest.Dir:
		return unix.S_IFDIR
	case manifest.Symlink:
		return unix.S_IFLNK
	default:
		return unix.S_IFREG
	}
}

func sortName(mode uint32) string {
	switch mode {
	case unix.S_IFREG:
		return "a file"
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFLNK:
		return "a symbolic link"
	}
	return "something else"
}
