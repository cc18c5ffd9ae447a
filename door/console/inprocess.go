package console

import (
	"io"
	"net/http"
	"sync"

	"kaname.dev/kaname/door/api"
)

// inProcess carries calls to the API's handler without a connection, as whoever
// sent the visit: with that browser's session and from its address.
type inProcess struct {
	api   http.Handler
	visit *http.Request
}

// RoundTrip implements http.RoundTripper. The answer streams: it returns with the
// first byte, and the body is read while the handler writes it.
func (t inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	r := req.Clone(req.Context())
	r.RemoteAddr, r.Host, r.TLS = t.visit.RemoteAddr, t.visit.Host, t.visit.TLS
	r.RequestURI = ""
	if r.Body == nil {
		r.Body = http.NoBody
	}
	if c, err := t.visit.Cookie(api.CookieName); err == nil {
		r.AddCookie(c)
	}
	pr, pw := io.Pipe()
	w := &answer{header: http.Header{}, pipe: pw, begun: make(chan struct{})}
	go func() { // ends with the handler, which ends with the request's context
		t.api.ServeHTTP(w, r)
		w.WriteHeader(http.StatusOK)
		_ = pw.Close() // never fails
		_ = r.Body.Close()
	}()
	select {
	case <-w.begun:
	case <-req.Context().Done():
		_ = pr.Close() // never fails
		return nil, req.Context().Err()
	}
	return &http.Response{
		StatusCode: w.status, Status: http.StatusText(w.status), Header: w.sent, Body: pr, Request: req,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1,
	}, nil
}

// answer is the ResponseWriter of a call within the process.
type answer struct {
	header http.Header
	pipe   *io.PipeWriter

	once   sync.Once
	begun  chan struct{} // closed when status and sent are set
	status int
	sent   http.Header
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	a.once.Do(func() {
		a.status, a.sent = status, a.header.Clone()
		close(a.begun)
	})
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.pipe.Write(p)
}

// Flush implements http.Flusher: every write is through already.
func (a *answer) Flush() { a.WriteHeader(http.StatusOK) }
