package store_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"kaname.dev/kaname/rib/release/archive"
	"kaname.dev/kaname/rib/release/manifest"
)

// The tests that need a process of their own run this binary again with the test's name
// and what to do in the environment.
const childEnv = "KANAME_STORE_CHILD"

// child starts this test again; the caller kills it or waits for it.
func child(t *testing.T, attr *syscall.SysProcAttr, args ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(args, "\n"))
	cmd.SysProcAttr = attr
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// childArgs returns what this process was started for, nil in the parent.
func childArgs() []string {
	if s := os.Getenv(childEnv); s != "" {
		return strings.Split(s, "\n")
	}
	return nil
}

// A host killed while it receives goes on where it was, and asks for nothing again.
func TestKilledInPut(t *testing.T) {
	if args := childArgs(); args != nil {
		from, to := open(t, args[0]), open(t, args[1])
		p := fullPack(t, from, from.Releases("web")[0])
		index, _ := p.Index()
		q, err := to.Receive(t.Context(), index)
		if err != nil {
			t.Fatal(err)
		}
		for i := range p.Chunks() {
			wire, err := p.Chunk(t.Context(), i, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := q.Put(t.Context(), i, wire); err != nil {
				t.Fatal(err)
			}
			fmt.Println("put", i) //nolint:forbidigo // the parent reads it
		}
		return
	}
	from, to := t.TempDir(), t.TempDir()
	s := open(t, from)
	ingest(t, s, "1", sample(1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	cmd, out := child(t, nil, from, to)
	acknowledged := 0
	for out.Scan() {
		if strings.HasPrefix(out.Text(), "put") {
			if acknowledged++; acknowledged == 7 {
				_ = cmd.Process.Kill()
				break
			}
		}
	}
	for out.Scan() {
		if strings.HasPrefix(out.Text(), "put") {
			acknowledged++
		}
	}
	_ = cmd.Wait()
	origin, host := open(t, from), open(t, to)
	p := fullPack(t, origin, origin.Releases("web")[0])
	if acknowledged < 7 || acknowledged == p.Chunks() {
		t.Fatalf("killed after %d of %d chunks", acknowledged, p.Chunks())
	}
	q, fetched := transfer(t, p, host)
	if fetched > p.Chunks()-acknowledged {
		t.Errorf("%d chunks were acknowledged, and %d of %d fetched afterwards", acknowledged, fetched, p.Chunks())
	}
	verify(t, q, nil)
}

// A pushing host killed while it stores a release has nothing of it.
func TestKilledInIngest(t *testing.T) {
	if args := childArgs(); args != nil {
		s := open(t, args[0])
		r := &slowReader{data: tarball(t, append(sample(2), file{"huge", noise(9, 30<<20)}))}
		a, err := archive.Open(r, "test.tar", archive.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Ingest(t.Context(), a, manifest.Header{App: "web", Version: "2", Kind: manifest.Tree, Created: time.Unix(1e9, 0).UTC()})
		t.Fatal("it ended", err)
	}
	dir := t.TempDir()
	s := open(t, dir)
	ingest(t, s, "1", sample(1))
	used, err := s.Usage()
	if err != nil {
		t.Fatal(err)
	}
	before := count(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	cmd, out := child(t, nil, dir)
	for out.Scan() && !strings.HasPrefix(out.Text(), "far") {
		continue
	}
	if n := count(t, dir); n <= before {
		t.Errorf("%d files while it stores, %d before", n, before)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	s = open(t, dir)
	if n := count(t, dir); n != before {
		t.Errorf("%d files, %d before", n, before)
	}
	now, err := s.Usage()
	if err != nil || now.Used != used.Used || now.Reserved != 0 {
		t.Errorf("usage %+v, before %+v (%v)", now, used, err)
	}
	verify(t, fullPack(t, s, s.Releases("web")[0]), nil)
}

// slowReader says when much was read, and then gives no more.
type slowReader struct {
	data []byte
	at   int
}

func (r *slowReader) Read(p []byte) (int, error) {
	if r.at > len(r.data)*3/4 {
		fmt.Println("far") //nolint:forbidigo // the parent reads it
		select {}
	}
	n := copy(p, r.data[r.at:])
	r.at += n
	return n, nil
}
