package origin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// openHTTP reads from a web server: in parts if it knows ranges (RFC 9110 §14), otherwise in
// one go, which cannot be resumed.
func openHTTP(ctx context.Context, u *url.URL, o Options) (*Source, error) {
	h := &web{url: u, client: &http.Client{Transport: o.Transport}}
	name := u.Redacted()
	explain := func(err error) error { return httpFault(name, u.Host, err) }
	resp, err := retry(ctx, o, func() (*http.Response, error) { return h.get(ctx, "bytes=0-0") })
	if err != nil {
		return nil, explain(err)
	}
	s := &Source{Name: name, Size: resp.ContentLength, Version: resp.Header.Get("ETag")}
	if resp.StatusCode != http.StatusPartialContent {
		s.ReadCloser = &whole{ReadCloser: resp.Body, left: resp.ContentLength, explain: explain}
		return s, nil
	}
	if err := resp.Body.Close(); err != nil {
		return nil, explain(err)
	}
	s.Size, err = total(resp.Header.Get("Content-Range"))
	if err != nil {
		return nil, explain(err)
	}
	h.version = s.Version
	h.modified = resp.Header.Get("Last-Modified")
	s.ReadCloser = newParts(ctx, s.Size, o, h.part, explain)
	return s, nil
}

// total returns the size in a Content-Range header: "bytes 0-0/1234".
func total(header string) (int64, error) {
	_, after, ok := strings.Cut(header, "/")
	n, err := strconv.ParseInt(after, 10, 64)
	if !ok || err != nil || n < 0 {
		return 0, fmt.Errorf("it answers with a range of unknown size %q", header)
	}
	return n, nil
}

// web is an archive on a web server.
type web struct {
	url      *url.URL
	client   *http.Client
	version  string // ETag, or "" when there is none
	modified string // Last-Modified
}

// part is an opener.
func (h *web) part(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
	resp, err := h.get(ctx, fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	if err != nil {
		return nil, err
	}
	// If-Match is ignored by some servers, so compare; and a server that answers with the
	// whole has changed its mind about ranges.
	if resp.Header.Get("ETag") != h.version || h.version == "" && resp.Header.Get("Last-Modified") != h.modified {
		return nil, closeAfter(resp.Body, errReplaced)
	}
	if resp.StatusCode != http.StatusPartialContent || !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)) {
		return nil, closeAfter(resp.Body, &statusError{resp.StatusCode})
	}
	return resp.Body, nil
}

func (h *web) get(ctx context.Context, ranged string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Range", ranged)
	req.Header.Set("Accept-Encoding", "identity") // the archive as it lies there
	if strings.HasPrefix(h.version, `"`) {        // weak validators match nothing (RFC 9110 §13.1.1)
		req.Header.Set("If-Match", h.version)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		return resp, nil
	case http.StatusRequestedRangeNotSatisfiable: // an empty file has no first byte
		if n, err := total(resp.Header.Get("Content-Range")); err == nil && n == 0 {
			resp.ContentLength = 0
			resp.Body = struct {
				io.Reader
				io.Closer
			}{strings.NewReader(""), resp.Body}
			return resp, nil
		}
	case http.StatusPreconditionFailed:
		return nil, closeAfter(resp.Body, errReplaced)
	}
	return nil, closeAfter(resp.Body, &statusError{resp.StatusCode})
}

// whole is an archive that comes in one go; a short one is an error.
type whole struct {
	io.ReadCloser
	left    int64 // bytes to come; negative if the server did not say
	explain func(error) error
}

// Read gives the next bytes.
func (w *whole) Read(b []byte) (int, error) {
	n, err := w.ReadCloser.Read(b)
	w.left -= int64(n)
	if err == io.EOF { //nolint:errorlint // io.Reader's own
		return n, err
	}
	if err != nil {
		return n, w.explain(fmt.Errorf("the connection was cut, and this server cannot resume: %w", err))
	}
	return n, nil
}
