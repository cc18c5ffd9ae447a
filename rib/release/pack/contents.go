package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"sync"

	"github.com/bits-and-blooms/bitset"
	"github.com/klauspost/compress/zstd"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

// Needed returns the chunks of a full pack that hold the manifest and the contents
// for which want holds.
func (x *Index) Needed(m *manifest.Manifest, want func(manifest.Digest) bool) *bitset.BitSet {
	starts := x.starts()
	need := bitset.New(uint(len(x.Chunks)))
	mark := func(from, size int64) {
		for i := chunkAt(starts, from); i < len(x.Chunks) && starts[i] < from+size; i++ {
			need.Set(uint(i))
		}
	}
	mark(0, x.Manifest)
	at := x.Manifest
	for _, o := range Objects(m, nil) {
		if want(o.Digest) {
			mark(at, o.Size)
		}
		at += o.Size
	}
	return need
}

// starts returns where in the run each chunk begins.
func (x *Index) starts() []int64 {
	starts := make([]int64, len(x.Chunks))
	at := int64(0)
	for i := range x.Chunks {
		starts[i] = at
		at += int64(x.Chunks[i].Raw)
	}
	return starts
}

// chunkAt returns the chunk that holds the byte of the run.
func chunkAt(starts []int64, at int64) int {
	return sort.Search(len(starts), func(i int) bool { return starts[i] > at }) - 1
}

// Contents gives the contents of a full pack in any order: a Base, and what opaque
// files are read from. It keeps the blocks used last. It is safe for concurrent use.
type Contents struct {
	x       *Index
	chunks  Chunks
	ctx     context.Context //nolint:containedctx // Base has no place for it
	starts  []int64
	objects map[manifest.Digest]span
	decoder *zstd.Decoder

	mu     sync.Mutex  // guards the fields below
	blocks []cached    // decompressed, the last used last
	chunk  []placedRaw // the chunks used last, cut
}

// span is where in the run an object is.
type span struct{ at, size int64 }

// cached is a decompressed block.
type cached struct {
	at  int64
	raw []byte
}

// placedRaw is a chunk cut in blocks.
type placedRaw struct {
	chunk  int
	at     []int64 // where in the run each block begins
	blocks []block
}

// How much a Contents keeps.
const (
	keepBlocks = 16
	keepChunks = 2
)

// NewContents returns the contents of the full pack x of the release m. Close must be
// called. Opening and reading fail once ctx ends.
func NewContents(ctx context.Context, x *Index, m *manifest.Manifest, chunks Chunks) (*Contents, error) {
	if x.IsDelta() {
		return nil, errors.New("a delta pack has no contents of its own")
	}
	return newContents(ctx, x, Objects(m, nil), chunks)
}

func newContents(ctx context.Context, x *Index, objects []Object, chunks Chunks) (*Contents, error) {
	d, err := newDecoder(nil, 1)
	if err != nil {
		return nil, err
	}
	c := &Contents{x: x, chunks: chunks, ctx: ctx, starts: x.starts(), decoder: d, objects: make(map[manifest.Digest]span, len(objects))}
	at := x.Manifest
	for _, o := range objects {
		c.objects[o.Digest] = span{at, o.Size}
		at += o.Size
	}
	return c, nil
}

// Close frees the decompressor.
func (c *Contents) Close() { c.decoder.Close() }

