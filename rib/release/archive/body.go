package archive

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

// body is the contents of one file: it hashes what is read and finds the holes.
type body struct {
	a      *Reader
	left   int64
	at     int32 // its entry in the tree
	hash   hash.Hash
	holes  *holes
	digest *manifest.Digest
	err    error
}

// Read implements io.Reader; its errors are faults that name the archive.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.hash == nil {
		b.hash = sha256.New()
	}
	n, err := b.a.tar.Read(p)
	b.left -= int64(n)
	b.hash.Write(p[:n])
	b.holes.write(p[:n])
	switch {
	case errors.Is(err, io.EOF) && b.left == 0 || err == nil && b.left == 0:
		b.end()
		b.err = io.EOF
		return n, b.err
	case err != nil:
		b.err = b.a.locate(noEOF(err))
	}
	return n, b.err
}

// end notes digest and extents at the entry.
func (b *body) end() {
	d := manifest.Digest(b.hash.Sum(nil))
	b.digest = &d
	b.a.tree.complete(b.at, &d, b.holes.extents())
}

func (b *body) drain() error {
	_, err := io.Copy(io.Discard, b)
	return err
}

// holeBlock is the granularity of holes: the block of the usual file systems.
const holeBlock = 4096

// holes finds the runs of zero blocks in the contents of an entry that its header
// calls sparse; archive/tar keeps the map of data for itself.
type holes struct {
	pos  int64 // bytes seen
	data bool  // the current block holds data
	runs []manifest.Extent
	over bool // more extents than a manifest holds: stored as not sparse
}

// newHoles returns nil for an entry that is not sparse.
func newHoles(h *tar.Header) *holes {
	if h.Typeflag == tar.TypeGNUSparse {
		return &holes{}
	}
	for _, k := range []string{"GNU.sparse.major", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.realsize"} {
		if h.PAXRecords[k] != "" {
			return &holes{}
		}
	}
	return nil
}

func (h *holes) write(p []byte) {
	if h == nil {
		return
	}
	for len(p) > 0 {
		n := min(int64(len(p)), holeBlock-h.pos%holeBlock)
		if !h.data && !allZero(p[:n]) {
			h.data = true
		}
		h.pos += n
		p = p[n:]
		if h.pos%holeBlock == 0 {
			h.close()
		}
	}
}

// close ends the current block.
func (h *holes) close() {
	start := (h.pos - 1) / holeBlock * holeBlock
	if h.data && !h.over {
		if last := len(h.runs) - 1; last >= 0 && h.runs[last].Offset+h.runs[last].Length == start {
			h.runs[last].Length = h.pos - h.runs[last].Offset
		} else {
			h.runs = append(h.runs, manifest.Extent{Offset: start, Length: h.pos - start})
		}
		h.over = len(h.runs) > manifest.MaxExtents
	}
	h.data = false
}

// extents returns the data of a sparse file, nil if it has no hole.
func (h *holes) extents() []manifest.Extent {
	if h == nil || h.pos == 0 {
		return nil
	}
	if h.pos%holeBlock != 0 {
		h.close()
	}
	switch {
	case h.over:
		return nil
	case len(h.runs) == 0:
		return []manifest.Extent{{Offset: h.pos}}
	case len(h.runs) == 1 && h.runs[0].Length == h.pos:
		return nil
	}
	return h.runs
}

func allZero(p []byte) bool {
	for _, c := range p {
		if c != 0 {
			return false
		}
	}
	return true
}

// isForeign reports whether err says that something else follows the compressed data.
func isForeign(err error) bool {
	return errors.Is(err, gzip.ErrHeader) || errors.Is(err, zstd.ErrMagicMismatch)
}

func isWindow(err error) bool {
	return errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded)
}

// refuse is an Invalid fault about the current entry.
func refuse(format string, args ...any) *fault.Fault {
	return fault.Invalid(fmt.Sprintf(format, args...))
}
