// Package archive reads release archives: tar in any of its dialects (v7, ustar,
// GNU, PAX), plain or compressed with gzip, zstd, bzip2 or xz, told apart by their
// first bytes and never by their name.
//
// What it yields can be unpacked without thought. Names are relative and clean,
// nothing stands below a symbolic link or a file, hard links point to earlier
// files of the same archive, and there are no devices, pipes or sockets. An
// archive that breaks a rule, that is damaged, cut off or larger than allowed, is
// refused with an error that names the archive, the entry, and the byte.
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

// Options limit what an archive may hold. Zero values are the defaults.
type Options struct {
	MaxEntries int   // entries of every type; default 500,000
	MaxSize    int64 // bytes of all contents together, holes included; default 32 GiB
	MaxRatio   int64 // expanded bytes per compressed byte, looked at beyond 256 MiB; default 250
	Strip      int   // leading components to remove from each name, as tar --strip-components
}

// The defaults of Options.
const (
	DefaultMaxEntries = 500_000
	DefaultMaxSize    = 32 << 30
	DefaultMaxRatio   = 250
)

// ratioFloor is the size up to which any ratio is fine: zeros compress well.
const ratioFloor = 256 << 20

// nameBudget bounds the memory for names, links, attributes and extents: on
// average that many bytes an entry.
const nameBudget = 512

func (o Options) withDefaults() Options {
	if o.MaxEntries <= 0 {
		o.MaxEntries = DefaultMaxEntries
	}
	o.MaxEntries = min(o.MaxEntries, manifest.MaxEntries)
	if o.MaxSize <= 0 {
		o.MaxSize = DefaultMaxSize
	}
	if o.MaxRatio <= 0 {
		o.MaxRatio = DefaultMaxRatio
	}
	return o
}

// Reader yields the entries of one archive. It is not safe for concurrent use.
type Reader struct {
	name   string
	opt    Options
	raw    *rawReader // the archive's bytes as given
	flat   *flatReader
	format string
	close  func()
	tar    *tar.Reader

	tree     *tree
	root     *manifest.Entry
	body     *body // contents of the current entry
	now      string
	read     int   // entries read, also those that replace others
	size     int64 // contents so far
	names    int   // bytes of names so far
	finished bool
}

// Open begins to read the archive in r. The name is for error messages. Close
// must be called, and leaves r open.
func Open(r io.Reader, name string, o Options) (*Reader, error) {
	a := &Reader{name: name, opt: o.withDefaults(), raw: newRawReader(r), tree: newTree()}
	if err := a.begin(); err != nil {
		a.Close()
		return nil, a.locate(err)
	}
	a.tar = tar.NewReader(a.flat)
	return a, nil
}

// Format returns the format found: "tar", "tar.gz", "tar.zst", "tar.bz2", "tar.xz".
func (a *Reader) Format() string { return a.format }

// Close frees the decompressor.
func (a *Reader) Close() {
	if a.close != nil {
		a.close()
		a.close = nil
	}
}

// Next returns the next entry and, for a file, its contents; the reader of
// anything else is empty. Size, Mode, owner, times and link are known; Digest and
// Sparse are not before the contents were read, and stand in Entries at the end.
// The contents may be left unread. An entry can replace one that came before, as
// with tar; again Entries has what remains.
//
// After the last entry Next reads the archive to its very end, verifies the
// checksums of its compression, and returns io.EOF.
func (a *Reader) Next() (manifest.Entry, io.Reader, error) {
	e, err := a.next()
	if errors.Is(err, io.EOF) && a.finished {
		return manifest.Entry{}, nil, io.EOF
	}
	if err != nil {
		return manifest.Entry{}, nil, a.locate(err)
	}
	if a.body == nil {
		return e, strings.NewReader(""), nil
	}
	return e, a.body, nil
}

// Digest returns the digest of the contents that Next returned last, once they
// are read to their end; zero for an empty file.
func (a *Reader) Digest() manifest.Digest {
	if a.body == nil || a.body.digest == nil {
		return manifest.Digest{}
	}
	return *a.body.digest
}

// Entries returns what remains of the archive once Next has returned io.EOF:
// each path once, in the order of the archive, with digests and extents.
func (a *Reader) Entries() []manifest.Entry { return a.tree.entries() }

// Root returns what the archive says of its own top directory ("./"), or nil.
func (a *Reader) Root() *manifest.Entry { return a.root }

// Sum returns the digest and the length of the archive as given; they are
// complete once Next has returned io.EOF.
func (a *Reader) Sum() (manifest.Digest, int64) {
	return manifest.Digest(a.raw.hash.Sum(nil)), a.raw.n
}

// Manifest completes h with what the archive holds, once Next has returned io.EOF,
// and validates the result.
func (a *Reader) Manifest(h manifest.Header) (*manifest.Manifest, error) {
	if !a.finished {
		return nil, fault.Internal("archive " + a.name + " is not read to its end")
	}
	sum, _ := a.Sum()
	h.Kind, h.Archive, h.Root = manifest.Tree, &sum, a.root
	m := &manifest.Manifest{Header: h, Entries: a.Entries()}
	m.Tally()
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("archive %s: %w", a.name, err)
	}
	return m, nil
}
