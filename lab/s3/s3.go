// Package s3lab starts a real S3-compatible server (versitygw with its posix backend) on
// loopback for a test. The server is pinned in tools/s3/go.mod and built once into the user's
// cache; the first build takes a minute or two.
package s3lab

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// The keys of the server's only account.
const (
	AccessKey = "kaname-test"
	SecretKey = "kaname-test-secret"
)

// Server is a running S3 server.
type Server struct {
	Endpoint string // http://127.0.0.1:port

	t      testing.TB
	client *minio.Client
}

// Start runs a server with an empty store until the end of the test.
func Start(t testing.TB) *Server {
	t.Helper()
	program := Program(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	data, meta := filepath.Join(dir, "data"), filepath.Join(dir, "meta")
	for _, d := range []string{data, meta} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "--quiet", "--port", addr, "posix", "--sidecar", meta, data)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+AccessKey, "ROOT_SECRET_KEY="+SecretKey)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait() //nolint:errcheck // it was killed
		if t.Failed() {
			t.Logf("S3 server: %s", out.Bytes())
		}
	})
	s := &Server{Endpoint: "http://" + addr, t: t}
	s.await()
	s.client, err = minio.New(addr, &minio.Options{
		Creds: credentials.NewStaticV4(AccessKey, SecretKey, ""), Region: "us-east-1", BucketLookup: minio.BucketLookupPath,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// await waits until the server answers anything.
func (s *Server) await() {
	s.t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		resp, err := http.Get(s.Endpoint + "/") //nolint:noctx // a test's
		if err == nil {
			if err := resp.Body.Close(); err != nil {
				s.t.Fatal(err)
			}
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the S3 server does not answer: %v", err)
		}
		time.Sleep(20 * time.Millisecond) //nolint:forbidigo // polling with a deadline
	}
}

// Setenv gives this process the endpoint and the right keys, and hides the user's own.
func (s *Server) Setenv(t *testing.T) {
	t.Helper()
	for k, v := range map[string]string{
		"AWS_ENDPOINT_URL": s.Endpoint, "AWS_ACCESS_KEY_ID": AccessKey, "AWS_SECRET_ACCESS_KEY": SecretKey, "AWS_REGION": "us-east-1",
		"AWS_ENDPOINT_URL_S3": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(t.TempDir(), "none"),
	} {
		t.Setenv(k, v)
	}
}

// Put stores an object, and makes the bucket if there is none.
func (s *Server) Put(bucket, key string, data []byte) {
	s.t.Helper()
	s.PutReader(bucket, key, bytes.NewReader(data), int64(len(data)))
}

// PutReader is Put for what is too large for memory.
func (s *Server) PutReader(bucket, key string, r io.Reader, size int64) {
	s.t.Helper()
	ctx := s.t.Context()
	exists, err := s.client.BucketExists(ctx, bucket)
	if err == nil && !exists {
		err = s.client.MakeBucket(ctx, bucket, minio.MakeBucketOptions{})
	}
	if err == nil {
		_, err = s.client.PutObject(ctx, bucket, key, r, size, minio.PutObjectOptions{})
	}
	if err != nil {
		s.t.Fatalf("put %s/%s: %v", bucket, key, err)
	}
}

// Program returns the path of the server's program, and builds it if that was not done yet for the
// versions in tools/s3/go.mod.
func Program(t testing.TB) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(root, "tools", "s3", "build")).CombinedOutput()
	if err != nil {
		t.Fatalf("build the S3 server: %v: %s", err, out)
	}
	return string(bytes.TrimSpace(out))
}

// moduleRoot finds the folder of go.mod above the working directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = up
	}
}
