package pack

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// anchors says where the parts of a large file were in its old version: places that
// both have, found by a rolling hash. A file of a few hundred megabytes has some ten
// thousand of them.
type anchors struct {
	now, was []int64 // pairs, in the order of now
}

// Places are where the rolling hash of the last 64 bytes has anchorBits low bits of
// zero: on average every 16 KiB.
const anchorBits = 14

// anchors finds the places that a large object shares with its old version.
func (d *deltaBuilder) anchors(object, was int) (*anchors, error) {
	if was <= 0 || d.base.size(was) <= deltaDict {
		return nil, nil //nolint:nilnil // the whole old version is the dictionary
	}
	old := map[uint64]int64{}
	twice := map[uint64]bool{}
	f, err := d.base.basis.Files.Open(d.base.all[was-1].Digest)
	if err != nil {
		return nil, d.base.bad(was, err)
	}
	err = places(f, func(h uint64, at int64) {
		if _, ok := old[h]; ok {
			twice[h] = true
		}
		old[h] = at
	})
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, d.base.bad(was, err)
	}
	o := d.objects[object-1]
	if f, err = d.next.Files.Open(o.Digest); err != nil {
		return nil, fmt.Errorf("read %q: %w", d.next.Manifest.Entries[o.Entry].Path, err)
	}
	a := &anchors{}
	err = places(f, func(h uint64, at int64) {
		if from, ok := old[h]; ok && !twice[h] {
			a.now = append(a.now, at)
			a.was = append(a.was, from)
		}
	})
	return a, errors.Join(err, f.Close())
}

// places calls found for every place of r.
func places(r io.Reader, found func(h uint64, at int64)) error {
	b := bufio.NewReaderSize(r, 256<<10)
	var table [256]uint64
	seed := uint64(0x9e3779b97f4a7c15)
	for i := range table {
		seed ^= seed << 13
		seed ^= seed >> 7
		seed ^= seed << 17
		table[i] = seed
	}
	h := uint64(0)
	for at := int64(0); ; at++ {
		c, err := b.ReadByte()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		// Each byte leaves the hash after 64 shifts (gear hash, as in FastCDC); its high
		// bits depend on all of the last 64 bytes.
		if h = h<<1 + table[c]; h>>(64-anchorBits) == 0 && at >= 64 {
			found(h, at)
		}
	}
}

// window returns where in the old version, of old bytes, the dictionary for the slice
// begins: where most of the slice's anchors are, or in proportion where it has none.
func (a *anchors) window(off, n, size, old int64) int64 {
	const bucket = deltaDict / 8
	votes := map[int64]int{}
	if a != nil {
		for i, at := range a.now {
			if at >= off && at < off+n {
				votes[a.was[i]/bucket]++
			}
		}
	}
	middle := off * old / size
	best, at := 0, middle-(deltaDict-n)/2
	for first := range votes {
		// The window from a bucket before this one on.
		sum := 0
		for k := first - 1; k < first+7; k++ {
			sum += votes[k]
		}
		if start := (first - 1) * bucket; sum > best || sum == best && away(start, middle) < away(at, middle) {
			best, at = sum, start
		}
	}
	return max(0, min(at, old-deltaDict))
}
