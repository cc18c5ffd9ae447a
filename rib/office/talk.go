package office

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"kaname.dev/kaname/fault"
)

// A talk is one request that stays open: messages go up it line by line, as JSON, and each is
// answered by a line, in their order. For small messages that come often it costs half of
// what a request for each does.

// idle is after how long of silence the holder ends a talk.
const idle = 30 * time.Second

// longest bounds a line, in bytes.
const longest = 1 << 20

// reply is a line that answers.
type reply[Out any] struct {
	Out   *Out         `json:"out,omitempty"`
	Fault *fault.Fault `json:"fault,omitempty"`
}

// Hear registers a function for a path of a peer listener to which hosts talk: see Talk. It
// is given the host that talks, as its certificate says. A fault of KindUnavailable ends the
// talk.
func Hear[In, Out any](mux *http.ServeMux, path string, fn func(ctx context.Context, host string, in In) (Out, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, q *http.Request) {
		host, err := Asker(q)
		c := http.NewResponseController(w)
		if err == nil {
			err = c.EnableFullDuplex()
		}
		if err != nil {
			refuse(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		lines := bufio.NewScanner(q.Body)
		lines.Buffer(nil, longest)
		for ok := c.Flush() == nil; ok; { // the first tells that somebody listens
			until := time.Now().Add(idle)
			if c.SetReadDeadline(until) != nil || c.SetWriteDeadline(until) != nil || !lines.Scan() {
				return
			}
			line, more := answered(q.Context(), host, lines.Bytes(), fn)
			_, err := w.Write(line) //nolint:gosec // JSON for a program, and said so
			ok = err == nil && c.Flush() == nil && more
		}
	})
}

// answered is the answer to a line, and whether the talk goes on.
func answered[In, Out any](ctx context.Context, host string, line []byte, fn func(ctx context.Context, host string, in In) (Out, error)) ([]byte, bool) {
	var in In
	var out Out
	err := json.Unmarshal(line, &in)
	if err != nil {
		err = fault.Invalid("the message cannot be read").Because(err)
	} else {
		out, err = fn(ctx, host, in)
	}
	a := reply[Out]{Out: &out}
	if err != nil {
		a = reply[Out]{Fault: fault.Of(err)}
	}
	raw, err := json.Marshal(a)
	if err != nil {
		return nil, false
	}
	return append(raw, '\n'), a.Fault == nil || a.Fault.Kind != fault.KindUnavailable
}

// Talk is a host's end of a talk with the holder of an office. It begins when something is
// said, and again after anything went wrong with it. Make it with NewTalk, and close it.
type Talk[In, Out any] struct {
	c    *Client
	path string
	turn chan struct{} // taken by the one that speaks, and waits for its answer
	end  context.CancelFunc
	up   io.WriteCloser // nil: it has not begun
	down *bufio.Reader
}

// NewTalk returns a talk on a path; nothing is said yet.
func NewTalk[In, Out any](c *Client, path string) *Talk[In, Out] {
	return &Talk[In, Out]{c: c, path: path, turn: make(chan struct{}, 1)}
}

// Close ends the talk, once the one who speaks has its answer.
func (t *Talk[In, Out]) Close() {
	t.turn <- struct{}{}
	t.hangUp()
	<-t.turn
}

// Say says something and returns the answer, within the client's time. A holder that is gone,
// or is one no longer, is looked for again once.
func (t *Talk[In, Out]) Say(ctx context.Context, in In) (Out, error) {
	var none Out
	line, err := json.Marshal(in)
	if err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.c.Within)
	defer cancel()
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return none, fault.Timeout("the holder of the office " + t.c.Office + " has not answered what was said before")
	}
	for try := 0; ; try++ {
		out, err := t.exchange(ctx, append(line, '\n'), try > 0)
		if err == nil {
			return out, nil
		}
		if try > 0 || ctx.Err() != nil || !fault.Is(err, fault.KindUnavailable) {
			return none, err
		}
	}
}

// exchange says a line and returns the answer. What goes wrong ends the talk.
func (t *Talk[In, Out]) exchange(ctx context.Context, line []byte, again bool) (Out, error) {
	var none Out
	if t.up == nil {
		if err := t.begin(ctx, again); err != nil {
			return none, err
		}
	}
	stop := context.AfterFunc(ctx, t.end)
	defer stop()
	var raw []byte
	_, err := t.up.Write(line)
	if err == nil {
		raw, err = t.down.ReadBytes('\n')
	}
	var a reply[Out]
	if err == nil {
		err = json.Unmarshal(raw, &a)
	}
	if err != nil {
		t.hangUp()
		return none, fault.Unavailable("the holder of the office " + t.c.Office + " has ended the talk").At(t.path).Because(err)
	}
	if a.Fault != nil {
		if a.Fault.Kind == fault.KindUnavailable {
			t.hangUp()
		}
		return none, a.Fault
	}
	if a.Out == nil {
		return none, nil
	}
	return *a.Out, nil
}

// begin opens the request to the holder.
func (t *Talk[In, Out]) begin(ctx context.Context, again bool) error {
	s, err := t.c.find(ctx, again)
	if err != nil {
		return err
	}
	body, up := io.Pipe()
	life, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it outlives what is said first
	end := func() {
		cancel()
		_ = up.CloseWithError(context.Canceled) // net/http waits for what it reads, also when the other side is gone
	}
	stop := context.AfterFunc(ctx, end)
	q, err := http.NewRequestWithContext(life, http.MethodPost, "https://"+s.Address+t.path, body)
	if err != nil {
		end()
		return err
	}
	r, err := accepted(t.c.Peer(s.Host), q, "core "+s.Host, s.Address, t.path) //nolint:bodyclose // closed by t.end
	if err != nil {
		end()
		return err
	}
	if !stop() {
		_ = r.Body.Close()
		return fault.Of(context.Cause(ctx))
	}
	t.end = func() {
		end()
		_ = r.Body.Close()
	}
	t.up, t.down = up, bufio.NewReader(r.Body)
	return nil
}

// hangUp ends the request.
func (t *Talk[In, Out]) hangUp() {
	if t.up != nil {
		t.end()
		t.up, t.down = nil, nil
	}
}
