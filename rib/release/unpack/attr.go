package unpack

import (
	"bytes"
	"errors"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/rib/release/manifest"
)

// attrs gives files their owners, modes, times and extended attributes.
type attrs struct {
	o      Options
	root   bool // may give files away
	uid    int
	gid    int
	mu     sync.Mutex // guards the fields below
	users  map[string]int
	groups map[string]int
	warned map[string]bool
}

func newAttrs(o Options) *attrs {
	return &attrs{
		o: o, root: os.Geteuid() == 0, uid: os.Geteuid(), gid: os.Getegid(),
		users: map[string]int{}, groups: map[string]int{}, warned: map[string]bool{},
	}
}

// warn logs the first warning of each text.
func (a *attrs) warn(text string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.warned[text] {
		a.warned[text] = true
		a.o.Log.Warn(text, args...)
	}
}

// owner returns the numbers that e's owner and group have on this host.
func (a *attrs) owner(e *manifest.Entry) (uid, gid int) {
	switch {
	case !a.root || a.o.Owners == Mine:
		return a.uid, a.gid
	case a.o.Owners == Numeric:
		return e.UID, e.GID
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	uid = lookup(a.users, e.Owner, e.UID, func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
	gid = lookup(a.groups, e.Group, e.GID, func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
	return uid, gid
}

// lookup finds the number of a name, or else the archive's; cache holds -1 for
// names that are not known here.
func lookup(cache map[string]int, name string, otherwise int, find func(string) (string, error)) int {
	if name == "" {
		return otherwise
	}
	id, ok := cache[name]
	if !ok {
		id = -1
		if s, err := find(name); err == nil {
			if n, err := strconv.Atoi(s); err == nil {
				id = n
			}
		}
		cache[name] = id
	}
	if id < 0 {
		return otherwise
	}
	return id
}

// mode returns the mode that e gets. A setuid or setgid file whose owner could not
// be given must not act for somebody else.
func (a *attrs) mode(e *manifest.Entry) uint32 {
	if a.root && a.o.Owners != Mine || e.Type != manifest.File {
		return e.Mode
	}
	return e.Mode &^ 0o6000
}

// finish gives an open file or directory all attributes but its times: owner
// before mode, because chown clears setuid; extended attributes after chown, which
// clears capabilities.
func (a *attrs) finish(fd int, e *manifest.Entry) error {
	if a.root {
		uid, gid := a.owner(e)
		if err := again(func() error { return unix.Fchown(fd, uid, gid) }); err != nil {
			return err
		}
	} else if e.UID != a.uid || e.GID != a.gid {
		a.warn("not running as root: files keep the agent's owner instead of the archive's", "path", e.Path)
	}
	if err := again(func() error { return unix.Fchmod(fd, a.mode(e)) }); err != nil {
		return err
	}
	for name, value := range e.Xattrs {
		if !a.o.Xattrs(name) {
			continue
		}
		err := again(func() error { return unix.Fsetxattr(fd, name, value, 0) })
		if errors.Is(err, unix.EOPNOTSUPP) {
			a.warn("the file system has no extended attributes; they are left out", "path", e.Path, "attribute", name)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stamp sets the modification time of a name in a directory, also of a link; the
// access time becomes the same.
func stamp(dirfd int, name string, e *manifest.Entry) error {
	t := unix.NsecToTimespec(e.MTime.UnixNano())
	if sec := e.MTime.Unix(); t.Sec != sec { // outside of what nanoseconds in 64 bits hold
		t = unix.Timespec{Sec: sec, Nsec: int64(e.MTime.Nanosecond())}
	}
	return again(func() error {
		return unix.UtimesNanoAt(dirfd, name, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// sameXattrs reports whether the file has exactly those extended attributes of e
// that are restored, and no others that would be.
func (a *attrs) sameXattrs(fd int, e *manifest.Entry) bool {
	have, err := a.readXattrs(fd)
	if err != nil {
		return false
	}
	for name, value := range e.Xattrs {
		if !a.o.Xattrs(name) {
			continue
		}
		if v, ok := have[name]; !ok || !bytes.Equal(v, value) {
			return false
		}
		delete(have, name)
	}
	return len(have) == 0
}

// readXattrs returns the extended attributes of a file that would be restored.
func (a *attrs) readXattrs(fd int) (map[string][]byte, error) {
	n, err := unix.Flistxattr(fd, nil)
	if errors.Is(err, unix.EOPNOTSUPP) || err == nil && n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list := make([]byte, n+1024)
	if n, err = unix.Flistxattr(fd, list); err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if name == "" || !a.o.Xattrs(name) {
			continue
		}
		value := make([]byte, 64<<10) // the kernel's limit, XATTR_SIZE_MAX
		if n, err = unix.Fgetxattr(fd, name, value); err != nil {
			return nil, err
		}
		out[name] = slices.Clone(value[:n])
	}
	return out, nil
}

// again repeats a system call that a signal interrupted.
func again(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
