package move_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kaname.dev/kaname/lab"
)

const (
	defaultSchedules = 1000
	// tick does not divide what timers elsewhere take, so that no two things are due at once
	// and a seed means the same schedule each time.
	tick  = 20*time.Millisecond + 13700*time.Nanosecond
	storm = 15 * time.Second // of faults
	calm  = 90 * time.Second // until there must be a writable primary again
)

// TestSchedules runs random schedules of faults against the real moves. KANAME_SEED runs one
// and prints its story.
func TestSchedules(t *testing.T) {
	first, n := uint64(0), uint64(defaultSchedules)
	if lab.Soak() {
		n = 300 * defaultSchedules
	}
	if v, err := strconv.ParseUint(os.Getenv("KANAME_SEED"), 10, 64); err == nil {
		first, n = v, v+1
	}
	ends := map[string]int{}
	for seed := first; seed < n; seed++ {
		w := simulate(t, seed, bugs{})
		for how, times := range w.ends {
			ends[how] += times
		}
		if len(w.broken) > 0 {
			t.Fatalf("seed %d: %s\n%s", seed, strings.Join(w.broken, "\n"), strings.Join(w.story, "\n"))
		}
		if n == first+1 {
			t.Log(strings.Join(w.story, "\n"))
		}
	}
	t.Logf("%d schedules; moves: %v", n-first, ends)
	for _, want := range []string{
		"failover, ok true, proven true", "failover, ok true, proven false", "failover, ok false, proven false",
		"switchover, ok true, proven true", "switchover, ok false, proven false",
	} {
		if n-first >= defaultSchedules && ends[want] == 0 {
			t.Errorf("no schedule had a move that ended so: %s", want)
		}
	}
}

// simulate runs the schedule of a seed.
func simulate(t *testing.T, seed uint64, bug bugs) *world {
	t.Helper()
	var w *world
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w = newWorld(ctx, seed, bug)
		w.run()
		cancel()
		w.wg.Wait()
	})
	return w
}

func (w *world) run() {
	w.mu.Lock()
	w.reign()
	faults := w.faults()
	ok := false
	for end := storm + calm; !ok && len(w.broken) == 0 && time.Since(w.began) < end; {
		now := time.Now()
		for len(faults) > 0 && time.Since(w.began) >= faults[0].at {
			f := faults[0]
			faults = faults[1:]
			w.say("fault: %s", f.what)
			f.do()
		}
		w.tick(now)
		ok = time.Since(w.began) > storm && len(faults) == 0 && w.writable() != nil
		w.mu.Unlock()
		<-time.After(tick)
		w.mu.Lock()
	}
	if !ok && len(w.broken) == 0 {
		w.broke("L1: no writable primary %v after everything was healed; record: epoch %d primary %q step %s", calm, w.doc.Epoch, w.doc.Primary, stepOf(w.doc))
	}
	w.over = true
	w.mu.Unlock()
}

type event struct {
	at   time.Duration
	what string
	do   func()
}

