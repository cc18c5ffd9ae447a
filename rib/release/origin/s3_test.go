package origin

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"kaname.dev/kaname/fault"
	s3lab "kaname.dev/kaname/lab/s3"
)

func TestS3(t *testing.T) {
	server := s3lab.Start(t)
	server.Setenv(t)
	for i, n := range []int{0, 1, 64 << 10, 700_001} {
		key := fmt.Sprintf("builds/shop 1.%d+é.tar", i)
		want := blob(n, uint64(i))
		server.Put("builds", key, want)
		got, err := all(t, "s3://builds/"+key, small)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %d came, %v", n, len(got), err)
		}
	}
	var names []string
	for o, err := range List(t.Context(), "s3://builds/builds/shop", small) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprint(o.URL, " ", o.Size))
	}
	if len(names) != 4 || names[3] != "s3://builds/builds/shop 1.3+é.tar 700001" {
		t.Errorf("the list is %q", names)
	}
	t.Run("faults", func(t *testing.T) { faultsOfS3(t, server) })
	t.Run("replaced", func(t *testing.T) { replacedInS3(t, server) })
	t.Run("cut", func(t *testing.T) { cutOffS3(t, server) })
	t.Run("shared file", func(t *testing.T) { keysFromFile(t, server) })
}

func faultsOfS3(t *testing.T, server *s3lab.Server) {
	for _, c := range []struct {
		name, from string
		env        map[string]string
		kind       fault.Kind
		says       string
	}{
		{"no object", "s3://builds/none.tar", nil, fault.KindNotFound, "archive s3://builds/none.tar does not exist"},
		{"no bucket", "s3://nowhere/none.tar", nil, fault.KindNotFound, "bucket nowhere does not exist"},
		{"no such key", "s3://builds/a", map[string]string{"AWS_ACCESS_KEY_ID": "nobody"}, fault.KindDenied, "AWS_ACCESS_KEY_ID"},
		{"wrong secret", "s3://builds/a", map[string]string{"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, fault.KindDenied, "AWS_SECRET_ACCESS_KEY"},
		{"no such host", "s3://builds/a", map[string]string{"AWS_ENDPOINT_URL": "http://s3.invalid"}, fault.KindUnavailable, "not known to DNS"},
		{"nobody there", "s3://builds/a", map[string]string{"AWS_ENDPOINT_URL": "http://" + deadPort(t)}, fault.KindUnavailable, "refused"},
		{"bad endpoint", "s3://builds/a", map[string]string{"AWS_ENDPOINT_URL": "s3.example.com"}, fault.KindInvalid, "https://host:port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			_, err := all(t, c.from, small)
			if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("kind %s: %v", fault.Of(err).Kind, err)
			}
			if strings.Contains(fmt.Sprint(err), "wrong-secret") {
				t.Error("the fault shows the secret")
			}
		})
	}
}

// deadPort returns an address where nobody listens.
func deadPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // that is the point
	return l.Addr().String()
}

func replacedInS3(t *testing.T, server *s3lab.Server) {
	server.Put("builds", "moving.tar", blob(700_000, 1))
	src, err := Open(t.Context(), "s3://builds/moving.tar", small)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close() //nolint:errcheck // a test's end
	if _, err := io.ReadFull(src, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	server.Put("builds", "moving.tar", blob(700_000, 2))
	if _, err := io.ReadAll(src); !fault.Is(err, fault.KindConflict) {
		t.Errorf("a mixture of two objects is taken: %v", err)
	}
}

// cutOffS3 reads through a proxy that closes each connection after 100 kB: the parts
// are resumed; and then through none at all, which ends it.
func cutOffS3(t *testing.T, server *s3lab.Server) {
	want := blob(3_000_000, 7)
	server.Put("builds", "cut.tar", want)
	proxy := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()),
		"s3", "127.0.0.1:0", strings.TrimPrefix(server.Endpoint, "http://"))
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	defer proxy.Stop()
	toxic := `{"name":"cut","type":"limit_data","stream":"downstream","attributes":{"bytes":100000}}`
	if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ENDPOINT_URL", "http://"+proxy.Listen)
	o := small
	o.Part = 512 << 10 // more than a connection brings
	got, err := all(t, "s3://builds/cut.tar", o)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	src, err := Open(t.Context(), "s3://builds/cut.tar", o)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close() //nolint:errcheck // a test's end
	if _, err := io.ReadFull(src, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	proxy.Stop()
	start := time.Now()
	if _, err := io.ReadAll(src); !fault.Is(err, fault.KindUnavailable) || !strings.Contains(err.Error(), "at byte ") {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}

func keysFromFile(t *testing.T, server *s3lab.Server) {
	server.Put("builds", "a.tar", []byte("hello"))
	file := filepath.Join(t.TempDir(), "credentials")
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", s3lab.AccessKey, s3lab.SecretKey)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SHARED_CREDENTIALS_FILE": file} {
		t.Setenv(k, v)
	}
	if got, err := all(t, "s3://builds/a.tar", small); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestClockSkew plays the answer of a store whose clock differs; the S3 server here cannot be told to.
func TestClockSkew(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `<?xml version="1.0"?><Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large.</Message></Error>`) //nolint:errcheck // a test's server
	}))
	defer server.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	o := small
	o.Endpoint = server.URL
	_, err := all(t, "s3://builds/a.tar", o)
	if !fault.Is(err, fault.KindDenied) || !strings.Contains(err.Error(), "timedatectl") {
		t.Errorf("%v", err)
	}
}