// Open opens the contents with that digest; a NotFound fault if the pack lacks them.
// The result is a *ContentsFile.
func (c *Contents) Open(d manifest.Digest) (io.ReadCloser, error) {
	f, err := c.OpenFile(d)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// OpenFile is Open for those who seek.
func (c *Contents) OpenFile(d manifest.Digest) (*ContentsFile, error) {
	s, ok := c.objects[d]
	if !ok {
		return nil, fault.NotFound(fmt.Sprintf("contents %s are not in release %s", d.Short(), c.x.Release.Short())).Because(os.ErrNotExist)
	}
	return &ContentsFile{SectionReader: io.NewSectionReader(runAt{c}, s.at, s.size)}, nil
}

// ContentsFile is one object of a Contents: io.Reader, io.ReaderAt, io.Seeker.
type ContentsFile struct{ *io.SectionReader }

// Close does nothing.
func (*ContentsFile) Close() error { return nil }

// runAt reads the run of bytes at random.
type runAt struct{ c *Contents }

func (r runAt) ReadAt(p []byte, at int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := r.c.copyAt(p[done:], at+int64(done))
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// copyAt copies what one block has from the position on.
func (c *Contents) copyAt(p []byte, at int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := c.blockAt(at)
	if err != nil {
		return 0, err
	}
	return copy(p, b.raw[at-b.at:]), nil
}

func (c *Contents) blockAt(at int64) (cached, error) {
	for i := range slices.Backward(c.blocks) {
		if b := c.blocks[i]; b.at <= at && at < b.at+int64(len(b.raw)) {
			c.blocks = append(slices.Delete(c.blocks, i, i+1), b)
			return b, nil
		}
	}
	cut, err := c.chunkWith(at)
	if err != nil {
		return cached{}, err
	}
	i := chunkAt(cut.at, at)
	b := cached{at: cut.at[i]}
	var buf []byte
	if len(c.blocks) >= keepBlocks {
		buf = c.blocks[0].raw
		c.blocks = slices.Delete(c.blocks, 0, 1)
	}
	if b.raw, err = expand(c.decoder, cut.blocks[i], buf); err != nil {
		return cached{}, fault.Corrupt(fmt.Sprintf("pack %s: chunk %d", c.x.ID().Short(), cut.chunk)).Because(err).Try("make the pack again")
	}
	c.blocks = append(c.blocks, b)
	return b, nil
}

// chunkWith returns the chunk that holds the byte of the run.
func (c *Contents) chunkWith(at int64) (placedRaw, error) {
	i := chunkAt(c.starts, at)
	for _, cut := range c.chunk {
		if cut.chunk == i {
			return cut, nil
		}
	}
	size := 0
	if i >= 0 {
		size = c.x.Chunks[i].Size
	}
	wire, err := c.chunks.Chunk(c.ctx, i, make([]byte, 0, size))
	if err != nil {
		return placedRaw{}, err
	}
	cut := placedRaw{chunk: i}
	pos := c.starts[i]
	for len(wire) > 0 {
		k, rest, err := cutBlock(wire)
		if err != nil || len(k.refs) > 0 {
			return placedRaw{}, fault.Corrupt(fmt.Sprintf("pack %s: chunk %d", c.x.ID().Short(), i)).Because(errBlock).Try("make the pack again")
		}
		wire = rest
		cut.at = append(cut.at, pos)
		cut.blocks = append(cut.blocks, k)
		pos += int64(k.raw)
	}
	if pos != c.starts[i]+int64(c.x.Chunks[i].Raw) {
		return placedRaw{}, fault.Corrupt(fmt.Sprintf("pack %s: chunk %d", c.x.ID().Short(), i)).Because(errBlock).Try("make the pack again")
	}
	if len(c.chunk) >= keepChunks {
		c.chunk = slices.Delete(c.chunk, 0, 1)
	}
	c.chunk = append(c.chunk, cut)
	return cut, nil
}

// fileChunks reads the chunks of a pack whose file is complete.
type fileChunks struct {
	x *Index
	f io.ReaderAt
}

// FileChunks gives the chunks of a complete pack's file as a Builder left it,
// verified.
func FileChunks(x *Index, f io.ReaderAt) Chunks { return fileChunks{x, f} }

func (c fileChunks) Chunk(_ context.Context, i int, buf []byte) ([]byte, error) {
	from := len(buf)
	buf = slices.Grow(buf, c.x.Chunks[i].Size)[:from+c.x.Chunks[i].Size]
	if _, err := c.f.ReadAt(buf[from:], c.x.Offset(i)); err != nil {
		return nil, fmt.Errorf("read chunk %d: %w", i, err)
	}
	if manifest.Sum(buf[from:]) != c.x.Chunks[i].Digest {
		return nil, fault.Corrupt(fmt.Sprintf("pack %s: chunk %d is damaged", c.x.ID().Short(), i))
	}
	return buf, nil
}
