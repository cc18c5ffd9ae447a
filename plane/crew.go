package plane

import "sync"

// crew is a group of goroutines that somebody waits for. Unlike a WaitGroup it may
// be asked for more while it is waited for: it then does nothing, because the
// plane is closing.
type crew struct {
	wg sync.WaitGroup

	mu   sync.Mutex // guards done
	done bool
}

// Go runs fn, unless the plane is closing.
func (c *crew) Go(fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.done {
		c.wg.Go(fn)
	}
}

// Wait waits for all and lets no new ones begin.
func (c *crew) Wait() {
	c.mu.Lock()
	c.done = true
	c.mu.Unlock()
	c.wg.Wait()
}
