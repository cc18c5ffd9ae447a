package binlog

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

const (
	magic     = "\xfebin"
	encrypted = "\xfdbin" // MySQL's binlog_encryption
	checksum  = 4
)

// errTorn: the file ends within an event, as after kill -9.
var errTorn = errors.New("the file ends within an event")

// file reads the events of one binary log.
type file struct {
	name   string
	f      *os.File
	r      *bufio.Reader
	at     int64 // offset of the next event
	size   int64
	crc    bool
	format []byte // without checksum
	inUse  bool   // its server has not closed it
	relay  bool
}

// open opens a log and reads its head.
func open(name string) (*file, error) {
	f, err := os.Open(name) //nolint:gosec // named by the server's own index
	if err != nil {
		return nil, fmt.Errorf("binary log: %w", err)
	}
	l := &file{name: name, f: f, r: bufio.NewReaderSize(f, 32<<10)}
	if err := l.head(); err != nil {
		_ = f.Close()
		return nil, err
	}
	return l, nil
}

func (l *file) head() error {
	info, err := l.f.Stat()
	if err != nil {
		return l.bad("%w", err)
	}
	l.size = info.Size()
	head := make([]byte, len(magic))
	n, err := io.ReadFull(l.r, head)
	switch {
	case n < len(magic) || bytes.Equal(head, make([]byte, len(magic))):
		return l.bad("%w", errTorn)
	case err != nil:
		return l.bad("%w", err)
	case string(head) == encrypted:
		return l.bad("it is encrypted (binlog_encryption); let its server send it, or start the server")
	case string(head) != magic:
		return l.bad("it begins with %q, which no binary log does", head)
	}
	l.at = int64(len(magic))
	e, err := l.next(true)
	if err != nil {
		if errors.Is(err, io.EOF) {
			return l.bad("%w", errTorn)
		}
		return err
	}
	if e.Type != typeFormat {
		return l.bad("its first event is %s, not the format description", e.Type)
	}
	return nil
}

func (l *file) close() { _ = l.f.Close() }

// bad returns an error at this place.
func (l *file) bad(format string, a ...any) error {
	return fmt.Errorf("binary log %s, byte %d: "+format, append([]any{l.name, l.at}, a...)...)
}

// next reads an event and verifies its checksum. The body is left out of the result
// unless whole is set, or it is one that says where transactions begin and end. At
// the end the error is io.EOF, or wraps errTorn when the last event is not whole.
func (l *file) next(whole bool) (Event, error) {
	head := make([]byte, headerSize, 512)
	n, err := io.ReadFull(l.r, head)
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		return Event{}, io.EOF
	case errors.Is(err, io.ErrUnexpectedEOF):
		return Event{}, l.bad("%w", errTorn)
	case err != nil:
		return Event{}, l.bad("%w", err)
	}
	e := eventOf(head)
	size := int64(e.size())
	switch {
	case size == 0 && l.zeros(head):
		return Event{}, l.bad("%w: zeros follow", errTorn)
	case size < headerSize || l.crc && size < headerSize+checksum:
		return Event{}, l.bad("an event says that it has %d bytes; the log is corrupt here", size)
	case l.at+size > l.size:
		// A size that was garbled looks the same as an event that was not written to its
		// end: the type at least must be one there is.
		if !e.Type.known() {
			return Event{}, l.bad("an event of unknown %s and %d bytes goes beyond the end; the log is corrupt here", e.Type, size)
		}
		return Event{}, l.bad("%w", errTorn)
	}
	keep := whole || e.isGTID() || e.isQuery() || e.Type == typePrevious || e.Type == typeGTIDList
	if keep && size > MaxEvent {
		return Event{}, l.bad("an event of %d bytes is larger than %d; copy the data instead of replaying them", size, MaxEvent)
	}
	if e, err = l.body(e, size-headerSize, keep); err != nil {
		return Event{}, err
	}
	l.at += size
	return e, nil
}

