// Package pdnsapi speaks the HTTP API of the PowerDNS Authoritative Server, version 1
// (https://doc.powerdns.com/authoritative/http-api/), as far as zones go.
package pdnsapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// DefaultTimeout bounds one request. Listing 100,000 zones takes a small machine ten
// seconds.
const DefaultTimeout = 60 * time.Second

// tries and firstWait bound the attempts while the backend is busy: five, waiting
// 50, 100, 200 and 400 ms. The backend itself waits some seconds for its lock first.
const (
	tries     = 5
	firstWait = 50 * time.Millisecond
)

// Errors of a Client, wrapped.
var (
	// ErrKey: the API key is not the server's, or its file cannot be read.
	ErrKey = errors.New("the API refuses the key")
	// ErrConnect: nothing answers there, or not in time.
	ErrConnect = errors.New("the API does not answer")
	// ErrMissing: there is no such zone.
	ErrMissing = errors.New("there is no such zone")
	// ErrExists: there is such a zone already.
	ErrExists = errors.New("there is such a zone already")
)

// Refusal is an answer of the API other than success.
type Refusal struct {
	Status int    // of HTTP: 422
	Text   string // what the server says
}

// Error returns one line.
func (r *Refusal) Error() string {
	if r.Text == "" {
		return fmt.Sprintf("the API answers %d %s", r.Status, http.StatusText(r.Status))
	}
	return fmt.Sprintf("the API answers %d: %s", r.Status, r.Text)
}

// Is reports whether the refusal is one of the package's errors.
func (r *Refusal) Is(target error) bool {
	switch r.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return target == ErrKey
	case http.StatusNotFound:
		return target == ErrMissing
	case http.StatusConflict:
		return target == ErrExists
	}
	return false
}

// busy reports whether the same request may succeed later: the backend was locked by
// another, or the server itself is about to end.
func (r *Refusal) busy() bool { return r.Status >= 500 }

// Client speaks to one server. Its methods may be used by several goroutines.
type Client struct {
	base    string // up to and with /servers/localhost
	keyFile string
	http    *http.Client
}

// New returns a client for the API at address, as "http://127.0.0.1:8081"; the key is
// read from keyFile before each request, so that a new one needs no restart.
func New(address, keyFile string) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("address %q of the API is not one; write it as http://127.0.0.1:8081", address)
	}
	if keyFile == "" {
		return nil, errors.New("no file with the API key is given; it holds the value of api-key in pdns.conf")
	}
	return &Client{
		base:    strings.TrimSuffix(u.String(), "/") + "/api/v1/servers/localhost",
		keyFile: keyFile,
		http: &http.Client{
			Transport: &http.Transport{
				DialContext:       (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
				DisableKeepAlives: true, // the server closes each connection after its answer
			},
			Timeout:       DefaultTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close ends what is idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// key reads the API key.
func (c *Client) key() (string, error) {
	b, err := os.ReadFile(c.keyFile)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrKey, err)
	}
	key := strings.TrimSpace(string(b))
	if key == "" || strings.ContainsAny(key, "\r\n\x00") {
		return "", fmt.Errorf("%w: %s does not hold one line with a key", ErrKey, c.keyFile)
	}
	return key, nil
}

// call does a request that may be done twice without harm, again while the server
// is busy.
func (c *Client) call(ctx context.Context, method, path string, body, out any) error {
	wait := firstWait
	for try := 1; ; try++ {
		err := c.once(ctx, method, path, body, out)
		r, refused := errors.AsType[*Refusal](err)
		again := refused && r.busy() || method != http.MethodPost && hungUp(err)
		if err == nil || try == tries || !again {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
		wait *= 2
	}
}

// hungUp reports whether PowerDNS closed the connection instead of answering, as it
// does now and then. What was asked for may have been done, or half of it: a creation
// is not repeated, for its caller must look at what there is.
func hungUp(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)
}

// once does one request: body is sent as JSON unless nil, the answer is decoded into
// out unless nil; an out of type func(*json.Decoder) error reads it itself.
func (c *Client) once(ctx context.Context, method, path string, body, out any) error {
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return err
	}
	key, err := c.key()
	if err != nil {
		return err
	}
	req.Header.Set("X-API-Key", key)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConnect, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return refusal(resp)
	}
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	} else if read, ok := out.(func(*json.Decoder) error); ok {
		err = read(json.NewDecoder(resp.Body))
	} else {
		err = json.NewDecoder(resp.Body).Decode(out)
	}
	if err != nil {
		// Cut in the middle, or no JSON: nothing is known, as if nothing had come.
		return fmt.Errorf("%w: its answer to %s is not whole: %w", ErrConnect, method, err)
	}
	return nil
}

// refusal reads what the server says of an error: {"error": "…"}, or text.
func refusal(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // the status alone will do
	var doc struct {
		Error  string   `json:"error"`
		Errors []string `json:"errors"`
	}
	text := strings.Join(strings.Fields(string(b)), " ")
	if json.Unmarshal(b, &doc) == nil && doc.Error != "" {
		text = strings.Join(append([]string{doc.Error}, doc.Errors...), "; ")
	}
	if len(text) > 300 {
		text = text[:300]
	}
	return &Refusal{Status: resp.StatusCode, Text: text}
}
