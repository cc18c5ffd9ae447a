package bundle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/klauspost/compress/zstd"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
)

// maxWindow bounds the memory of a decompressor, bytes.
const maxWindow = 32 << 20

// Open reads the bundle at path. Each entry is checked against the manifest; nothing is
// written. What is not right in it is a fault of kind corrupt, what is too much of kind full.
func Open(path string, limits Limits) (*Bundle, error) {
	f, err := os.Open(path) //nolint:gosec // the user's own file
	if err != nil {
		return nil, fault.Of(err)
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := Read(f, limits)
	if err != nil {
		return nil, fault.Of(err).At(path)
	}
	return b, nil
}

// Read is Open for a stream.
func Read(r io.Reader, limits Limits) (*Bundle, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, broken(err)
	}
	defer z.Close()
	in, err := newIntake(limits.filled())
	if err != nil {
		return nil, err
	}
	plain := &io.LimitedReader{R: z, N: in.limits.Total}
	err = in.entries(tar.NewReader(plain))
	if err == nil { // to the end, for there is the checksum
		_, err = io.Copy(io.Discard, plain)
		err = broken(err)
	}
	if plain.N <= 0 {
		return nil, fault.Full(fmt.Sprintf("the bundle unpacks to more than %d MB", in.limits.Total>>20)).Try("raise the limit, if you trust who made it")
	}
	if err != nil {
		return nil, err
	}
	return in.finish()
}

// intake is a bundle while it is read.
type intake struct {
	limits   Limits
	sums     map[string]string
	hosts    map[string][]byte
	intent   []byte
	manifest []byte
	zip      *zstd.Encoder
	room     []byte // in which hosts are compressed
}

func newIntake(l Limits) (*intake, error) {
	zip, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return &intake{limits: l, sums: map[string]string{}, hosts: map[string][]byte{}, zip: zip}, nil
}

func (in *intake) entries(t *tar.Reader) error {
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return broken(err)
		}
		if in.manifest != nil {
			return fault.Corrupt(fmt.Sprintf("entry %.100q comes after the manifest", h.Name))
		}
		if err := in.entry(h, t); err != nil {
			return err
		}
	}
}

func (in *intake) entry(h *tar.Header, r io.Reader) error {
	host, isHost := hostOf(h.Name)
	switch {
	case h.Typeflag != tar.TypeReg:
		return fault.Corrupt(fmt.Sprintf("entry %.100q is no file", h.Name))
	case !isHost && h.Name != intentName && h.Name != manifestName:
		return fault.Corrupt(fmt.Sprintf("entry %.100q has no place in a bundle", h.Name))
	case in.sums[h.Name] != "":
		return fault.Corrupt(fmt.Sprintf("entry %.100q is there twice", h.Name))
	case h.Size > in.limits.File:
		return fault.Full(fmt.Sprintf("entry %.100q has %d MB, more than %d", h.Name, h.Size>>20, in.limits.File>>20)).Try("raise the limit, if you trust who made it")
	case isHost && len(in.hosts) >= in.limits.Hosts:
		return fault.Full(fmt.Sprintf("the bundle has more than %d hosts", in.limits.Hosts))
	}
	sum := sha256.New()
	var plain bytes.Buffer
	if _, err := io.Copy(io.MultiWriter(sum, &plain), r); err != nil {
		return broken(err)
	}
	in.sums[h.Name] = hex.EncodeToString(sum.Sum(nil))
	switch {
	case isHost:
		in.room = in.zip.EncodeAll(plain.Bytes(), in.room[:0])
		in.hosts[host] = bytes.Clone(in.room) // without the room that compressing takes
	case h.Name == intentName:
		in.intent = plain.Bytes()
	default:
		in.manifest = plain.Bytes()
	}
	return nil
}

// finish compares what was there with the manifest.
func (in *intake) finish() (*Bundle, error) {
	if in.manifest == nil {
		return nil, fault.Corrupt("the bundle has no manifest: it was cut off, or is none").Try("get it again from who made it")
	}
	b := &Bundle{limits: in.limits, hosts: in.hosts}
	if err := decode(in.manifest, manifestName, in.limits, &b.Manifest); err != nil {
		return nil, err
	}
	if err := supported(b.Manifest.Version, Version, "the bundle"); err != nil {
		return nil, err
	}
	delete(in.sums, manifestName)
	for name, sum := range b.Manifest.Files {
		switch in.sums[name] {
		case sum:
		case "":
			return nil, fault.Corrupt(fmt.Sprintf("entry %.100q is missing", name)).Try("get it again from who made it")
		default:
			return nil, fault.Corrupt(fmt.Sprintf("entry %.100q is not the one that the manifest lists", name)).Try("get it again from who made it")
		}
	}
	if len(in.sums) != len(b.Manifest.Files) {
		return nil, fault.Corrupt("the bundle has entries that the manifest does not list")
	}
	if in.intent == nil {
		return nil, fault.Corrupt("the bundle has no " + intentName)
	}
	b.Cloud = &intent.Cloud{}
	if err := decode(in.intent, intentName, in.limits, b.Cloud); err != nil {
		return nil, err
	}
	return b, supported(b.Cloud.Version, intent.Version, intentName)
}

// Names lists the hosts.
func (b *Bundle) Names() []string { return slices.Sorted(maps.Keys(b.hosts)) }

// Size is the memory that the hosts take while nobody has asked for them, bytes.
func (b *Bundle) Size() (n int64) {
	for _, h := range b.hosts {
		n += int64(len(h))
	}
	return n
}

// Host unpacks a host. Each call makes a copy of its own; a fault of kind not found says that
// there is none of that name.
func (b *Bundle) Host(name string) (*facts.Host, error) {
	packed, ok := b.hosts[name]
	if !ok {
		return nil, fault.NotFound(fmt.Sprintf("host %.100q is not in the bundle", name)).Try("collect it and make the bundle again")
	}
	h, err := unpack(packed, b.limits)
	if err == nil && h.Name != name {
		err = fault.Corrupt(fmt.Sprintf("the facts of host %.100q are in the place of those of %.100q", h.Name, name))
	}
	if err != nil {
		return nil, err
	}
	return h, nil
}

// decode reads JSON that may be hostile: small texts that ask for much memory are refused.
func decode(raw []byte, name string, l Limits, into any) error {
	if n := bytes.Count(raw, []byte("{")) + bytes.Count(raw, []byte("null")); n > l.Objects {
		return fault.Full(fmt.Sprintf("%s has %d objects, more than %d", name, n, l.Objects)).Try("raise the limit, if you trust who made it")
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fault.Corrupt(name + " cannot be understood").Because(err)
	}
	return nil
}

func supported(has, most int, what string) error {
	if has < 1 || has > most {
		return fault.Unsupported(fmt.Sprintf("%s has the form %d, this kaname reads up to %d", what, has, most)).Try("use a newer kaname")
	}
	return nil
}

// broken makes a fault of what a decompressor or tar says; nil of nil.
func broken(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fault.Full("the bundle asks for too much memory to unpack").Because(err)
	}
	return fault.Corrupt("it is no bundle, or was cut off or damaged").Because(err).Try("get it again from who made it")
}
