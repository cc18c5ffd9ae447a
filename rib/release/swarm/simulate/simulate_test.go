package simulate

import (
	"testing"
	"time"
)

func TestRatio(t *testing.T) {
	for _, n := range []int{1, 4, 8, 16, 100, 1000} {
		r := Run(Config{Hosts: n, Chunks: 256, Chunk: 20 * time.Millisecond, Latency: time.Millisecond, Seed: 1})
		t.Log(n, r)
	}
}
