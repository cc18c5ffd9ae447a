package swarm

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// TestRace measures how near to the bound F/B some hosts come, each link shaped.
func TestRace(t *testing.T) {
	rate, chunks := int64(40_000_000), 64
	if v, err := strconv.Atoi(os.Getenv("RACE_CHUNKS")); err == nil {
		chunks = v
	}
	if v, err := strconv.Atoi(os.Getenv("RACE_RATE")); err == nil {
		rate = int64(v)
	}
	for _, n := range []int{4, 8} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			r := newRace(t, n, rate, chunks, 256<<10, nil)
			r.begin(r.workers...)
			watch(t, r)
			for _, w := range r.workers[1:] {
				r.await(w, "done")
			}
			ratio := r.ratio()
			for _, w := range r.workers {
				a, b := w.host.Bytes()
				var tr Traffic
				for _, e := range []string{"ready", "progress", "done"} {
					if x, ok := w.said(e); ok {
						tr = Traffic{}
						for _, p := range x.Traffic {
							tr.Sent += p.Sent
							tr.Received += p.Received
							tr.Wasted += p.Wasted
						}
					}
				}
				f := float64(chunks * 256 << 10)
				t.Logf("link sent %.3f received %.3f; payload %.3f %.3f wasted %.3f", float64(a)/f, float64(b)/f, float64(tr.Sent)/f, float64(tr.Received)/f, float64(tr.Wasted)/f)
			}
			sent, _ := r.workers[0].host.Bytes()
			copies := r.copies(r.workers[0])
			t.Logf("%d hosts: %.3f of F/B, origin %.3f copies (%.3f on the wire)", n, ratio, copies, float64(sent)/float64(chunks*256<<10))
			if copies > 1.3 {
				t.Errorf("the origin sent %.2f copies", copies)
			}
		})
	}
}

func watch(t *testing.T, r *race) {
	if os.Getenv("RACE_WATCH") == "" {
		return
	}
	var before []int64
	var beforeR []int64
	go func() {
		for t.Context().Err() == nil {
			var tx, rx []int64
			for _, w := range r.workers {
				a, b := w.host.Bytes()
				tx, rx = append(tx, a), append(rx, b)
			}
			if before != nil {
				line := ""
				for i := range tx {
					line += fmt.Sprintf(" %3d/%3d", (tx[i]-before[i])*8*100/r.rate, (rx[i]-beforeR[i])*8*100/r.rate)
				}
				t.Logf("%.2f:%s", r.ratio(), line)
			}
			before, beforeR = tx, rx
			select {
			case <-t.Context().Done():
				return
			case <-time.After(time.Second):
			}
		}
	}()
}
