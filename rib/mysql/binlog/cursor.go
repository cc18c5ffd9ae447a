package binlog

import (
	"encoding/binary"
	"math/bits"
)

// cursor reads the fields of an event. What goes beyond its end reads as zero, and is told at
// the end by bad: so a hostile event costs an error and no check at each field.
type cursor struct {
	b   []byte
	bad bool
}

// take returns the next n bytes, or nil when there are fewer.
func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.bad, c.b = true, nil
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

// uint reads a number of n bytes, at most 8, the lowest first.
func (c *cursor) uint(n uint64) uint64 {
	var v [8]byte
	copy(v[:], c.take(n))
	return binary.LittleEndian.Uint64(v[:])
}

// big reads a number of n bytes, at most 8, the highest first.
func (c *cursor) big(n uint64) (v uint64) {
	for _, b := range c.take(n) {
		v = v<<8 | uint64(b)
	}
	return v
}

func (c *cursor) u8() byte    { return byte(c.uint(1)) }
func (c *cursor) u16() uint16 { return uint16(c.uint(2)) } //nolint:gosec // two bytes
func (c *cursor) u32() uint32 { return uint32(c.uint(4)) } //nolint:gosec // four bytes

// packed reads a number of 1, 3, 4 or 9 bytes, as the first says.
func (c *cursor) packed() uint64 {
	switch first := c.u8(); first {
	case 0xfc:
		return c.uint(2)
	case 0xfd:
		return c.uint(3)
	case 0xfe:
		return c.uint(8)
	default:
		return uint64(first)
	}
}

// varlen reads a number of 1 to 9 bytes of MySQL's serialization library: as many ones as the
// first byte ends with, so many bytes follow it.
func (c *cursor) varlen() uint64 {
	first := c.u8()
	more := bits.TrailingZeros8(^first)
	if more == 8 {
		return c.uint(8)
	}
	return c.uint(uint64(more))<<(7-more) | uint64(first)>>(more+1) //nolint:gosec // 0 to 7
}

// signed reads a varlen whose lowest bit is the sign.
func (c *cursor) signed() int64 {
	v := c.varlen()
	if v&1 != 0 {
		return -int64(v>>1) - 1 //nolint:gosec // 63 bits
	}
	return int64(v >> 1) //nolint:gosec // 63 bits
}
