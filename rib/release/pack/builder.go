package pack

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"kaname.dev/kaname/rib/release/manifest"
)

// File is where the chunks of a pack are written while it is made, empty at first.
type File interface {
	io.Writer
	io.ReaderAt
	io.Seeker
	Truncate(size int64) error
}

// aside is the size up to which contents are held in memory until it is known
// whether they were there before.
const aside = 4 << 20

// Builder makes a full pack of contents that come one after another. It holds a few
// blocks in memory, whatever the size of the release. It is for one goroutine.
type Builder struct {
	ctx     context.Context //nolint:containedctx // the life of the builder
	f       File
	press   *press
	options Options
	block   []byte // the block being filled
	seen    map[manifest.Digest]bool
	objects []Object
	closed  bool
}

// NewBuilder returns a builder that writes to f. Close must be called.
func NewBuilder(ctx context.Context, f File, o Options) (*Builder, error) {
	p, err := newPress(f, o)
	if err != nil {
		return nil, err
	}
	return &Builder{ctx: ctx, f: f, press: p, options: o, seen: map[manifest.Digest]bool{}}, nil
}

// Close frees the builder; f remains open and as it is.
func (b *Builder) Close() {
	if !b.closed {
		b.closed = true
		b.press.close()
	}
}

// Add reads contents of exactly size bytes, or with a negative size all that come, and
// adds them unless they were there before. It returns their digest, zero for empty ones. When sum is given, it is asked
// for the digest once r is read, instead of computing it.
func (b *Builder) Add(r io.Reader, size int64, sum func() manifest.Digest) (manifest.Digest, error) {
	if size == 0 {
		return manifest.Digest{}, whole(r, 0, 0)
	}
	if sum == nil {
		h := sha256.New()
		r, sum = io.TeeReader(r, h), func() manifest.Digest { return manifest.Digest(h.Sum(nil)) }
	}
	if size > aside || size < 0 {
		return b.addLarge(r, size, sum)
	}
	contents := make([]byte, size)
	n, err := io.ReadFull(r, contents)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF { //nolint:errorlint // those of ReadFull itself; what r wraps says more
		return manifest.Digest{}, err
	}
	if err := whole(r, int64(n), size); err != nil {
		return manifest.Digest{}, err
	}
	d := sum()
	if b.seen[d] {
		return d, nil
	}
	b.note(d, size)
	return d, b.put(contents)
}

// addLarge writes contents before it is known whether they were there, and takes them
// back if they were.
func (b *Builder) addLarge(r io.Reader, size int64, sum func() manifest.Digest) (manifest.Digest, error) {
	if err := b.flush(); err != nil {
		return manifest.Digest{}, err
	}
	job := b.press.jobs
	from := r
	if size >= 0 {
		from = io.LimitReader(r, size)
	}
	n, err := io.CopyBuffer(putter{b}, from, make([]byte, 128<<10))
	if err == nil && size >= 0 {
		err = whole(r, n, size)
	}
	if err == nil {
		err = b.flush()
	}
	if err != nil {
		return manifest.Digest{}, err
	}
	if n == 0 {
		return manifest.Digest{}, nil
	}
	d := sum()
	if !b.seen[d] {
		b.note(d, n)
		return d, nil
	}
	if err := b.press.settle(b.ctx); err != nil {
		return d, err
	}
	return d, b.rewind(b.press.cut(job))
}

func (b *Builder) rewind(size int64) error {
	if err := b.f.Truncate(size); err != nil {
		return fmt.Errorf("truncate pack: %w", err)
	}
	if _, err := b.f.Seek(size, io.SeekStart); err != nil {
		return fmt.Errorf("seek in pack: %w", err)
	}
	return nil
}

