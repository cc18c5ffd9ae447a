package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strings"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

// next returns the next entry that is kept, its contents in a.body.
func (a *Reader) next() (manifest.Entry, error) {
	for {
		if a.finished {
			return manifest.Entry{}, io.EOF
		}
		if a.body != nil {
			if err := a.body.drain(); err != nil {
				return manifest.Entry{}, err
			}
			a.body = nil
		}
		before := a.flat.n
		a.now = ""
		h, err := a.tar.Next()
		if errors.Is(err, io.EOF) {
			return manifest.Entry{}, a.finish(before)
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // convert has its own, stricter rules
			return manifest.Entry{}, noEOF(err)
		}
		a.now = h.Name
		e, keep, err := a.convert(h)
		if err != nil {
			return manifest.Entry{}, err
		}
		if keep {
			return e, a.take(&e, h)
		}
		if err := a.skip(h); err != nil {
			return manifest.Entry{}, err
		}
	}
}

// take counts an entry in and readies its contents.
func (a *Reader) take(e *manifest.Entry, h *tar.Header) error {
	if err := a.account(e); err != nil {
		return err
	}
	at, err := a.tree.add(e)
	if err != nil {
		return err
	}
	if e.Type == manifest.File && e.Size > 0 {
		a.body = &body{a: a, left: e.Size, at: at, holes: newHoles(h)}
	}
	return nil
}

// skip passes over the contents of an entry that is not kept.
func (a *Reader) skip(h *tar.Header) error {
	if h.Size > a.opt.MaxSize {
		return a.tooLarge(h.Size)
	}
	n, err := io.Copy(io.Discard, a.tar)
	if a.size += n; err == nil && a.size > a.opt.MaxSize {
		return a.tooLarge(a.size)
	}
	return err
}

// account counts the entry against the limits, before anything is stored.
func (a *Reader) account(e *manifest.Entry) error {
	if a.read++; a.read > a.opt.MaxEntries {
		return fault.Invalid(fmt.Sprintf("more than %d entries", a.opt.MaxEntries)).
			Try("leave out what need not be deployed, or raise --max-entries")
	}
	if e.Size > a.opt.MaxSize-a.size {
		return a.tooLarge(a.size + min(e.Size, 1<<62))
	}
	a.size += e.Size
	a.names += len(e.Path) + len(e.Link)
	for k, v := range e.Xattrs {
		a.names += len(k) + len(v)
	}
	if a.names > nameBudget*a.opt.MaxEntries {
		return fault.Invalid(fmt.Sprintf("more than %d bytes of names and attributes", nameBudget*a.opt.MaxEntries)).
			Try("raise --max-entries if the archive is meant to be like that")
	}
	return nil
}

func (a *Reader) tooLarge(size int64) error {
	return fault.Invalid(fmt.Sprintf("contents of %d bytes so far; the limit is %d", size, a.opt.MaxSize)).
		Try("leave out what need not be deployed, or raise --max-size")
}

// finish checks the end-of-archive marker (two blocks of zeros; without it nobody
// knows whether files are missing), that only zeros follow, and lets the
// decompressor check its sums.
func (a *Reader) finish(before int64) error {
	if a.flat.n-before < 2*blockSize {
		return fault.Corrupt("cut off: the end-of-archive marker is missing").Because(io.ErrUnexpectedEOF).
			Try("make or fetch the archive again")
	}
	var buf [32 << 10]byte
	for {
		at := a.flat.n
		n, err := a.flat.Read(buf[:])
		for i, c := range buf[:n] {
			if c != 0 {
				return fault.Invalid(fmt.Sprintf("garbage after the end of the archive, at byte %d", at+int64(i))).
					Try("make the archive again; several tar files in one cannot be a release")
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && isForeign(err) {
			return fault.Invalid("garbage after the end of the compressed data").Because(err).Try("make or fetch the archive again")
		}
		if err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, a.raw); err != nil {
		return err
	}
	a.finished = true
	return io.EOF
}

// locate makes err the fault that people see: with the archive, the entry and the
// byte, and of a kind.
func (a *Reader) locate(err error) error {
	if err == nil {
		return nil
	}
	place := "archive " + a.name
	if a.now != "" {
		place += ": entry " + quote(a.now)
	}
	if a.flat != nil && a.flat.n > 0 {
		place += fmt.Sprintf(" (near byte %d of the tar)", a.flat.n)
	}
	if f, ok := errors.AsType[*fault.Fault](err); ok {
		if f.Where != "" {
			return err
		}
		return &fault.Fault{Kind: f.Kind, What: f.What, Where: place, Err: f.Err, Remedy: f.Remedy}
	}
	if a.raw.err != nil {
		// The source broke, not the archive: keep its kind.
		return fmt.Errorf("%s: %w", place, a.raw.err)
	}
	what, remedy := "damaged", "make or fetch the archive again"
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		what = fmt.Sprintf("cut off after %d bytes", a.raw.n)
	case isWindow(err):
		what, remedy = "compressed with a window of more than 128 MiB", "compress it with zstd without --long, or with --long=27"
	case errors.Is(err, tar.ErrHeader):
		what = "damaged tar header"
	}
	return fault.Corrupt(what).At(place).Because(err).Try(remedy)
}

// quote renders an entry's name for messages, long ones shortened.
func quote(name string) string {
	if len(name) > 200 {
		return fmt.Sprintf("%q...", strings.ToValidUTF8(name[:200], "?"))
	}
	return fmt.Sprintf("%q", name)
}
