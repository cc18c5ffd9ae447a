package unpack

import (
	"container/list"
	"errors"
	"os"
	"path"
	"sync"

	"golang.org/x/sys/unix"
)

// maxDirs is how many directory handles are kept open.
const maxDirs = 256

// dirs caches handles of the directories below a Root, because walking every
// component again for every file is most of the cost of small ones. Handles in use
// are never closed.
type dirs struct {
	root *os.Root
	mu   sync.Mutex // guards the fields below and refs of each dir
	open map[string]*dir
	idle *list.List // of *dir with refs 0, the longest unused first
}

// dir is a directory handle.
type dir struct {
	name string
	fd   int // for system calls relative to the directory, while it is in use
	refs int
	elem *list.Element // in idle, nil while in use
}

func newDirs(root *os.Root) *dirs {
	return &dirs{root: root, open: map[string]*dir{}, idle: list.New()}
}

// use returns the handle of a directory; it must be given back with done. Every
// component is opened from the handle of the one above, and none may be a link.
func (d *dirs) use(name string) (*dir, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.take(name)
}

// take is use with mu held.
func (d *dirs) take(name string) (*dir, error) {
	h := d.open[name]
	if h == nil {
		fd, err := d.openDir(name)
		if err != nil {
			return nil, err
		}
		for len(d.open) >= maxDirs && d.idle.Len() > 0 {
			old := d.idle.Remove(d.idle.Front()).(*dir) //nolint:forcetypeassert // the list holds nothing else
			delete(d.open, old.name)
			_ = unix.Close(old.fd) // only looked through
		}
		h = &dir{name: name, fd: fd}
		d.open[name] = h
	}
	if h.elem != nil {
		d.idle.Remove(h.elem)
		h.elem = nil
	}
	h.refs++
	return h, nil
}

func (d *dirs) openDir(name string) (int, error) {
	if name == "." {
		f, err := d.root.Open(".")
		if err != nil {
			return 0, err
		}
		defer f.Close()                    //nolint:errcheck // its descriptor is opened once more
		return openDirAt(int(f.Fd()), ".") //nolint:gosec // descriptors are small
	}
	above, err := d.take(path.Dir(name))
	if err != nil {
		return 0, err
	}
	defer d.give(above)
	fd, err := openDirAt(above.fd, path.Base(name))
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: path.Join(d.root.Name(), name), Err: err}
	}
	return fd, nil
}

// openDirAt opens a directory in another one; a link is refused.
func openDirAt(dirfd int, name string) (fd int, err error) {
	err = again(func() error {
		fd, err = unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

func (d *dirs) done(h *dir) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.give(h)
}

// give is done with mu held.
func (d *dirs) give(h *dir) {
	if h.refs--; h.refs == 0 {
		h.elem = d.idle.PushBack(h)
	}
}

// with calls f with the handle of p's directory and p's last component.
func (d *dirs) with(p string, f func(fd int, name string) error) error {
	h, err := d.use(path.Dir(p))
	if err != nil {
		return err
	}
	defer d.done(h)
	if err := f(h.fd, path.Base(p)); err != nil {
		if errors.As(err, new(*os.PathError)) {
			return err
		}
		return &os.PathError{Op: "unpack", Path: path.Join(d.root.Name(), p), Err: err}
	}
	return nil
}

// close closes all handles; none may be in use.
func (d *dirs) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.open {
		_ = unix.Close(h.fd) // only looked through
	}
	clear(d.open)
	d.idle.Init()
}
