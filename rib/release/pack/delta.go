package pack

import (
	"context"
	"errors"
	"fmt"
	"io"

	"kaname.dev/kaname/rib/release/manifest"
)

// How a delta pack is cut. A block and its dictionary are what a host holds in memory
// for each core while it reads the pack.
const (
	deltaRaw  = 4 << 20 // bytes of a block before compression
	deltaDict = 8 << 20 // bytes of a dictionary
)

// part is a range of an object of the new release; object 0 is its manifest.
type part struct {
	object int
	off, n int64
}

// group is a block to be made: parts of the new release, and what to make them from.
type group struct {
	parts []part
	refs  []ref
	raw   int64
	dict  int64
}

// BuildDelta makes the pack of what next has and old lacks, with the files of old as
// dictionaries: many small files together in a block after their old versions
// together, so that little is said twice; each block without its dictionary where that
// is not larger. Both bases must give verified contents.
func BuildDelta(ctx context.Context, f File, old, next *Basis, o Options) (*Index, error) {
	p, err := newPress(f, o)
	if err != nil {
		return nil, err
	}
	defer p.close()
	d := &deltaBuilder{base: openDictionary(old), next: next, text: next.Manifest.Bytes(), objects: Objects(next.Manifest, old.Manifest)}
	d.match = newMatcher(old.Manifest, d.base.all)
	d.level = deltaLevel(d.objects)
	groups, err := d.plan()
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		if _, err := p.do(ctx, func() pressed { return d.press(g) }); err != nil {
			return nil, err
		}
	}
	if err := p.settle(ctx); err != nil {
		return nil, err
	}
	x := &Index{
		Format: Format, Release: manifest.Sum(d.text), Base: manifest.Sum(d.base.once()), Manifest: int64(len(d.text)),
		Chunks: gather(nil, p.blocks, chunkSize(p.blocks)),
	}
	return x, digest(ctx, f, x, o)
}

type deltaBuilder struct {
	base    *dictionary
	next    *Basis
	text    []byte // the new manifest
	objects []Object
	match   *matcher
	level   Level
}

// deltaMuch is how many changed bytes make a delta pack be compressed with less
// effort.
const deltaMuch = 64 << 20

func deltaLevel(objects []Object) Level {
	size := int64(0)
	for _, o := range objects {
		size += o.Size
	}
	if size > deltaMuch {
		return LevelBetter
	}
	return LevelBest
}

// plan cuts what is to travel in groups.
func (d *deltaBuilder) plan() ([]group, error) {
	groups := d.slices(0, int64(len(d.text)), 0, nil)
	var g group
	used := map[int]bool{}
	end := func() {
		if g.raw > 0 {
			groups = append(groups, g)
		}
		g, used = group{}, map[int]bool{}
	}
	for i, o := range d.objects {
		was := d.match.find(d.next.Manifest.Entries[o.Entry].Path, o.Size)
		if o.Size > deltaRaw || d.base.size(was) > deltaDict && was > 0 {
			end()
			anchors, err := d.anchors(i+1, was)
			if err != nil {
				return nil, err
			}
			groups = append(groups, d.slices(i+1, o.Size, was, anchors)...)
			continue
		}
		more := int64(0)
		if was > 0 && !used[was] {
			more = d.base.size(was)
		}
		if g.raw+o.Size > deltaRaw || g.dict+more > deltaDict {
			end()
			if was > 0 {
				more = d.base.size(was)
			}
		}
		g.parts = append(g.parts, part{object: i + 1, n: o.Size})
		g.raw += o.Size
		if more > 0 {
			used[was] = true
			g.refs = append(g.refs, ref{object: was})
			g.dict += more
		}
	}
	end()
	return groups, nil
}

// slices cuts an object that is too large for one block; was is its old version, from
// which each slice has the range that is likely to be most like it. Object 0, the
// manifest, has the base's manifest.
func (d *deltaBuilder) slices(object int, size int64, was int, a *anchors) []group {
	var groups []group
	old := d.base.size(was)
	for off := int64(0); off < size; off += deltaRaw {
		g := group{parts: []part{{object: object, off: off, n: min(deltaRaw, size-off)}}}
		g.raw = g.parts[0].n
		if object == 0 || was > 0 {
			r := ref{object: was}
			if old > deltaDict {
				r.off = a.window(off, g.raw, size, old)
				r.n = min(deltaDict, old-r.off)
			}
			g.refs = []ref{r}
		}
		groups = append(groups, g)
	}
	return groups
}

// press makes one block.
func (d *deltaBuilder) press(g group) pressed {
	raw, err := d.load(g)
	if err != nil {
		return pressed{err: err}
	}
	wire, err := d.patch(g, raw)
	if err == nil && wire == nil {
		var plain []byte
		plain, err = compress(raw, nil, d.level)
		wire = appendBlock(nil, plain, len(raw), nil)
	}
	return pressed{wire: wire, blocks: []placed{{wire: len(wire), raw: len(raw)}}, err: err}
}

// patch makes the block with its dictionary; nil if it has none, or if it is smaller
// without.
func (d *deltaBuilder) patch(g group, raw []byte) ([]byte, error) {
	if len(g.refs) == 0 {
		return nil, nil
	}
	dict, err := d.base.load(g.refs)
	if err != nil {
		return nil, err
	}
	patch, err := compress(raw, dict, d.level)
	if err != nil {
		return nil, err
	}
	for i := range g.refs {
		if r := &g.refs[i]; r.off+r.n == d.base.size(r.object) {
			r.n = 0
		}
	}
	with := appendBlock(nil, patch, len(raw), g.refs)
	// A quick look says whether the slow one without the dictionary could win.
	quick, err := compress(raw, nil, LevelFastest)
	if err != nil || len(quick)*3/4 > len(with) {
		return with, err
	}
	plain, err := compress(raw, nil, d.level)
	if err != nil || len(plain) >= len(with) {
		return with, err
	}
	return nil, nil
}

func compress(raw, dict []byte, level Level) ([]byte, error) {
	e, err := newEncoder(level, len(raw), dict, 1)
	if err != nil {
		return nil, err
	}
	out := e.EncodeAll(raw, nil)
	return out, e.Close()
}

// load reads the parts of a group.
func (d *deltaBuilder) load(g group) ([]byte, error) {
	raw := make([]byte, g.raw)
	at := raw
	for _, p := range g.parts {
		if p.object == 0 {
			copy(at, d.text[p.off:p.off+p.n])
		} else if err := d.read(at[:p.n], p); err != nil {
			return nil, err
		}
		at = at[p.n:]
	}
	return raw, nil
}

// read fills b with a part of the new release, and verifies whole contents.
func (d *deltaBuilder) read(b []byte, p part) error {
	o := d.objects[p.object-1]
	fail := func(err error) error {
		return fmt.Errorf("read %q of release %s: %w", d.next.Manifest.Entries[o.Entry].Path, d.next.Manifest.Header.String(), err)
	}
	f, err := d.next.Files.Open(o.Digest)
	if err != nil {
		return fail(err)
	}
	defer f.Close() //nolint:errcheck // only read
	if at, ok := f.(io.ReaderAt); ok {
		_, err = io.ReadFull(io.NewSectionReader(at, p.off, p.n), b)
	} else if _, err = io.CopyN(io.Discard, f, p.off); err == nil {
		_, err = io.ReadFull(f, b)
	}
	if err == nil && p.n == o.Size && manifest.Sum(b) != o.Digest {
		err = errors.New("it was changed since it was unpacked")
	}
	if err != nil {
		return fail(err)
	}
	return nil
}
