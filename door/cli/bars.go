package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"kaname.dev/kaname/action"
)

// bars shows a call on a terminal: one bar for each step, summed over its hosts,
// and above them the sentences and failures as lines.
type bars struct {
	w         io.Writer
	good, bad func(string) string

	mu    sync.Mutex // guards the fields below
	mpb   *mpb.Progress
	steps map[string]*step
}

func newBars(w io.Writer, good, bad func(string) string) *bars {
	return &bars{w: w, good: good, bad: bad, steps: map[string]*step{}}
}

// step is one bar.
type step struct {
	bar   *mpb.Bar
	begun time.Time

	mu    sync.Mutex // guards hosts; the bar asks for its text from its own goroutine
	hosts map[string]action.Event
}

// sum adds up the hosts of a step: amounts, and how many hosts are done.
func (s *step) sum() (done, total int64, unit string, ready, failed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.hosts {
		switch e.State {
		case action.StateDone, action.StateSkipped:
			ready++
		case action.StateFailed:
			failed++
		default: // under way
		}
		if e.Unit != "" {
			unit = e.Unit
		}
		done, total = done+e.Done, total+e.Total
	}
	if total == 0 { // nobody says how much there is: then hosts are counted
		done, total, unit = int64(ready+failed), int64(len(s.hosts)), "hosts"
	}
	return min(done, total), total, unit, ready, failed
}

// set takes an event of the step; an end without amounts keeps the last ones.
func (s *step) set(e action.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.hosts[e.Host]
	if e.Total == 0 {
		e.Done, e.Total, e.Unit = old.Done, old.Total, old.Unit
		if e.State == action.StateDone {
			e.Done = e.Total
		}
	}
	s.hosts[e.Host] = e
}

func (b *bars) event(e action.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.Step == "" || e.State == "" {
		b.line(sentence(e))
		return
	}
	s := b.steps[e.Step]
	if s == nil {
		s = b.add(e.Step)
	}
	s.set(e)
	done, total, _, _, _ := s.sum()
	s.bar.SetTotal(max(total, 1), false)
	s.bar.SetCurrent(min(done, max(total, 1)-1)) // completed only at the end: more hosts may come
	if e.State == action.StateFailed {
		b.line(b.bad(sentence(e)))
	} else if e.Text != "" {
		b.line(sentence(e))
	}
}

// line writes a line above the bars.
func (b *bars) line(text string) {
	if text == "" {
		return
	}
	if b.mpb != nil {
		_, _ = b.mpb.Write([]byte(text + "\n")) // the terminal is gone: then nobody sees it
		return
	}
	fmt.Fprintln(b.w, text)
}

func (b *bars) add(name string) *step {
	if b.mpb == nil {
		b.mpb = mpb.New(mpb.WithOutput(b.w), mpb.WithWidth(32), mpb.WithRefreshRate(120*time.Millisecond), mpb.WithAutoRefresh())
	}
	s := &step{begun: time.Now(), hosts: map[string]action.Event{}}
	s.bar = b.mpb.New(1, mpb.BarStyle().Lbound("").Rbound("").Filler("█").Tip("█").Padding("░"),
		mpb.PrependDecorators(decor.Name(dash(name), decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return s.text(b.good, b.bad) })),
	)
	b.steps[name] = s
	return s
}

// text is what stands behind the bar.
func (s *step) text(good, bad func(string) string) string {
	done, total, unit, ready, failed := s.sum()
	s.mu.Lock()
	hosts := len(s.hosts)
	_, alone := s.hosts[""]
	s.mu.Unlock()
	var parts []string
	if !alone || hosts > 1 {
		count := fmt.Sprintf("%d/%d hosts", ready, hosts)
		if ready == hosts {
			count = good(count)
		}
		parts = append(parts, count)
	}
	if unit != "hosts" || alone {
		parts = append(parts, amount(action.Event{Done: done, Total: total, Unit: unit}))
	}
	if secs := time.Since(s.begun).Seconds(); unit == "bytes" && done < total && secs > 1 {
		parts = append(parts, humanize.IBytes(uint64(float64(done)/secs))+"/s")
	}
	if failed > 0 {
		parts = append(parts, bad(fmt.Sprintf("%d failed", failed)))
	}
	return strings.Join(parts, "  ")
}

// end lets the bars stand as they are; those of a call that failed are not filled.
func (b *bars) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mpb == nil {
		return
	}
	for _, s := range b.steps {
		done, total, _, _, failed := s.sum()
		if err == nil && failed == 0 || done == total && total > 0 {
			s.bar.SetTotal(-1, true)
		} else {
			s.bar.Abort(false)
		}
	}
	b.mpb.Wait()
	b.mpb = nil
}
