package swarm

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/bits-and-blooms/bitset"
)

// The stream after the upgrade. Each frame is a byte that names it and its
// numbers as unsigned varints (encoding/binary); data and hello go on with bytes.
//
//	asker:    hello  n, bitmap of n chunks covered, little-endian words of 64 bits
//	          take, leave, hold  chunk      the answer to an offer
//	          covered, wanted    chunk      what changed since
//	          room                          offers are welcome again after hold
//	          starving           0 or 1     nobody gives anything: the origin may repeat
//	          cancel             chunk      do not send it, or send no more of it
//	          bye                           complete
//	supplier: offer              chunk
//	          data               chunk, bytes n, n bytes; a chunk's pieces come in order
//	          abort              chunk      no more of it will come
//	both:     ping
const (
	frameHello    = 'H'
	frameTake     = 'T'
	frameLeave    = 'L'
	frameHold     = 'h'
	frameCovered  = 'C'
	frameWanted   = 'W'
	frameRoom     = 'R'
	frameStarving = 'S'
	frameCancel   = 'X'
	frameBye      = 'B'
	frameOffer    = 'O'
	frameData     = 'D'
	frameAbort    = 'A'
	framePing     = 'P'
)

// piece is how many bytes of a chunk travel in one data frame; between two of them other
// frames may go, and the rate limit is asked.
const piece = 64 << 10

// frame appends a frame with its numbers to b.
func frame(b []byte, kind byte, numbers ...int) []byte {
	b = append(b, kind)
	for _, n := range numbers {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

// errProtocol is what a peer gets dropped for that does not keep to the protocol.
var errProtocol = errors.New("it does not keep to the protocol")

// readFrame reads the name of a frame and, unless it is bare, its first number, which must be
// below limit.
func readFrame(r *bufio.Reader, limit int) (kind byte, number int, err error) {
	kind, err = r.ReadByte()
	if err != nil {
		return 0, 0, err
	}
	switch kind {
	case frameRoom, frameBye, framePing:
		return kind, 0, nil
	}
	number, err = readNumber(r, limit)
	return kind, number, err
}

// readNumber reads a number that must be below limit.
func readNumber(r *bufio.Reader, limit int) (int, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return 0, err
	}
	if n >= uint64(limit) {
		return 0, fmt.Errorf("%w: %d where less than %d is expected", errProtocol, n, limit)
	}
	return int(n), nil
}

// hello appends the frame that opens the asker's side.
func hello(b []byte, covered *bitset.BitSet) []byte {
	b = frame(b, frameHello, int(covered.Len()))
	for _, w := range covered.Words() {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// readHello reads the opening frame of an asker of a pack with n chunks.
func readHello(r *bufio.Reader, n int) (*bitset.BitSet, error) {
	kind, got, err := readFrame(r, MaxChunks+1)
	if err != nil {
		return nil, err
	}
	if kind != frameHello || got != n {
		return nil, fmt.Errorf("%w: it begins with %q %d instead of hello %d", errProtocol, kind, got, n)
	}
	raw := make([]byte, 8*((n+63)/64))
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, err
	}
	set := bitset.New(uint(n))
	for i := range set.Words() {
		set.Words()[i] = binary.LittleEndian.Uint64(raw[8*i:])
	}
	if n%64 != 0 && set.Words()[n/64]>>(n%64) != 0 {
		return nil, fmt.Errorf("%w: its bitmap has chunks beyond the last", errProtocol)
	}
	return set, nil
}
