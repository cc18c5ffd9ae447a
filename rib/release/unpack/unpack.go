// Package unpack makes the tree of a release on disk, and checks one against its
// manifest.
//
// Everything is written below one *os.Root, into a directory that nobody else uses
// yet; the caller makes it live by a rename. Contents arrive once each while they
// are fetched; files that the host has already are linked or cloned instead. On
// any error, and when the context ends, what was written is removed again.
package unpack

import (
	"context"
	"io"

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
	// have the entry's contents, best on the same file system; ok is false when there
	// is none. It must be safe for concurrent use. Nothing is believed: Tree and
	// Missing verify the digest.
	Find(e manifest.Entry) (path string, ok bool)
}
