package binlog

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Types of columns, as in the servers' field_types.h.
const (
	colTiny, colShort, colLong, colFloat, colDouble       = 1, 2, 3, 4, 5
	colTimestamp, colLongLong, colInt24, colDate, colTime = 7, 8, 9, 10, 11
	colDateTime, colYear, colVarchar, colBit              = 12, 13, 15, 16
	colTimestamp2, colDateTime2, colTime2                 = 17, 18, 19
	colBlobPacked, colVarcharPacked, colVector            = 140, 141, 242
	colJSON, colDecimal, colEnum, colSet, colBlob         = 245, 246, 247, 248, 252
	colVarString, colString, colGeometry                  = 253, 254, 255
)

// column is what a table map says of a column.
type column struct {
	kind     byte
	meta     uint16
	unsigned bool
	name     string // where the server logs it: binlog_row_metadata=FULL
}

// show reads a column's value and writes it for a person. It is no statement's text: long
// values are cut, and MySQL's binary JSON stays as it is.
func (k column) show(c *cursor) string {
	switch k.kind {
	case colTiny, colShort, colInt24, colLong, colLongLong:
		return k.integer(c)
	case colFloat:
		return strconv.FormatFloat(float64(math.Float32frombits(c.u32())), 'g', -1, 32)
	case colDouble:
		return strconv.FormatFloat(math.Float64frombits(c.uint(8)), 'g', -1, 64)
	case colDecimal:
		return decimal(c, int(k.meta>>8), int(k.meta&0xff))
	case colYear:
		if y := int(c.u8()); y > 0 {
			return strconv.Itoa(y + 1900)
		}
		return "0000"
	case colBit:
		return fmt.Sprintf("b'%b'", c.big(uint64(k.meta>>8)+uint64(min(k.meta&0xff, 1))))
	case colEnum, colSet:
		return strconv.FormatUint(c.uint(uint64(min(k.meta&0xff, 8))), 10)
	case colVarchar, colVarString, colVarcharPacked:
		return text(c, lengthBytes(int(k.meta)))
	case colString:
		return k.fixed(c)
	case colBlob, colGeometry, colVector, colBlobPacked:
		return text(c, int(k.meta))
	case colJSON:
		return fmt.Sprintf("json, %d bytes", len(c.take(c.uint(uint64(min(k.meta, 8))))))
	}
	return k.moment(c)
}

func (k column) integer(c *cursor) string {
	n := map[byte]uint64{colTiny: 1, colShort: 2, colInt24: 3, colLong: 4, colLongLong: 8}[k.kind]
	v := c.uint(n)
	if k.unsigned {
		return strconv.FormatUint(v, 10)
	}
	shift := 64 - 8*n
	return strconv.FormatInt(int64(v<<shift)>>shift, 10) //nolint:gosec // the sign is moved to its place
}

// fixed reads a CHAR, or an ENUM or SET that hides in its type.
func (k column) fixed(c *cursor) string {
	kind, length := byte(k.meta>>8), int(k.meta&0xff)
	if kind&0x30 != 0x30 { // two bits of the length stand in the type, inverted
		length |= int(kind&0x30^0x30) << 4
		kind |= 0x30
	}
	if kind == colEnum || kind == colSet {
		return strconv.FormatUint(c.uint(uint64(min(length, 8))), 10)
	}
	return text(c, lengthBytes(length))
}

func lengthBytes(most int) int {
	if most < 256 {
		return 1
	}
	return 2
}

// text reads bytes after their length and shows the beginning of them.
func text(c *cursor, n int) string {
	const most = 120
	raw := c.take(c.uint(uint64(min(n, 8)))) //nolint:gosec // not negative
	short := raw[:min(len(raw), most)]
	out := strconv.QuoteToASCII(string(short))
	if strings.Contains(out, `\x`) {
		out = fmt.Sprintf("x'%x'", short)
	} else {
		out = strconv.Quote(string(short))
	}
	if len(raw) > most {
		out += fmt.Sprintf("... (%d bytes)", len(raw))
	}
	return out
}

