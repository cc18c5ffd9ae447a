package office

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
)

// Client talks to the holder of an office, whichever core that is.
type Client struct {
	Plane  *plane.Plane
	Peer   func(host string) *http.Client
	Office string
	Within time.Duration // until an answer must have come; one of zero has no bound but the caller's

	mu   sync.Mutex // guards seat
	seat Seat
}

// Do sends a message and decodes the answer. A holder that is gone, or is one no
// longer, is looked for again once.
func Do[Out any](ctx context.Context, c *Client, path string, in any) (Out, error) {
	var none Out
	body, err := pack(in)
	if err != nil {
		return none, err
	}
	for try := 0; ; try++ {
		s, err := c.find(ctx, try > 0)
		if err != nil {
			return none, err
		}
		out, err := post[Out](ctx, c.Peer(s.Host), c.Within, "core "+s.Host, s.Address, path, body)
		if err == nil || try > 0 || ctx.Err() != nil || !fault.Is(err, fault.KindUnavailable) {
			return out, err
		}
	}
}

// find returns the holder, asking the plane when it is not known.
func (c *Client) find(ctx context.Context, again bool) (Seat, error) {
	c.mu.Lock()
	s := c.seat
	c.mu.Unlock()
	if s.Host != "" && !again {
		return s, nil
	}
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s, err := plane.Ask[Seat](within, c.Plane, question(c.Office), struct{}{})
	if err != nil {
		return Seat{}, err
	}
	c.mu.Lock()
	c.seat = s
	c.mu.Unlock()
	return s, nil
}

// Send sends a message to the peer listener of a host and decodes the answer, within a
// time; 0 means that only ctx bounds it.
func Send[Out any](ctx context.Context, peer func(host string) *http.Client, within time.Duration, to Seat, path string, in any) (Out, error) {
	body, err := pack(in)
	if err != nil {
		var none Out
		return none, err
	}
	return post[Out](ctx, peer(to.Host), within, "host "+to.Host, to.Address, path, body)
}

// Fetch sends a message to a host that answers with bytes; see Stream. Who closes the body
// ends the transfer, and so does the end of ctx.
func Fetch(ctx context.Context, peer func(host string) *http.Client, to Seat, path string, in any) (io.ReadCloser, error) {
	b, err := pack(in)
	if err != nil {
		return nil, err
	}
	r, err := send(ctx, peer(to.Host), "host "+to.Host, to.Address, path, b)
	if err != nil {
		return nil, err
	}
	return r.Body, nil
}
