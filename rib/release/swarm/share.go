package swarm

import (
	"bufio"
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/bits-and-blooms/bitset"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/swarm/schedule"
)

// beat is how often a quiet connection shows that it is alive, silence after which time without
// any byte it counts as dead, and stall how long a piece may take to leave: the asker may be at the
// end of a thin line or limit what it receives.
const (
	beat    = 2 * time.Second
	silence = 8 * time.Second
	stall   = time.Minute
)

// share is a pack given by this host.
type share struct {
	options  ServerOptions
	pack     Pack
	hosts    map[string]bool
	everyone bool
	start    time.Time
	ctx      context.Context //nolint:containedctx // the life of the share, which outlives every call
	cancel   context.CancelFunc
	work     sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	supplier *schedule.Supplier
	have     *bitset.BitSet // what the supplier was told
	givers   map[schedule.Peer]*giver
	next     schedule.Peer
}

func newShare(o ServerOptions, p Pack, spec ShareSpec) *share {
	have := p.Have()
	h := &share{
		options: o, pack: p, hosts: map[string]bool{}, everyone: spec.Everyone, start: time.Now(),
		supplier: schedule.NewSupplier(o.Policy, have, spec.Origin, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))),
		have:     have, givers: map[schedule.Peer]*giver{},
	}
	for _, host := range spec.Hosts {
		h.hosts[host] = true
	}
	h.ctx, h.cancel = context.WithCancel(context.Background()) //nolint:forbidigo // ended by close
	h.work.Go(h.watch)
	return h
}

// close ends all connections and waits for them.
func (h *share) close() {
	h.cancel()
	h.work.Wait()
}

func (h *share) now() time.Duration { return time.Since(h.start) }

// watch tells the supplier which chunks come and go, and looks at the clock for it.
func (h *share) watch() {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		changed := h.pack.Changed()
		h.refresh()
		select {
		case <-h.ctx.Done():
			return
		case <-changed:
		case <-tick.C:
		}
	}
}

func (h *share) refresh() {
	have := h.pack.Have()
	h.mu.Lock()
	defer h.mu.Unlock()
	for c, ok := have.Difference(h.have).NextSet(0); ok; c, ok = have.Difference(h.have).NextSet(c + 1) {
		h.supplier.Add(int(c))
	}
	for c, ok := h.have.Difference(have).NextSet(0); ok; c, ok = h.have.Difference(have).NextSet(c + 1) {
		h.supplier.Remove(int(c))
	}
	h.have = have
	h.pump()
}

// pump hands out what the supplier decides; mu is held.
func (h *share) pump() {
	now := h.now()
	for {
		o, ok := h.supplier.Next(now)
		if !ok {
			break
		}
		h.givers[o.Peer].send(o.Chunk)
	}
	for {
		o, ok := h.supplier.Offer(now)
		if !ok {
			return
		}
		h.givers[o.Peer].out.add(frameOffer, o.Chunk)
	}
}

// serve gives to one asker until it leaves or the share ends.
func (h *share) serve(ctx context.Context, host string, conn net.Conn, r *bufio.Reader) error {
	if err := conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
		return err
	}
	covered, err := readHello(r, h.pack.Chunks())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { conn.Close() })() //nolint:errcheck // it only wakes the reader and the writer
	g := newGiver(h, host, conn, cancel)
	if !h.join(g, covered) {
		return fault.Unavailable("the pack is no longer shared")
	}
	defer h.work.Done()
	defer context.AfterFunc(h.ctx, func() { cancel(net.ErrClosed) })()
	h.options.Stats.connections(1, 0)
	defer h.options.Stats.connections(-1, 0)

	var writing sync.WaitGroup
	writing.Go(func() { cancel(g.write(ctx)) })
	finished, err := g.read(r)
	cancel(err)
	writing.Wait()
	h.leave(g, finished)
	return context.Cause(ctx)
}

// join makes the asker known, in place of an older connection of the same host.
func (h *share) join(g *giver, covered *bitset.BitSet) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil {
		return false
	}
	for _, old := range h.givers {
		if old.host == g.host {
			old.cancel(fault.Conflict("host " + g.host + " asks anew"))
			h.forget(old, false)
		}
	}
	h.work.Add(1)
	h.next++
	g.peer = h.next
	h.givers[g.peer] = g
	h.supplier.Join(g.peer, covered)
	h.pump()
	return true
}

func (h *share) leave(g *giver, finished bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.givers[g.peer] == g {
		h.forget(g, finished)
		h.pump()
	}
}

// forget removes an asker; mu is held.
func (h *share) forget(g *giver, finished bool) {
	delete(h.givers, g.peer)
	h.supplier.Forget(g.peer, finished)
}