// faults draws what happens, in the order of time.
func (w *world) faults() []event {
	var all []event
	add := func(at time.Duration, what string, do func()) {
		i := len(all)
		for i > 0 && all[i-1].at > at {
			i--
		}
		all = append(all[:i], append([]event{{at, what, do}}, all[i:]...)...)
	}
	n := len(w.servers)
	if w.rng.IntN(3) == 0 {
		w.trouble = 0.1
	}
	if w.rng.IntN(2) == 0 {
		w.dup = []float64{0.03, 0.3}[w.rng.IntN(2)]
	}
	for range 1 + w.rng.IntN(7) {
		at := time.Second + w.some(storm-4*time.Second)
		till := at + 200*time.Millisecond + w.some(6*time.Second)
		i := w.rng.IntN(n)
		if w.rng.IntN(3) == 0 {
			i = 0
		}
		s, a := w.servers[i], w.agents[i]
		hang := func(is bool) {
			if s.up {
				s.paused = is
			}
		}
		switch kind := w.rng.IntN(18); kind {
		case 0, 1:
			add(at, s.name+" crashes", func() { s.crash(time.Now().Add(till - at)) })
		case 2:
			add(at, s.name+" hangs", func() { hang(true) })
			add(till, s.name+" goes on", func() { hang(false) })
		case 3:
			add(at, s.name+" and its agent hang", func() { hang(true); a.paused = true })
			add(till, s.name+" and its agent go on", func() { hang(false); a.paused = false; a.awake = time.Now() })
		case 4:
			add(at, "the agent of "+s.name+" crashes", func() { a.end(time.Now().Add(till - at)) })
		case 5:
			add(at, "the host of "+s.name+" crashes", func() { s.crash(time.Now().Add(till - at)); a.end(time.Now().Add(till - at)) })
		case 6, 7, 8:
			to := w.rng.IntN(n + 1)
			both := w.rng.IntN(2) == 0
			add(at, fmt.Sprintf("cut from %d to %d (both ways %t)", i, to, both), func() { w.cut(i, to, true); w.cut(to, i, both) })
		case 9:
			add(at, s.name+" is cut off", func() { w.isolate(i, true) })
			add(till, s.name+" is connected again", func() { w.isolate(i, false) })
		case 10:
			add(at, s.name+" applies nothing", func() { s.slowUntil = time.Now().Add(till - at) })
		case 11:
			add(at, "somebody writes on "+s.name, func() { s.stray() })
		case 12:
			for range 1 + w.rng.IntN(3) {
				add(at+w.some(3*time.Second), "the controller dies", w.change)
			}
		case 14:
			// A rack loses power, and comes back piece by piece.
			for j, p := range w.servers {
				from := at + w.some(500*time.Millisecond)
				back := 300*time.Millisecond + w.some(4*time.Second)
				if j == 0 || w.rng.IntN(2) == 0 {
					add(from, p.name+" loses power", func() { p.crash(time.Now().Add(back)) })
				}
			}
		case 15:
			// A replica dies, and the primary does when that is back.
			add(at, s.name+" crashes", func() { s.crash(time.Now().Add(time.Second)) })
			w.isolate2(add, at, i)
		case 17:
			// The controller is cut off from the primary alone, and wrong about it.
			p := 0
			add(at, "the controller and the primary are cut off from each other", func() {
				p = w.primary().i
				w.cut(p, w.away(), true)
				w.cut(w.away(), p, true)
			})
			add(at+w.some(time.Second), "a wrong verdict", func() {
				if w.ctrl != nil {
					w.ctrl.wishes = append(w.ctrl.wishes, wish{failover: true})
				}
			})
			add(till+3*time.Second, "they reach each other again", func() { w.isolate(p, false) })
		case 16:
			add(at, "the primary crashes", func() { w.primary().crash(time.Now().Add(till - at)) })
		case 13:
			x := wish{failover: w.rng.IntN(2) == 0, quiet: w.rng.IntN(2) == 0, to: s.name}
			add(at, fmt.Sprintf("a wish: %+v", x), func() {
				if w.ctrl != nil {
					w.ctrl.wishes = append(w.ctrl.wishes, x)
				}
			})
		}
	}
	add(storm, "all is healed", w.heal)
	return all
}

// isolate2 cuts a host off from the primary for some time, at the end of which the primary
// crashes.
func (w *world) isolate2(add func(time.Duration, string, func()), at time.Duration, i int) {
	add(at, fmt.Sprintf("db%d does not reach the primary", i+1), func() { w.cut(w.primary().i, i, true) })
	at += time.Second + w.some(time.Second)
	add(at, "the primary crashes", func() { w.primary().crash(time.Now().Add(5 * time.Second)) })
	add(at+200*time.Millisecond, fmt.Sprintf("db%d reaches all again", i+1), func() { w.isolate(i, false) })
}

// primary is the server that is open, or any.
func (w *world) primary() *server {
	for _, s := range w.servers {
		if s.up && s.open {
			return s
		}
	}
	return w.servers[0]
}

// stray is a write by somebody with too many rights.
func (s *server) stray() {
	if s.alive() && !s.open && s.source != nil {
		s.strays[s.commit().num] = time.Now()
	}
}

func (w *world) isolate(i int, is bool) {
	for to := range len(w.servers) + 1 {
		w.cut(i, to, is)
		w.cut(to, i, is)
	}
}

// change ends the controller; the next one begins when the plane's lease is over.
func (w *world) change() {
	if w.ctrl == nil {
		return
	}
	w.ctrl.die()
	d := 300*time.Millisecond + w.some(2*time.Second)
	w.wg.Go(func() {
		nap(w.ctx, d)
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.over && w.ctrl == nil {
			w.reign()
		}
	})
}

func (w *world) heal() {
	for i := range w.cuts {
		w.cuts[i] = false
	}
	w.trouble, w.dup = 0, 0
	for i, s := range w.servers {
		s.paused = false
		if a := w.agents[i]; a.paused {
			a.paused, a.awake = false, time.Now()
		}
	}
	if w.ctrl == nil {
		w.wg.Go(func() {
			nap(w.ctx, 3*time.Second)
			w.mu.Lock()
			defer w.mu.Unlock()
			if !w.over && w.ctrl == nil {
				w.reign()
			}
		})
	}
}
