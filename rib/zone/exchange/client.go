package exchange

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
)

// maxBody bounds a message: a million zones fit.
const maxBody = 96 << 20

// Client talks to the keeper, whichever core that is.
type Client struct {
	Plane *plane.Plane
	Peer  func(host string) *http.Client

	mu     sync.Mutex // guards keeper
	keeper Keeper
}

// Do sends a message and decodes the answer, both JSON, gzipped. A keeper that is
// gone, or is one no longer, is looked for again once.
func Do[Out any](ctx context.Context, c *Client, path string, in any) (Out, error) {
	var out Out
	body, err := packed(in)
	if err != nil {
		return out, err
	}
	for try := 0; ; try++ {
		k, err := c.find(ctx, try > 0)
		if err != nil {
			return out, err
		}
		err = c.send(ctx, k, path, body, &out)
		if err == nil || try > 0 || ctx.Err() != nil || !fault.Is(err, fault.KindUnavailable) {
			return out, err
		}
	}
}

// find returns the keeper, asking the plane when it is not known.
func (c *Client) find(ctx context.Context, again bool) (Keeper, error) {
	c.mu.Lock()
	k := c.keeper
	c.mu.Unlock()
	if k.Host != "" && !again {
		return k, nil
	}
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	k, err := plane.Ask[Keeper](within, c.Plane, QuestionKeeper, struct{}{})
	if err != nil {
		return Keeper{}, err
	}
	c.mu.Lock()
	c.keeper = k
	c.mu.Unlock()
	return k, nil
}

func (c *Client) send(ctx context.Context, k Keeper, path string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, Wait+20*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+k.Address+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Content-Encoding", "gzip")
	r, err := c.Peer(k.Host).Do(q)
	if err != nil {
		return fault.Unavailable("core " + k.Host + " cannot be reached about zones").At(k.Address).Because(err).Try("look at the core: kaname doctor there")
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		var f fault.Fault
		if err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&f); err != nil || f.What == "" {
			return fault.Unavailable("core " + k.Host + " answers " + r.Status).At(path)
		}
		return &f
	}
	return unpack(r.Header.Get("Content-Encoding"), r.Body, out)
}

// packed returns a value as gzipped JSON.
func packed(v any) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if err := json.NewEncoder(z).Encode(v); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// unpack decodes a body.
func unpack(encoding string, body io.Reader, v any) error {
	if encoding == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			return err
		}
		body = z
	}
	return json.NewDecoder(&bounded{r: body, left: maxBody}).Decode(v)
}

var errLarge = errors.New("the message is larger than 96 MiB")

// bounded reads at most so much, and then fails instead of ending.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errLarge
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
