package store_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/archive"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/pack"
	"kaname.dev/kaname/rib/release/store"
	"kaname.dev/kaname/rib/release/swarm"
)

var _ swarm.Pack = (*store.Pack)(nil)

// file is one entry of a test archive.
type file struct {
	name     string
	contents []byte
}

func tarball(t testing.TB, files []file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Typeflag: tar.TypeReg, Size: int64(len(f.contents)), Mode: 0o644, ModTime: time.Unix(1e9, 0)}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.contents); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = rng.Read(b)
	return b
}

func words(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 7))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "line %d of the file says %d and %x\n", rng.IntN(99), rng.IntN(9999), rng.IntN(1<<20))
	}
	return b.Bytes()[:n]
}

// sample is an archive of some megabytes with everything that matters here: small
// files, an incompressible large one twice, an empty one.
func sample(seed uint64) []file {
	var files []file
	for i := range uint64(60) {
		files = append(files, file{fmt.Sprintf("src/f%02d.txt", i), words(i, 2000+int(i)*300)})
	}
	big := noise(seed, 5<<20)
	return append(files, file{"big", big}, file{"empty", nil}, file{"big2", big}, file{"version", fmt.Appendf(nil, "%d\n", seed)})
}

func open(t testing.TB, dir string, change ...func(*store.Options)) *store.Store {
	t.Helper()
	o := store.Options{Dir: dir, Floor: -1}
	for _, f := range change {
		f(&o)
	}
	s, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func ingest(t testing.TB, s *store.Store, version string, files []file) store.Release {
	t.Helper()
	r, err := tryIngest(t, s, version, tarball(t, files))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tryIngest(t testing.TB, s *store.Store, version string, tarball []byte) (store.Release, error) {
	t.Helper()
	a, err := archive.Open(bytes.NewReader(tarball), "test.tar", archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	return s.Ingest(t.Context(), a, manifest.Header{App: "web", Version: version, Kind: manifest.Tree, Created: time.Unix(1e9, 0).UTC()})
}

// fullPack returns the complete full pack of a release.
func fullPack(t testing.TB, s *store.Store, r store.Release) *store.Pack {
	t.Helper()
	p, err := s.Full(r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Complete() {
		t.Fatal("the pack is not complete")
	}
	return p
}

// verify reads a pack whole and checks every content against its digest.
func verify(t testing.TB, p *store.Pack, basis *pack.Basis) *manifest.Manifest {
	t.Helper()
	r, err := pack.NewReader(t.Context(), p.Describe(), p, basis, pack.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m, err := r.Manifest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for {
		d, c, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return m
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(c)
		if err != nil || manifest.Sum(b) != d {
			t.Fatalf("%d bytes of %s: %v", len(b), d.Short(), err)
		}
	}
}

// transfer copies a pack from one store to another and returns how many chunks went.
func transfer(t testing.TB, from *store.Pack, to *store.Store) (*store.Pack, int) {
	t.Helper()
	index, err := from.Index()
	if err != nil {
		t.Fatal(err)
	}
	p, err := to.Receive(t.Context(), index)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	have := p.Have()
	for i := range from.Chunks() {
		if have.Test(uint(i)) {
			continue
		}
		wire, err := from.Chunk(t.Context(), i, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Put(t.Context(), i, wire); err != nil {
			t.Fatal(err)
		}
		n++
	}
	return p, n
}

func TestIngestAndReceive(t *testing.T) {
	origin, host := open(t, t.TempDir()), open(t, t.TempDir())
	r := ingest(t, origin, "1", sample(1))
	if r.State != store.Stored || len(r.Packs) != 1 {
		t.Errorf("%+v", r)
	}
	p := fullPack(t, origin, r)
	if m := verify(t, p, nil); m.ID() != r.ID {
		t.Error("another release came out")
	}
	q, n := transfer(t, p, host)
	if n != p.Chunks() || !q.Complete() {
		t.Errorf("%d chunks", n)
	}
	m := verify(t, q, nil)
	got, err := host.Register(m)
	if err != nil || got.ID != r.ID || got.State != store.Receiving {
		t.Fatal(got, err)
	}
	if _, err := host.Manifest(r.ID); err != nil {
		t.Error(err)
	}
}

func TestReplacedEntry(t *testing.T) {
	s := open(t, t.TempDir())
	r := ingest(t, s, "1", []file{{"a", []byte("one")}, {"b", []byte("two")}, {"a", []byte("three")}, {"c", []byte("two")}})
	if m := verify(t, fullPack(t, s, r), nil); m.Files != 3 {
		t.Errorf("%d files", m.Files)
	}
}

func TestDelta(t *testing.T) {
	dir := t.TempDir()
	origin, host := open(t, dir), open(t, t.TempDir())
	files := sample(1)
	one := ingest(t, origin, "1", files)
	files[3].contents = append(bytes.Clone(files[3].contents), "more\n"...)
	files = append(files, file{"new", words(77, 9000)})
	two := ingest(t, origin, "2", files)
	d, err := origin.Delta(t.Context(), one.ID, two.ID)
	if err != nil {
		t.Fatal(err)
	}
	again, err := origin.Delta(t.Context(), one.ID, two.ID)
	if err != nil || again != d {
		t.Error("the delta was made twice", err)
	}
	if w := d.Describe().Wire(); w > 12_000 {
		t.Errorf("a delta of %d bytes", w)
	}
	p, _ := transfer(t, fullPack(t, origin, one), host)
	if _, err := host.Register(verify(t, p, nil)); err != nil {
		t.Fatal(err)
	}
	b, err := host.Basis(t.Context(), one.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	q, _ := transfer(t, d, host)
	if m := verify(t, q, &b.Basis); m.ID() != two.ID {
		t.Error("another release came out")
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := store.Open(t.Context(), store.Options{Dir: dir}); !fault.Is(err, fault.KindConflict) {
		t.Errorf("a second open gave %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}