// whole checks that n bytes of r are all that there is.
func whole(r io.Reader, n, size int64) error {
	if n < size {
		return fmt.Errorf("contents end after %d of %d bytes: %w", n, size, io.ErrUnexpectedEOF)
	}
	var one [1]byte
	switch k, err := io.ReadFull(r, one[:]); {
	case k > 0:
		return fmt.Errorf("contents go on after the %d bytes announced", size)
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

func (b *Builder) note(d manifest.Digest, size int64) {
	b.seen[d] = true
	b.objects = append(b.objects, Object{Digest: d, Size: size})
}

// putter makes an io.Writer of put.
type putter struct{ b *Builder }

func (p putter) Write(raw []byte) (int, error) { return len(raw), p.b.put(raw) }

// put adds bytes to the run.
func (b *Builder) put(raw []byte) error {
	for len(raw) > 0 {
		if b.block == nil {
			b.block = make([]byte, 0, blockRaw)
		}
		n := min(len(raw), blockRaw-len(b.block))
		b.block = append(b.block, raw[:n]...)
		raw = raw[n:]
		if len(b.block) == blockRaw {
			if err := b.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush ends the block being filled.
func (b *Builder) flush() error {
	if len(b.block) == 0 {
		return nil
	}
	raw := b.block
	b.block = nil
	_, err := b.press.submit(b.ctx, raw)
	return err
}

// Fits reports whether the contents added are those of m in its order, as a pack must
// have them. They are not where an archive replaced a file by a later entry; then the
// pack is to be made again, from Contents.
func (b *Builder) Fits(m *manifest.Manifest) bool {
	want := Objects(m, nil)
	if len(want) != len(b.objects) {
		return false
	}
	for i := range want {
		if want[i].Digest != b.objects[i].Digest {
			return false
		}
	}
	return true
}

// Finish writes the manifest and returns the index. The contents added must fit.
func (b *Builder) Finish(m *manifest.Manifest) (*Index, error) {
	if !b.Fits(m) {
		return nil, errors.New("the contents added are not those of the manifest")
	}
	if err := b.flush(); err != nil {
		return nil, err
	}
	job := b.press.jobs
	text := m.Bytes()
	if err := b.put(text); err != nil {
		return nil, err
	}
	if err := b.flush(); err != nil {
		return nil, err
	}
	if err := b.press.settle(b.ctx); err != nil {
		return nil, err
	}
	x := &Index{Format: Format, Release: manifest.Sum(text), Manifest: int64(len(text))}
	target := chunkSize(b.press.blocks)
	data := 0
	for data < len(b.press.blocks) && b.press.blocks[data].job < job {
		data++
	}
	x.Chunks = gather(nil, b.press.blocks[data:], target)
	x.Head = len(x.Chunks)
	x.Chunks = gather(x.Chunks, b.press.blocks[:data], target)
	return x, digest(b.ctx, b.f, x, b.options)
}

// The bounds of the size of chunks, and how many there should be: release.md, "c".
const (
	chunkMin   = 256 << 10
	chunkMax   = 4 << 20
	chunkCount = 1024
)

// chunkSize returns the bytes on the wire that a chunk should have.
func chunkSize(blocks []placed) int {
	total := int64(0)
	for _, k := range blocks {
		total += int64(k.wire)
	}
	return int(min(max(total/chunkCount, chunkMin), chunkMax))
}

// gather makes chunks of consecutive blocks, each as near to the target as whole
// blocks allow.
func gather(chunks []Chunk, blocks []placed, target int) []Chunk {
	var c Chunk
	for _, k := range blocks {
		if c.Size > 0 && c.Size+k.wire-target > target-c.Size {
			chunks = append(chunks, c)
			c = Chunk{}
		}
		c.Size += k.wire
		c.Raw += k.raw
	}
	if c.Size > 0 {
		chunks = append(chunks, c)
	}
	return chunks
}

// digest reads the chunks back and sets their digests.
func digest(ctx context.Context, f io.ReaderAt, x *Index, o Options) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(o.workers())
	at := x.Offset(0)
	for i := range x.Chunks {
		if i == x.Head {
			at = 0
		}
		c, from := &x.Chunks[i], at
		at += int64(c.Size)
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			h := sha256.New()
			if _, err := io.Copy(h, io.NewSectionReader(f, from, int64(c.Size))); err != nil {
				return fmt.Errorf("read pack back: %w", err)
			}
			c.Digest = manifest.Digest(h.Sum(nil))
			return nil
		})
	}
	return g.Wait()
}

// Contents gives what was added, in spite of not fitting a manifest. The builder must
// not be used afterwards but for Close.
func (b *Builder) Contents() (*Contents, error) {
	if err := b.flush(); err != nil {
		return nil, err
	}
	if err := b.press.settle(b.ctx); err != nil {
		return nil, err
	}
	x := &Index{Format: Format, Chunks: gather(nil, b.press.blocks, chunkMin)}
	if err := digest(b.ctx, b.f, x, b.options); err != nil {
		return nil, err
	}
	return newContents(b.ctx, x, b.objects, FileChunks(x, b.f))
}
