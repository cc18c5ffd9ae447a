// Package origin reads archives from where they come first: a local file, an HTTP server,
// or an object in an S3-compatible store.
//
// What supports ranges is read in parts, some at once, delivered in order within a bounded
// memory. A connection that is cut is resumed where it broke, and an object that was replaced
// meanwhile is noticed by its ETag instead of giving a mixture of both.
package origin

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"kaname.dev/kaname/fault"
)

// Source is an archive being read. Close it in any case.
type Source struct {
	io.ReadCloser
	Name    string // as people know it, without credentials: "s3://builds/shop-1.4.2.tar.zst"
	Size    int64  // bytes; -1 when the server does not say
	Version string // the ETag, or "" if there is none
}

// Options tune how an archive is read; the zero value of a field means its default.
type Options struct {
	// Getenv looks up a variable of the environment; nil means none is set. It is asked for
	// AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION and AWS_DEFAULT_REGION. Keys are
	// found by the usual chain: environment, shared credentials file, instance role.
	Getenv   func(string) string
	Endpoint string // URL of the S3 service; before the environment's
	Region   string // before the environment's; us-east-1 with an endpoint of one's own

	Parallel int           // parts read at once; 4
	Part     int64         // bytes of a part; 8 MiB
	Tries    int           // attempts in a row that bring nothing before it gives up; 6
	Pause    time.Duration // longest pause between attempts; 5 s
	Patience time.Duration // without a byte before a connection counts as cut; 30 s

	Transport http.RoundTripper // nil: one with the limits above
}

func (o Options) withDefaults() Options {
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	if o.Part <= 0 {
		o.Part = 8 << 20
	}
	if o.Tries <= 0 {
		o.Tries = 6
	}
	if o.Pause <= 0 {
		o.Pause = 5 * time.Second
	}
	if o.Patience <= 0 {
		o.Patience = 30 * time.Second
	}
	if o.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forbidigo,forcetypeassert // only copied; it is documented to be one
		t.DisableCompression = true
		t.ResponseHeaderTimeout = o.Patience
		t.MaxIdleConnsPerHost = o.Parallel
		o.Transport = t
	}
	return o
}

// Open begins to read what from names: a path, file:///path, http://, https:// or
// s3://bucket/key. The context bounds the whole reading.
func Open(ctx context.Context, from string, o Options) (*Source, error) {
	o = o.withDefaults()
	u, err := url.Parse(from)
	if err != nil || filepath.IsAbs(from) || u.Scheme == "" {
		return openFile(from)
	}
	switch u.Scheme {
	case "file":
		if u.Host != "" && u.Host != "localhost" {
			return nil, fault.Invalid("archive " + from + " names the host " + u.Host).Try("write file:///path")
		}
		return openFile(u.Path)
	case "http", "https":
		return openHTTP(ctx, u, o)
	case "s3":
		return openS3(ctx, u, o)
	}
	return nil, fault.Invalid("archive " + u.Redacted() + " has a scheme that is not known").
		Try("give a path, or a URL that begins with file://, http://, https:// or s3://")
}

func openFile(path string) (*Source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fileFault(path, err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fault.Invalid("archive " + path + " is a directory").Try("give a tarball of it")
	}
	if err != nil {
		return nil, closeAfter(f, fileFault(path, err))
	}
	size := info.Size()
	if !info.Mode().IsRegular() {
		size = -1 // a pipe has none
	}
	return &Source{ReadCloser: f, Name: path, Size: size}, nil
}
