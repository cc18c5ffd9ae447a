// Package unpack makes the tree of a release on disk, and checks one against its
// manifest.
//
// Everything is written below one *os.Root, into an empty directory that nobody
// else uses yet; the caller makes it live by a rename. Contents arrive once each
// while they are fetched, and are verified as they are written; files that the
// host has already are linked or cloned instead. Directories are opened one
// component at a time from the Root's own handle and what is made in them is one
// component relative to their handles, so nothing goes through a symbolic link. On any error, and when the context ends, what was
// written is removed again.
package unpack

import (
	"context"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"

	"kaname.dev/kaname/rib/release/manifest"
)

// Contents delivers the contents of files, each distinct one once, in the order of
// its first appearance in the manifest, without those that Missing found reusable.
type Contents interface {
	// Next returns the next contents; their reader is valid until the following
	// call. After the last it returns io.EOF.
	Next(ctx context.Context) (manifest.Digest, io.Reader, error)
}

// Reuse finds files that this host has already.
type Reuse interface {
	// Find returns the absolute path of an existing regular file that is believed to
	// have the entry's contents, best on the same file system and with the same
	// attributes; ok is false when there is none. It must be safe for concurrent
	// use. Nothing is believed: Missing verifies the digest.
	Find(e manifest.Entry) (path string, ok bool)
}

// Owners says whose the files become when the agent runs as root. Otherwise they
// are the agent's own.
type Owners string

// The ways to give files their owners.
const (
	ByName  Owners = ""        // by the names in the archive where this host knows them, else by number, as tar -x
	Numeric Owners = "numeric" // by number, as tar --numeric-owner
	Mine    Owners = "mine"    // all belong to the agent's user, as tar --no-same-owner
)

// Options say how a tree is made and compared; the zero value is what tar -x does
// as root.
type Options struct {
	Owners  Owners
	NoLinks bool                   // never hard-link files of other releases: reflink or copy them
	Xattrs  func(name string) bool // extended attributes to restore; default: user.*
	Ignore  func(path string) bool // what Compare leaves alone, with all below it
	Log     *slog.Logger           // warnings, one of each sort; default: none
	Workers int                    // files at a time; default 4 to 16, twice the processors
}

func (o Options) withDefaults() Options {
	if o.Xattrs == nil {
		o.Xattrs = func(name string) bool { return strings.HasPrefix(name, "user.") }
	}
	if o.Ignore == nil {
		o.Ignore = func(string) bool { return false }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Workers <= 0 {
		o.Workers = min(max(2*runtime.GOMAXPROCS(0), 4), 16)
	}
	return o
}

// Tree unpacks m into the empty directory dst with the default Options.
func Tree(ctx context.Context, dst *os.Root, m *manifest.Manifest, reuse Reuse, contents Contents, progress func(files int, bytes int64)) error {
	return Options{}.Tree(ctx, dst, m, reuse, contents, progress)
}

// Tree unpacks m into the empty directory dst.
//
// A reuse that is a *Split is taken as verified; any other is verified first, as
// by Missing. It may be nil. The contents of all other files must come from
// contents. Progress, which may be nil, is told the sums so far of entries made
// and bytes written or linked; its calls do not overlap.
//
// Errors: Exists when dst is not empty (nothing is touched then), Invalid for a
// manifest that breaks a rule, Corrupt for contents that are wrong or missing,
// Conflict when a verified file changed since (look again with Missing), Full when
// the disk has no room. When Tree returns nil everything is on the disk, also the
// names (syncfs).
func (o Options) Tree(ctx context.Context, dst *os.Root, m *manifest.Manifest, reuse Reuse, contents Contents, progress func(files int, bytes int64)) error {
	o = o.withDefaults()
	if err := m.Validate(); err != nil {
		return err
	}
	if err := checkEmpty(dst); err != nil {
		return err
	}
	split, ok := reuse.(*Split)
	if !ok {
		var err error
		if split, err = o.Missing(ctx, m, reuse); err != nil {
			return err
		}
	}
	b := newBuilder(o, dst, m, split, progress)
	err := b.build(ctx, contents)
	b.dirs.close()
	if err == nil {
		return nil
	}
	if cleanErr := clean(dst, b.plan.dirs); cleanErr != nil {
		o.Log.Warn("an interrupted unpacking could not be removed", "dir", dst.Name(), "err", cleanErr)
	}
	return explain(m, dst, err)
}
