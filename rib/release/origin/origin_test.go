package origin

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kaname.dev/kaname/fault"
)

// blob makes n bytes that depend on a seed.
func blob(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	r.Read(b) //nolint:errcheck // it never fails
	return b
}

// small lets a test of a few hundred KiB have many parts, and end soon.
var small = Options{Part: 64 << 10, Parallel: 3, Tries: 3, Pause: 20 * time.Millisecond, Patience: 2 * time.Second, Getenv: os.Getenv}

// all opens and reads an archive to its end.
func all(t *testing.T, from string, o Options) ([]byte, error) {
	t.Helper()
	s, err := Open(t.Context(), from, o)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(s)
	if cerr := s.Close(); err == nil && cerr != nil {
		t.Errorf("close: %v", cerr)
	}
	if err == nil && s.Size >= 0 && int64(len(b)) != s.Size {
		t.Errorf("%d bytes came, %d were announced", len(b), s.Size)
	}
	return b, err
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b%20.tar")
	want := blob(100_000, 1)
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(filepath.Dir(path), "plain.tar")
	if err := os.WriteFile(plain, want, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{path, "file://" + plain, "file://localhost" + plain} {
		got, err := all(t, from, Options{})
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", from, len(got), err)
		}
	}
}

func TestFaultsOfAddresses(t *testing.T) {
	for from, kind := range map[string]fault.Kind{
		"/nowhere/a.tar":          fault.KindNotFound,
		"nowhere.tar":             fault.KindNotFound,
		"file://web1/a.tar":       fault.KindInvalid,
		"ftp://web1/a.tar":        fault.KindInvalid,
		"s3://":                   fault.KindInvalid,
		"s3://bucket":             fault.KindInvalid,
		"s3://key:secret@b/a":     fault.KindInvalid,
		t.TempDir():               fault.KindInvalid,
		"http://no.invalid/a.tar": fault.KindUnavailable,
	} {
		_, err := all(t, from, small)
		if !fault.Is(err, kind) {
			t.Errorf("%s: %v (kind %s), want kind %s", from, err, fault.Of(err).Kind, kind)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the fault shows the secret: %v", from, err)
		}
	}
}

// site serves one archive; its fields change how.
type site struct {
	data    atomic.Pointer[[]byte]
	etag    atomic.Pointer[string]
	plain   bool         // it knows no ranges
	cut     atomic.Int64 // so many answers more are cut off in the middle
	status  atomic.Int64 // answer with this instead
	asked   atomic.Int64 // requests
	stalled atomic.Int64 // so many answers more stall in the middle
}

func newSite(t *testing.T, data []byte) (*site, string) {
	t.Helper()
	s := &site{}
	s.data.Store(&data)
	s.etag.Store(new(`"1"`))
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.URL + "/a.tar"
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	if code := s.status.Load(); code != 0 {
		w.WriteHeader(int(code))
		return
	}
	w.Header().Set("ETag", *s.etag.Load())
	data := *s.data.Load()
	if s.plain {
		r.Header.Del("Range")
		r.Header.Del("If-Match")
	}
	if r.Header.Get("Range") != "bytes=0-0" {
		if s.cut.Add(-1) >= 0 {
			w = &shortWriter{ResponseWriter: w, left: 10_000}
		} else if s.stalled.Add(-1) >= 0 {
			w = &shortWriter{ResponseWriter: w, left: 10_000, stall: r.Context().Done()}
		}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// shortWriter breaks the connection, or stalls it, after some bytes.
type shortWriter struct {
	http.ResponseWriter
	left  int
	stall <-chan struct{}
}

func (w *shortWriter) Write(b []byte) (int, error) {
	if len(b) > w.left {
		w.ResponseWriter.Write(b[:w.left])                   //nolint:errcheck // it is cut anyway
		http.NewResponseController(w.ResponseWriter).Flush() //nolint:errcheck // the same
		if w.stall != nil {
			<-w.stall
		}
		panic(http.ErrAbortHandler)
	}
	w.left -= len(b)
	return w.ResponseWriter.Write(b)
}

func TestHTTP(t *testing.T) {
	for _, n := range []int{0, 1, 64 << 10, 64<<10 + 1, 500_000} {
		want := blob(n, 2)
		for _, plain := range []bool{false, true} {
			s, from := newSite(t, want)
			s.plain = plain
			got, err := all(t, from, small)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, plain %v: %d came, %v", n, plain, len(got), err)
			}
		}
	}
}

func TestHTTPResumesWhereItWasCut(t *testing.T) {
	want := blob(500_000, 3)
	s, from := newSite(t, want)
	s.cut.Store(12)
	got, err := all(t, from, small)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if s.asked.Load() < 12 {
		t.Error("nothing was cut")
	}
}

func TestHTTPGivesUpOnSilence(t *testing.T) {
	s, from := newSite(t, blob(500_000, 3))
	s.stalled.Store(1)
	o := small
	o.Patience = 200 * time.Millisecond
	if _, err := all(t, from, o); err != nil {
		t.Errorf("one stalled connection ends it: %v", err)
	}
}

func TestHTTPCutForGood(t *testing.T) {
	for _, plain := range []bool{false, true} {
		s, from := newSite(t, blob(500_000, 3))
		s.plain = plain
		src, err := Open(t.Context(), from, small)
		if err != nil {
			t.Fatal(err)
		}
		s.status.Store(http.StatusBadGateway)
		s.cut.Store(1 << 40)
		if plain { // its only answer is under way
			src.Close() //nolint:errcheck // another is begun
			s.status.Store(0)
			if src, err = Open(t.Context(), from, small); err != nil {
				t.Fatal(err)
			}
		}
		_, err = io.ReadAll(src)
		if !fault.Is(err, fault.KindUnavailable) {
			t.Errorf("plain %v: %v", plain, err)
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestHTTPReplacedWhileRead(t *testing.T) {
	s, from := newSite(t, blob(500_000, 4))
	src, err := Open(t.Context(), from, small)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close() //nolint:errcheck // a test's end
	if _, err := io.ReadFull(src, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	s.data.Store(new(blob(500_000, 5)))
	s.etag.Store(new(`"2"`))
	if _, err := io.ReadAll(src); !fault.Is(err, fault.KindConflict) {
		t.Errorf("a mixture of two archives is taken: %v", err)
	}
}

func TestHTTPStatuses(t *testing.T) {
	for code, kind := range map[int64]fault.Kind{404: fault.KindNotFound, 403: fault.KindDenied, 401: fault.KindDenied, 410: fault.KindNotFound, 503: fault.KindUnavailable} {
		s, from := newSite(t, nil)
		s.status.Store(code)
		_, err := all(t, from, small)
		if !fault.Is(err, kind) {
			t.Errorf("%d: %v", code, err)
		}
		if tries := s.asked.Load(); (code == 503) != (tries > 1) {
			t.Errorf("%d: asked %d times", code, tries)
		}
	}
}

func TestCloseInTheMiddle(t *testing.T) {
	_, from := newSite(t, blob(2_000_000, 6))
	s, err := Open(t.Context(), from, small)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s, make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(s); err == nil {
		t.Error("a closed archive reads to its end")
	}
}

func ExampleOpen() {
	_, err := Open(nil, "gopher://old/a.tar", Options{}) //nolint:staticcheck // it is not used
	fmt.Println(err)
	// Output: archive gopher://old/a.tar has a scheme that is not known; give a path, or a URL that begins with file://, http://, https:// or s3://
}
