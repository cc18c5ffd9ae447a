package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/bits-and-blooms/bitset"

	"kaname.dev/kaname/rib/release/manifest"
)

// The journal of a pack is a file of records of 8 bytes: a number in little-endian
// order, then the CRC-32C of it and the pack's ID. The number is a chunk that came; with
// journalLost set, one that was lost; or journalAll when the pack is complete and synced. A record that is damaged is passed
// over, and a torn one at the end cut off: its chunk is fetched again. Records are appended without a
// sync, since chunks are verified when they are read; if the kernel was started anew, and
// the pack was not sealed by journalAll, all of it is verified when it is opened.
const (
	recordSize  = 8
	journalLost = 1 << 31
	journalAll  = journalLost - 1
)

// appendRecord appends one record to b.
func appendRecord(b []byte, id manifest.Digest, number uint32) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, number)
	sum := crc32.Update(crc32.Checksum(b[at:], crc32.MakeTable(crc32.Castagnoli)), crc32.MakeTable(crc32.Castagnoli), id[:])
	return binary.LittleEndian.AppendUint32(b, sum)
}

// state is what a journal tells.
type state struct {
	have   *bitset.BitSet
	size   int64 // bytes of the journal
	sealed bool  // everything that is there was synced
}

// replay reads the journal and cuts off a torn end.
func replay(f *os.File, id manifest.Digest, chunks int) (state, error) {
	b, err := io.ReadAll(io.LimitReader(f, 64<<20))
	if err != nil {
		return state{}, fmt.Errorf("read journal: %w", err)
	}
	have := bitset.New(uint(chunks)) //nolint:gosec // an index bounds it
	sealed := false
	good := 0
	for ; good+recordSize <= len(b); good += recordSize {
		number := binary.LittleEndian.Uint32(b[good:])
		switch {
		case string(appendRecord(nil, id, number)) != string(b[good:good+recordSize]):
		case number == journalAll:
			have.SetAll()
			sealed = true
		case int(number&^journalLost) >= chunks:
			return state{}, errors.New("the journal names a chunk that the pack does not have")
		case number&journalLost != 0:
			have.Clear(uint(number &^ journalLost))
		default:
			sealed = false
			have.Set(uint(number))
		}
	}
	if good < len(b) {
		if err := f.Truncate(int64(good)); err != nil {
			return state{}, fmt.Errorf("cut journal: %w", err)
		}
	}
	return state{have: have, size: int64(good), sealed: sealed}, nil
}
