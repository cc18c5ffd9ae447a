package simulate

import (
	"testing"
	"time"
)

func config(hosts, chunks int) Config {
	return Config{Hosts: hosts, Chunks: chunks, Chunk: 20 * time.Millisecond, Latency: time.Millisecond, Seed: 1}
}

// complete fails unless all hosts are complete, except those that are excused.
func complete(t *testing.T, r Result, excused ...int) {
	t.Helper()
	t.Log(r)
	left := 0
	for _, d := range r.Done {
		if d == 0 {
			left++
		}
	}
	if left != len(excused) {
		t.Errorf("%d of %d are not complete, %d are excused", left, len(r.Done), len(excused))
	}
}

// The ratios are what the present policy reaches in this model, with some room: a change of
// policy that costs more than that shows here.
func TestRatioAndOriginCopies(t *testing.T) {
	for _, c := range []struct {
		hosts, chunks int
		ratio         float64
	}{{1, 256, 1.01}, {8, 192, 1.15}, {100, 128, 1.45}, {1000, 48, 2}} {
		r := Run(config(c.hosts, c.chunks))
		complete(t, r)
		if r.Ratio(1) > c.ratio {
			t.Errorf("%d hosts: %.3f of F/B, more than %.2f", c.hosts, r.Ratio(1), c.ratio)
		}
		if r.Origin > 1.05 {
			t.Errorf("%d hosts: the origin sent %.3f copies", c.hosts, r.Origin)
		}
		if r.Spread > 128 {
			t.Errorf("%d hosts: %d chunks beyond the prefix", c.hosts, r.Spread)
		}
	}
}

func TestSameSeedSameRun(t *testing.T) {
	a, b := Run(config(12, 64)), Run(config(12, 64))
	if a.String() != b.String() {
		t.Errorf("%s\n%s", a, b)
	}
}

func TestHostsDie(t *testing.T) {
	c := config(100, 64)
	c.Die = map[int]time.Duration{}
	var dead []int
	for i := 1; i <= 30; i++ {
		c.Die[i] = time.Duration(i) * 50 * time.Millisecond
		dead = append(dead, i)
	}
	r := Run(c)
	complete(t, r, dead...)
	if r.Origin > 1.3 {
		t.Errorf("the origin sent %.3f copies", r.Origin)
	}
}

func TestOriginDiesAfterOneCopy(t *testing.T) {
	c := config(50, 96)
	c.Die = map[int]time.Duration{0: 2500 * time.Millisecond} // a copy takes 1.92 s
	complete(t, Run(c))
}

func TestLateHosts(t *testing.T) {
	c := config(40, 96)
	c.Late = map[int]time.Duration{5: time.Second, 6: 10 * time.Second, 7: time.Minute}
	r := Run(c)
	complete(t, r)
	if r.Origin > 1.05 {
		t.Errorf("the origin sent %.3f copies", r.Origin)
	}
}

func TestLiars(t *testing.T) {
	c := config(40, 96)
	c.Liars = map[int]bool{3: true, 17: true}
	complete(t, Run(c))
}

// A host at a hundredth of the rate takes its time; the others hardly notice.
func TestSlowHost(t *testing.T) {
	c := config(40, 96)
	c.Rate = map[int]float64{9: 0.01}
	c.Limit = 20 * time.Minute // the slow one alone needs a hundred times the bound
	r := Run(c)
	complete(t, r)
	if r.Ratio(.97) > 2 {
		t.Errorf("the others took %.2f of F/B", r.Ratio(.97))
	}
}
