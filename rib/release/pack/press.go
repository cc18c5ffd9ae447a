package pack

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// The sizes by which a full pack is cut. A block of source text comes to about 300
// KiB; one that compresses to more than splitAbove is cut again, so that a chunk of
// the smallest size can be filled well.
const (
	blockRaw   = 2 << 20
	blockWire  = 256 << 10
	splitAbove = 512 << 10
)

// Options say how a pack is made.
type Options struct {
	Level   Level // of full packs; delta packs have LevelBest, large ones LevelBetter
	Workers int   // blocks compressed at a time; 0 means one for each core
}

func (o Options) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// placed is a block that was written.
type placed struct {
	wire, raw int
	job       int // which submission it came from
}

// press compresses blocks on several goroutines and writes them in order. Close
// waits for all of them.
type press struct {
	w     io.Writer
	enc   *zstd.Encoder
	queue chan chan pressed
	work  sync.WaitGroup // compressing
	write sync.WaitGroup // the writer
	jobs  int

	mu     sync.Mutex // guards the fields below
	blocks []placed
	err    error
}

// pressed is what one submission came to.
type pressed struct {
	wire   []byte
	blocks []placed
	ready  chan struct{} // closed by the writer, for those who wait for everything before
	err    error
}

func newPress(w io.Writer, o Options) (*press, error) {
	enc, err := newEncoder(o.Level, blockRaw, nil, o.workers())
	if err != nil {
		return nil, err
	}
	p := &press{w: w, enc: enc, queue: make(chan chan pressed, o.workers())}
	p.write.Go(p.writer)
	return p, nil
}

// close ends the press; nothing may be submitted afterwards.
func (p *press) close() {
	close(p.queue)
	p.write.Wait()
	p.work.Wait()
}

// submit compresses raw, which belongs to the press from now on, and returns the
// submission's number.
func (p *press) submit(ctx context.Context, raw []byte) (int, error) {
	return p.do(ctx, func() pressed {
		wire, blocks := p.compress(raw)
		return pressed{wire: wire, blocks: blocks}
	})
}

// do runs work on a goroutine of its own and has its outcome written in its turn.
func (p *press) do(ctx context.Context, work func() pressed) (int, error) {
	if err := p.failed(); err != nil {
		return 0, err
	}
	job := p.jobs
	out := make(chan pressed, 1)
	select {
	case p.queue <- out:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	p.jobs++
	p.work.Go(func() {
		done := work()
		for i := range done.blocks {
			done.blocks[i].job = job
		}
		out <- done
	})
	return job, nil
}

func (p *press) compress(raw []byte) ([]byte, []placed) {
	frame := p.enc.EncodeAll(raw, nil)
	if len(frame) <= splitAbove {
		wire := appendBlock(make([]byte, 0, len(frame)+32), frame, len(raw), nil)
		return wire, []placed{{wire: len(wire), raw: len(raw)}}
	}
	n := (len(frame) + blockWire - 1) / blockWire
	step := (len(raw) + n - 1) / n
	wire := make([]byte, 0, len(frame)+32*n)
	var blocks []placed
	for len(raw) > 0 {
		part := raw[:min(step, len(raw))]
		raw = raw[len(part):]
		before := len(wire)
		frame = p.enc.EncodeAll(part, frame[:0])
		wire = appendBlock(wire, frame, len(part), nil)
		blocks = append(blocks, placed{wire: len(wire) - before, raw: len(part)})
	}
	return wire, blocks
}

func (p *press) writer() {
	for out := range p.queue {
		done := <-out
		err := done.err
		if err == nil && p.failed() == nil && len(done.wire) > 0 {
			_, err = p.w.Write(done.wire)
		}
		p.mu.Lock()
		if err != nil && p.err == nil {
			p.err = fmt.Errorf("write pack: %w", err)
		}
		p.blocks = append(p.blocks, done.blocks...)
		p.mu.Unlock()
		if done.ready != nil {
			close(done.ready)
		}
	}
}

func (p *press) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// settle waits until everything submitted is written.
func (p *press) settle(ctx context.Context) error {
	ready := make(chan struct{})
	if _, err := p.do(ctx, func() pressed { return pressed{ready: ready} }); err != nil {
		return err
	}
	select {
	case <-ready:
		return p.failed()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cut forgets the blocks of the submissions from job on and returns how many bytes
// remain. The press must be settled.
func (p *press) cut(job int) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	keep, size := 0, int64(0)
	for keep < len(p.blocks) && p.blocks[keep].job < job {
		size += int64(p.blocks[keep].wire)
		keep++
	}
	p.blocks = p.blocks[:keep]
	return size
}
