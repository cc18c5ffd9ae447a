package pack_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"pgregory.net/rapid"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/pack"
)

// edited returns the tree with some files changed, moved, added and removed.
func edited(tr *tree, seed uint64) *tree {
	rng := rand.New(rand.NewPCG(seed, 9))
	out := &tree{}
	for _, p := range tr.paths {
		b := bytes.Clone(tr.files[p])
		switch rng.IntN(12) {
		case 0:
			continue
		case 1:
			at := rng.IntN(len(b) + 1)
			b = append(b[:at:at], append([]byte("func added() {}\n"), b[at:]...)...)
		case 2:
			p = "moved/" + p
		case 3:
			p, b = "moved/2/"+p, append(b, "// more\n"...)
		}
		out.set(p, b)
	}
	out.set("brand/new.go", text(rng, 5000))
	return out
}

func delta(t testing.TB, old, next *tree, m1, m2 *manifest.Manifest) (*pack.Index, *os.File) {
	t.Helper()
	f := tempFile(t)
	x, err := pack.BuildDelta(t.Context(), f, &pack.Basis{Manifest: m1, Files: old}, &pack.Basis{Manifest: m2, Files: next}, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return x, f
}

func TestDelta(t *testing.T) {
	old := sampleTree(1)
	next := edited(old, 4)
	// A large file that changes in its middle and grows at its start, so that the ranges
	// of its old version shift; larger than any dictionary.
	rng := rand.New(rand.NewPCG(8, 8))
	big := noise(rng, 12<<20)
	old.set("big.bin", big)
	next.set("big.bin", append(noise(rng, 2<<20), append(append(bytes.Clone(big[:7<<20]), "inserted"...), big[7<<20:]...)...))
	m1, m2 := old.manifest("1"), next.manifest("2")
	x, f := delta(t, old, next, m1, m2)
	if again, err := pack.Decode(x.Bytes()); err != nil || again.ID() != x.ID() {
		t.Fatal(err)
	}
	if x.Wire() > 2<<20+200_000 {
		t.Errorf("a delta of %d bytes for 2 MiB of new noise and some edits", x.Wire())
	}
	check(t, x, pack.FileChunks(x, f), &pack.Basis{Manifest: m1, Files: old}, next, m2)
	if _, err := pack.NewReader(t.Context(), x, pack.FileChunks(x, f), nil, pack.ReaderOptions{}); !fault.Is(err, fault.KindInvalid) {
		t.Errorf("without a base: %v", err)
	}
	if _, err := pack.NewReader(t.Context(), x, pack.FileChunks(x, f), &pack.Basis{Manifest: m2, Files: next}, pack.ReaderOptions{}); !fault.Is(err, fault.KindInvalid) {
		t.Errorf("with another base: %v", err)
	}
}

// Whatever two releases are, the delta makes the second of the first.
func TestDeltaOfAnything(t *testing.T) {
	pair := rapid.Custom(func(rt *rapid.T) [2]*tree {
		pieces := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 1, 6).Draw(rt, "pieces")
		draw := func(label string) *tree {
			tr := &tree{}
			n := rapid.IntRange(0, 8).Draw(rt, label)
			for range n {
				p := fmt.Sprintf("d%d/f%d.go", rapid.IntRange(0, 2).Draw(rt, "d"), rapid.IntRange(0, 5).Draw(rt, "f"))
				var b []byte
				for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(pieces)-1), 0, 5).Draw(rt, "contents") {
					b = append(b, pieces[i]...)
				}
				tr.set(p, b)
			}
			return tr
		}
		return [2]*tree{draw("old"), draw("next")}
	})
	for seed := range 20 {
		p := pair.Example(seed)
		m1, m2 := p[0].manifest("1"), p[1].manifest("2")
		x, f := delta(t, p[0], p[1], m1, m2)
		check(t, x, pack.FileChunks(x, f), &pack.Basis{Manifest: m1, Files: p[0]}, p[1], m2)
	}
}

// damagedBase gives one content changed, or missing.
type damagedBase struct {
	pack.Base
	bad     manifest.Digest
	missing bool
}

func (d damagedBase) Open(want manifest.Digest) (io.ReadCloser, error) {
	f, err := d.Base.Open(want)
	if want != d.bad || err != nil {
		return f, err
	}
	if d.missing {
		return nil, os.ErrNotExist
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	b[len(b)/2] ^= 1
	return io.NopCloser(bytes.NewReader(b)), nil
}

func TestDamagedBase(t *testing.T) {
	old := sampleTree(1)
	next := &tree{}
	for _, p := range old.paths {
		next.set(p, old.files[p])
	}
	const path = "src/d2/f45.go"
	next.set(path, append(bytes.Clone(old.files[path]), "// more\n"...))
	m1, m2 := old.manifest("1"), next.manifest("2")
	x, f := delta(t, old, next, m1, m2)
	for _, missing := range []bool{false, true} {
		bad := damagedBase{Base: old, bad: manifest.Sum(old.files[path]), missing: missing}
		r, err := pack.NewReader(t.Context(), x, pack.FileChunks(x, f), &pack.Basis{Manifest: m1, Files: bad}, pack.ReaderOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, c, err := r.Next(t.Context())
		if err == nil {
			_, err = io.ReadAll(c)
		}
		b, ok := errors.AsType[*pack.BaseError](err)
		if !ok || b.Path != path || b.Digest != bad.bad || b.Base != m1.ID() {
			t.Errorf("missing %v: got %v", missing, err)
		}
		if !missing && !fault.Is(err, fault.KindCorrupt) {
			t.Errorf("kind of %v", err)
		}
		r.Close()
	}
}
