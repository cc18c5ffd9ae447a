package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// opener asks for length bytes from offset of the version that was begun.
type opener func(ctx context.Context, offset, length int64) (io.ReadCloser, error)

// parts reads an object in parts, some at once, and gives them in order. It holds at
// most Parallel parts in memory.
type parts struct {
	options Options
	open    opener
	explain func(error) error
	size    int64

	ctx    context.Context //nolint:containedctx // that of Open, which bounds the whole reading
	cancel context.CancelFunc
	queue  chan chan part // parts in order; each channel gives one
	idle   chan []byte    // buffers to use again
	now    part           // being given
	rest   []byte
	err    error
	done   chan struct{} // closed when all goroutines have ended
}

// part is a piece of the object, or why there is none.
type part struct {
	data []byte
	err  error
}

func newParts(ctx context.Context, size int64, o Options, open opener, explain func(error) error) *parts {
	ctx, cancel := context.WithCancel(ctx)
	p := &parts{
		options: o, open: open, explain: explain, size: size, ctx: ctx, cancel: cancel,
		queue: make(chan chan part, max(o.Parallel-1, 0)), // the one being given counts too
		idle:  make(chan []byte, o.Parallel), done: make(chan struct{}),
	}
	go p.plan()
	return p
}

// plan starts a reader for each part; it waits while enough are under way.
func (p *parts) plan() {
	defer close(p.done)
	defer close(p.queue)
	var last chan struct{}
	for offset := int64(0); offset < p.size; offset += p.options.Part {
		result, ended := make(chan part, 1), make(chan struct{})
		select {
		case p.queue <- result:
		case <-p.ctx.Done():
			p.wait(last)
			return
		}
		before := last
		go func() {
			defer close(ended)
			result <- p.read(offset, min(p.options.Part, p.size-offset))
			p.wait(before)
		}()
		last = ended
	}
	p.wait(last)
}

// wait waits for a reader, and thereby for all before it.
func (p *parts) wait(ended chan struct{}) {
	if ended != nil {
		<-ended
	}
}

// read reads one part, again and again from where it broke, until it is whole or
// several attempts in a row brought nothing.
func (p *parts) read(offset, length int64) part {
	var buf []byte
	select {
	case buf = <-p.idle:
	default:
		buf = make([]byte, min(p.options.Part, p.size))
	}
	buf = buf[:length]
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, p.options.Pause
	have := int64(0)
	for tries := 1; ; tries++ {
		n, err := p.attempt(offset+have, buf[have:])
		have += n
		if have == length {
			return part{data: buf}
		}
		if n > 0 {
			tries = 0
			pause.Reset()
		}
		if permanent(err) || tries >= p.options.Tries || p.ctx.Err() != nil {
			return part{err: fmt.Errorf("at byte %d of %d: %w", offset+have, p.size, err)}
		}
		select {
		case <-p.ctx.Done():
		case <-time.After(pause.NextBackOff()):
		}
	}
}

// attempt reads into buf what one connection brings. Silence ends it.
func (p *parts) attempt(offset int64, buf []byte) (int64, error) {
	ctx, cancel := context.WithCancelCause(p.ctx)
	defer cancel(nil)
	body, err := p.open(ctx, offset, int64(len(buf)))
	if err != nil {
		return 0, err
	}
	silence := time.AfterFunc(p.options.Patience, func() { cancel(fmt.Errorf("nothing came for %s", p.options.Patience)) })
	defer silence.Stop()
	n := 0
	for n < len(buf) && err == nil {
		var m int
		m, err = body.Read(buf[n:])
		n += m
		silence.Reset(p.options.Patience)
	}
	if cerr := body.Close(); err == nil && cerr != nil && n < len(buf) {
		err = cerr
	}
	if errors.Is(err, io.EOF) || err == nil {
		err = io.ErrUnexpectedEOF // of no interest if all is here
	}
	if p.ctx.Err() == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return int64(n), err
}

// Read gives the next bytes.
func (p *parts) Read(b []byte) (int, error) {
	for len(p.rest) == 0 && p.err == nil {
		p.advance()
	}
	if len(p.rest) == 0 {
		return 0, p.err
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// advance waits for the next part.
func (p *parts) advance() {
	if p.now.data != nil {
		select {
		case p.idle <- p.now.data[:cap(p.now.data)]:
		default:
		}
		p.now = part{}
	}
	result, more := <-p.queue
	if !more {
		p.err = io.EOF
		if p.ctx.Err() != nil {
			p.err = p.explain(context.Cause(p.ctx))
		}
		return
	}
	p.now = <-result
	p.rest = p.now.data
	if p.now.err != nil {
		err := p.now.err
		if p.ctx.Err() != nil {
			err = errors.Join(context.Cause(p.ctx), err)
		}
		p.err = p.explain(err)
		p.cancel()
	}
}

// Close ends the connections and waits for them.
func (p *parts) Close() error {
	p.cancel()
	<-p.done
	return nil
}
