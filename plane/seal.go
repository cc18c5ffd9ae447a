package plane

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane/journal"
)

// seal is the record, outside the store, of every write that this core has
// acknowledged. The engine takes a damaged record for the torn end of its log and
// goes on with what stands before it, in silence; the seal is how that is noticed.
//
// A write is sealed, with an fsync of its own, after the store has acknowledged
// it and before the caller hears of it. So each acknowledged write is covered, and
// the store may only have more than the seal: writes whose callers were never
// answered. Those are adopted when the plane opens.
//
// For documents and the audit the seal keeps the contents too, so that they can be
// restored from it; of other events it keeps digests.
type seal struct {
	dir  string
	logs map[string]*journal.Log // by stream

	// adding is held for reading by those who add, for writing by a rewrite: what
	// is in the files and what is in memory must be the same then. Taken before mu.
	adding sync.RWMutex

	mu   sync.Mutex                   // guards the fields below
	docs map[string]sealed            // the newest write of each subject
	runs map[string]map[uint64]sealed // the events of each log, by sequence
	most map[string]uint64            // highest sequence seen, by stream
	grew map[string]int               // records in the file of a stream
	bad  int                          // damaged places found in the seal itself
	torn int64                        // bytes cut from its end
}

// sealed is what is known of one acknowledged write.
type sealed struct {
	seq    uint64
	digest [16]byte // of the data: the first half of its SHA-256
	time   int64    // of the write, Unix nanoseconds
}

func digestOf(data []byte) (d [16]byte) {
	sum := sha256.Sum256(data)
	copy(d[:], sum[:])
	return d
}

// A record of the seal is: form, sequence, time, digest, length of the subject,
// subject, data (documents and audit only).
const (
	sealForm = 1
	sealHead = 1 + 8 + 8 + 16 + 2
)

func sealRecord(s sealed, subject string, data []byte) []byte {
	b := make([]byte, 0, sealHead+len(subject)+len(data))
	b = append(b, sealForm)
	b = binary.LittleEndian.AppendUint64(b, s.seq)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.time)) //nolint:gosec // and back
	b = append(b, s.digest[:]...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(subject))) //nolint:gosec // subjects are short
	return append(append(b, subject...), data...)
}

func readSealRecord(b []byte) (s sealed, subject string, data []byte, err error) {
	if len(b) < sealHead || b[0] != sealForm {
		return s, "", nil, fault.Unsupported("the seal was written by a newer kaname").Try("upgrade kaname on this core")
	}
	s.seq, s.time = binary.LittleEndian.Uint64(b[1:]), int64(binary.LittleEndian.Uint64(b[9:])) //nolint:gosec // as written
	copy(s.digest[:], b[17:])
	n := int(binary.LittleEndian.Uint16(b[33:]))
	if len(b) < sealHead+n {
		return s, "", nil, errors.New("record of the seal is too short")
	}
	return s, string(b[sealHead : sealHead+n]), b[sealHead+n:], nil
}

// keepsData reports whether the seal keeps the contents of a stream's messages.
func keepsData(stream string) bool { return stream != streamEvent }

