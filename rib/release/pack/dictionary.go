package pack

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

// BaseError says that a file of the base release, which a delta pack needs, is gone
// or is not what it was. The other contents of the pack can still be had; those that
// need the file come from the full pack, see Index.Needed.
type BaseError struct {
	Base   manifest.Digest // the base release
	Path   string          // a path that has the contents there
	Digest manifest.Digest // the contents
	Err    error           // why they cannot be read; nil when they are different ones
}

// Error names the file.
func (e *BaseError) Error() string {
	text := fmt.Sprintf("release %s: file %q, on which the delta pack builds, ", e.Base.Short(), e.Path)
	if e.Err == nil {
		return text + "was changed since it was unpacked; fetch the full pack"
	}
	return text + "cannot be read: " + e.Err.Error() + "; fetch the full pack"
}

// Unwrap returns the cause, a fault of kind corrupt when the file was changed.
func (e *BaseError) Unwrap() error {
	if e.Err == nil {
		return fault.Corrupt(fmt.Sprintf("file %q was changed", e.Path)).Try("fetch the full pack")
	}
	return e.Err
}

// dictionary gives the dictionaries of blocks.
type dictionary struct {
	basis *Basis
	id    manifest.Digest
	once  func() []byte // the base's manifest, object 0
	all   []Object      // object n is all[n-1]
}

// newDictionary returns what the pack needs of its base; nil for a full pack.
func newDictionary(x *Index, basis *Basis) (*dictionary, error) {
	if !x.IsDelta() {
		return nil, nil //nolint:nilnil // a full pack has none
	}
	if basis == nil || basis.Manifest == nil || basis.Files == nil {
		return nil, fault.Invalid(fmt.Sprintf("pack %s is a delta against release %s, which is not here", x.ID().Short(), x.Base.Short())).
			Try("fetch the full pack")
	}
	d := openDictionary(basis)
	if d.id = manifest.Sum(d.once()); d.id != x.Base {
		return nil, fault.Invalid(fmt.Sprintf("pack %s is a delta against release %s, not %s", x.ID().Short(), x.Base.Short(), d.id.Short())).
			Try("fetch the full pack")
	}
	return d, nil
}

func openDictionary(basis *Basis) *dictionary {
	return &dictionary{basis: basis, once: sync.OnceValue(basis.Manifest.Bytes), all: Objects(basis.Manifest, nil)}
}

// size returns the length of an object, or -1 if there is none.
func (d *dictionary) size(object int) int64 {
	switch {
	case object == 0:
		return int64(len(d.once()))
	case object < 0 || object > len(d.all):
		return -1
	}
	return d.all[object-1].Size
}

// load reads the ranges, one after the other. Nothing is verified: a wrong dictionary
// shows at the block's checksum, and then verify names the file.
func (d *dictionary) load(refs []ref) ([]byte, error) {
	total := int64(0)
	for i := range refs {
		size := d.size(refs[i].object)
		if refs[i].n == 0 {
			refs[i].n = size - refs[i].off
		}
		if refs[i].off < 0 || refs[i].n <= 0 || refs[i].off+refs[i].n > size {
			return nil, errors.New("a dictionary beyond the files of the base release")
		}
		if total += refs[i].n; total > MaxDict {
			return nil, fmt.Errorf("a dictionary of more than %d bytes", MaxDict)
		}
	}
	b := make([]byte, total)
	at := b
	for _, r := range refs {
		if err := d.read(at[:r.n], r); err != nil {
			return nil, err
		}
		at = at[r.n:]
	}
	return b, nil
}

func (d *dictionary) read(p []byte, r ref) error {
	if r.object == 0 {
		copy(p, d.once()[r.off:])
		return nil
	}
	f, err := d.basis.Files.Open(d.all[r.object-1].Digest)
	if err != nil {
		return d.bad(r.object, err)
	}
	defer f.Close() //nolint:errcheck // only read
	if at, ok := f.(io.ReaderAt); ok {
		var n int
		if n, err = at.ReadAt(p, r.off); n == len(p) {
			err = nil
		}
	} else if _, err = io.CopyN(io.Discard, f, r.off); err == nil {
		_, err = io.ReadFull(f, p)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return d.bad(r.object, err)
	}
	return nil
}

// verify returns a BaseError for the first of the files that is not what it was.
func (d *dictionary) verify(refs []ref) error {
	done := map[int]bool{0: true}
	for _, r := range refs {
		if done[r.object] || d.size(r.object) < 0 {
			continue
		}
		done[r.object] = true
		f, err := d.basis.Files.Open(d.all[r.object-1].Digest)
		if err != nil {
			return d.bad(r.object, err)
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return d.bad(r.object, err)
		}
		if manifest.Digest(h.Sum(nil)) != d.all[r.object-1].Digest {
			return d.bad(r.object, nil)
		}
	}
	return nil
}

func (d *dictionary) bad(object int, err error) error {
	o := d.all[object-1]
	return &BaseError{Base: d.id, Path: d.basis.Manifest.Entries[o.Entry].Path, Digest: o.Digest, Err: err}
}
