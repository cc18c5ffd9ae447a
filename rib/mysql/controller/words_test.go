package controller

import (
	"testing"
	"time"
)

// A clock that is an hour off makes no word void that is heard when it is said, and keeps none
// alive for longer than a minute.
func TestAWordsAgeIsNotThatOfClocks(t *testing.T) {
	now := time.Now()
	for name, off := range map[string]time.Duration{"equal clocks": 0, "the writer's is behind": -time.Hour, "the writer's is ahead": time.Hour} {
		at := now.Add(off).Round(0) // as stored: without the monotonic clock
		w := Word{At: at, Until: at.Add(time.Minute)}
		if got := w.void(now, true).Sub(now); got != time.Minute {
			t.Errorf("%s: a word that is heard at once is void after %v", name, got)
		}
		if got := w.void(now, false); !got.Equal(w.Until) {
			t.Errorf("%s: a word that was there before is void at %v", name, got)
		}
	}
}
