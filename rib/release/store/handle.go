package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"sync"

	"github.com/bits-and-blooms/bitset"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/pack"
)

// Pack is a pack in the store, whole or still arriving. Swarm gives and takes its
// chunks, a pack.Reader reads them while they come. It is safe for concurrent use. Once
// it is removed or the store is closed, everything is answered with a NotFound fault.
type Pack struct {
	s       *Store
	dir     string // under the store's
	id      manifest.Digest
	index   *pack.Index
	text    []byte // the index as it travels
	offsets []int64

	mu      sync.Mutex // guards the fields below
	data    *os.File   // opened when it is needed first
	journal *os.File   // open while chunks come
	have    *bitset.BitSet
	count   int
	changed chan struct{} // closed at the next change of have
	removed bool
	written int64 // bytes of the journal
}

// ID returns the pack's ID, 64 hex digits.
func (p *Pack) ID() string { return p.id.String() }

// Digest returns the pack's ID.
func (p *Pack) Digest() manifest.Digest { return p.id }

// Describe returns the index; it must not be changed.
func (p *Pack) Describe() *pack.Index { return p.index }

// Index returns the index as it travels; it must not be changed. The error is always
// nil.
func (p *Pack) Index() ([]byte, error) { return p.text, nil }

// Chunks returns how many chunks there are.
func (p *Pack) Chunks() int { return len(p.index.Chunks) }

// Size returns the bytes of a chunk on the wire.
func (p *Pack) Size(chunk int) int { return p.index.Chunks[chunk].Size }

// Have returns a copy of the set of the chunks that are here.
func (p *Pack) Have() *bitset.BitSet {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.have.Clone()
}

// Complete reports whether all chunks are here.
func (p *Pack) Complete() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count == len(p.index.Chunks)
}

