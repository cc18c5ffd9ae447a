package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"

	"kaname.dev/kaname/fault"
)

// expander decompresses the blocks of a pack in order, some ahead.
type expander struct {
	x      *Index
	chunks Chunks
	dict   *dictionary // nil for a full pack
	plain  *zstd.Decoder
	cancel context.CancelFunc
	work   sync.WaitGroup
	queue  chan chan expanded
	spare  chan []byte // buffers to use again
	last   []byte      // what next returned
	err    error       // what next ended with
}

// expanded is one block, or why there is none.
type expanded struct {
	raw []byte
	err error
}

func newExpander(ctx context.Context, x *Index, chunks Chunks, dict *dictionary, workers int) (*expander, error) {
	if workers <= 0 {
		workers = min(runtime.GOMAXPROCS(0), 4)
	}
	plain, err := newDecoder(nil, workers)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	e := &expander{
		x: x, chunks: chunks, dict: dict, plain: plain, cancel: cancel,
		queue: make(chan chan expanded, workers), spare: make(chan []byte, workers+1),
	}
	e.work.Go(func() {
		defer close(e.queue)
		if err := e.feed(ctx); err != nil {
			out := make(chan expanded, 1)
			out <- expanded{err: err}
			select {
			case e.queue <- out:
			case <-ctx.Done():
			}
		}
	})
	return e, nil
}

func (e *expander) close() {
	e.cancel()
	e.work.Wait()
	e.plain.Close()
}

// next returns the next block, valid until the following call; io.EOF at the end.
func (e *expander) next(ctx context.Context) ([]byte, error) {
	if e.err != nil {
		return nil, e.err
	}
	if e.last != nil {
		select {
		case e.spare <- e.last:
		default:
		}
		e.last = nil
	}
	var out chan expanded
	var ok bool
	select {
	case out, ok = <-e.queue:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if !ok {
		e.err = io.EOF
		return nil, e.err
	}
	// The block is being made by a goroutine that waits for nothing.
	done := <-out
	e.last, e.err = done.raw, done.err
	return done.raw, done.err
}

// feed takes the chunks as they come and has their blocks decompressed.
func (e *expander) feed(ctx context.Context) error {
	for i := range e.x.Chunks {
		c := &e.x.Chunks[i]
		wire, err := e.chunks.Chunk(ctx, i, make([]byte, 0, c.Size))
		if err != nil {
			return err
		}
		raw := 0
		for len(wire) > 0 {
			k, rest, err := cutBlock(wire)
			if err != nil {
				return e.corrupt(i, err)
			}
			wire = rest
			raw += k.raw
			if err := e.start(ctx, i, k); err != nil {
				return err
			}
		}
		if raw != c.Raw {
			return e.corrupt(i, fmt.Errorf("%d bytes where the index says %d", raw, c.Raw))
		}
	}
	return nil
}

// start has one block decompressed; it waits while enough are ahead.
func (e *expander) start(ctx context.Context, chunk int, k block) error {
	out := make(chan expanded, 1)
	select {
	case e.queue <- out:
	case <-ctx.Done():
		return ctx.Err()
	}
	e.work.Go(func() {
		raw, err := e.expand(k)
		if err != nil {
			err = e.explain(chunk, k, err)
		}
		out <- expanded{raw: raw, err: err}
	})
	return nil
}

func (e *expander) expand(k block) ([]byte, error) {
	var buf []byte
	select {
	case buf = <-e.spare:
	default:
	}
	if len(k.refs) == 0 {
		return expand(e.plain, k, buf)
	}
	if e.dict == nil {
		return nil, errors.New("a block with a dictionary in a full pack")
	}
	dict, err := e.dict.load(k.refs)
	if err != nil {
		return nil, err
	}
	d, err := newDecoder(dict, 1)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return expand(d, k, buf)
}

// explain finds out whether the chunk or the base release is at fault for a block
// that cannot be decompressed.
func (e *expander) explain(chunk int, k block, err error) error {
	if _, ok := errors.AsType[*BaseError](err); ok {
		return err
	}
	if len(k.refs) > 0 && e.dict != nil {
		if bad := e.dict.verify(k.refs); bad != nil {
			return bad
		}
	}
	return e.corrupt(chunk, err)
}

func (e *expander) corrupt(chunk int, err error) error {
	return fault.Corrupt(fmt.Sprintf("pack %s: chunk %d of %d", e.x.ID().Short(), chunk, len(e.x.Chunks))).Because(err).
		Try("make the pack again; its chunks are as its index says, but were made wrong")
}
