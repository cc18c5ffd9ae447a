package swarm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"kaname.dev/kaname/rib/release/swarm/schedule"
)

// giver is the connection of one asker, on the supplier's side.
type giver struct {
	share  *share
	host   string
	conn   net.Conn
	peer   schedule.Peer
	cancel context.CancelCauseFunc
	out    *outbox

	mu    sync.Mutex // guards queue; taken after share.mu
	queue []*job     // chunks to send; the first one is being sent
}

// job is one sending of a chunk; its address tells it from another of the same chunk.
type job struct{ chunk int }

func newGiver(h *share, host string, conn net.Conn, cancel context.CancelCauseFunc) *giver {
	return &giver{share: h, host: host, conn: conn, cancel: cancel, out: newOutbox(func() {
		cancel(errors.New("it does not read what it is sent"))
	})}
}

// send queues a chunk.
func (g *giver) send(chunk int) {
	g.mu.Lock()
	g.queue = append(g.queue, &job{chunk})
	g.mu.Unlock()
	g.out.nudge()
}

// first returns what to send now, or nil.
func (g *giver) first() *job {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) == 0 {
		return nil
	}
	return g.queue[0]
}

// remove takes a chunk out of the queue and reports whether it was in it.
func (g *giver) remove(chunk int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.IndexFunc(g.queue, func(j *job) bool { return j.chunk == chunk })
	if i >= 0 {
		g.queue = slices.Delete(g.queue, i, i+1)
	}
	return i >= 0
}

// read follows what the asker says; finished is true if it said that it is complete.
func (g *giver) read(r *bufio.Reader) (finished bool, err error) {
	n := g.share.pack.Chunks()
	for {
		if err := g.conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
			return false, err
		}
		kind, number, err := readFrame(r, n)
		if err != nil {
			return false, err
		}
		if kind == frameBye {
			return true, net.ErrClosed
		}
		if kind == framePing {
			continue
		}
		if err := g.heard(kind, number); err != nil {
			return false, err
		}
	}
}

// heard acts on one frame.
func (g *giver) heard(kind byte, number int) error {
	h := g.share
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.givers[g.peer] != g {
		return net.ErrClosed
	}
	s := h.supplier
	switch kind {
	case frameTake:
		s.Taken(g.peer, number)
	case frameLeave, frameHold:
		s.Left(g.peer, number, kind == frameHold)
	case frameCovered:
		s.Covered(g.peer, number)
	case frameWanted:
		s.Uncovered(g.peer, number)
	case frameRoom:
		s.Busy(g.peer, false)
	case frameStarving:
		s.Starving(g.peer, number != 0)
	case frameCancel:
		if s.Dropped(g.peer, number) {
			g.remove(number)
			g.out.add(frameAbort, number)
		}
	default:
		return fmt.Errorf("%w: it sent a frame %q", errProtocol, kind)
	}
	h.pump()
	return nil
}

// write sends frames and chunks until ctx ends.
func (g *giver) write(ctx context.Context) error {
	pings := time.NewTicker(beat)
	defer pings.Stop()
	var spare []byte
	for {
		frames := g.out.swap(spare)
		spare = frames
		if err := g.put(frames); err != nil {
			return err
		}
		if j := g.first(); j != nil {
			if err := g.chunk(ctx, j); err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-g.out.wake:
		case <-pings.C:
			g.out.add(framePing)
		}
	}
}

// put writes bytes within the time that a live peer takes for them.
func (g *giver) put(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := g.conn.SetWriteDeadline(time.Now().Add(stall)); err != nil {
		return err
	}
	_, err := g.conn.Write(b)
	return err
}

// chunk sends one chunk in pieces, with the frames that come up in between.
func (g *giver) chunk(ctx context.Context, j *job) error {
	h, chunk := g.share, j.chunk
	f, err := h.pack.Open(chunk)
	if err != nil {
		h.options.Log.Warn("a chunk cannot be read and is not given", "pack", short(h.pack.ID()), "chunk", chunk, "cause", err)
		return g.abort(chunk)
	}
	defer f.Close() //nolint:errcheck // only read from
	size := h.pack.Size(chunk)
	// Room for frames, the header of the data and a piece, so that they leave as one.
	buf := make([]byte, 0, piece+4<<10)
	for done := 0; done < size; {
		if g.first() != j {
			return nil // cancelled; the frame that says so is on its way
		}
		n := min(piece, size-done)
		if err := h.options.Limits.waitUp(ctx, n); err != nil {
			return err
		}
		buf = append(buf[:0], g.out.swap(nil)...)
		head := len(buf)
		buf = frame(buf, frameData, chunk, n)
		body := len(buf)
		buf = slices.Grow(buf, n)[:body+n]
		if _, err := io.ReadFull(f, buf[body:]); err != nil {
			h.options.Log.Warn("a chunk cannot be read and is not given", "pack", short(h.pack.ID()), "chunk", chunk, "cause", err)
			if err := g.put(buf[:head]); err != nil {
				return err
			}
			return g.abort(chunk)
		}
		if err := g.put(buf); err != nil {
			return err
		}
		done += n
		h.options.Stats.count(g.host, func(t *Traffic) { t.Sent += int64(n) })
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if g.first() == j && g.remove(chunk) && h.givers[g.peer] == g {
		h.supplier.Sent(g.peer, chunk, h.now())
		h.pump()
	}
	return nil
}

// abort tells the asker that a chunk will not come, and never offers it again unless
// it is stored anew.
func (g *giver) abort(chunk int) error {
	h := g.share
	h.mu.Lock()
	defer h.mu.Unlock()
	g.remove(chunk)
	h.supplier.Remove(chunk)
	h.supplier.Dropped(g.peer, chunk)
	g.out.add(frameAbort, chunk)
	h.pump()
	return nil
}
