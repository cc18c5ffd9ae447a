// Package pack makes the bytes by which a release travels, and makes the release
// of them again.
//
// A pack is one run of bytes: the manifest in its canonical form, then the contents
// of files, each distinct one once, in the order of first appearance in the
// manifest. A full pack has all of them; a delta pack only those that the base
// release lacks. Which contents a pack holds is therefore derived from the two
// manifests and is not shipped.
//
// The run is cut in blocks, each compressed alone as one zstd frame (RFC 8878). A
// block of a delta pack may have a dictionary: ranges of files of the base release,
// named in a skippable frame before it. Blocks are gathered in chunks, the unit that
// hosts exchange: chunk sizes are about clamp(F/1024, 256 KiB, 4 MiB) of F, the
// pack's size on the wire.
//
// Everything is anchored in two digests that a signed command tells a host: the
// pack's ID is the digest of its Index, which names the digest of each chunk; the
// release's ID is the digest of the manifest, which names the digest of each file.
package pack

import (
	"context"
	"io"

	"kaname.dev/kaname/rib/release/manifest"
)

// Format is the format that this version writes and reads.
const Format = 1

// The bounds of what a pack may be. A pack beyond them is refused before memory is
// taken for it.
const (
	MaxChunks = 1 << 20  // chunks of a pack
	MaxChunk  = 16 << 20 // bytes of a chunk on the wire
	MaxBlock  = 8 << 20  // bytes of a block before compression
	MaxDict   = 64 << 20 // bytes of a block's dictionary
	MaxIndex  = 64 << 20 // bytes of an index
)

// Index describes one pack. It has one canonical form, see Bytes.
type Index struct {
	Format   int             // Format
	Release  manifest.Digest // the release's manifest ID
	Base     manifest.Digest // the base release's manifest ID; zero for a full pack
	Manifest int64           // bytes of the manifest, with which the pack begins
	Head     int             // the first chunks, which hold the manifest and nothing else; 0 when it shares a chunk with contents
	Chunks   []Chunk
}

// Chunk is the unit that hosts exchange.
type Chunk struct {
	Digest manifest.Digest // SHA-256 of the bytes on the wire
	Size   int             // bytes on the wire, 1 to MaxChunk
	Raw    int             // bytes before compression
}

// Wire returns the bytes on the wire of all chunks.
func (x *Index) Wire() int64 {
	n := int64(0)
	for i := range x.Chunks {
		n += int64(x.Chunks[i].Size)
	}
	return n
}

// Raw returns the bytes of all chunks before compression, the manifest's included.
func (x *Index) Raw() int64 {
	n := int64(0)
	for i := range x.Chunks {
		n += int64(x.Chunks[i].Raw)
	}
	return n
}

// IsDelta reports whether the pack needs a base release.
func (x *Index) IsDelta() bool { return !x.Base.IsZero() }

// Chunks gives the chunks of a pack as they come to be there.
type Chunks interface {
	// Chunk appends the verified bytes of chunk i to buf and returns the result. It
	// waits until the chunk is there or ctx ends.
	Chunk(ctx context.Context, i int, buf []byte) ([]byte, error)
}

// Base gives the contents of files of a release.
type Base interface {
	// Open opens the contents with that digest. They are believed; whoever reads them
	// verifies. A reader that is also an io.ReaderAt is read at random.
	Open(d manifest.Digest) (io.ReadCloser, error)
}

// Basis is the base release of a delta pack, as a host has it.
type Basis struct {
	Manifest *manifest.Manifest
	Files    Base
}

// Object is one distinct content of a release.
type Object struct {
	Digest manifest.Digest
	Size   int64
	Entry  int // the first entry of the manifest that has it
}

// Objects returns the distinct contents of m in the order of first appearance,
// without those that base has; base may be nil. It is what a pack of m holds.
func Objects(m, base *manifest.Manifest) []Object {
	seen := make(map[manifest.Digest]bool, len(m.Entries))
	if base != nil {
		for i := range base.Entries {
			if d := base.Entries[i].Digest; d != nil {
				seen[*d] = true
			}
		}
	}
	var objects []Object
	for i := range m.Entries {
		e := &m.Entries[i]
		if e.Digest == nil || seen[*e.Digest] {
			continue
		}
		seen[*e.Digest] = true
		objects = append(objects, Object{Digest: *e.Digest, Size: e.Size, Entry: i})
	}
	return objects
}
