package office

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
)

// maxBody bounds a message: a million zones fit.
const maxBody = 96 << 20

// small is the size in bytes up to which packing a message costs more than it saves.
const small = 4 << 10

// body is a message on the wire: JSON, gzipped when it is large.
type body struct {
	bytes    []byte
	encoding string // of HTTP's header Content-Encoding
}

// pack returns a value as a message.
func pack(v any) (body, error) {
	plain, err := json.Marshal(v)
	if err != nil || len(plain) <= small {
		return body{bytes: plain}, err
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return body{}, err
	}
	if _, err := z.Write(plain); err != nil {
		return body{}, err
	}
	if err := z.Close(); err != nil {
		return body{}, err
	}
	return body{bytes: b.Bytes(), encoding: "gzip"}, nil
}

func (b body) describe(h http.Header) {
	h.Set("Content-Type", "application/json")
	if b.encoding != "" {
		h.Set("Content-Encoding", b.encoding)
	}
}

// unpack decodes a message.
func unpack(encoding string, r io.Reader, v any) error {
	if encoding == "gzip" {
		z, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		r = z
	}
	return json.NewDecoder(&bounded{r: r, left: maxBody}).Decode(v)
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

// post sends a message to a peer listener and decodes the answer.
func post[Out any](ctx context.Context, c *http.Client, within time.Duration, who, address, path string, b body) (out Out, err error) {
	if within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, within)
		defer cancel()
	}
	r, err := send(ctx, c, who, address, path, b)
	if err != nil {
		return out, err
	}
	defer r.Body.Close()
	return out, unpack(r.Header.Get("Content-Encoding"), r.Body, &out)
}

// send sends a message and returns the answer when it is a good one.
func send(ctx context.Context, c *http.Client, who, address, path string, b body) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+path, bytes.NewReader(b.bytes))
	if err != nil {
		return nil, err
	}
	b.describe(q.Header)
	return accepted(c, q, who, address, path)
}

// accepted makes a request and returns the answer when it is a good one.
func accepted(c *http.Client, q *http.Request, who, address, path string) (*http.Response, error) {
	r, err := c.Do(q)
	if err != nil {
		return nil, fault.Unavailable(who + " cannot be reached").At(address).Because(err).Try("look at it: kaname doctor there")
	}
	if r.StatusCode == http.StatusOK {
		return r, nil
	}
	defer r.Body.Close()
	var f fault.Fault
	if err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&f); err != nil || f.What == "" {
		return nil, fault.Unavailable(who + " answers " + r.Status).At(path)
	}
	return nil, &f
}

// Stream registers a function that answers with bytes, and is given the host that asks. Once
// it has written something, an error can only break the answer off.
func Stream[In any](mux *http.ServeMux, path string, fn func(ctx context.Context, host string, in In, w io.Writer) error) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, q *http.Request) {
		out := &started{w: w}
		_, err := serve(q, func(ctx context.Context, host string, in In) (struct{}, error) {
			return struct{}{}, fn(ctx, host, in, out)
		})
		switch {
		case err != nil && !out.yes:
			refuse(w, err)
		case err != nil:
			panic(http.ErrAbortHandler) // so that the asker does not take what it has for all
		}
	})
}

// started is a writer that knows whether it was used.
type started struct {
	w   io.Writer
	yes bool
}

func (s *started) Write(p []byte) (int, error) {
	s.yes = true
	return s.w.Write(p)
}

// Handle registers a function for a path of a peer listener. It is given the host that
// asks, as its certificate says.
func Handle[In, Out any](mux *http.ServeMux, path string, fn func(ctx context.Context, host string, in In) (Out, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, q *http.Request) {
		out, err := serve(q, fn)
		if err != nil {
			refuse(w, err)
			return
		}
		b, err := pack(out)
		if err != nil {
			refuse(w, err)
			return
		}
		b.describe(w.Header())
		_, _ = w.Write(b.bytes) //nolint:gosec // JSON, and said to be; the asker is gone when this fails
	})
}

func serve[In, Out any](q *http.Request, fn func(ctx context.Context, host string, in In) (Out, error)) (out Out, err error) {
	host, err := Asker(q)
	if err != nil {
		return out, err
	}
	var in In
	if err := unpack(q.Header.Get("Content-Encoding"), q.Body, &in); err != nil {
		return out, fault.Invalid("the message cannot be read").Because(err)
	}
	return fn(q.Context(), host, in)
}

// Asker returns the host that makes a request to a peer listener, as its certificate says.
func Asker(q *http.Request) (string, error) {
	if q.TLS == nil {
		return "", fault.Denied("the connection is not encrypted")
	}
	host, err := plane.PeerName(*q.TLS)
	if err != nil {
		return "", fault.Denied("the certificate names no host").Because(err)
	}
	return host, nil
}

// refuse answers with the fault.
func refuse(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(fault.HTTPStatus(err))
	_ = json.NewEncoder(w).Encode(fault.Of(err)) // the asker is gone when this fails
}