// openSeal reads the seal in dir.
func openSeal(dir string) (_ *seal, err error) {
	s := &seal{dir: dir, grew: map[string]int{}, logs: map[string]*journal.Log{}, docs: map[string]sealed{}, runs: map[string]map[uint64]sealed{}, most: map[string]uint64{}}
	defer func() {
		if err != nil {
			_ = s.close() // the first error is the one to tell
		}
	}()
	for _, stream := range []string{streamDoc, streamEvent, streamAudit} {
		s.runs[stream] = map[uint64]sealed{}
		l, found, err := journal.Open(s.path(stream), func(b []byte) error {
			rec, subject, _, err := readSealRecord(b)
			if err == nil {
				s.note(stream, subject, rec)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		s.logs[stream] = l
		s.bad += found.Damaged
		s.torn += found.Torn
	}
	return s, nil
}

func (s *seal) path(stream string) string { return filepath.Join(s.dir, stream+".seal") }

// note takes a record into memory; s.mu is held, or nobody else is there yet.
func (s *seal) note(stream, subject string, rec sealed) {
	s.grew[stream]++
	s.most[stream] = max(s.most[stream], rec.seq)
	if stream != streamDoc {
		s.runs[stream][rec.seq] = rec
		return
	}
	if old, ok := s.docs[subject]; !ok || old.seq <= rec.seq {
		s.docs[subject] = rec
	}
}

// add seals a write that the store has acknowledged.
func (s *seal) add(rec record) error {
	entry := sealed{rec.seq, digestOf(rec.data), rec.time.UnixNano()}
	var data []byte
	if keepsData(rec.stream) {
		data = rec.data
	}
	s.adding.RLock()
	defer s.adding.RUnlock()
	if err := s.logs[rec.stream].Append(sealRecord(entry, rec.subject, data)); err != nil {
		return fault.Unavailable("the write is stored but could not be sealed").At(rec.subject).Because(err).
			Try("is the disk full or read-only?")
	}
	s.mu.Lock()
	s.note(rec.stream, rec.subject, entry)
	s.mu.Unlock()
	return nil
}

// drop forgets the events before a sequence, which are about to be removed.
func (s *seal) drop(stream string, before uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.runs[stream], func(seq uint64, _ sealed) bool { return seq < before })
}

// live returns the number of records that a rewritten seal of the stream has;
// s.mu is held.
func (s *seal) live(stream string) int {
	if stream == streamDoc {
		return len(s.docs)
	}
	return len(s.runs[stream])
}

// contents gives back what the file keeps of a stream, for documents the newest of
// each subject. Data is nil where only a digest is kept. Nothing is added meanwhile.
func (s *seal) contents(stream string) (map[uint64]record, error) {
	out := map[uint64]record{}
	_, err := journal.Read(s.path(stream), func(b []byte) error {
		rec, subject, data, err := readSealRecord(b)
		if err == nil && s.current(stream, subject, rec) {
			out[rec.seq] = record{stream, subject, rec.seq, time.Unix(0, rec.time), append([]byte(nil), data...)}
		}
		return err
	})
	return out, err
}

// compact rewrites the files of which most records are out of date.
func (s *seal) compact() error {
	for _, stream := range []string{streamDoc, streamEvent, streamAudit} {
		s.mu.Lock()
		due := s.grew[stream] > 2*s.live(stream)+4096
		s.mu.Unlock()
		if !due {
			continue
		}
		if err := s.compactOne(stream); err != nil {
			return err
		}
	}
	return nil
}

func (s *seal) compactOne(stream string) error {
	s.adding.Lock()
	defer s.adding.Unlock()
	var keep [][]byte
	_, err := journal.Read(s.path(stream), func(b []byte) error {
		rec, subject, _, err := readSealRecord(b)
		if err == nil && s.current(stream, subject, rec) {
			keep = append(keep, b)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := s.logs[stream].Rewrite(slices.Values(keep)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grew[stream] = len(keep)
	return nil
}

// current reports whether a record is still what the seal stands for.
func (s *seal) current(stream, subject string, rec sealed) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stream == streamDoc {
		return s.docs[subject] == rec
	}
	return s.runs[stream][rec.seq] == rec
}

// replace makes recs all that the seal knows of a stream.
func (s *seal) replace(stream string, recs iter.Seq[record]) error {
	s.adding.Lock()
	defer s.adding.Unlock()
	s.mu.Lock()
	if stream == streamDoc {
		s.docs = map[string]sealed{}
	} else {
		s.runs[stream] = map[uint64]sealed{}
	}
	s.grew[stream] = 0
	s.mu.Unlock()
	return s.logs[stream].Rewrite(func(yield func([]byte) bool) {
		for rec := range recs {
			entry := sealed{rec.seq, digestOf(rec.data), rec.time.UnixNano()}
			var data []byte
			if keepsData(stream) {
				data = rec.data
			}
			s.mu.Lock()
			s.note(stream, rec.subject, entry)
			s.mu.Unlock()
			if !yield(sealRecord(entry, rec.subject, data)) {
				return
			}
		}
	})
}

func (s *seal) close() error {
	if s == nil {
		return nil
	}
	var err error
	for stream, l := range s.logs {
		if e := l.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("close the seal of %s: %w", stream, e))
		}
	}
	return err
}
