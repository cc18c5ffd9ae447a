package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// startBytes is how much of each packet is looked at: enough for the status of an OK
// packet, the capabilities of a login and the head of each command.
const startBytes = 512

// Side is one side of a relayed connection, with buffers. R may be read and W written by
// one goroutine each.
type Side struct {
	Conn net.Conn
	R    *bufio.Reader
	W    *bufio.Writer
}

// NewSide wraps a connection.
func NewSide(c net.Conn) *Side {
	// The connection's own ReadFrom would be used by W, and go past its buffer.
	return &Side{Conn: c, R: bufio.NewReaderSize(c, 16<<10), W: bufio.NewWriterSize(struct{ io.Writer }{c}, 16<<10)}
}

// Head is what is looked at of the next packet; nothing has been taken from the buffer.
// Start is valid until the next read.
type Head struct {
	Len   int // of the payload, in bytes
	Seq   byte
	Start []byte // of the payload, at most startBytes
}

// Head waits for the next packet and returns its head.
func (s *Side) Head() (Head, error) {
	b, err := s.R.Peek(4)
	if err != nil {
		if errors.Is(err, io.EOF) && len(b) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return Head{}, err
	}
	h := Head{Len: int(b[0]) | int(b[1])<<8 | int(b[2])<<16, Seq: b[3]}
	b, err = s.R.Peek(4 + min(h.Len, startBytes))
	if err != nil {
		return Head{}, noEOF(err)
	}
	h.Start = b[4:]
	return h, nil
}

// Forward passes the packet that h is the head of to another side. The caller flushes.
func (s *Side) Forward(to *Side, h Head) error {
	_, err := io.CopyN(to.W, s.R, int64(4+h.Len))
	return noEOF(err)
}

// Payload takes the packet that h is the head of from the buffer and returns its payload.
func (s *Side) Payload(h Head) ([]byte, error) {
	if _, err := s.R.Discard(4); err != nil {
		return nil, err
	}
	b := make([]byte, h.Len)
	_, err := io.ReadFull(s.R, b)
	return b, noEOF(err)
}

// Read returns the payload and sequence number of the next packet, which is at most limit
// bytes long and not continued.
func (s *Side) Read(limit int) (payload []byte, seq byte, err error) {
	h, err := s.Head()
	if err != nil {
		return nil, 0, err
	}
	if h.Len > min(limit, MaxPayload-1) {
		return nil, 0, fmt.Errorf("packet of %d bytes where at most %d are expected", h.Len, limit)
	}
	payload, err = s.Payload(h)
	return payload, h.Seq, err
}

// Write sends a packet of less than MaxPayload bytes. The caller flushes.
func (s *Side) Write(seq byte, payload []byte) error {
	var h [4]byte
	binary.LittleEndian.PutUint32(h[:], uint32(len(payload)))
	h[3] = seq
	if _, err := s.W.Write(h[:]); err != nil {
		return err
	}
	_, err := s.W.Write(payload)
	return err
}

// Send writes a packet and flushes.
func (s *Side) Send(seq byte, payload []byte) error {
	if err := s.Write(seq, payload); err != nil {
		return err
	}
	return s.W.Flush()
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// lenenc reads a length-encoded integer; ok is false when b does not begin with a whole
// one.
func lenenc(b []byte) (n uint64, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	var size int
	switch b[0] {
	case 0xfb, 0xff:
		return 0, nil, false
	case 0xfc:
		size = 2
	case 0xfd:
		size = 3
	case 0xfe:
		size = 8
	default:
		return uint64(b[0]), b[1:], true
	}
	if len(b) < 1+size {
		return 0, nil, false
	}
	for i := size; i > 0; i-- {
		n = n<<8 | uint64(b[i])
	}
	return n, b[1+size:], true
}

// lenstr reads a length-encoded string.
func lenstr(b []byte) (s, rest []byte, ok bool) {
	n, rest, ok := lenenc(b)
	if !ok || n > uint64(len(rest)) {
		return nil, nil, false
	}
	return rest[:n], rest[n:], true
}

// appendLenenc appends a length-encoded integer.
func appendLenenc(b []byte, n uint64) []byte {
	switch {
	case n < 0xfb:
		return append(b, byte(n))
	case n < 1<<16:
		return append(b, 0xfc, byte(n), byte(n>>8))
	case n < 1<<24:
		return append(b, 0xfd, byte(n), byte(n>>8), byte(n>>16))
	}
	return binary.LittleEndian.AppendUint64(append(b, 0xfe), n)
}

func appendLenstr(b, s []byte) []byte {
	return append(appendLenenc(b, uint64(len(s))), s...)
}
