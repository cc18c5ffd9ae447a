// Package journal is an append-only file of checked records, for the few things
// that must be remembered across a crash and apart from the store: the seal, the
// calls that were done, the epochs that were seen.
//
// Append returns when its record is on disk; records that are appended at the
// same time share one fsync. A torn tail, as a crash leaves it, is cut off when
// the file is opened. A damaged record in the middle is skipped and counted, and
// those after it are still found.
package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"path/filepath"
	"sync"
)

// A record on disk is: mark, length of the payload and its checksum (CRC-32C over
// length and payload), both little-endian, and the payload.
const (
	mark     = "\xf5kn1"
	headSize = len(mark) + 8
	// MaxRecord is the largest payload, in bytes.
	MaxRecord = 16 << 20
)

// Log is an open journal. It is safe for concurrent use.
type Log struct {
	path string

	mu   sync.Mutex // guards next; never held during I/O
	next *batch
	io   sync.Mutex // guards the fields below; taken before mu
	f    *os.File
	size int64
	err  error // of an fsync: nothing can be promised after it
}

// batch is a group of records that go to disk together.
type batch struct {
	buf  []byte
	done chan struct{}
	err  error
}

// Found says in which state a journal was found.
type Found struct {
	Records int   // whole ones
	Torn    int64 // bytes cut off at the end: a record that was being written in a crash
	Damaged int   // damaged places before the last whole record
}

// Open opens the journal, making it if needed, and gives the payload of each
// whole record in order; the payload is valid during the call only.
func Open(path string, give func(payload []byte) error) (*Log, Found, error) {
	var found Found
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, found, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, found, err
	}
	l := &Log{path: path, f: f}
	b, err := io.ReadAll(f)
	if err == nil {
		l.size, found, err = replay(b, give)
	}
	if err == nil && l.size < int64(len(b)) {
		err = errors.Join(f.Truncate(l.size), f.Sync())
	}
	if err == nil {
		_, err = f.Seek(l.size, io.SeekStart)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, found, errors.Join(fmt.Errorf("open journal %s: %w", path, err), f.Close())
	}
	return l, found, nil
}

// Read gives the payloads of a journal without opening it for writing. Nothing may
// be appended meanwhile.
func Read(path string, give func(payload []byte) error) (Found, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Found{}, err
	}
	_, found, err := replay(b, give)
	return found, err
}

// replay returns the end of the last whole record.
func replay(b []byte, give func([]byte) error) (end int64, found Found, err error) {
	var gap bool // bytes since the last whole record that are none
	for at := 0; at < len(b); {
		payload, ok := record(b[at:])
		if !ok {
			gap = true
			skip := bytes.Index(b[at+1:], []byte(mark))
			if skip < 0 {
				break
			}
			at += 1 + skip
			continue
		}
		if gap {
			found.Damaged++
			gap = false
		}
		if err := give(payload); err != nil {
			return 0, found, err
		}
		found.Records++
		at += headSize + len(payload)
		end = int64(at)
	}
	found.Torn = int64(len(b)) - end
	return end, found, nil
}

// record returns the payload of the record at the start of b.
func record(b []byte) ([]byte, bool) {
	if len(b) < headSize || string(b[:len(mark)]) != mark {
		return nil, false
	}
	n := binary.LittleEndian.Uint32(b[len(mark):])
	if n > MaxRecord || int(n) > len(b)-headSize {
		return nil, false
	}
	payload := b[headSize : headSize+int(n)]
	return payload, binary.LittleEndian.Uint32(b[len(mark)+4:]) == sum(b[len(mark):len(mark)+4], payload)
}

func sum(length, payload []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // cached by the library
	return crc32.Update(crc32.Update(0, table, length), table, payload)
}

func frame(buf, payload []byte) []byte {
	buf = append(buf, mark...)
	at := len(buf)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(payload))) //nolint:gosec // at most MaxRecord
	buf = binary.LittleEndian.AppendUint32(buf, sum(buf[at:at+4], payload))
	return append(buf, payload...)
}

// Append adds a record and returns when it is on disk.
func (l *Log) Append(payload []byte) error {
	if len(payload) > MaxRecord {
		return fmt.Errorf("journal %s: record of %d bytes is too large", l.path, len(payload))
	}
	l.mu.Lock()
	b := l.next
	first := b == nil
	if first {
		b = &batch{done: make(chan struct{})}
		l.next = b
	}
	b.buf = frame(b.buf, payload)
	l.mu.Unlock()
	if !first {
		<-b.done
		return b.err
	}
	l.io.Lock()
	defer l.io.Unlock()
	l.mu.Lock()
	l.next = nil // from here on others begin the next batch
	l.mu.Unlock()
	b.err = l.write(b.buf)
	close(b.done)
	return b.err
}

// write puts bytes on disk; l.io is held.
func (l *Log) write(buf []byte) error {
	if l.err != nil {
		return l.err
	}
	if _, err := l.f.Write(buf); err != nil {
		// Half a record must not stand before the next one.
		if back := errors.Join(l.f.Truncate(l.size), seek(l.f, l.size)); back != nil {
			l.err = fmt.Errorf("journal %s is not written any more: %w", l.path, back)
		}
		return fmt.Errorf("write journal %s: %w", l.path, err)
	}
	if err := l.f.Sync(); err != nil {
		l.err = fmt.Errorf("sync journal %s: %w", l.path, err)
		return l.err
	}
	l.size += int64(len(buf))
	return nil
}

func seek(f *os.File, at int64) error {
	_, err := f.Seek(at, io.SeekStart)
	return err
}

// Size returns the bytes on disk.
func (l *Log) Size() int64 {
	l.io.Lock()
	defer l.io.Unlock()
	return l.size
}

// Rewrite replaces all records by the given ones, in one step: after a crash
// either all old or all new ones are there. Appends wait for it; what they
// append is kept.
func (l *Log) Rewrite(payloads iter.Seq[[]byte]) error {
	l.io.Lock()
	defer l.io.Unlock()
	if l.err != nil {
		return l.err
	}
	f, err := os.CreateTemp(filepath.Dir(l.path), filepath.Base(l.path)+".new*")
	if err != nil {
		return fmt.Errorf("rewrite journal: %w", err)
	}
	size, err := fill(f, payloads)
	if err == nil {
		err = os.Rename(f.Name(), l.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("rewrite journal %s: %w", l.path, err), f.Close(), os.Remove(f.Name()))
	}
	old := l.f
	l.f, l.size = f, size
	return errors.Join(syncDir(filepath.Dir(l.path)), old.Close())
}

func fill(f *os.File, payloads iter.Seq[[]byte]) (size int64, err error) {
	var buf []byte
	flush := func() {
		var n int
		n, err = f.Write(buf)
		size += int64(n)
		buf = buf[:0]
	}
	for p := range payloads {
		if buf = frame(buf, p); len(buf) > 1<<20 {
			if flush(); err != nil {
				return 0, err
			}
		}
	}
	if flush(); err != nil {
		return 0, err
	}
	return size, f.Sync()
}

// Close closes the file. Appends in progress are finished first.
func (l *Log) Close() error {
	l.io.Lock()
	defer l.io.Unlock()
	if l.err == nil {
		l.err = fmt.Errorf("journal %s: %w", l.path, os.ErrClosed)
	}
	return l.f.Close()
}

// syncDir makes a new or renamed name in the directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
