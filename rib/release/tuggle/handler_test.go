package tuggle

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

// memory stands in for the hosts, so that the interface itself can be tested alone;
// the whole is tested against real agents in story/.
type memory struct {
	mu         sync.Mutex
	objects    map[string]Object
	bytes      map[string][]byte
	local      map[string]bool
	replicated []string
}

func newMemory() *memory {
	return &memory{objects: map[string]Object{}, bytes: map[string][]byte{}, local: map[string]bool{}}
}

func (m *memory) List(context.Context) ([]Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.objects), func(a, b Object) int { return strings.Compare(a.Name, b.Name) }), nil
}

func (m *memory) Find(_ context.Context, name string) (Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o, ok := m.objects[name]; ok {
		return o, nil
	}
	return Object{}, fault.NotFound(name)
}

func (m *memory) Create(_ context.Context, name, kind string, r io.Reader) (Object, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return Object{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[name]; ok {
		return Object{}, fault.Exists(name)
	}
	o := Object{ID: ID(name), Name: name, ContentType: kind, Size: int64(len(b)), CreatedAt: time.Date(2017, 2, 13, 16, 46, 18, 0, time.FixedZone("JST", 9*3600)), Content: manifest.Sum(b)}
	m.objects[name], m.bytes[name], m.local[name] = o, b, true
	return o, nil
}

type seeker struct{ *bytes.Reader }

func (seeker) Close() error { return nil }

func (m *memory) Read(_ context.Context, o Object, remote bool) (io.ReadSeekCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.local[o.Name] && !remote {
		return nil, fault.NotFound(o.Name)
	}
	return seeker{bytes.NewReader(m.bytes[o.Name])}, nil
}

func (m *memory) Replicate(_ context.Context, o Object) error {
	m.replicated = append(m.replicated, o.Name)
	return nil
}

func (m *memory) Delete(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[name]; !ok {
		return fault.NotFound(name)
	}
	delete(m.objects, name)
	return nil
}

func (m *memory) Graph(context.Context, string) ([]Edge, error) {
	t := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return []Edge{{From: "web1", To: `we"b2`, Start: t, End: t.Add(1500 * time.Millisecond)}}, nil
}

func do(t *testing.T, h http.Handler, method, url, body string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, url, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheReadmesSession(t *testing.T) {
	m := newMemory()
	h := New(m, Options{Log: slog.New(slog.DiscardHandler)})
	if r := do(t, h, "PUT", "/test.gz", "bytes", "Content-Type", "application/gzip"); r.StatusCode != 201 {
		t.Fatalf("PUT: %d %s", r.StatusCode, text(t, r))
	}
	if r := do(t, h, "PUT", "/test.gz", "other"); r.StatusCode != 405 || strings.TrimSpace(text(t, r)) != "exists" {
		t.Errorf("second PUT: %d", r.StatusCode)
	}
	var list []map[string]any
	r := do(t, h, "GET", "/", "")
	if err := json.Unmarshal([]byte(text(t, r)), &list); err != nil || len(list) != 1 {
		t.Fatalf("list: %v %v", list, err)
	}
	if list[0]["id"] != "6524a9d7b3bde0f3543f1ead0ae8604f" || list[0]["name"] != "test.gz" || list[0]["content_type"] != "application/gzip" || list[0]["size"] != 5.0 || list[0]["created_at"] == nil {
		t.Errorf("list: %v", list)
	}
	r = do(t, h, "HEAD", "/test.gz", "")
	for k, want := range map[string]string{
		"Content-Length": "5", "Content-Type": "application/gzip",
		"Last-Modified":      "Mon, 13 Feb 2017 07:46:18 GMT", // GMT, which tuggle gets wrong
		"X-Tuggle-Object-Id": "6524a9d7b3bde0f3543f1ead0ae8604f",
	} {
		if got := r.Header.Get(k); got != want {
			t.Errorf("HEAD: %s is %q, want %q", k, got, want)
		}
	}
	if r := do(t, h, "GET", "/test.gz", ""); text(t, r) != "bytes" || r.StatusCode != 200 {
		t.Errorf("GET: %d", r.StatusCode)
	}
	if r := do(t, h, "GET", "/test.gz", "", "Range", "bytes=1-2"); text(t, r) != "yt" || r.StatusCode != 206 {
		t.Errorf("GET with a range: %d", r.StatusCode)
	}
	if r := do(t, h, "DELETE", "/test.gz", ""); r.StatusCode != 200 {
		t.Errorf("DELETE: %d", r.StatusCode)
	}
	for _, method := range []string{"GET", "HEAD", "DELETE"} {
		if r := do(t, h, method, "/test.gz", ""); r.StatusCode != 404 {
			t.Errorf("%s after DELETE: %d", method, r.StatusCode)
		}
	}
}

func TestRestOfTheInterface(t *testing.T) {
	m := newMemory()
	log := slog.New(slog.DiscardHandler)
	h := New(m, Options{Log: log})
	if r := do(t, h, "GET", "/?ping", ""); r.StatusCode != 200 || text(t, r) != "" {
		t.Errorf("ping: %d", r.StatusCode)
	}
	if r := do(t, h, "GET", "/", ""); text(t, r) != "[]\n" {
		t.Error("the empty list is not []")
	}
	do(t, h, "PUT", "/a?sync", "x")
	do(t, h, "PUT", "/b", "x")
	if !slices.Equal(m.replicated, []string{"a"}) {
		t.Errorf("replicated %v", m.replicated)
	}
	m.local["a"] = false
	if r := do(t, h, "GET", "/a", "", Internal, "True"); r.StatusCode != 404 {
		t.Errorf("internal request for what is elsewhere: %d", r.StatusCode)
	}
	r := do(t, h, "GET", "/a?graph", "")
	if got := text(t, r); r.Header.Get("Content-Type") != "text/vnd.graphviz" || !strings.Contains(got, `"web1" -> "we\"b2" [headlabel="03:04:06", label="1.50s"]`) {
		t.Errorf("graph: %s", got)
	}
	if _, err := exec.LookPath("dot"); err == nil {
		if r := do(t, h, "GET", "/a?graph&format=svg", ""); !strings.Contains(text(t, r), "<svg") {
			t.Error("no picture")
		}
	}
	slave := New(m, Options{Slave: true, Log: log})
	if r := do(t, slave, "PUT", "/c", "x"); r.StatusCode != 405 || strings.TrimSpace(text(t, r)) != "slave mode" {
		t.Errorf("PUT on a slave: %d", r.StatusCode)
	}
	if r := do(t, slave, "GET", "/b", ""); r.StatusCode != 200 {
		t.Errorf("GET on a slave: %d", r.StatusCode)
	}
	if r := do(t, h, "PUT", "/x/y", "x"); r.StatusCode != 404 {
		t.Errorf("a name with a slash: %d", r.StatusCode)
	}
	if r := do(t, h, "POST", "/x", "x"); r.StatusCode != 405 {
		t.Errorf("POST: %d", r.StatusCode)
	}
}
