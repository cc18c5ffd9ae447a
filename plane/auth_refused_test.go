package plane

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestRefusalsAreGathered floods the gatherer: the first of each sort is written at
// once, few records come of many attempts, and no attempt goes uncounted, also
// when the store fails for a while.
func TestRefusalsAreGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRefusals()
		ctx, cancel := context.WithCancel(t.Context())
		var records, attempts int
		down := false
		var mu sync.Mutex
		write := func(_ context.Context, c counted) error {
			mu.Lock()
			defer mu.Unlock()
			if down {
				return errors.New("the store is away")
			}
			records, attempts = records+1, attempts+c.n
			return nil
		}
		done := make(chan struct{})
		go func() { defer close(done); r.run(ctx, write) }()

		r.add(attempt{Host: "web1", What: "publish", Subject: "a"})
		synctest.Wait()
		if records != 1 {
			t.Fatalf("the first refusal is not written at once: %d", records)
		}
		sent := 1
		for i := range 60 { // a minute of a host gone mad, and of strangers
			mu.Lock()
			down = i > 20 && i < 30
			mu.Unlock()
			for j := range 1000 {
				r.add(attempt{Host: "web1", What: "publish", Subject: strconv.Itoa(j)})
				r.add(attempt{Remote: fmt.Sprintf("192.0.2.%d:%d", i, j), What: "connection", Subject: "no certificate"})
				sent += 2
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		cancel()
		<-done
		if attempts != sent {
			t.Errorf("%d attempts, %d counted", sent, attempts)
		}
		if records > 1500 {
			t.Errorf("%d records of %d attempts", records, sent)
		}
		if left := len(r.sorts) + len(r.per); left != 0 {
			t.Errorf("%d things are remembered for ever", left)
		}
		t.Logf("%d attempts became %d records", sent, records)
	})
}
