package pack

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

// Bytes returns the index in its canonical form: JSON on one line, fields in a fixed
// order, what is zero left out.
func (x *Index) Bytes() []byte {
	b := make([]byte, 0, 256+100*len(x.Chunks))
	b = append(b, `{"format":`...)
	b = strconv.AppendInt(b, int64(x.Format), 10)
	b = append(b, `,"release":"`...)
	b = hex.AppendEncode(b, x.Release[:])
	b = append(b, '"')
	if !x.Base.IsZero() {
		b = append(b, `,"base":"`...)
		b = hex.AppendEncode(b, x.Base[:])
		b = append(b, '"')
	}
	b = append(b, `,"manifest":`...)
	b = strconv.AppendInt(b, x.Manifest, 10)
	if x.Head != 0 {
		b = append(b, `,"head":`...)
		b = strconv.AppendInt(b, int64(x.Head), 10)
	}
	b = append(b, `,"chunks":[`...)
	for i := range x.Chunks {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"d":"`...)
		b = hex.AppendEncode(b, x.Chunks[i].Digest[:])
		b = append(b, `","s":`...)
		b = strconv.AppendInt(b, int64(x.Chunks[i].Size), 10)
		b = append(b, `,"r":`...)
		b = strconv.AppendInt(b, int64(x.Chunks[i].Raw), 10)
		b = append(b, '}')
	}
	return append(b, "]}\n"...)
}

// ID returns the SHA-256 of the canonical form.
func (x *Index) ID() manifest.Digest { return manifest.Sum(x.Bytes()) }

// MarshalJSON writes the canonical form.
func (x *Index) MarshalJSON() ([]byte, error) { return bytes.TrimSuffix(x.Bytes(), []byte("\n")), nil }

// wireIndex is Index as JSON has it.
type wireIndex struct {
	Format   int             `json:"format"`
	Release  manifest.Digest `json:"release"`
	Base     manifest.Digest `json:"base"`
	Manifest int64           `json:"manifest"`
	Head     int             `json:"head"`
	Chunks   []struct {
		Digest manifest.Digest `json:"d"`
		Size   int             `json:"s"`
		Raw    int             `json:"r"`
	} `json:"chunks"`
}

// Decode reads an index in canonical form and checks it against the bounds. The ID
// of what it returns is the SHA-256 of b. Bytes that are no index give a Corrupt
// fault, a newer format an Unsupported one.
func Decode(b []byte) (*Index, error) {
	if len(b) > MaxIndex {
		return nil, fault.Corrupt(fmt.Sprintf("pack index of %d bytes; at most %d", len(b), MaxIndex))
	}
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return nil, broken(err)
	}
	if version.Format != Format {
		return nil, fault.Unsupported(fmt.Sprintf("pack format %d is not known here (this version reads %d)", version.Format, Format)).
			Try("upgrade kaname on this host")
	}
	var w wireIndex
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		return nil, broken(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, broken(errors.New("something stands after the value"))
	}
	x := &Index{Format: w.Format, Release: w.Release, Base: w.Base, Manifest: w.Manifest, Head: w.Head, Chunks: make([]Chunk, len(w.Chunks))}
	for i, c := range w.Chunks {
		x.Chunks[i] = Chunk{Digest: c.Digest, Size: c.Size, Raw: c.Raw}
	}
	if err := x.check(); err != nil {
		return nil, broken(err)
	}
	if !bytes.Equal(x.Bytes(), b) {
		return nil, broken(errors.New("not in canonical form"))
	}
	return x, nil
}

func broken(err error) error {
	return fault.Corrupt("pack index").Because(err).Try("fetch it again; if it comes from another version of kaname, upgrade")
}

// check verifies the bounds.
func (x *Index) check() error {
	switch {
	case len(x.Chunks) == 0 || len(x.Chunks) > MaxChunks:
		return fmt.Errorf("%d chunks; 1 to %d", len(x.Chunks), MaxChunks)
	case x.Manifest <= 0 || x.Manifest > x.Raw():
		return fmt.Errorf("manifest of %d bytes in a pack of %d", x.Manifest, x.Raw())
	case x.Head < 0 || x.Head > len(x.Chunks):
		return fmt.Errorf("head of %d chunks of %d", x.Head, len(x.Chunks))
	case x.Release.IsZero() || x.Release == x.Base:
		return errors.New("release missing, or its own base")
	}
	head := int64(0)
	for i := range x.Chunks {
		c := &x.Chunks[i]
		if c.Size <= 0 || c.Size > MaxChunk || c.Raw <= 0 || c.Raw > 1<<30 {
			return fmt.Errorf("chunk %d of %d bytes (%d before compression)", i, c.Size, c.Raw)
		}
		if i < x.Head {
			head += int64(c.Raw)
		}
	}
	if x.Head > 0 && head != x.Manifest {
		return fmt.Errorf("head of %d bytes for a manifest of %d", head, x.Manifest)
	}
	return nil
}

// Offset returns where a store keeps chunk i in the pack's file: the chunks in order,
// but the head last, since its bytes are the last to be known where a pack is made.
func (x *Index) Offset(i int) int64 {
	n := int64(0)
	for j := x.Head; j < len(x.Chunks) && (i < x.Head || j < i); j++ {
		n += int64(x.Chunks[j].Size)
	}
	if i < x.Head {
		for j := range i {
			n += int64(x.Chunks[j].Size)
		}
	}
	return n
}
