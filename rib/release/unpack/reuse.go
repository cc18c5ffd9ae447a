package unpack

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

// cloner remembers that the file system cannot reflink.
type cloner struct{ cannot atomic.Bool }

// clone makes the contents of to those of from without copying (FICLONE, on
// btrfs, XFS, bcachefs, overlayfs on them); false when that is not possible here.
func (c *cloner) clone(to, from int) bool {
	if c.cannot.Load() {
		return false
	}
	err := again(func() error { return unix.IoctlFileClone(to, from) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.ENOSYS) {
		c.cannot.Store(true)
	}
	return err == nil
}

// reuse makes a file from one that the host has: a hard link when all attributes
// are the same, else a reflink, else a copy.
func (b *builder) reuse(e *manifest.Entry) error {
	src := b.split.source(e)
	f, st, err := openRegular(src.path)
	if err != nil {
		return changed(src.path, err)
	}
	defer f.Close() //nolint:errcheck // only read
	if !src.same(st) {
		return changed(src.path, nil)
	}
	if !b.o.NoLinks && b.matches(int(f.Fd()), st, e) { //nolint:gosec // descriptors are small
		if done, err := b.link(src, e); done || err != nil {
			return err
		}
	}
	err = b.create(e, func(out *output) error {
		if b.clone.clone(out.fd, int(f.Fd())) { //nolint:gosec // descriptors are small
			return nil
		}
		return b.copyVerified(out, f, e)
	})
	if fault.Is(err, fault.KindCorrupt) {
		return changed(src.path, err)
	}
	if err != nil {
		return err
	}
	var now unix.Stat_t
	if err := again(func() error { return unix.Fstat(int(f.Fd()), &now) }); err != nil || !src.same(&now) { //nolint:gosec // descriptors are small
		return changed(src.path, err)
	}
	return nil
}

func changed(p string, err error) error {
	return fault.Conflict(fmt.Sprintf("file %s changed after it was verified", p)).Because(err).
		Try("stage the release again; what changed is fetched then")
}

// matches reports whether a file has exactly the attributes that e would get.
func (b *builder) matches(fd int, st *unix.Stat_t, e *manifest.Entry) bool {
	uid, gid := b.attrs.owner(e)
	return st.Mode&0o7777 == b.attrs.mode(e) && int(st.Uid) == uid && int(st.Gid) == gid &&
		st.Mtim.Sec == e.MTime.Unix() && st.Mtim.Nsec == int64(e.MTime.Nanosecond()) && b.attrs.sameXattrs(fd, e)
}

// link makes a hard link to a file outside of the tree; done is false when it
// cannot be linked (another file system, too many links, not ours). What was
// linked must be the inode that was verified.
func (b *builder) link(src source, e *manifest.Entry) (done bool, err error) {
	err = b.dirs.with(e.Path, func(dirfd int, name string) error {
		err := again(func() error { return unix.Linkat(unix.AT_FDCWD, src.path, dirfd, name, 0) })
		if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EPERM) {
			return nil
		}
		if err != nil {
			return err
		}
		done = true
		var st unix.Stat_t
		if err := again(func() error { return unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
			return err
		}
		if !src.same(&st) {
			return changed(src.path, nil)
		}
		return nil
	})
	return done, err
}

// duplicate makes a file with the contents of one that was made just now.
func (b *builder) duplicate(from, e *manifest.Entry) error {
	return b.dirs.with(from.Path, func(dirfd int, name string) error {
		var fd int
		err := again(func() (err error) {
			fd, err = unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			return err
		})
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), name) //nolint:gosec // descriptors are not negative
		defer f.Close()                    //nolint:errcheck // only read
		return b.create(e, func(out *output) error {
			if b.clone.clone(out.fd, fd) {
				return nil
			}
			return b.copyVerified(out, f, e)
		})
	})
}
