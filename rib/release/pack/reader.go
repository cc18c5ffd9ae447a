package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

// Reader makes the contents of a release of a pack whose chunks may still be on
// their way. It decompresses ahead on goroutines of its own, holding a few blocks.
// Except for Close it is for one goroutine at a time.
type Reader struct {
	x      *Index
	want   func(manifest.Digest) bool
	blocks *expander

	left     []byte // of the block being read
	read     int64  // bytes of the run taken
	manifest *manifest.Manifest
	objects  []Object
	current  *io.LimitedReader
}

// ReaderOptions adjust a Reader.
type ReaderOptions struct {
	// Want says which contents Next returns; nil for all that the pack holds.
	Want func(manifest.Digest) bool
	// Workers is how many blocks are decompressed at a time; 0 means one for each
	// core, four at most.
	Workers int
}

// NewReader begins to read the pack. A delta pack needs the base release; basis is nil
// for a full one. The reader's goroutines end at Close, which must be called, or soon
// after ctx.
func NewReader(ctx context.Context, x *Index, chunks Chunks, basis *Basis, o ReaderOptions) (*Reader, error) {
	d, err := newDictionary(x, basis)
	if err != nil {
		return nil, err
	}
	e, err := newExpander(ctx, x, chunks, d, o.Workers)
	if err != nil {
		return nil, err
	}
	return &Reader{x: x, want: o.Want, blocks: e}, nil
}

// Close frees the reader and waits for its goroutines.
func (r *Reader) Close() { r.blocks.close() }

// Manifest returns the release's manifest, with which the pack begins, verified
// against the release's ID and valid. It waits for the chunks that hold it.
func (r *Reader) Manifest(ctx context.Context) (*manifest.Manifest, error) {
	if r.manifest != nil {
		return r.manifest, nil
	}
	var text bytes.Buffer
	if _, err := io.CopyN(&text, r.run(ctx), r.x.Manifest); err != nil {
		return nil, r.located(err)
	}
	if manifest.Sum(text.Bytes()) != r.x.Release {
		return nil, fault.Corrupt(fmt.Sprintf("pack %s: its manifest is not that of release %s", r.x.ID().Short(), r.x.Release.Short())).
			Try("fetch the full pack")
	}
	m, err := manifest.Decode(&text)
	if err != nil {
		return nil, err
	}
	var base *manifest.Manifest
	if r.blocks.dict != nil {
		base = r.blocks.dict.basis.Manifest
	}
	r.manifest, r.objects = m, Objects(m, base)
	size := r.x.Manifest
	for _, o := range r.objects {
		size += o.Size
	}
	if size != r.x.Raw() {
		return nil, fault.Corrupt(fmt.Sprintf("pack %s: it holds %d bytes where its release needs %d", r.x.ID().Short(), r.x.Raw(), size)).
			Try("make the pack again")
	}
	return m, nil
}

// Next returns the next contents of those that are wanted, io.EOF after the last. The
// reader is valid until the following call. The digest is what the contents should
// have; who writes them verifies it.
func (r *Reader) Next(ctx context.Context) (manifest.Digest, io.Reader, error) {
	if _, err := r.Manifest(ctx); err != nil {
		return manifest.Digest{}, nil, err
	}
	if r.current != nil {
		if _, err := io.Copy(io.Discard, &io.LimitedReader{R: r.run(ctx), N: r.current.N}); err != nil {
			return manifest.Digest{}, nil, r.located(err)
		}
		r.current = nil
	}
	for len(r.objects) > 0 {
		o := r.objects[0]
		r.objects = r.objects[1:]
		if r.want == nil || r.want(o.Digest) {
			r.current = &io.LimitedReader{R: r.run(ctx), N: o.Size}
			return o.Digest, &objectReader{r: r, limited: r.current}, nil
		}
		if _, err := io.CopyN(io.Discard, r.run(ctx), o.Size); err != nil {
			return manifest.Digest{}, nil, r.located(err)
		}
	}
	return manifest.Digest{}, nil, io.EOF
}

// objectReader reads one object; an end of the pack within it is an error.
type objectReader struct {
	r       *Reader
	limited *io.LimitedReader
}

func (o *objectReader) Read(p []byte) (int, error) {
	n, err := o.limited.Read(p)
	if errors.Is(err, io.EOF) && o.limited.N > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = o.r.located(err)
	}
	return n, err
}

// located gives an error without a kind its place.
func (r *Reader) located(err error) error {
	if _, ok := errors.AsType[*fault.Fault](err); ok {
		return err
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("pack %s: %w", r.x.ID().Short(), err)
}

// run returns the run of bytes as a reader, for use within one call or object.
func (r *Reader) run(ctx context.Context) io.Reader { return &runReader{r: r, ctx: ctx} }

type runReader struct {
	r   *Reader
	ctx context.Context //nolint:containedctx // io.Reader has no place for it
}

func (u *runReader) Read(p []byte) (int, error) {
	for len(u.r.left) == 0 {
		b, err := u.r.blocks.next(u.ctx)
		if err != nil {
			return 0, err
		}
		u.r.left = b
	}
	n := copy(p, u.r.left)
	u.r.left = u.r.left[n:]
	u.r.read += int64(n)
	return n, nil
}
