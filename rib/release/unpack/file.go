package unpack

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

// output is a file being written; holes of a sparse entry are left out.
type output struct {
	fd   int
	e    *manifest.Entry
	pos  int64
	next int // extent that pos is in or before
}

// create makes a file that must not exist, and calls fill to write it; then the
// file gets its attributes. A file that could not be finished is left for clean.
func (b *builder) create(e *manifest.Entry, fill func(out *output) error) error {
	return b.dirs.with(e.Path, func(dirfd int, name string) error {
		var fd int
		err := again(func() (err error) {
			fd, err = unix.Openat(dirfd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
			return err
		})
		if err != nil {
			return err
		}
		err = b.fill(fd, e, fill)
		if closeErr := unix.Close(fd); err == nil {
			err = closeErr
		}
		if err == nil {
			err = stamp(dirfd, name, e)
		}
		return err
	})
}

func (b *builder) fill(fd int, e *manifest.Entry, fill func(out *output) error) error {
	if fill != nil {
		if err := fill(&output{fd: fd, e: e}); err != nil {
			return err
		}
	}
	if e.Sparse != nil {
		if err := again(func() error { return unix.Ftruncate(fd, e.Size) }); err != nil {
			return err
		}
	}
	return b.attrs.finish(fd, e)
}

// Write implements io.Writer; it writes at the current position, but not zeros
// that lie in a hole.
func (o *output) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		n, hole := o.run(int64(len(p)))
		if !hole || !zero(p[:n]) {
			if err := pwrite(o.fd, p[:n], o.pos); err != nil {
				return 0, err
			}
		}
		o.pos += n
		p = p[n:]
	}
	return written, nil
}

// run returns how many of the next n bytes are all data or all hole.
func (o *output) run(n int64) (length int64, hole bool) {
	if o.e.Sparse == nil {
		return n, false
	}
	for o.next < len(o.e.Sparse) && o.pos >= o.e.Sparse[o.next].Offset+o.e.Sparse[o.next].Length {
		o.next++
	}
	if o.next == len(o.e.Sparse) {
		return n, true
	}
	x := o.e.Sparse[o.next]
	if o.pos < x.Offset {
		return min(n, x.Offset-o.pos), true
	}
	return min(n, x.Offset+x.Length-o.pos), false
}

func pwrite(fd int, p []byte, at int64) error {
	for len(p) > 0 {
		n, err := unix.Pwrite(fd, p, at)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		p, at = p[n:], at+int64(n)
	}
	return nil
}

var zeros [4096]byte

func zero(p []byte) bool {
	for len(p) > len(zeros) {
		if !bytes.Equal(p[:len(zeros)], zeros[:]) {
			return false
		}
		p = p[len(zeros):]
	}
	return bytes.Equal(p, zeros[:len(p)])
}

// whole makes one file from contents in memory.
func (b *builder) whole(e *manifest.Entry, data []byte) error {
	return b.create(e, func(out *output) error {
		_, err := out.Write(data)
		return err
	})
}

// stream makes one file from a reader, verifying the digest on the way.
func (b *builder) stream(e *manifest.Entry, r io.Reader) error {
	return b.create(e, func(out *output) error {
		return b.copyVerified(out, r, e)
	})
}

// copyVerified writes all of a reader and verifies it on the way.
func (b *builder) copyVerified(out *output, r io.Reader, e *manifest.Entry) error {
	h := sha256.New()
	buf := b.buffers.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	defer b.buffers.Put(buf)
	n, err := io.CopyBuffer(io.MultiWriter(out, h), onlyReader{io.LimitReader(r, e.Size+1)}, *buf)
	if err != nil {
		return err
	}
	return checkDigest(e, n, manifest.Digest(h.Sum(nil)))
}

// onlyReader keeps io.Copy from taking shortcuts past its buffer.
type onlyReader struct{ io.Reader }

func checkDigest(e *manifest.Entry, n int64, d manifest.Digest) error {
	switch {
	case n > e.Size:
		return fault.Corrupt(fmt.Sprintf("contents of %q are longer than %d bytes", e.Path, e.Size))
	case n < e.Size:
		return fault.Corrupt(fmt.Sprintf("contents of %q end after %d of %d bytes", e.Path, n, e.Size))
	case d != *e.Digest:
		return fault.Corrupt(fmt.Sprintf("contents of %q have digest %s, not %s", e.Path, d.Short(), e.Digest.Short()))
	}
	return nil
}
