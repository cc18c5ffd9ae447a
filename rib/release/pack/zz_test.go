package pack_test

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"kaname.dev/kaname/rib/release/archive"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/pack"
)

var _ = tar.NewReader

func load(t *testing.T, name, version string) (*pack.Index, *manifest.Manifest, *os.File) {
	f, err := os.Open(name)
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	a, err := archive.Open(f, name, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	out := tempFile(t)
	b, err := pack.NewBuilder(t.Context(), out, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for {
		e, r, err := a.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == manifest.File {
			if _, err := b.Add(r, e.Size, a.Digest); err != nil {
				t.Fatal(err)
			}
		}
	}
	m, err := a.Manifest(manifest.Header{App: "x", Version: version, Kind: manifest.Tree, Created: time.Now().UTC()})
	if err != nil {
		t.Fatal(err)
	}
	x, err := b.Finish(m)
	if err != nil {
		t.Fatal(err)
	}
	return x, m, out
}

func TestReal(t *testing.T) {
	for _, p := range [][2]string{{"node1", "node2"}} {
		t0 := time.Now()
		x1, m1, f1 := load(t, "/tmp/pairs/"+p[0]+".tar", "1")
		t1 := time.Now()
		x2, m2, f2 := load(t, "/tmp/pairs/"+p[1]+".tar", "2")
		c1, _ := pack.NewContents(t.Context(), x1, m1, pack.FileChunks(x1, f1))
		c2, _ := pack.NewContents(t.Context(), x2, m2, pack.FileChunks(x2, f2))
		t2 := time.Now()
		out := tempFile(t)
		d, err := pack.BuildDelta(t.Context(), out, &pack.Basis{Manifest: m1, Files: c1}, &pack.Basis{Manifest: m2, Files: c2}, pack.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t3 := time.Now()
		check(t, d, pack.FileChunks(d, out), &pack.Basis{Manifest: m1, Files: c1}, nil, m2)
		t4 := time.Now()
		fmt.Println(p[0], "full", x2.Wire(), len(x2.Chunks), "head", x2.Chunks[0].Size, x2.Head, "index", len(x2.Bytes()), "delta", d.Wire(), "index", len(d.Bytes()), "objects", len(pack.Objects(m2, m1)), "ingest", t1.Sub(t0), "delta", t3.Sub(t2), "decode", t4.Sub(t3))
	}
}
