package story

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"
)

// item is one entry of an archive that means harm.
type item struct {
	name, link, text string
	typ              byte
	size             int64 // claimed, if it is not that of text
}

const (
	reg, hard, soft, char, block, fifo = tar.TypeReg, tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo
)

// hostile are the archives that issue and unpacking know as attacks.
var hostile = map[string][]item{
	"absolute":         {{name: "/tmp/story-evil", text: "x", typ: reg}},
	"dotdot":           {{name: "a/../../evil", text: "x", typ: reg}},
	"through-symlink":  {{name: "out", link: "/tmp", typ: soft}, {name: "out/story-evil", text: "x", typ: reg}},
	"hardlink-outside": {{name: "shadow", link: "/etc/shadow", typ: hard}},
	"hardlink-up":      {{name: "shadow", link: "../../etc/shadow", typ: hard}},
	"char-device":      {{name: "dev/null", typ: char}},
	"block-device":     {{name: "dev/sda", typ: block}},
	"pipe":             {{name: "pipe", typ: fifo}},
	"huge":             {{name: "huge.bin", text: "x", typ: reg, size: 1 << 61}},
	"short":            {{name: "short.bin", text: "x", typ: reg, size: 1 << 20}},
	"duplicate":        {{name: "twice", text: "first", typ: reg}, {name: "twice", text: "second", typ: reg}},
	"below-file":       {{name: "good/inner", text: "x", typ: reg}},
}

// hostileCmd writes an archive that means harm: hostile KIND FILE. Before the bad entry
// it holds a good one, "good".
func hostileCmd(ts *testscript.TestScript, neg bool, args []string) {
	neverNegated(ts, neg, "hostile KIND FILE", len(args) == 2)
	var data []byte
	switch kind := args[0]; kind {
	case "cut-gzip", "cut-zstd":
		data = cut(ts, strings.TrimPrefix(kind, "cut-"))
	case "no-archive":
		data = []byte(strings.Repeat("this is no archive\n", 500))
	case "million":
		data = million()
	default:
		items, ok := hostile[kind]
		if !ok {
			ts.Fatalf("no attack %s", kind)
		}
		data = tarball(slices.Concat([]item{{name: "good", text: "good", typ: reg}}, items))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), data, 0o600))
}

// tarball writes entries as they are told; it does not mind what they claim.
func tarball(items []item) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		h := &tar.Header{Name: i.name, Linkname: i.link, Typeflag: i.typ, Mode: 0o644, Size: max(i.size, int64(len(i.text))), ModTime: time.Unix(1700000000, 0)}
		if err := w.WriteHeader(h); err != nil {
			panic(err) // the table above is wrong
		}
		_, _ = io.WriteString(w, i.text)
	}
	_ = w.Close() // a claimed size makes this fail, as it should
	return b.Bytes()
}

// cut returns a compressed archive without its second half.
func cut(ts *testscript.TestScript, how string) []byte {
	noise := make([]byte, 200_000)
	for i := range noise {
		noise[i] = byte(i * i >> 7)
	}
	raw := tarball([]item{{name: "good", text: "good", typ: reg}, {name: "long", text: string(noise), typ: reg}})
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if how == "zstd" {
		z, err := zstd.NewWriter(&b)
		ts.Check(err)
		w = z
	}
	_, err := w.Write(raw)
	ts.Check(err)
	ts.Check(w.Close())
	return b.Bytes()[:b.Len()/2]
}

// million returns the gzip of a million empty files and a bit.
func million() []byte {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed) // a known level
	w := tar.NewWriter(z)
	for i := range 1_000_001 {
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("d%03d/%d", i%1000, i), Mode: 0o644, Typeflag: reg}); err != nil {
			panic(err)
		}
	}
	_, _ = w.Close(), z.Close() // into memory
	return b.Bytes()
}
