package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"kaname.dev/kaname/fault"
)

// maxWindow is the largest zstd window that is accepted, as zstd's own default
// (--long=27): 128 MiB.
const maxWindow = 128 << 20

// blockSize is the unit of tar.
const blockSize = 512

// rawReader counts and hashes the archive as given.
type rawReader struct {
	r    io.Reader
	hash hash.Hash
	n    int64
	err  error // why the source ended, other than io.EOF
}

func newRawReader(r io.Reader) *rawReader { return &rawReader{r: r, hash: sha256.New()} }

func (r *rawReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.hash.Write(p[:n])
	r.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// flatReader counts the tar stream and stops a decompression bomb.
type flatReader struct {
	r     io.Reader
	raw   *rawReader
	ratio int64 // expanded bytes per given byte; 0 for a plain tar
	n     int64
}

func (r *flatReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n += int64(n)
	if r.ratio > 0 && r.n > ratioFloor && r.n/r.ratio > r.raw.n {
		return n, fault.Invalid(fmt.Sprintf("%d bytes expand to more than %d, over %d times as many", r.raw.n, r.n, r.ratio)).
			Try("if the archive is meant to be like that, raise --max-ratio")
	}
	return n, err
}

// kinds are the formats by their first bytes; those without a reader are refused
// by name.
var kinds = []struct {
	magic  string
	format string
	open   func(io.Reader) (io.Reader, func(), error)
}{
	{"\x1f\x8b", "tar.gz", openGzip},
	{"\x28\xb5\x2f\xfd", "tar.zst", openZstd},
	{"BZh", "tar.bz2", func(r io.Reader) (io.Reader, func(), error) { return bzip2.NewReader(r), nil, nil }},
	{"\xfd7zXZ\x00", "tar.xz", func(r io.Reader) (io.Reader, func(), error) {
		x, err := xz.NewReader(r)
		return x, nil, err
	}},
	{"PK\x03\x04", "zip", nil},
	{"PK\x05\x06", "zip", nil},
	{"7z\xbc\xaf\x27\x1c", "7z", nil},
	{"\x04\x22\x4d\x18", "lz4", nil},
	{"LZIP", "lzip", nil},
	{"\x1f\x9d", "compress (.Z)", nil},
	{"Rar!", "rar", nil},
	{"\xed\xab\xee\xdb", "rpm", nil},
	{"!<arch>", "ar or deb", nil},
	{"07070", "cpio", nil},
}

func openGzip(r io.Reader) (io.Reader, func(), error) {
	z, err := gzip.NewReader(r)
	return z, nil, err
}

func openZstd(r io.Reader) (io.Reader, func(), error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, nil, err
	}
	return z, z.Close, nil
}

// begin finds the format and places the decompressor.
func (a *Reader) begin() error {
	in := bufio.NewReaderSize(a.raw, 256<<10)
	head, err := in.Peek(blockSize)
	if len(head) == 0 {
		if a.raw.err != nil {
			return fmt.Errorf("read: %w", a.raw.err)
		}
		return fault.Invalid("the archive is empty").Try("give a tar file, plain or compressed with gzip, zstd, bzip2 or xz")
	}
	if err != nil && a.raw.err != nil {
		return fmt.Errorf("read: %w", a.raw.err)
	}
	a.flat = &flatReader{r: in, raw: a.raw}
	a.format = "tar"
	for _, k := range kinds {
		if !bytes.HasPrefix(head, []byte(k.magic)) {
			continue
		}
		if k.open == nil {
			return fault.Unsupported("a " + k.format + " archive cannot be a release").Try("pack the files with tar, for example: tar -caf app.tar.zst -C DIRECTORY .")
		}
		r, closer, err := k.open(in)
		if err != nil {
			return fmt.Errorf("begin of %s: %w", k.format, noEOF(err))
		}
		a.format, a.close = k.format, closer
		flat := bufio.NewReaderSize(r, 64<<10)
		a.flat.r, a.flat.ratio = flat, a.opt.MaxRatio
		if head, err = flat.Peek(blockSize); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(head) == 0 {
			return io.ErrUnexpectedEOF
		}
		break
	}
	if len(head) < blockSize || !isTar(head) {
		return fault.Invalid("not an archive: the first bytes are no tar header").
			Try("give a tar file, plain or compressed with gzip, zstd, bzip2 or xz")
	}
	return nil
}

// isTar reports whether block begins a tar: a header whose checksum is right, or
// the zeros that end an archive without entries.
func isTar(block []byte) bool {
	if len(bytes.Trim(block, "\x00")) == 0 {
		return true
	}
	// Anything but ErrHeader means that the header itself was read.
	_, err := tar.NewReader(bytes.NewReader(block)).Next()
	return !errors.Is(err, tar.ErrHeader)
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
