package binlog

import (
	"bytes"
	"cmp"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/klauspost/compress/zstd"
)

// plain yields an event, or what is in it when it is compressed.
func plain(e Event) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		switch e.Type {
		case typePayload:
			payload(e, yield)
		case typeQueryPacked:
			yield(inflateQuery(e))
		case typeWritePacked, typeUpdatePacked, typeDeletePacked:
			yield(inflateRows(e))
		default:
			yield(e, nil)
		}
	}
}

// payload yields the events of a transaction that MySQL has compressed as a whole, reading
// them one by one.
func payload(e Event, yield func(Event, error) bool) {
	packed, err := payloadOf(e.body())
	if err != nil {
		yield(Event{}, err)
		return
	}
	z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxEvent))
	if err != nil {
		yield(Event{}, err)
		return
	}
	defer z.Close()
	for {
		in, err := readEvent(z)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			yield(Event{}, fmt.Errorf("compressed transaction: %w", err))
			return
		}
		if !yield(in, nil) {
			return
		}
	}
}

// readEvent reads an event without checksum; io.EOF when there is none.
func readEvent(r io.Reader) (Event, error) {
	head := make([]byte, headerSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return Event{}, err
	}
	e := eventOf(head)
	if e.size() < headerSize || e.size() > MaxEvent {
		return Event{}, fmt.Errorf("an event (%s) says that it has %d bytes", e.Type, e.size())
	}
	var b bytes.Buffer // grows with what really comes
	b.Write(head)
	if _, err := io.CopyN(&b, r, int64(e.size())-headerSize); err != nil {
		return Event{}, io.ErrUnexpectedEOF
	}
	e.Raw = b.Bytes()
	return e, nil
}

// payloadOf returns the compressed bytes of a payload event: fields of type, length and
// value, then the bytes.
func payloadOf(b []byte) ([]byte, error) {
	const end, method, zstandard = 0, 2, 0
	c := &cursor{b: b}
	for !c.bad {
		kind := c.packed()
		if kind == end {
			break
		}
		value := &cursor{b: c.take(c.packed())}
		if m := value.packed(); kind == method && m != zstandard {
			return nil, fmt.Errorf("compressed transaction: method %d is unknown", m)
		}
	}
	if c.bad {
		return nil, errors.New("compressed transaction: its header ends early")
	}
	return c.b, nil
}

// inflateQuery makes MariaDB's compressed statement (log_bin_compress) a plain one.
func inflateQuery(e Event) (Event, error) {
	q, err := queryOf(e)
	if err != nil {
		return e, err
	}
	return inflate(e, typeQuery, q.text)
}

// inflateRows makes MariaDB's compressed rows (log_bin_compress) plain ones.
func inflateRows(e Event) (Event, error) {
	c := e.fields()
	c.take(8) // table, flags
	bitmap := (c.packed() + 7) / 8
	to := typeWriteV1 + e.Type - typeWritePacked
	c.take(bitmap)
	if to == typeUpdateV1 {
		c.take(bitmap)
	}
	if c.bad {
		return e, errors.New("compressed rows: the event ends early")
	}
	return inflate(e, to, c.b)
}

// inflate returns the event as another type, with what is packed at its end unpacked: a byte
// with the length of the size, the size, zlib.
func inflate(e Event, to Type, packed []byte) (Event, error) {
	c := &cursor{b: packed}
	size := c.big(uint64(c.u8() & 0x07))
	z, err := zlib.NewReader(bytes.NewReader(c.b))
	if err != nil || size > MaxEvent {
		return e, fmt.Errorf("compressed event of %d bytes: %w", size, cmp.Or(err, errors.New("it is too large")))
	}
	var out bytes.Buffer
	out.Write(e.Raw[:len(e.Raw)-len(packed)])
	out.Bytes()[4] = byte(to)
	if _, err := io.CopyN(&out, z, int64(size)); err != nil { //nolint:gosec // bounded above
		return e, fmt.Errorf("compressed event: %w", err)
	}
	return eventOf(out.Bytes()).sized(), nil
}
