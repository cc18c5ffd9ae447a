package host

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
)

// maxLine is the longest piece that is handed to Command.Line, in bytes.
const maxLine = 8 << 10

// tail keeps the first and the last half bytes written to it and cuts lines for
// a callback. exec calls Write from one goroutine, as stdout and stderr are the
// same writer; the mutex is for text, which may come after WaitDelay gave up.
type tail struct {
	half int
	line func(string)

	mu      sync.Mutex
	head    []byte
	ring    []byte // the last bytes, at most 2*half long before it is cut
	dropped int64
	partial []byte
}

// Write implements io.Writer and never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	t.feedLines(p)
	if room := t.half - len(t.head); room > 0 {
		k := min(room, len(p))
		t.head = append(t.head, p[:k]...)
		p = p[k:]
	}
	t.ring = append(t.ring, p...)
	if over := len(t.ring) - t.half; over > t.half || over > 0 && len(p) >= t.half {
		t.dropped += int64(over)
		t.ring = append(t.ring[:0], t.ring[over:]...)
	}
	return n, nil
}

func (t *tail) feedLines(p []byte) {
	if t.line == nil {
		return
	}
	t.partial = append(t.partial, p...)
	for {
		i := bytes.IndexByte(t.partial, '\n')
		if i < 0 && len(t.partial) < maxLine {
			return
		}
		if i < 0 || i > maxLine {
			t.line(string(t.partial[:maxLine]))
			t.partial = t.partial[maxLine:]
			continue
		}
		t.line(strings.TrimSuffix(string(t.partial[:i]), "\r"))
		t.partial = t.partial[i+1:]
	}
}

// text returns what was kept, with a note where something is missing, and hands
// over a last line without an end.
func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.line != nil && len(t.partial) > 0 {
		t.line(string(t.partial))
		t.partial = nil
	}
	if over := len(t.ring) - t.half; over > 0 {
		t.dropped += int64(over)
		t.ring = t.ring[over:]
	}
	if t.dropped == 0 {
		return string(t.head) + string(t.ring)
	}
	return fmt.Sprintf("%s\n[%d bytes left out]\n%s", t.head, t.dropped, t.ring)
}

func lastLine(s string) string {
	s = strings.TrimRight(s, "\r\n ")
	s = s[strings.LastIndexByte(s, '\n')+1:]
	if len(s) > 300 {
		s = s[:300]
	}
	return s
}
