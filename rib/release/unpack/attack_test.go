package unpack_test

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/unpack"
)

// attack is an archive that wants to write outside of its target or to exhaust
// the host; OUT in names stands for a directory beside the target.
type attack struct {
	name, link, text string
	typ              byte
	size             int64
}

func tarOf(t *testing.T, out string, items []attack) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		h := &tar.Header{
			Name: strings.ReplaceAll(i.name, "OUT", out), Linkname: strings.ReplaceAll(i.link, "OUT", out),
			Typeflag: i.typ, Mode: 0o644, Size: int64(len(i.text)), ModTime: then,
		}
		if i.size > 0 {
			h.Size = i.size
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, i.text); err != nil {
			t.Fatal(err)
		}
	}
	_ = w.Close() // a claimed size makes this fail, as it should
	return b.Bytes()
}

func TestAttacks(t *testing.T) {
	const reg, hard, soft, char, block, dir, fifo = tar.TypeReg, tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo
	good := attack{name: "good", text: "good", typ: reg}
	tests := map[string]struct {
		items []attack
		spoil func([]byte) []byte
	}{
		"absolute name":                  {items: []attack{good, {name: "OUT/new", text: "x", typ: reg}}},
		"absolute directory":             {items: []attack{good, {name: "OUT/new/", typ: dir}}},
		"dot dot":                        {items: []attack{good, {name: "../outside/new", text: "x", typ: reg}}},
		"dot dot in the middle":          {items: []attack{good, {name: "a/../../outside/new", text: "x", typ: reg}}},
		"overwrite by dot dot":           {items: []attack{good, {name: "./../outside/canary", text: "x", typ: reg}}},
		"file through a symlink":         {items: []attack{good, {name: "s", link: "OUT", typ: soft}, {name: "s/new", text: "x", typ: reg}}},
		"file through a relative one":    {items: []attack{good, {name: "s", link: "../outside", typ: soft}, {name: "s/canary", text: "x", typ: reg}}},
		"through two symlinks":           {items: []attack{{name: "a", link: ".", typ: soft}, {name: "b", link: "a/../outside", typ: soft}, {name: "b/new", text: "x", typ: reg}}},
		"directory through a symlink":    {items: []attack{{name: "s", link: "OUT", typ: soft}, {name: "s/new/", typ: dir}}},
		"symlink through a symlink":      {items: []attack{{name: "s", link: "OUT", typ: soft}, {name: "s/new", link: "x", typ: soft}}},
		"symlink in place of a tree":     {items: []attack{{name: "d/f", text: "x", typ: reg}, {name: "d", link: "OUT", typ: soft}, {name: "d/canary", text: "x", typ: reg}}},
		"hard link outside":              {items: []attack{good, {name: "h", link: "OUT/canary", typ: hard}}},
		"hard link up":                   {items: []attack{good, {name: "h", link: "../outside/canary", typ: hard}}},
		"hard link through a symlink":    {items: []attack{{name: "s", link: "OUT", typ: soft}, {name: "h", link: "s/canary", typ: hard}}},
		"character device":               {items: []attack{good, {name: "null", typ: char}}},
		"block device":                   {items: []attack{good, {name: "sda", typ: block}}},
		"pipe":                           {items: []attack{good, {name: "pipe", typ: fifo}}},
		"huge claimed size":              {items: []attack{good, {name: "huge", text: "x", typ: reg, size: 1 << 62}}},
		"claimed size beyond the data":   {items: []attack{good, {name: "more", text: "x", typ: reg, size: 1 << 20}}},
		"cut off":                        {items: []attack{good, {name: "b", text: strings.Repeat("b", 5000), typ: reg}}, spoil: func(b []byte) []byte { return b[:3000] }},
		"cut off between entries":        {items: []attack{good}, spoil: func(b []byte) []byte { return b[:1024] }},
		"not an archive":                 {items: []attack{good}, spoil: func([]byte) []byte { return []byte(strings.Repeat("no", 1000)) }},
		"file below a file":              {items: []attack{good, {name: "good/x", text: "x", typ: reg}}},
		"name with a very long part":     {items: []attack{{name: strings.Repeat("x", 300), text: "x", typ: reg}}},
		"path longer than the system's":  {items: []attack{{name: strings.Repeat("x/", 2500), typ: dir}}},
		"symlink longer than the system": {items: []attack{{name: "s", link: strings.Repeat("x/", 2500), typ: soft}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			target, outside := filepath.Join(base, "target"), filepath.Join(base, "outside")
			for _, d := range []string{target, outside} {
				if err := os.Mkdir(d, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(outside, "canary"), []byte("sings"), 0o600); err != nil {
				t.Fatal(err)
			}
			before := facts(t, base)
			b := tarOf(t, outside, tt.items)
			if tt.spoil != nil {
				b = tt.spoil(b)
			}
			root, err := os.OpenRoot(target)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close() //nolint:errcheck // only read through
			m, contents, err := read(bytes.NewReader(b), "evil.tar")
			if err == nil {
				err = unpack.Tree(t.Context(), root, m, nil, contents, nil)
			}
			switch f := fault.Of(err); {
			case err == nil:
				t.Error("accepted")
			case f.Kind != fault.KindInvalid && f.Kind != fault.KindCorrupt, f.Remedy == "":
				t.Errorf("not a clear error: %v", err)
			}
			if diff := cmp.Diff(before, facts(t, base)); diff != "" {
				t.Errorf("something was left behind:\n%s", diff)
			}
		})
	}
}

// A manifest need not come from our reader: Tree itself refuses what would leave
// the target.
func TestHostileManifests(t *testing.T) {
	link := func(p, to string) manifest.Entry {
		return manifest.Entry{Path: p, Type: manifest.Symlink, Link: to, MTime: then}
	}
	for name, entries := range map[string][]manifest.Entry{
		"through a symlink":     {link("s", "/tmp"), file("s/f", "x")},
		"symlink put afterward": {file("s/f", "x"), link("s", "/tmp")},
		"dot dot":               {file("../f", "x")},
		"absolute":              {file("/tmp/f", "x")},
		"not clean":             {file("a/./f", "x")},
		"twice":                 {file("a", "x"), file("a", "x")},
		"hard link to symlink":  {link("s", "/etc/passwd"), {Path: "h", Type: manifest.Hardlink, Link: "s", MTime: then}},
		"hard link outside":     {{Path: "h", Type: manifest.Hardlink, Link: "../x", MTime: then}},
		"NUL":                   {file("a\x00b", "x")},
		"the top itself":        {{Path: ".", Type: manifest.Dir, MTime: then}},
	} {
		t.Run(name, func(t *testing.T) {
			dst := fresh(t)
			err := unpack.Tree(t.Context(), dst, release(entries...), nil, bagOf([]manifest.Digest{manifest.Sum([]byte("x"))}, "x"), nil)
			if !fault.Is(err, fault.KindInvalid) {
				t.Errorf("got %v", err)
			}
			nothing(t, dst)
		})
	}
}
