package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A block on the wire is a skippable frame, its header, followed by a zstd frame, so
// that a full pack is also a valid zstd stream. The header holds unsigned varints:
// bytes of the zstd frame, bytes before compression, number of references; then for
// each reference the object's number less that of the reference before plus one (as
// a zigzag varint), the offset, and the length with zero for "to the end".

// skippable is the magic number of the skippable frame (RFC 8878 §3.1.2).
const skippable = 0x184D2A5B

// ref is a range of an object of the base release. Object 0 is the base's manifest,
// object n the n-th of Objects(base, nil).
type ref struct {
	object int
	off, n int64 // n is 0 for "to the end"
}

// block is one block as its header has it.
type block struct {
	frame []byte // the zstd frame
	raw   int    // bytes before compression
	refs  []ref  // ranges that form the dictionary, in order
}

var errBlock = errors.New("not a block")

// appendBlock appends the block with its header to b.
func appendBlock(b, frame []byte, raw int, refs []ref) []byte {
	b = binary.LittleEndian.AppendUint32(b, skippable)
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.AppendUvarint(b, uint64(len(frame)))
	b = binary.AppendUvarint(b, uint64(raw))
	b = binary.AppendUvarint(b, uint64(len(refs)))
	last := -1
	for _, r := range refs {
		b = binary.AppendVarint(b, int64(r.object-last-1))
		b = binary.AppendUvarint(b, uint64(r.off))
		b = binary.AppendUvarint(b, uint64(r.n))
		last = r.object
	}
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4)) //nolint:gosec // a header is far below 4 GiB
	return append(b, frame...)
}

// cutBlock takes the first block off the bytes of a chunk. What it returns shares
// their memory.
func cutBlock(wire []byte) (block, []byte, error) {
	if len(wire) < 8 || binary.LittleEndian.Uint32(wire) != skippable {
		return block{}, nil, errBlock
	}
	size := int64(binary.LittleEndian.Uint32(wire[4:]))
	if size > int64(len(wire)-8) {
		return block{}, nil, errBlock
	}
	h := header{b: wire[8 : 8+size]}
	frame, raw, refs := h.number(MaxChunk), h.number(MaxBlock), h.number(size)
	k := block{raw: int(raw)}
	last := int64(-1)
	for range refs {
		object := last + 1 + h.signed()
		off, n := h.number(1<<62), h.number(1<<62)
		if object < 0 || object > 1<<31 {
			return block{}, nil, errBlock
		}
		last = object
		k.refs = append(k.refs, ref{object: int(object), off: off, n: n})
	}
	wire = wire[8+size:]
	if h.bad || len(h.b) != 0 || raw == 0 || frame > int64(len(wire)) {
		return block{}, nil, fmt.Errorf("%w: its header is damaged", errBlock)
	}
	k.frame = wire[:frame]
	return k, wire[frame:], nil
}

// header reads varints.
type header struct {
	b   []byte
	bad bool
}

// number reads an unsigned number of at most limit.
func (h *header) number(limit int64) int64 {
	v, n := binary.Uvarint(h.b)
	if n <= 0 || v > uint64(limit) {
		h.bad = true
		return 0
	}
	h.b = h.b[n:]
	return int64(v) //nolint:gosec // v is at most limit
}

func (h *header) signed() int64 {
	v, n := binary.Varint(h.b)
	if n <= 0 || v > 1<<31 || v < -1<<31 {
		h.bad = true
		return 0
	}
	h.b = h.b[n:]
	return v
}
