package pack

import (
	"fmt"
	"math/bits"

	"github.com/klauspost/compress/zstd"
)

// Level is how hard the builder tries to compress.
type Level int

// The levels, with the levels of the zstd tool that they are near to.
const (
	LevelDefault Level = iota // about zstd -3
	LevelFastest              // about zstd -1
	LevelBetter               // about zstd -7
	LevelBest                 // about zstd -11
)

func (l Level) zstd() zstd.EncoderLevel {
	switch l {
	case LevelFastest:
		return zstd.SpeedFastest
	case LevelBetter:
		return zstd.SpeedBetterCompression
	case LevelBest:
		return zstd.SpeedBestCompression
	case LevelDefault:
	}
	return zstd.SpeedDefault
}

// dictID marks frames with a dictionary; zstd reserves numbers below 32,768 for a
// registry, and zero means none.
const dictID = 0x6b616e61

// newEncoder returns an encoder for whole blocks of up to size bytes after a
// dictionary, which may be nil. The window spans both, so that every byte of the
// dictionary stays in reach.
func newEncoder(level Level, size int, dict []byte, workers int) (*zstd.Encoder, error) {
	window := max(1<<10, 1<<bits.Len(uint(size+len(dict)-1))) //nolint:gosec // bounded by MaxBlock and MaxDict
	options := []zstd.EOption{
		zstd.WithEncoderLevel(level.zstd()), zstd.WithEncoderConcurrency(workers), zstd.WithEncoderCRC(true),
		zstd.WithWindowSize(window), zstd.WithSingleSegment(true),
	}
	if dict != nil {
		options = append(options, zstd.WithEncoderDictRaw(dictID, dict))
	}
	e, err := zstd.NewWriter(nil, options...)
	if err != nil {
		return nil, fmt.Errorf("make encoder: %w", err)
	}
	return e, nil
}

// newDecoder returns a decoder for whole blocks, used by that many goroutines at once.
func newDecoder(dict []byte, workers int) (*zstd.Decoder, error) {
	options := []zstd.DOption{
		zstd.WithDecoderConcurrency(workers), zstd.WithDecoderMaxMemory(MaxBlock), zstd.WithDecodeAllCapLimit(true),
	}
	if dict != nil {
		options = append(options, zstd.WithDecoderDictRaw(dictID, dict))
	}
	d, err := zstd.NewReader(nil, options...)
	if err != nil {
		return nil, fmt.Errorf("make decoder: %w", err)
	}
	return d, nil
}

// expand decompresses one block into buf, whose capacity is reused.
func expand(d *zstd.Decoder, k block, buf []byte) ([]byte, error) {
	if cap(buf) < k.raw {
		buf = make([]byte, 0, k.raw)
	}
	out, err := d.DecodeAll(k.frame, buf[:0:k.raw])
	if err == nil && len(out) != k.raw {
		err = fmt.Errorf("%d bytes where the header says %d", len(out), k.raw)
	}
	return out, err
}
