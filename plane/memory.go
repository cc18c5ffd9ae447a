package plane

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"kaname.dev/kaname/plane/journal"
)

// rememberFor is how long a host knows which calls it has done.
const rememberFor = 24 * time.Hour

// keepInMemory is the largest last frame that is not read back from disk, in bytes.
const keepInMemory = 4 << 10

// memory is what a host knows of the calls it has begun and done, on disk, so that
// a call that is asked for twice is done once.
type memory struct {
	path string
	log  *journal.Log

	// writing is held for reading by those who write a record, and for writing by a
	// rewrite: what is in the file and in memory must be the same then. Taken before mu.
	writing sync.RWMutex

	mu    sync.Mutex // guards the fields below
	calls map[string]remembrance
	grew  int // records in the file
}

// remembrance is one call.
type remembrance struct {
	at    time.Time
	ended bool
	last  []byte // its last frame; nil if it has to be read back
}

// callRecord is a line of the file: the call was begun, or has ended with Last.
type callRecord struct {
	Call string          `json:"call"`
	At   time.Time       `json:"at"`
	Last json.RawMessage `json:"last,omitempty"`
}

func openMemory(path string, now time.Time, log *slog.Logger) (*memory, error) {
	m := &memory{path: path, calls: map[string]remembrance{}}
	var found journal.Found
	var err error
	m.log, found, err = journal.Open(path, func(b []byte) error {
		var r callRecord
		if err := json.Unmarshal(b, &r); err != nil {
			return fmt.Errorf("read the memory of calls: %w", err)
		}
		m.grew++
		m.note(r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if found.Damaged > 0 {
		log.Error("the memory of calls is damaged: some that were done may be done again if they are asked for again", "file", path, "places", found.Damaged)
	}
	return m, m.forget(now)
}

// note takes a record in; m.mu is held, or nobody else is there yet.
func (m *memory) note(r callRecord) {
	x := remembrance{at: r.At, ended: len(r.Last) > 0}
	if x.ended && len(r.Last) <= keepInMemory {
		x.last = r.Last
	}
	m.calls[r.Call] = x
}

// recall reports whether the call is known, and its last frame; nil if it was
// begun and never ended.
func (m *memory) recall(call string) (last *wireFrame, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x, known := m.calls[call]
	if !known || !x.ended {
		return nil, known
	}
	if x.last == nil {
		x.last = m.readBack(call)
	}
	var f wireFrame
	if json.Unmarshal(x.last, &f) != nil {
		return nil, true
	}
	return &f, true
}

// readBack looks for the last frame of a call on disk; m.mu is held, so nothing
// is written.
func (m *memory) readBack(call string) (last []byte) {
	_, _ = journal.Read(m.path, func(b []byte) error { // what is not found counts as interrupted
		var r callRecord
		if json.Unmarshal(b, &r) == nil && r.Call == call && len(r.Last) > 0 {
			last = append([]byte(nil), r.Last...)
		}
		return nil
	})
	return last
}

// begin writes down that a call is about to be done.
func (m *memory) begin(call string, now time.Time) error {
	return m.write(callRecord{Call: call, At: now.UTC()})
}

// end writes down how a call has ended.
func (m *memory) end(call string, now time.Time, last wireFrame) error {
	b, err := json.Marshal(last)
	if err != nil {
		return err
	}
	return m.write(callRecord{Call: call, At: now.UTC(), Last: b})
}

func (m *memory) write(r callRecord) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	due, err := m.add(b, r)
	if err != nil || !due {
		return err
	}
	return m.forget(r.At)
}

// add writes a record and reports whether the file has become long.
func (m *memory) add(b []byte, r callRecord) (due bool, err error) {
	m.writing.RLock()
	defer m.writing.RUnlock()
	if err := m.log.Append(b); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.grew++
	m.note(r)
	return m.grew > 2*len(m.calls)+1024, nil
}

// forget drops the calls that are too old, and rewrites the file when most of it is
// out of date.
func (m *memory) forget(now time.Time) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	for call, x := range m.calls {
		if now.Sub(x.at) > rememberFor {
			delete(m.calls, call)
		}
	}
	if m.grew <= 2*len(m.calls)+1024 {
		return nil
	}
	return m.rewrite()
}

// rewrite keeps the newest record of each call that is still known; m.mu is held.
func (m *memory) rewrite() error {
	newest := map[string][]byte{}
	_, err := journal.Read(m.path, func(b []byte) error {
		var r callRecord
		if err := json.Unmarshal(b, &r); err != nil {
			return err
		}
		if x, ok := m.calls[r.Call]; ok && x.at.Equal(r.At) {
			newest[r.Call] = b
		}
		return nil
	})
	if err != nil {
		return err
	}
	m.grew = len(newest)
	return m.log.Rewrite(maps.Values(newest))
}

func (m *memory) close() {
	if m != nil {
		_ = m.log.Close() // each record was synced when it was written
	}
}