// moment reads a date or time.
func (k column) moment(c *cursor) string {
	switch k.kind {
	case colDate:
		v := c.uint(3)
		return fmt.Sprintf("'%04d-%02d-%02d'", v>>9, v>>5&15, v&31)
	case colTimestamp:
		return "'" + time.Unix(int64(c.u32()), 0).UTC().Format("2006-01-02 15:04:05") + " UTC'"
	case colTimestamp2:
		sec := int64(c.big(4)) //nolint:gosec // 32 bits
		frac := k.fraction(c)
		return "'" + time.Unix(sec, 0).UTC().Format("2006-01-02 15:04:05") + frac + " UTC'"
	case colDateTime2:
		v := c.big(5) - 0x8000000000
		ymd, hms := v>>17, v&0x1ffff
		return fmt.Sprintf("'%04d-%02d-%02d %02d:%02d:%02d%s'", ymd>>5/13, ymd>>5%13, ymd&31, hms>>12, hms>>6&63, hms&63, k.fraction(c))
	case colTime2:
		return k.duration(c)
	case colDateTime:
		v := c.uint(8)
		return fmt.Sprintf("'%014d'", v)
	case colTime:
		return fmt.Sprintf("'%06d'", c.uint(3))
	}
	c.bad = true
	return "?"
}

// fraction reads the digits after a second, as many as the type has.
func (k column) fraction(c *cursor) string {
	digits := int(min(k.meta, 6))
	v := c.big(uint64(digits+1) / 2)
	if digits == 0 {
		return ""
	}
	if digits%2 == 1 {
		v /= 10
	}
	return fmt.Sprintf(".%0*d", digits, v)
}

// duration reads a TIME: a number whose half is zero, with the fraction in it.
func (k column) duration(c *cursor) string {
	digits := int(min(k.meta, 6))
	n := uint64(3 + (digits+1)/2)
	v := int64(c.big(n)) - int64(1)<<(8*n-1) //nolint:gosec // at most 48 bits
	sign := ""
	if v < 0 {
		sign, v = "-", -v
	}
	hms, frac := v>>(8*(n-3)), v&(1<<(8*(n-3))-1)
	out := fmt.Sprintf("'%s%02d:%02d:%02d", sign, hms>>12&1023, hms>>6&63, hms&63)
	if digits%2 == 1 {
		frac /= 10
	}
	if digits > 0 {
		out += fmt.Sprintf(".%0*d", digits, frac)
	}
	return out + "'"
}

// decimal reads a DECIMAL: groups of nine digits in four bytes, the rest in fewer; the
// highest bit is the sign, and a negative one is inverted.
func decimal(c *cursor, precision, scale int) string {
	bytesOf := [...]int{0, 1, 1, 2, 2, 3, 3, 4, 4, 4}
	whole := precision - scale
	if whole < 0 || precision > 100 {
		c.bad = true
		return "?"
	}
	n := whole/9*4 + bytesOf[whole%9] + scale/9*4 + bytesOf[scale%9]
	raw := append([]byte(nil), c.take(uint64(n))...)
	if len(raw) == 0 {
		return "0"
	}
	sign := ""
	if raw[0]&0x80 == 0 {
		sign = "-"
		for i := range raw {
			raw[i] ^= 0xff
		}
	}
	raw[0] ^= 0x80
	group := func(digits int) string {
		var v [4]byte
		size := bytesOf[digits]
		copy(v[4-size:], raw[:size])
		raw = raw[size:]
		return fmt.Sprintf("%0*d", digits, binary.BigEndian.Uint32(v[:]))
	}
	var b strings.Builder
	if whole%9 > 0 {
		b.WriteString(group(whole % 9))
	}
	for range whole / 9 {
		b.WriteString(group(9))
	}
	integer := strings.TrimLeft(b.String(), "0")
	if integer == "" {
		integer = "0"
	}
	b.Reset()
	for range scale / 9 {
		b.WriteString(group(9))
	}
	if scale%9 > 0 {
		b.WriteString(group(scale % 9))
	}
	if scale > 0 {
		return sign + integer + "." + b.String()
	}
	return sign + integer
}
