package pack_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/pack"
)

// tree is a release in memory: contents by path, in order.
type tree struct {
	paths []string
	files map[string][]byte
	sums  map[manifest.Digest][]byte
}

func (t *tree) set(path string, contents []byte) {
	if t.files == nil {
		t.files, t.sums = map[string][]byte{}, map[manifest.Digest][]byte{}
	}
	if _, ok := t.files[path]; !ok {
		t.paths = append(t.paths, path)
	}
	t.files[path] = contents
	t.sums[manifest.Sum(contents)] = contents
}

func (t *tree) manifest(version string) *manifest.Manifest {
	m := &manifest.Manifest{Header: manifest.Header{App: "web", Version: version, Kind: manifest.Tree, Created: time.Unix(1e9, 0).UTC()}}
	for _, p := range t.paths {
		e := manifest.Entry{Path: p, Type: manifest.File, Mode: 0o644, MTime: time.Unix(1e9, 0).UTC(), Size: int64(len(t.files[p]))}
		if e.Size > 0 {
			d := manifest.Sum(t.files[p])
			e.Digest = &d
		}
		m.Entries = append(m.Entries, e)
	}
	m.Tally()
	return m
}

func (t *tree) Open(d manifest.Digest) (io.ReadCloser, error) {
	if b, ok := t.sums[d]; ok {
		return io.NopCloser(bytes.NewReader(b)), nil
	}
	return nil, os.ErrNotExist
}

func tempFile(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "pack"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// full makes a full pack.
func full(t testing.TB, tr *tree, m *manifest.Manifest) (*pack.Index, *os.File) {
	t.Helper()
	f := tempFile(t)
	b, err := pack.NewBuilder(t.Context(), f, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, p := range tr.paths {
		if _, err := b.Add(bytes.NewReader(tr.files[p]), int64(len(tr.files[p])), nil); err != nil {
			t.Fatal(err)
		}
	}
	x, err := b.Finish(m)
	if err != nil {
		t.Fatal(err)
	}
	return x, f
}

// check reads the whole pack and compares it with the tree.
func check(t testing.TB, x *pack.Index, chunks pack.Chunks, basis *pack.Basis, tr *tree, m *manifest.Manifest) {
	t.Helper()
	r, err := pack.NewReader(t.Context(), x, chunks, basis, pack.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := r.Manifest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.ID() != m.ID() {
		t.Fatal("another manifest came out")
	}
	var base *manifest.Manifest
	if basis != nil {
		base = basis.Manifest
	}
	for i, o := range pack.Objects(m, base) {
		d, c, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		if d != o.Digest || manifest.Sum(b) != d {
			t.Fatalf("object %d: %d bytes are not %q", i, len(b), m.Entries[o.Entry].Path)
		}
	}
	if _, _, err := r.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Fatalf("after the last: %v", err)
	}
}

func text(rng *rand.Rand, n int) []byte {
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "func f%d(x int) int { return x*%d + %d }\n", rng.IntN(1000), rng.IntN(100), rng.IntN(100))
	}
	return b.Bytes()[:n]
}

func noise(rng *rand.Rand, n int) []byte {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], rng.Uint64())
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(seed).Read(b)
	return b
}

func sampleTree(seed uint64) *tree {
	rng := rand.New(rand.NewPCG(seed, 1))
	tr := &tree{}
	for i := range 300 {
		tr.set(fmt.Sprintf("src/d%d/f%d.go", i/20, i), text(rng, rng.IntN(20000)))
	}
	tr.set("bin/app", append(noise(rng, 3<<20), text(rng, 3<<20)...))
	tr.set("empty", nil)
	tr.set("bin/copy", tr.files["bin/app"])
	tr.set("img.png", noise(rng, 900_000))
	tr.set("src/again.go", tr.files["src/d0/f1.go"])
	return tr
}

func TestFull(t *testing.T) {
	tr := sampleTree(1)
	m := tr.manifest("1")
	x, f := full(t, tr, m)
	again, err := pack.Decode(x.Bytes())
	if err != nil || again.ID() != x.ID() {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil || info.Size() != x.Wire() {
		t.Fatalf("file of %d bytes for a pack of %d", info.Size(), x.Wire())
	}
	for i, c := range x.Chunks {
		if c.Size > 600<<10 {
			t.Errorf("chunk %d has %d bytes", i, c.Size)
		}
	}
	check(t, x, pack.FileChunks(x, f), nil, tr, m)
	// The same input makes the same pack.
	if y, _ := full(t, tr, m); y.ID() != x.ID() {
		t.Error("a second pack of the same release has another ID")
	}
	contents, err := pack.NewContents(t.Context(), x, m, pack.FileChunks(x, f))
	if err != nil {
		t.Fatal(err)
	}
	defer contents.Close()
	rng := rand.New(rand.NewPCG(5, 5))
	for range 300 {
		p := tr.paths[rng.IntN(len(tr.paths))]
		if len(tr.files[p]) == 0 {
			continue
		}
		c, err := contents.OpenFile(manifest.Sum(tr.files[p]))
		if err != nil {
			t.Fatal(err)
		}
		from := rng.IntN(len(tr.files[p]))
		part := make([]byte, rng.IntN(len(tr.files[p])-from)+1)
		if _, err := c.ReadAt(part, int64(from)); err != nil || !bytes.Equal(part, tr.files[p][from:from+len(part)]) {
			t.Fatalf("%s at %d: %v", p, from, err)
		}
	}
}

func TestWanted(t *testing.T) {
	tr := sampleTree(2)
	m := tr.manifest("1")
	x, f := full(t, tr, m)
	want := manifest.Sum(tr.files["src/d3/f61.go"])
	pick := func(d manifest.Digest) bool { return d == want }
	need := x.Needed(m, pick)
	if n := need.Count(); n == 0 || n > uint(x.Head)+2 {
		t.Errorf("%d chunks needed", n)
	}
	r, err := pack.NewReader(t.Context(), x, pack.FileChunks(x, f), nil, pack.ReaderOptions{Want: pick})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d, c, err := r.Next(t.Context())
	if err != nil || d != want {
		t.Fatal(d, err)
	}
	b, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(b, tr.files["src/d3/f61.go"]) {
		t.Error(err)
	}
	if _, _, err := r.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// never gives no chunk.
type never struct{}

func (never) Chunk(ctx context.Context, _ int, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestReaderEndsWithContext(t *testing.T) {
	tr := sampleTree(3)
	m := tr.manifest("1")
	x, _ := full(t, tr, m)
	r, err := pack.NewReader(t.Context(), x, never{}, nil, pack.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	r.Close()
}
