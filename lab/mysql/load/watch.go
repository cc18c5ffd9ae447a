package load

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	lab "kaname.dev/kaname/lab/mysql"
)

// period is the time between two samples of a Watcher.
const period = 20 * time.Millisecond

// Watcher samples, over each server's unix socket, who is open for writes.
type Watcher struct {
	servers []*lab.Server
	stop    context.CancelFunc
	wg      sync.WaitGroup
	mu      sync.Mutex
	says    []said // by server
	samples []sample
}

// said is a server's last answer, which stands until the next one: a server that hangs
// and comes back is as open as it was. One that does not run is not open.
type said struct {
	pid  int
	open bool
}

// sample is who was open at an instant.
type sample struct {
	at   time.Time
	open []bool // by server
}

// Sight is what a Watcher has seen.
type Sight struct {
	Dual    time.Duration // time with two or more servers open for writes, in total
	Longest time.Duration // of it, the longest stretch
	None    time.Duration // time with no server open
	Open    []string      // the servers that are open at the end, by name
	Story   []string      // who was open from when on, since the beginning
}

// Watch begins to sample; Stop ends it, and the test does at the latest.
func Watch(t testing.TB, servers ...*lab.Server) *Watcher {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	w := &Watcher{servers: servers, stop: stop, says: make([]said, len(servers))}
	for i, s := range servers {
		w.wg.Go(func() { w.ask(ctx, i, s) })
	}
	w.wg.Go(func() { w.sample(ctx) })
	t.Cleanup(func() { stop(); w.wg.Wait() })
	return w
}

// Stop ends the sampling and returns what was seen.
func (w *Watcher) Stop() Sight {
	w.stop()
	w.wg.Wait()
	return w.Sight(time.Time{})
}

// Sight returns what was seen since an instant; zero: since the beginning.
func (w *Watcher) Sight(since time.Time) Sight {
	w.mu.Lock()
	defer w.mu.Unlock()
	names := make([]string, len(w.servers))
	for i, s := range w.servers {
		names[i] = s.Name
	}
	samples := w.samples
	for len(samples) > 0 && samples[0].at.Before(since) {
		samples = samples[1:]
	}
	return tally(names, samples)
}

// ask asks one server again and again. While it hangs, so does this.
func (w *Watcher) ask(ctx context.Context, i int, s *lab.Server) {
	query := "SELECT @@global.read_only = 0"
	if s.Flavour == lab.FlavourMySQL {
		query += " AND @@global.super_read_only = 0 AND @@global.offline_mode = 0"
	}
	db := s.DB()
	for pause(ctx, period) {
		pid := s.PID()
		var open bool
		if pid == 0 || db.QueryRowContext(ctx, query).Scan(&open) != nil {
			continue
		}
		w.mu.Lock()
		w.says[i] = said{pid: pid, open: open}
		w.mu.Unlock()
	}
}

// sample joins what the servers said last with whether they run.
func (w *Watcher) sample(ctx context.Context) {
	for pause(ctx, period) {
		now := sample{at: time.Now(), open: make([]bool, len(w.servers))}
		for i, s := range w.servers {
			pid := s.PID()
			w.mu.Lock()
			now.open[i] = w.says[i].open && w.says[i].pid == pid
			w.mu.Unlock()
			now.open[i] = now.open[i] && runs(pid)
		}
		w.mu.Lock()
		w.samples = append(w.samples, now)
		w.mu.Unlock()
	}
}

// exiting is PF_EXITING of the kernel's task flags: the process was killed, and only its
// memory is still being given back.
const exiting = 4

// runs reports whether a process is there, not stopped and not ending (proc_pid_stat(5)).
func runs(pid int) bool {
	if pid == 0 {
		return false
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	fields := strings.Fields(rest) // the third of the manual page and on
	if len(fields) < 7 || strings.Contains("TtZXx", fields[0]) {
		return false
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return err == nil && flags&exiting == 0
}

// tally adds up samples.
func tally(names []string, samples []sample) Sight {
	var s Sight
	var stretch time.Duration
	before := "?"
	for i, now := range samples {
		var open []string
		for k, o := range now.open {
			if o {
				open = append(open, names[k])
			}
		}
		if text := strings.Join(open, "+"); text != before {
			before = text
			if text == "" {
				text = "nobody"
			}
			s.Story = append(s.Story, now.at.Sub(samples[0].at).Round(time.Millisecond).String()+" "+text)
		}
		s.Open = open
		if i+1 == len(samples) {
			break
		}
		span := samples[i+1].at.Sub(now.at)
		if len(open) < 2 {
			stretch = 0
		} else {
			stretch += span
			s.Dual += span
			s.Longest = max(s.Longest, stretch)
		}
		if len(open) == 0 {
			s.None += span
		}
	}
	return s
}

// IDs returns the ids in the table app.acks of a server.
func IDs(t testing.TB, s *lab.Server) map[int64]bool {
	t.Helper()
	rows, err := s.DB().QueryContext(t.Context(), "SELECT id FROM app.acks")
	if err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err has it
	ids := map[int64]bool{}
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		ids[id] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
	return ids
}
