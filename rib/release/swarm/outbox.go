package swarm

import "sync"

// maxOutbox is how many bytes of frames may wait for a peer that does not read.
const maxOutbox = 1 << 20

// outbox collects small frames for a connection, so that nobody waits for the network
// while deciding. It is safe for concurrent use.
type outbox struct {
	mu   sync.Mutex // guards buf
	buf  []byte
	wake chan struct{} // has room for one
	full func()        // called when too much waits; must not block
}

func newOutbox(full func()) *outbox { return &outbox{wake: make(chan struct{}, 1), full: full} }

// add queues a frame.
func (o *outbox) add(kind byte, numbers ...int) {
	o.mu.Lock()
	o.buf = frame(o.buf, kind, numbers...)
	full := len(o.buf) > maxOutbox
	o.mu.Unlock()
	if full {
		o.full()
	}
	o.nudge()
}

// nudge wakes the writer.
func (o *outbox) nudge() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// swap returns what waits and keeps spare for what comes.
func (o *outbox) swap(spare []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	frames := o.buf
	o.buf = spare[:0]
	return frames
}
