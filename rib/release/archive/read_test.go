package archive_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/archive"
	"kaname.dev/kaname/rib/release/manifest"
)

var then = time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)

// item is one tar entry of a test; the zero type is a regular file.
type item struct {
	name, link, text string
	typ              byte
	mode             int64
	size             int64 // claimed, if not len(text)
	pax              map[string]string
}

// build makes a tar; a claimed size is filled up with nothing, so it ends there.
func build(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		h := &tar.Header{Name: i.name, Linkname: i.link, Typeflag: i.typ, Mode: i.mode, Size: int64(len(i.text)), ModTime: then, PAXRecords: i.pax}
		if i.typ == 0 {
			h.Typeflag = tar.TypeReg
		}
		if i.mode == 0 {
			h.Mode = 0o644
		}
		if i.size != 0 {
			h.Size = i.size
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, i.text); err != nil {
			t.Fatal(err)
		}
		if i.size != 0 {
			return b.Bytes()
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// readAll reads an archive as a release would.
func readAll(r io.Reader, o archive.Options) (*manifest.Manifest, map[string]string, error) {
	a, err := archive.Open(r, "app.tar", o)
	if err != nil {
		return nil, nil, err
	}
	defer a.Close()
	texts := map[string]string{}
	for {
		e, body, err := a.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		b, err := io.ReadAll(body)
		if err != nil {
			return nil, nil, err
		}
		texts[e.Path] = string(b)
	}
	m, err := a.Manifest(manifest.Header{App: "app", Version: "1", Created: then})
	return m, texts, err
}

func sum(s string) *manifest.Digest {
	d := manifest.Sum([]byte(s))
	return &d
}

func TestDuplicatesAsTar(t *testing.T) {
	d := manifest.Entry{Path: "d", Type: manifest.Dir}
	file := func(p, text string) manifest.Entry {
		return manifest.Entry{Path: p, Type: manifest.File, Size: int64(len(text)), Digest: sum(text)}
	}
	link := func(p, to string) manifest.Entry { return manifest.Entry{Path: p, Type: manifest.Hardlink, Link: to} }
	tests := map[string]struct {
		items []item
		want  []manifest.Entry
	}{
		"the last file wins":        {[]item{{name: "a", text: "1"}, {name: "./a", text: "22"}}, []manifest.Entry{file("a", "22")}},
		"directory twice":           {[]item{{name: "d/", typ: '5'}, {name: "d/x", text: "1"}, {name: "d/", typ: '5'}}, []manifest.Entry{d, file("d/x", "1")}},
		"directory after its files": {[]item{{name: "d/x", text: "1"}, {name: "d/", typ: '5'}}, []manifest.Entry{file("d/x", "1"), d}},
		"symlink becomes directory": {[]item{{name: "d", typ: '2', link: "/etc"}, {name: "d/", typ: '5'}, {name: "d/x", text: "1"}}, []manifest.Entry{d, file("d/x", "1")}},
		"hard link keeps what was replaced": {
			[]item{{name: "a", text: "old"}, {name: "b", typ: '1', link: "a"}, {name: "c", typ: '1', link: "b"}, {name: "a", text: "new"}},
			[]manifest.Entry{file("b", "old"), link("c", "b"), file("a", "new")},
		},
		"hard link to itself":         {[]item{{name: "a", text: "1"}, {name: "a", typ: '1', link: "./a"}}, []manifest.Entry{file("a", "1")}},
		"links in a circle":           {[]item{{name: "a", text: "1"}, {name: "b", typ: '1', link: "a"}, {name: "a", typ: '1', link: "b"}}, []manifest.Entry{file("a", "1"), link("b", "a")}},
		"hard link to a symlink":      {[]item{{name: "s", typ: '2', link: "x"}, {name: "h", typ: '1', link: "s"}}, []manifest.Entry{{Path: "s", Type: manifest.Symlink, Link: "x"}, {Path: "h", Type: manifest.Symlink, Link: "x"}}},
		"empty directory to file":     {[]item{{name: "d/", typ: '5'}, {name: "d", text: "1"}}, []manifest.Entry{file("d", "1")}},
		"names of bytes, not letters": {[]item{{name: "caf\xe9", text: "1"}}, []manifest.Entry{file("caf\xe9", "1")}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, _, err := readAll(bytes.NewReader(build(t, tt.items...)), archive.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, m.Entries, cmpopts.IgnoreFields(manifest.Entry{}, "Mode", "MTime")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFormats(t *testing.T) {
	flat := build(t, item{name: "./", typ: '5', mode: 0o700}, item{name: "a", text: strings.Repeat("kaname ", 10000)}, item{name: "b", text: "b"})
	want, _, err := readAll(bytes.NewReader(flat), archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if want.Root == nil || want.Root.Mode != 0o700 {
		t.Errorf("root entry %+v", want.Root)
	}
	for _, tool := range []string{"gzip", "zstd", "bzip2", "xz"} {
		t.Run(tool, func(t *testing.T) {
			c := exec.CommandContext(t.Context(), tool, "-c")
			c.Stdin = bytes.NewReader(flat)
			packed, err := c.Output()
			if err != nil {
				t.Skip(err)
			}
			m, _, err := readAll(bytes.NewReader(packed), archive.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if *m.Archive != manifest.Sum(packed) {
				t.Error("the archive's digest is wrong")
			}
			if diff := cmp.Diff(want.Entries, m.Entries); diff != "" {
				t.Error(diff)
			}
			for _, cut := range []int{len(packed) - 1, len(packed) / 2, 20} {
				if _, _, err := readAll(bytes.NewReader(packed[:cut]), archive.Options{}); !fault.Is(err, fault.KindCorrupt) {
					t.Errorf("cut at %d of %d: %v", cut, len(packed), err)
				}
			}
			flipped := bytes.Clone(packed)
			flipped[len(flipped)/2] ^= 0x40
			if _, _, err := readAll(bytes.NewReader(flipped), archive.Options{}); err == nil {
				t.Error("a flipped bit was accepted")
			}
			if _, _, err := readAll(bytes.NewReader(append(bytes.Clone(packed), "garbage"...)), archive.Options{}); err == nil {
				t.Error("garbage after the end was accepted")
			}
		})
	}
}

func TestStrip(t *testing.T) {
	b := build(t, item{name: "app-1/", typ: '5'}, item{name: "app-1/bin/", typ: '5'}, item{name: "app-1/bin/a", text: "1"},
		item{name: "app-1/b", typ: '1', link: "app-1/bin/a"}, item{name: "README", text: "x"})
	m, _, err := readAll(bytes.NewReader(b), archive.Options{Strip: 1})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range m.Entries {
		got = append(got, e.Path+" "+e.Link)
	}
	if diff := cmp.Diff([]string{"bin ", "bin/a ", "b bin/a"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestRefuses(t *testing.T) {
	ok := item{name: "ok", text: "1"}
	good := build(t, ok, item{name: "b", text: strings.Repeat("b", 1000)})
	bomb := func() []byte {
		var b bytes.Buffer
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w := tar.NewWriter(z)
		_ = w.WriteHeader(&tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Mode: 0o644, Size: 300 << 20})
		_, _ = io.CopyN(w, zeros{}, 300<<20)
		_ = w.Close()
		_ = z.Close()
		return b.Bytes()
	}
	tests := map[string]struct {
		archive []byte
		opt     archive.Options
		kind    fault.Kind
		says    string
	}{
		"absolute name":            {build(t, ok, item{name: "/etc/passwd", text: "x"}), archive.Options{}, fault.KindInvalid, `"/etc/passwd"`},
		"dot dot":                  {build(t, ok, item{name: "../x", text: "x"}), archive.Options{}, fault.KindInvalid, `".."`},
		"dot dot inside":           {build(t, ok, item{name: "a/../b", text: "x"}), archive.Options{}, fault.KindInvalid, `".."`},
		"dot dot alone":            {build(t, ok, item{name: "..", typ: '5'}), archive.Options{}, fault.KindInvalid, `".."`},
		"through a symlink":        {build(t, item{name: "s", typ: '2', link: "/tmp"}, item{name: "s/x", text: "x"}), archive.Options{}, fault.KindInvalid, "written through"},
		"deep through a symlink":   {build(t, item{name: "s", typ: '2', link: "."}, item{name: "s/a/b/c", text: "x"}), archive.Options{}, fault.KindInvalid, "written through"},
		"directory through it":     {build(t, item{name: "s", typ: '2', link: "."}, item{name: "s/a/", typ: '5'}), archive.Options{}, fault.KindInvalid, "written through"},
		"below a file":             {build(t, ok, item{name: "ok/x", text: "x"}), archive.Options{}, fault.KindInvalid, "written through"},
		"symlink for a directory":  {build(t, item{name: "d/x", text: "x"}, item{name: "d", typ: '2', link: "/"}), archive.Options{}, fault.KindInvalid, "not empty"},
		"hard link outside":        {build(t, ok, item{name: "h", typ: '1', link: "/etc/passwd"}), archive.Options{}, fault.KindInvalid, "/etc/passwd"},
		"hard link up":             {build(t, ok, item{name: "h", typ: '1', link: "../x"}), archive.Options{}, fault.KindInvalid, "../x"},
		"hard link to nothing":     {build(t, ok, item{name: "h", typ: '1', link: "none"}), archive.Options{}, fault.KindInvalid, "not earlier"},
		"hard link via symlink":    {build(t, item{name: "s", typ: '2', link: "/etc"}, item{name: "h", typ: '1', link: "s/passwd"}), archive.Options{}, fault.KindInvalid, "not earlier"},
		"hard link to a directory": {build(t, item{name: "d/", typ: '5'}, item{name: "h", typ: '1', link: "d"}), archive.Options{}, fault.KindInvalid, "directory"},
		"character device":         {build(t, ok, item{name: "null", typ: '3'}), archive.Options{}, fault.KindInvalid, "device"},
		"block device":             {build(t, ok, item{name: "sda", typ: '4'}), archive.Options{}, fault.KindInvalid, "device"},
		"pipe":                     {build(t, ok, item{name: "p", typ: '6'}), archive.Options{}, fault.KindInvalid, "pipe"},
		"long component":           {build(t, item{name: strings.Repeat("n", 256), text: "x"}), archive.Options{}, fault.KindInvalid, "255"},
		"long path":                {build(t, item{name: strings.Repeat("n/", 3000) + "x", text: "x"}), archive.Options{}, fault.KindInvalid, "4096"},
		"huge claimed size":        {build(t, ok, item{name: "huge", size: 8<<60 - 1}), archive.Options{}, fault.KindInvalid, "--max-size"},
		"claimed beyond the data":  {build(t, ok, item{name: "more", text: "x", size: 1 << 20}), archive.Options{}, fault.KindCorrupt, "cut off"},
		"too many entries":         {build(t, ok, item{name: "b"}, item{name: "c"}), archive.Options{MaxEntries: 2}, fault.KindInvalid, "--max-entries"},
		"too large together":       {good, archive.Options{MaxSize: 1000}, fault.KindInvalid, "--max-size"},
		"bomb":                     {bomb(), archive.Options{}, fault.KindInvalid, "--max-ratio"},
		"cut within contents":      {good[:2000], archive.Options{}, fault.KindCorrupt, "cut off"},
		"cut between entries":      {good[:1024], archive.Options{}, fault.KindCorrupt, "end-of-archive"},
		"cut within the marker":    {good[:len(good)-512], archive.Options{}, fault.KindCorrupt, "end-of-archive"},
		"damaged header":           {append(append(bytes.Clone(good[:1024]), "x"...), good[1025:]...), archive.Options{}, fault.KindCorrupt, "header"},
		"two tars":                 {append(bytes.Clone(good), good...), archive.Options{}, fault.KindInvalid, "garbage"},
		"garbage at the end":       {append(bytes.Clone(good), "x"...), archive.Options{}, fault.KindInvalid, "garbage"},
		"not an archive":           {[]byte(strings.Repeat("hello world ", 100)), archive.Options{}, fault.KindInvalid, "not an archive"},
		"short":                    {[]byte("hello"), archive.Options{}, fault.KindInvalid, "not an archive"},
		"empty":                    {nil, archive.Options{}, fault.KindInvalid, "empty"},
		"zip":                      {[]byte("PK\x03\x04" + strings.Repeat("x", 1000)), archive.Options{}, fault.KindUnsupported, "zip"},
		"xattr too large":          {build(t, item{name: "x", pax: map[string]string{"SCHILY.xattr.user.big": strings.Repeat("x", 200<<10)}}), archive.Options{}, fault.KindInvalid, "attributes"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := readAll(bytes.NewReader(tt.archive), tt.opt)
			if !fault.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "archive app.tar") {
				t.Fatalf("got %v, want %s with %q", err, tt.kind, tt.says)
			}
			if fault.Of(err).Remedy == "" {
				t.Errorf("no remedy: %v", err)
			}
			t.Log(err)
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// When the source breaks, the archive is not to blame.
func TestSourceError(t *testing.T) {
	good := build(t, item{name: "a", text: strings.Repeat("a", 1<<20)})
	broken := fault.Unavailable("s3://bucket/app.tar: connection reset")
	_, _, err := readAll(io.MultiReader(bytes.NewReader(good[:700000]), failing{broken}), archive.Options{})
	if !fault.Is(err, fault.KindUnavailable) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func FuzzReader(f *testing.F) {
	f.Add(build(f, item{name: "a", text: "1"}, item{name: "b", typ: '1', link: "a"}, item{name: "s", typ: '2', link: "/"}))
	f.Add(build(f, item{name: "x", pax: map[string]string{"SCHILY.xattr.user.a": "b"}}))
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Add([]byte("\x28\xb5\x2f\xfd\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, _, err := readAll(bytes.NewReader(b), archive.Options{MaxEntries: 1000, MaxSize: 16 << 20})
		if err != nil {
			if k := fault.Of(err).Kind; k == fault.KindInternal {
				t.Errorf("unclassified: %v", err)
			}
			return
		}
		if err := m.Validate(); err != nil {
			t.Errorf("an accepted archive gives an invalid manifest: %v", err)
		}
	})
}
