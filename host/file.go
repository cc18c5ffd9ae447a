package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"
)

// WriteFile replaces the file name under root with what write produces, so that
// a reader, or a crash at any moment, sees either the old or the new contents
// whole: a temporary file beside it, fsync, rename, fsync of the directory. The
// mode applies regardless of umask. When write fails, nothing has changed.
func WriteFile(root *os.Root, name string, mode fs.FileMode, write func(w io.Writer) error) error {
	tmp := path.Join(path.Dir(name), "."+path.Base(name)+"."+unique()+".tmp")
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode.Perm())
	if err != nil {
		return err
	}
	if err = fill(f, mode, write); err == nil {
		err = root.Rename(tmp, name)
	}
	if err != nil {
		return errors.Join(err, root.Remove(tmp))
	}
	if err := SyncDir(root, path.Dir(name)); err != nil {
		return fmt.Errorf("sync %s: %w", path.Dir(name), err)
	}
	return nil
}

// WriteBytes is WriteFile with the contents at hand.
func WriteBytes(root *os.Root, name string, mode fs.FileMode, contents []byte) error {
	return WriteFile(root, name, mode, func(w io.Writer) error { _, err := w.Write(contents); return err })
}

// WritePath is WriteBytes for a path of the machine, its directory made with
// mode 0700 if it is missing.
func WritePath(name string, mode fs.FileMode, contents []byte) error {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // only read through
	return WriteBytes(root, filepath.Base(name), mode, contents)
}

func fill(f *os.File, mode fs.FileMode, write func(w io.Writer) error) error {
	err := write(f)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// SyncDir makes the names in a directory under root durable.
func SyncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

var uniqueCounter atomic.Uint64

// unique returns a name part that no other writer of this machine uses now.
func unique() string {
	return strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36) + "-" + strconv.FormatUint(uniqueCounter.Add(1), 36)
}
