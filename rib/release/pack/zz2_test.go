package pack_test

import (
	"fmt"
	"testing"
	"time"
)

func TestFullSizes(t *testing.T) {
	for _, n := range []string{"kubernetes@v1.34.4", "node2"} {
		t0 := time.Now()
		x, _, _ := load(t, "/tmp/pairs/"+n+".tar", "1")
		fmt.Println(n, x.Wire(), len(x.Chunks), x.Chunks[0].Size, time.Since(t0))
	}
}
