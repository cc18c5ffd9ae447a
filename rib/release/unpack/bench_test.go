package unpack_test

import (
	"archive/tar"
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/rib/release/unpack"
)

// manyFiles writes a tar of n small files, 100 a directory, and returns its path.
func manyFiles(b *testing.B, n int) string {
	b.Helper()
	name := filepath.Join(b.TempDir(), "many.tar")
	f, err := os.Create(name) //nolint:gosec // a test's own
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // checked by reading it
	buf := bufio.NewWriter(f)
	w := tar.NewWriter(buf)
	text := make([]byte, 8000)
	for i := range n {
		size := 200 + i*37%7000
		copy(text, strconv.Itoa(i))
		h := &tar.Header{Name: fmt.Sprintf("app/lib/pkg%03d/part%d/file%d.js", i/500, i/100%5, i), Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(size), ModTime: time.Unix(1e9, 0)}
		if err := w.WriteHeader(h); err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(text[:size]); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	if err := buf.Flush(); err != nil {
		b.Fatal(err)
	}
	return name
}

// processor reports the processor time per operation of who: unlike the time on
// the wall it tells something on a busy machine.
func processor(b *testing.B, who int) func() {
	b.Helper()
	used := func() time.Duration {
		var r unix.Rusage
		if err := unix.Getrusage(who, &r); err != nil {
			b.Fatal(err)
		}
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	before := used()
	return func() { b.ReportMetric(float64((used()-before).Milliseconds())/float64(b.N), "cpu-ms/op") }
}

// BenchmarkUnpack sets this package beside tar -x and sync, for 50,000 small files:
// written from contents, and hard-linked from the release before.
func BenchmarkUnpack(b *testing.B) {
	name := manyFiles(b, 50_000)
	f, err := os.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	m, contents := load(b, f, name)
	_ = f.Close() // read whole
	b.Run("tar", func(b *testing.B) {
		defer processor(b, unix.RUSAGE_CHILDREN)()
		for b.Loop() {
			run(b, b.TempDir(), "sh", "-c", `tar -xf "$1" && sync -f .`, "sh", name)
		}
	})
	b.Run("written", func(b *testing.B) {
		defer processor(b, unix.RUSAGE_SELF)()
		for b.Loop() {
			if err := unpack.Tree(b.Context(), fresh(b), m, nil, contents.only(contents.order), nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	was := fresh(b)
	if err := unpack.Tree(b.Context(), was, m, nil, contents.only(contents.order), nil); err != nil {
		b.Fatal(err)
	}
	had := shelf{}
	for _, e := range m.Entries {
		had[*e.Digest] = filepath.Join(was.Name(), e.Path)
	}
	b.Run("verified and linked", func(b *testing.B) {
		defer processor(b, unix.RUSAGE_SELF)()
		for b.Loop() {
			if err := unpack.Tree(b.Context(), fresh(b), m, had, nil, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	split, err := unpack.Missing(b.Context(), m, had)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("linked", func(b *testing.B) {
		defer processor(b, unix.RUSAGE_SELF)()
		for b.Loop() {
			if err := unpack.Tree(b.Context(), fresh(b), m, split, nil, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("compared", func(b *testing.B) {
		defer processor(b, unix.RUSAGE_SELF)()
		for b.Loop() {
			if drifts, err := unpack.Compare(b.Context(), was, m); err != nil || len(drifts) > 0 {
				b.Fatal(drifts, err)
			}
		}
	})
}
