package swarm

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// raceRate is what a link carries, in bits a second each way: so little that two cores are not
// what is measured.
const raceRate = 40_000_000

// TestRace measures how near to the bound F/B some hosts come, and asserts only that
// everybody completes and that the origin sends little more than one copy; the ratio
// is the business of the bench. RACE_CHUNKS makes it longer.
func TestRace(t *testing.T) {
	chunks := 64
	if v, err := strconv.Atoi(os.Getenv("RACE_CHUNKS")); err == nil {
		chunks = v
	}
	for _, n := range []int{4, 8} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			r := newRace(t, n, raceRate, chunks, 256<<10, nil)
			r.begin(r.workers...)
			r.complete(r.workers[1:])
			ratio := r.ratio()
			copies := r.copies(r.workers[0])
			t.Logf("%d hosts: %.3f of F/B, origin %.3f copies", n, ratio, copies)
			if copies > 1.3 {
				t.Errorf("the origin sent %.2f copies", copies)
			}
		})
	}
}

// complete waits until the workers are.
func (r *race) complete(workers []*worker) {
	r.t.Helper()
	for _, w := range workers {
		r.await(w, "done")
	}
}

// TestOriginKilled kills the origin with signal 9 as soon as the receivers have every chunk between
// them: the rest complete.
func TestOriginKilled(t *testing.T) {
	r := newRace(t, 4, raceRate, 64, 128<<10, nil)
	r.begin(r.workers...)
	for covered := 0; covered < 64; {
		covered = 0
		for i := range r.index.Chunks {
			for _, w := range r.workers[1:] {
				if _, err := os.Stat(filepath.Join(w.config.Dir, (&testPack{dir: "."}).path(i))); err == nil {
					covered++
					break
				}
			}
		}
	}
	if _, done := r.workers[1].said("done"); done {
		t.Log("a receiver was complete before the origin died")
	}
	r.kill(r.workers[0])
	r.complete(r.workers[1:])
	t.Logf("%.3f of F/B", r.ratio())
}

// TestReceiverKilled kills a receiver with signal 9 in the middle and starts it again: it fetches only what
// it had not.
func TestReceiverKilled(t *testing.T) {
	r := newRace(t, 4, raceRate, 64, 128<<10, nil)
	victim := r.workers[2]
	r.begin(r.workers...)
	r.until(victim, "progress", func(s workerSays) bool { return s.Have >= 16 })
	r.kill(victim)
	had, err := openTestPack(victim.config.Dir, r.index)
	if err != nil {
		t.Fatal(err)
	}
	n := int(had.Have().Count())
	r.start(victim)
	r.await(victim, "ready")
	r.begin(victim)
	r.complete(r.workers[1:])
	if s := r.await(victim, "done"); s.Stored != 64-n {
		t.Errorf("it had %d of 64 chunks, and fetched %d", n, s.Stored)
	}
	if copies := r.copies(r.workers[0]); copies > 1.3 {
		t.Errorf("the origin sent %.2f copies", copies)
	}
}

// TestLyingPeer has one host give bad bytes: it is dropped and named, and all complete.
func TestLyingPeer(t *testing.T) {
	r := newRace(t, 4, raceRate, 64, 128<<10, func(i int, c *workerConfig) { c.Lies = i == 3 })
	r.begin(r.workers...)
	r.complete(r.workers[1:])
	t.Logf("%.3f of F/B", r.ratio())
	named := false
	for _, w := range r.workers[1:] {
		if s, ok := w.said("dropped"); ok {
			named = true
			if s.Peer != "h3" {
				t.Errorf("%s dropped %s: %s", w.config.Self, s.Peer, s.Text)
			}
		}
	}
	if !named {
		t.Error("nobody dropped the liar")
	}
}

// TestSlowPeer has one host at a hundredth of the rate, both ways: the others complete as if
// it were not there.
func TestSlowPeer(t *testing.T) {
	r := newRace(t, 5, raceRate, 64, 128<<10, nil)
	r.bridge.Hosts[3].Shape(raceRate / 100)
	r.begin(r.workers...)
	for i, w := range r.workers[1:] {
		if i != 2 {
			r.await(w, "done")
		}
	}
	t.Logf("%.3f of F/B", r.ratio())
	if _, done := r.workers[3].said("done"); done {
		t.Error("a host at a hundredth of the rate was as fast as the others: nothing was tested")
	}
}

// TestLinkCut takes the cable of a receiver out for a while: it comes back by itself.
func TestLinkCut(t *testing.T) {
	r := newRace(t, 3, raceRate, 64, 128<<10, nil)
	r.begin(r.workers...)
	r.until(r.workers[2], "progress", func(s workerSays) bool { return s.Have >= 8 })
	r.bridge.Hosts[2].Cut()
	r.complete([]*worker{r.workers[1], r.workers[3]})
	r.bridge.Hosts[2].Restore()
	r.complete(r.workers[1:])
}
