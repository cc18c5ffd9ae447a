package simulate

import (
	"testing"
	"time"

	"kaname.dev/kaname/rib/release/swarm/schedule"
)

func TestSweep(t *testing.T) {
	for _, lat := range []int{1, 50} {
		for _, orig := range []int{4, 6} {
			for _, slots := range []int{2, 3, 4} {
				for _, ahead := range []int{1, 2, 3} {
					for _, intake := range []int{4, 6, 8} {
						sum := 0.0
						for seed := range uint64(3) {
							r := Run(Config{Hosts: 8, Chunks: 128, Chunk: 105 * time.Millisecond, Latency: time.Duration(lat) * time.Millisecond, Seed: seed,
								Policy: schedule.Policy{Origin: orig, Slots: slots, Ahead: ahead, Intake: intake}})
							sum += r.Ratio(1) / 3
						}
						t.Logf("lat %d orig %d slots %d ahead %d intake %d: %.3f", lat, orig, slots, ahead, intake, sum)
					}
				}
			}
		}
	}
}
