package agent

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"

	"kaname.dev/kaname/config"
)

// recentLines is how many log lines doctor and the console can look back.
const recentLines = 500

// logs is where log lines go: standard error, and a ring of the last ones.
type logs struct {
	*slog.Logger

	level *slog.LevelVar
	ring  *ring
}

// newLogs makes the logger for a configuration; w is standard error.
func newLogs(c config.Log, w io.Writer) *logs {
	l := &logs{level: new(slog.LevelVar), ring: &ring{}}
	l.level.Set(c.SlogLevel())
	opts := &slog.HandlerOptions{Level: l.level}
	var h slog.Handler
	switch {
	case c.Format == "json":
		h = slog.NewJSONHandler(w, opts)
	case c.Format == "auto" && isTerminal(w):
		h = tint.NewTextHandler(w, &tint.Options{Level: l.level, TimeFormat: time.TimeOnly, NoColor: noColor()})
	case underJournal():
		// The journal stamps each line itself.
		opts.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
		h = slog.NewTextHandler(w, opts)
	default:
		h = slog.NewTextHandler(w, opts)
	}
	keep := slog.NewJSONHandler(l.ring, &slog.HandlerOptions{Level: slog.LevelInfo})
	l.Logger = slog.New(slog.NewMultiHandler(h, keep))
	return l
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// noColor follows https://no-color.org.
func noColor() bool {
	v, set := os.LookupEnv("NO_COLOR")
	return set && v != ""
}

// underJournal reports whether standard error goes to systemd's journal
// (systemd.exec(5), JOURNAL_STREAM).
func underJournal() bool {
	_, set := os.LookupEnv("JOURNAL_STREAM")
	return set
}

// ring keeps the last lines written to it; each Write is one line.
type ring struct {
	mu    sync.Mutex
	lines [][]byte
	next  int
}

// Write implements io.Writer and never fails.
func (r *ring) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := append([]byte(nil), p...)
	if len(r.lines) < recentLines {
		r.lines = append(r.lines, line)
		return len(p), nil
	}
	r.lines[r.next] = line
	r.next = (r.next + 1) % recentLines
	return len(p), nil
}

// recent returns the kept lines as JSON objects, oldest first.
func (r *ring) recent() []json.RawMessage {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]json.RawMessage, 0, len(r.lines))
	for i := range r.lines {
		out = append(out, json.RawMessage(r.lines[(r.next+i)%len(r.lines)]))
	}
	return out
}

// complaints counts the kept lines at level WARN and above, and returns the last.
func (r *ring) complaints(ctx context.Context) (n int, last string) {
	for _, raw := range r.recent() {
		var line struct{ Level, Msg, Error string }
		if json.Unmarshal(raw, &line) != nil || ctx.Err() != nil {
			continue
		}
		if line.Level == "WARN" || line.Level == "ERROR" {
			n++
			last = line.Msg
			if line.Error != "" {
				last += ": " + line.Error
			}
		}
	}
	return n, last
}
