package pack_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/pack"
)

func TestDecodeRefuses(t *testing.T) {
	tr := sampleTree(1)
	x, _ := full(t, tr, tr.manifest("1"))
	good := string(x.Bytes())
	for name, tt := range map[string]struct {
		text string
		kind fault.Kind
	}{
		"empty":         {"", fault.KindCorrupt},
		"newer":         {`{"format":2}`, fault.KindUnsupported},
		"cut":           {good[:len(good)-3], fault.KindCorrupt},
		"space":         {strings.Replace(good, `"manifest":`, `"manifest": `, 1), fault.KindCorrupt},
		"two":           {good + good, fault.KindCorrupt},
		"unknown field": {strings.Replace(good, `{"format":1,`, `{"format":1,"x":1,`, 1), fault.KindCorrupt},
		"huge chunk":    {strings.Replace(good, `"s":`, `"s":9`+strings.Repeat("0", 9), 1), fault.KindCorrupt},
		"negative":      {strings.Replace(good, `"s":`, `"s":-`, 1), fault.KindCorrupt},
		"no chunks":     {good[:strings.Index(good, "[")+1] + "]}\n", fault.KindCorrupt},
		"wrong head":    {strings.Replace(good, `"head":1`, `"head":2`, 1), fault.KindCorrupt},
	} {
		if tt.text == good {
			t.Fatalf("%s changes nothing", name)
		}
		if _, err := pack.Decode([]byte(tt.text)); !fault.Is(err, tt.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// oneChunk gives the same bytes for every chunk.
type oneChunk []byte

func (c oneChunk) Chunk(_ context.Context, _ int, buf []byte) ([]byte, error) {
	return append(buf, c...), nil
}

// FuzzChunk feeds a reader with chunks that a hostile maker of packs signed for: they
// end in an error, in bounded memory, without a panic.
func FuzzChunk(f *testing.F) {
	tr := &tree{}
	tr.set("a", []byte("some contents"))
	m := tr.manifest("1")
	x, file := full(f, tr, m)
	for i := range x.Chunks {
		wire, err := pack.FileChunks(x, file).Chunk(f.Context(), i, nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire, x.Chunks[i].Raw)
	}
	f.Fuzz(func(t *testing.T, wire []byte, raw int) {
		if len(wire) == 0 || raw <= 0 || raw > 1<<24 {
			return
		}
		y := &pack.Index{
			Format: pack.Format, Release: m.ID(), Manifest: int64(min(raw, 300)),
			Chunks: []pack.Chunk{{Digest: manifest.Sum(wire), Size: len(wire), Raw: raw}},
		}
		r, err := pack.NewReader(t.Context(), y, oneChunk(wire), nil, pack.ReaderOptions{Workers: 1})
		if err != nil {
			return
		}
		defer r.Close()
		for {
			_, c, err := r.Next(t.Context())
			if err != nil {
				if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && y.Manifest != int64(len(m.Bytes())) {
					t.Error("a pack of another size was read to its end")
				}
				return
			}
			_, _ = io.Copy(io.Discard, c)
		}
	})
}

// Every byte of a chunk that is changed shows, even where nobody checks the chunk's
// digest.
func TestFlippedChunk(t *testing.T) {
	tr := &tree{}
	tr.set("a", bytes.Repeat([]byte("some contents\n"), 50))
	m := tr.manifest("1")
	x, file := full(t, tr, m)
	for i := range x.Chunks {
		wire, err := pack.FileChunks(x, file).Chunk(t.Context(), i, nil)
		if err != nil {
			t.Fatal(err)
		}
		for at := range wire {
			wire[at] ^= 0x10
			r, err := pack.NewReader(t.Context(), x, replaced{pack.FileChunks(x, file), i, wire}, nil, pack.ReaderOptions{Workers: 1})
			if err != nil {
				t.Fatal(err)
			}
			_, c, err := r.Next(t.Context())
			var b []byte
			if err == nil {
				b, err = io.ReadAll(c)
			}
			if err == nil && !bytes.Equal(b, tr.files["a"]) {
				t.Fatalf("chunk %d, byte %d: wrong contents without an error", i, at)
			}
			r.Close()
			wire[at] ^= 0x10
		}
	}
}

// replaced gives other bytes for one chunk.
type replaced struct {
	pack.Chunks
	chunk int
	wire  []byte
}

func (r replaced) Chunk(ctx context.Context, i int, buf []byte) ([]byte, error) {
	if i == r.chunk {
		return append(buf, r.wire...), nil
	}
	return r.Chunks.Chunk(ctx, i, buf)
}
