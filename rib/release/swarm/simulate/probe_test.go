package simulate

import (
	"container/heap"
	"testing"
	"time"

	"kaname.dev/kaname/rib/release/swarm/schedule"
)

func TestProbe(t *testing.T) {
	for _, pol := range []schedule.Policy{{Origin: 4, Slots: 3, Ahead: 1, Intake: 6}, {Origin: 1, Slots: 1, Ahead: 1, Intake: 2}, {Origin: 2, Slots: 2, Ahead: 1, Intake: 3}, {Origin: 3, Slots: 2, Ahead: 1, Intake: 3}} {
		c := Config{Hosts: 8, Chunks: 128, Chunk: 100 * time.Millisecond, Latency: 1 * time.Millisecond, Seed: 1, Policy: pol, Limit: time.Hour}
		r := &run{Config: c, flows: map[[3]int]*flow{}}
		r.build()
		step := time.Duration(0)
		last := make([]int, 9)
		given := 0
		t.Logf("%+v", pol)
		for r.open > 0 && len(r.queue) > 0 {
			e := heap.Pop(&r.queue).(event)
			if e.at >= step {
				line := ""
				sum := 0
				for i, h := range r.hosts[1:] {
					n := int(h.have.Count())
					sum += n - last[i]
					last[i] = n
				}
				g := r.hosts[0].supplier.Given()
				_ = line
				fl := 0.0
				up := 0.0
				for _, f := range r.flows {
					fl += f.rate
					if f.from == 0 {
						up += f.rate
					}
				}
				t.Logf("%5.1f: origin gave %d (+%d), chunks/τ per host %.2f have %v flows %d rate %.2f origin rate %.2f", step.Seconds()*10, g, g-given, float64(sum)/8/10, last[:8], len(r.flows), fl, up)
				given = g
				step += time.Second
			}
			r.now = e.at
			r.step(e)
		}
		t.Log(r.now.Seconds()*10, "τ")
	}
}