// Changed returns a channel that is closed at the next change of Have, or when the
// pack is removed.
func (p *Pack) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// Wait waits until the chunk is here. A NotFound fault says that the pack was removed
// meanwhile.
func (p *Pack) Wait(ctx context.Context, chunk int) error {
	for {
		p.mu.Lock()
		have, removed, changed := p.have.Test(uint(chunk)), p.removed, p.changed
		p.mu.Unlock()
		switch {
		case have:
			return nil
		case removed:
			return p.gone()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// WaitComplete waits until all chunks are here.
func (p *Pack) WaitComplete(ctx context.Context) error {
	for i := range p.index.Chunks {
		if err := p.Wait(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func (p *Pack) gone() error {
	return fault.NotFound("pack " + p.id.Short() + " was removed from the store")
}

// Put verifies a chunk and stores it; bytes that are not the chunk's are answered with
// a Corrupt fault. Putting what is here already does nothing.
func (p *Pack) Put(ctx context.Context, chunk int, wire []byte) error {
	if chunk < 0 || chunk >= len(p.index.Chunks) {
		return fault.Invalid(fmt.Sprintf("pack %s has no chunk %d", p.id.Short(), chunk))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c := &p.index.Chunks[chunk]
	if len(wire) != c.Size || manifest.Sum(wire) != c.Digest {
		return fault.Corrupt(fmt.Sprintf("pack %s: %d bytes are not chunk %d", p.id.Short(), len(wire), chunk)).
			Try("fetch it again, from another host")
	}
	p.mu.Lock()
	have, removed := p.have.Test(uint(chunk)), p.removed
	p.mu.Unlock()
	switch {
	case removed:
		return p.gone()
	case have:
		return nil
	}
	// Two who put the same chunk at once write the same bytes to the same place.
	f, err := p.file()
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(wire, p.offsets[chunk]); err != nil {
		return p.s.full(fmt.Errorf("write pack %s: %w", p.id.Short(), err))
	}
	return p.came(chunk)
}

// came notes that a chunk is here. When it was the last, the pack is synced: from then
// on it outlasts a power cut.
func (p *Pack) came(chunk int) error {
	p.mu.Lock()
	if p.have.Test(uint(chunk)) { //nolint:gosec // a chunk's number
		p.mu.Unlock()
		return nil
	}
	err := p.record(uint32(chunk)) //nolint:gosec // below MaxChunks
	if err == nil {
		p.have.Set(uint(chunk)) //nolint:gosec // a chunk's number
		p.count++
		p.announce()
	}
	complete := p.count == len(p.index.Chunks)
	p.mu.Unlock()
	if err != nil || !complete {
		return err
	}
	return p.seal()
}

// seal syncs a complete pack and notes in the journal that it is.
func (p *Pack) seal() error {
	f, err := p.file()
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return p.s.full(fmt.Errorf("sync pack %s: %w", p.id.Short(), err))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count != len(p.index.Chunks) {
		return nil // a chunk was found damaged meanwhile
	}
	if err := p.record(journalAll); err != nil {
		return err
	}
	err = errors.Join(p.journal.Sync(), p.journal.Close())
	p.journal = nil
	if err != nil {
		return fmt.Errorf("sync journal of pack %s: %w", p.id.Short(), err)
	}
	return nil
}

// file returns the data, which are opened when they are needed first: a store may hold
// more packs than a process may have files.
func (p *Pack) file() (*os.File, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.removed {
		return nil, p.gone()
	}
	if p.data == nil {
		f, err := p.s.root.OpenFile(path.Join(p.dir, "data"), os.O_RDWR, 0)
		if err != nil {
			return nil, fmt.Errorf("open pack %s: %w", p.id.Short(), err)
		}
		p.data = f
	}
	return p.data, nil
}

// record appends to the journal; p.mu is held.
func (p *Pack) record(number uint32) error {
	if p.removed {
		return p.gone()
	}
	if p.journal == nil {
		f, err := p.s.root.OpenFile(path.Join(p.dir, "have"), os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("open journal of pack %s: %w", p.id.Short(), err)
		}
		p.journal = f
	}
	if _, err := p.journal.WriteAt(appendRecord(nil, p.id, number), p.written); err != nil {
		return p.s.full(fmt.Errorf("write journal of pack %s: %w", p.id.Short(), err))
	}
	p.written += recordSize
	return nil
}

// announce tells of a change; p.mu is held.
func (p *Pack) announce() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// Lost forgets a chunk, so that it is fetched again.
func (p *Pack) Lost(chunk int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.have.Test(uint(chunk)) { //nolint:gosec // a chunk's number
		return nil
	}
	p.have.Clear(uint(chunk)) //nolint:gosec // a chunk's number
	p.count--
	p.announce()
	return p.record(uint32(chunk) | journalLost) //nolint:gosec // below MaxChunks
}

// read appends the bytes of a chunk that should be here to buf, verified. A damaged
// chunk is forgotten and answered with a Corrupt fault.
func (p *Pack) read(chunk int, buf []byte) ([]byte, error) {
	c := &p.index.Chunks[chunk]
	from := len(buf)
	buf = slices.Grow(buf, c.Size)[:from+c.Size]
	f, err := p.file()
	if err != nil {
		return nil, err
	}
	_, err = f.ReadAt(buf[from:], p.offsets[chunk])
	switch {
	case errors.Is(err, os.ErrClosed):
		return nil, p.gone()
	case err == nil && manifest.Sum(buf[from:]) == c.Digest:
		return buf, nil
	}
	p.s.options.Log.Warn("a stored chunk is damaged and is fetched again", "pack", p.id.Short(), "chunk", chunk, "cause", err)
	bad := fault.Corrupt(fmt.Sprintf("pack %s: chunk %d is damaged on the disk of this host", p.id.Short(), chunk)).Because(err).
		Try("it is fetched again by the next fetch; if this comes back, check the disk")
	return nil, errors.Join(bad, p.Lost(chunk))
}

// Chunk appends the verified bytes of a chunk to buf. It waits until the chunk is
// here; one that is damaged is waited for again.
func (p *Pack) Chunk(ctx context.Context, chunk int, buf []byte) ([]byte, error) {
	for {
		if err := p.Wait(ctx, chunk); err != nil {
			return nil, err
		}
		b, err := p.read(chunk, buf)
		if err == nil || !fault.Is(err, fault.KindCorrupt) {
			return b, err
		}
	}
}

// Open opens a chunk that is here, verified: a NotFound fault if it is not, a Corrupt
// one if it is damaged, and then it counts as missing.
func (p *Pack) Open(chunk int) (io.ReadCloser, error) {
	p.mu.Lock()
	have, removed := p.have.Test(uint(chunk)), p.removed //nolint:gosec // a chunk's number
	p.mu.Unlock()
	switch {
	case removed:
		return nil, p.gone()
	case !have:
		return nil, fault.NotFound(fmt.Sprintf("pack %s: chunk %d is not here", p.id.Short(), chunk))
	}
	b, err := p.read(chunk, nil)
	if err != nil {
		return nil, err
	}
	return chunkReader{bytes.NewReader(b)}, nil
}

// chunkReader is a chunk in memory: io.Reader, io.Seeker, io.ReaderAt.
type chunkReader struct{ *bytes.Reader }

func (chunkReader) Close() error { return nil }

// Verify reads all chunks that are here and forgets those that are damaged. It returns
// how many those were.
func (p *Pack) Verify(ctx context.Context) (damaged int, err error) {
	have := p.Have()
	var buf []byte
	for chunk := range have.EachSet() {
		if ctx.Err() != nil {
			return damaged, ctx.Err()
		}
		b, err := p.read(int(chunk), buf[:0]) //nolint:gosec // a chunk's number
		switch {
		case err == nil:
			buf = b
		case fault.Is(err, fault.KindCorrupt):
			damaged++
		default:
			return damaged, err
		}
	}
	return damaged, nil
}

// close closes the files.
func (p *Pack) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.removed {
		return nil
	}
	p.removed = true
	p.announce()
	var errs []error
	for _, f := range []*os.File{p.data, p.journal} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
