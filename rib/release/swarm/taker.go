package swarm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/swarm/schedule"
)

// taker is the connection to one supplier, on the asker's side.
type taker struct {
	fetch  *fetch
	host   string
	peer   schedule.Peer
	cancel context.CancelCauseFunc
	out    *outbox
	last   atomic.Int64 // Unix nanoseconds of the newest byte

	cancelled map[int]int    // chunks no longer wanted from it, and how many aborts or ends are due; guarded by fetch.mu
	partial   map[int][]byte // chunks of which a part is here; the reader's own
}

func (t *taker) close(why error) { t.cancel(why) }

func (t *taker) heard() time.Time { return time.Unix(0, t.last.Load()) }

// cancelChunk calls off a promised chunk; fetch.mu is held.
func (t *taker) cancelChunk(chunk int) {
	t.cancelled[chunk]++
	t.out.add(frameCancel, chunk)
}

// take receives from a supplier until the stream ends or the pack is complete.
func (f *fetch) take(ctx context.Context, p Peer, stream io.ReadWriteCloser) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := &taker{fetch: f, host: p.Host, cancel: cancel, cancelled: map[int]int{}, partial: map[int][]byte{}}
	t.out = newOutbox(func() { cancel(errors.New("it does not read what it is sent")) })
	t.last.Store(time.Now().UnixNano())
	f.join(t)
	f.spec.Stats.connections(0, 1)
	defer f.spec.Stats.connections(0, -1)

	var working sync.WaitGroup
	working.Go(func() { cancel(t.write(ctx, stream)) })
	working.Go(func() { cancel(t.read(ctx, bufio.NewReaderSize(stream, piece))) })
	<-ctx.Done()
	f.leave(t)
	if err := stream.Close(); err != nil {
		f.spec.Log.Debug("a connection did not close", "peer", p.Host, "cause", err)
	}
	working.Wait()
	for _, b := range t.partial {
		f.waste(t.host, len(b))
	}
	return context.Cause(ctx)
}

func (f *fetch) waste(host string, n int) {
	f.spec.Stats.count(host, func(t *Traffic) { t.Wasted += int64(n) })
}

// join makes the supplier known and queues what it is told first.
func (f *fetch) join(t *taker) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	t.peer = f.next
	t.out.buf = hello(t.out.buf, f.requester.Covered())
	t.out.nudge()
	if f.starving {
		t.out.add(frameStarving, 1)
	}
	f.takers[t.peer] = t
	delete(f.why, t.host)
}

func (f *fetch) leave(t *taker) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.takers, t.peer)
	for _, c := range f.requester.Gone(t.peer) {
		f.tell(t.peer, frameWanted, c)
	}
	f.room()
}

// write sends what is queued until ctx ends or the pack is complete.
func (t *taker) write(ctx context.Context, w io.Writer) error {
	pings := time.NewTicker(beat)
	defer pings.Stop()
	var spare []byte
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.fetch.done:
			_, err := w.Write(frame(t.out.swap(nil), frameBye))
			if err == nil {
				err = net.ErrClosed
			}
			return err
		case <-pings.C:
			t.out.add(framePing)
		case <-t.out.wake:
			spare = t.out.swap(spare)
			if len(spare) == 0 {
				continue
			}
			if _, err := w.Write(spare); err != nil {
				return err
			}
		}
	}
}

// read follows what the supplier sends.
func (t *taker) read(ctx context.Context, r *bufio.Reader) error {
	f := t.fetch
	n := f.pack.Chunks()
	for {
		kind, chunk, err := readFrame(r, n)
		if err != nil {
			return err
		}
		t.last.Store(time.Now().UnixNano())
		switch kind {
		case framePing:
		case frameOffer:
			f.offered(t, chunk)
		case frameAbort:
			f.waste(t.host, len(t.partial[chunk]))
			delete(t.partial, chunk)
			f.aborted(t, chunk)
		case frameData:
			if err := t.data(ctx, r, chunk); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: it sent a frame %q", errProtocol, kind)
		}
	}
}

// offered answers an offer.
func (f *fetch) offered(t *taker, chunk int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.takers[t.peer] != t {
		return
	}
	switch f.requester.Offered(t.peer, chunk, f.now()) {
	case schedule.Take:
		t.out.add(frameTake, chunk)
		f.tell(t.peer, frameCovered, chunk)
	case schedule.Leave:
		t.out.add(frameLeave, chunk)
	case schedule.Hold:
		t.out.add(frameHold, chunk)
	}
}

// aborted notes that a chunk will not come from the supplier.
func (f *fetch) aborted(t *taker, chunk int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.cancelled[chunk] > 0 {
		t.cancelled[chunk]--
		return
	}
	if f.requester.Lost(t.peer, chunk) {
		f.tell(0, frameWanted, chunk)
	}
}

// data receives a piece of a chunk.
func (t *taker) data(ctx context.Context, r *bufio.Reader, chunk int) error {
	f := t.fetch
	size := f.pack.Size(chunk)
	buf, begun := t.partial[chunk]
	n, err := readNumber(r, min(piece, size-len(buf))+1)
	if err != nil {
		return err
	}
	t.last.Store(time.Now().Add(time.Hour).UnixNano()) // it is this host that is slow now
	asked := time.Now()
	if err := f.spec.Limits.waitDown(ctx, n); err != nil {
		return err
	}
	now := time.Now()
	t.last.Store(now.UnixNano())
	if now.Sub(asked) > limited {
		f.limited.Store(now.UnixNano())
	}
	f.mu.Lock()
	wanted := f.requester.Expects(t.peer, chunk)
	unwanted := t.cancelled[chunk] > 0
	if wanted && !begun {
		f.requester.Started(t.peer, chunk)
	}
	f.mu.Unlock()
	if !wanted && !unwanted || n == 0 {
		return fmt.Errorf("%w: it sent a chunk that nobody took", errProtocol)
	}
	if !begun {
		buf = make([]byte, 0, size)
	}
	if _, err := io.ReadFull(r, buf[len(buf):len(buf)+n]); err != nil {
		return err
	}
	t.last.Store(time.Now().UnixNano())
	buf = buf[:len(buf)+n]
	t.partial[chunk] = buf
	if len(buf) < size {
		return nil
	}
	delete(t.partial, chunk)
	return f.received(ctx, t, chunk, buf)
}

// received verifies and stores a chunk. A late one that was cancelled is still good.
func (f *fetch) received(ctx context.Context, t *taker, chunk int, wire []byte) error {
	err := f.pack.Put(ctx, chunk, wire)
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.cancelled[chunk] > 0 && !f.requester.Expects(t.peer, chunk) {
		t.cancelled[chunk]--
	}
	switch {
	case fault.Is(err, fault.KindCorrupt):
		f.spec.Stats.count(t.host, func(s *Traffic) { s.Corrupt++; s.Wasted += int64(len(wire)) })
		return fmt.Errorf("%w: chunk %d: %w", errLied, chunk, err)
	case err != nil:
		f.fail(err)
		return err
	}
	f.bytes += int64(len(wire))
	f.spec.Stats.count(t.host, func(s *Traffic) { s.Received += int64(len(wire)) })
	if other, promised := f.requester.Stored(t.peer, chunk, f.now()); promised {
		f.takers[other].cancelChunk(chunk)
	}
	if f.requester.Complete() {
		f.fail(nil)
		return nil
	}
	f.room()
	return nil
}

// fail ends the fetch, as complete if err is nil; mu is held.
func (f *fetch) fail(err error) {
	select {
	case <-f.done:
	default:
		f.failed = err
		close(f.done)
	}
}
