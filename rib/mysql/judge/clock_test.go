package judge

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A wall clock that is an hour off changes no verdict and no repair; only pauses and the
// cooldown after a failover, which people count by it, are longer or shorter.
func TestAnHourOffDecidesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyView(t)
		rec := v.Record.Clone()
		rec.Paused, rec.Last = nil, nil
		v.Record = rec
		off := v
		off.Began = v.Began.Add(rapid.SampledFrom([]time.Duration{-time.Hour, time.Hour}).Draw(t, "off"))
		if d := cmp.Diff(Judge(v), Judge(off)); d != "" {
			t.Fatalf("another verdict: %s", d)
		}
		if d := cmp.Diff(Mend(v), Mend(off)); d != "" {
			t.Fatalf("another repair: %s", d)
		}
	})
}
