package swarm

import (
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

func TestSpread(t *testing.T) {
	for _, n := range []int{1, 4, 8} {
		c := newCluster(t, n, 64, 256<<10, nil)
		start := time.Now()
		g, ctx := errgroup.WithContext(t.Context())
		for i := 1; i <= n; i++ {
			g.Go(func() error { return c.fetch(ctx, i, nil) })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		for i, p := range c.packs {
			if err := p.complete(); err != nil {
				t.Errorf("host %d: %v", i, err)
			}
			total := c.hosts[i].stats.Total()
			t.Logf("  %d: %+v", i, total)
		}
		t.Logf("%d hosts: %v, origin %.2f copies", n, time.Since(start), c.origin())
		if c.origin() > 1.3 {
			t.Errorf("the origin sent %.2f copies", c.origin())
		}
	}
}