// body reads the rest of an event, n bytes.
func (l *file) body(e Event, n int64, keep bool) (Event, error) {
	sum := crc32.NewIEEE()
	// The flag is set in a log in use and was not there when the checksum was made.
	l.inUseOff(e, sum)
	tail := int64(0)
	if l.crc || e.Type == typeFormat {
		tail = checksum
	}
	if n < tail {
		return e, l.bad("an event of %d bytes has no room for its checksum; the log is corrupt here", n+headerSize)
	}
	to := io.Writer(sum)
	var kept bytes.Buffer
	if keep {
		kept.Grow(int(n) + headerSize)
		kept.Write(e.Raw)
		to = io.MultiWriter(sum, &kept)
	}
	if _, err := io.CopyN(to, l.r, n-tail); err != nil {
		return e, l.short(err)
	}
	want := make([]byte, tail)
	if _, err := io.ReadFull(l.r, want); err != nil {
		return e, l.short(err)
	}
	if keep {
		e.Raw = kept.Bytes()
	}
	if e.Type == typeFormat {
		return l.describe(e, want, sum.Sum32())
	}
	if tail > 0 && binary.LittleEndian.Uint32(want) != sum.Sum32() {
		return e, l.bad("the checksum of an event (%s, %d bytes) is wrong; the log is corrupt here", e.Type, n+headerSize)
	}
	if keep {
		e = e.sized()
	}
	return e, nil
}

// inUseOff feeds the header to the checksum, without the flag that a log is in use, and
// remembers the flags of the first event.
func (l *file) inUseOff(e Event, sum io.Writer) {
	if e.Type != typeFormat {
		_, _ = sum.Write(e.Raw)
		return
	}
	l.inUse, l.relay = e.flags()&flagInUse != 0, e.flags()&flagRelay != 0
	head := bytes.Clone(e.Raw)
	head[17] &^= flagInUse
	_, _ = sum.Write(head)
}

// describe takes the format description over: whether events have checksums from here on,
// and the event itself as one that says they have none.
func (l *file) describe(e Event, want []byte, sum uint32) (Event, error) {
	c := e.fields()
	version, server := c.u16(), bytes.TrimRight(c.take(50), "\x00")
	c.u32()
	if header := c.u8(); version != 4 || header != headerSize || len(c.b) == 0 {
		return e, l.bad("its format is version %d with headers of %d bytes, of server %q; only version 4 is known", version, header, server)
	}
	switch e.Raw[len(e.Raw)-1] {
	case 1:
		if l.crc = true; binary.LittleEndian.Uint32(want) != sum {
			return e, l.bad("the checksum of the format description is wrong; the log is corrupt here")
		}
	case 0:
		l.crc = false
	default:
		return e, l.bad("server %s has no checksums or those of an unknown kind; it is too old or too new", server)
	}
	e.Raw[len(e.Raw)-1] = 0
	e.Raw[17] &^= flagInUse
	e.Raw = binary.LittleEndian.AppendUint32(e.Raw, crc32.ChecksumIEEE(e.Raw))
	l.format = e.Raw
	return e, nil
}

func (l *file) short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return l.bad("%w", errTorn)
	}
	return l.bad("%w", err)
}

// zeros reports whether nothing but zeros follows, which a file system leaves of what was
// not written before the power went.
func (l *file) zeros(head []byte) bool {
	for _, b := range head {
		if b != 0 {
			return false
		}
	}
	for {
		b, err := l.r.ReadByte()
		if err != nil {
			return errors.Is(err, io.EOF)
		}
		if b != 0 {
			return false
		}
	}
}

// seek goes to the event at an offset.
func (l *file) seek(at int64) error {
	if _, err := l.f.Seek(at, io.SeekStart); err != nil {
		return l.bad("%w", err)
	}
	l.r.Reset(l.f)
	l.at = at
	return nil
}
