package manifest_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

func TestValidate(t *testing.T) {
	if err := sample().Validate(); err != nil {
		t.Fatal(err)
	}
	then := sample().Created
	entry := func(e manifest.Entry) func(m *manifest.Manifest) {
		if e.MTime.IsZero() {
			e.MTime = then
		}
		return func(m *manifest.Manifest) { m.Entries = append(m.Entries, e); m.Tally() }
	}
	one := &manifest.Digest{1}
	for name, change := range map[string]func(m *manifest.Manifest){
		"app upper case":      func(m *manifest.Manifest) { m.App = "Web" },
		"app with slash":      func(m *manifest.Manifest) { m.App = "a/b" },
		"app of dots":         func(m *manifest.Manifest) { m.App = ".." },
		"version with slash":  func(m *manifest.Manifest) { m.Version = "1/2" },
		"version hidden":      func(m *manifest.Manifest) { m.Version = ".1" },
		"version with break":  func(m *manifest.Manifest) { m.Version = "1\n" },
		"version too long":    func(m *manifest.Manifest) { m.Version = strings.Repeat("1", 129) },
		"kind":                func(m *manifest.Manifest) { m.Kind = "zip" },
		"opaque with a tree":  func(m *manifest.Manifest) { m.Kind = manifest.Opaque },
		"time":                func(m *manifest.Manifest) { m.Created = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"source":              func(m *manifest.Manifest) { m.Source = "\xff" },
		"meta":                func(m *manifest.Manifest) { m.Meta = map[string]string{"": "x"} },
		"header too long":     func(m *manifest.Manifest) { m.Source = strings.Repeat("s", manifest.MaxLine) },
		"root is a file":      func(m *manifest.Manifest) { m.Root.Type = manifest.File },
		"root elsewhere":      func(m *manifest.Manifest) { m.Root.Path = "a" },
		"count":               func(m *manifest.Manifest) { m.Count++ },
		"files":               func(m *manifest.Manifest) { m.Files-- },
		"size":                func(m *manifest.Manifest) { m.Size++ },
		"empty path":          entry(manifest.Entry{Path: "", Type: manifest.Dir}),
		"path dot":            entry(manifest.Entry{Path: ".", Type: manifest.Dir}),
		"path up":             entry(manifest.Entry{Path: "..", Type: manifest.Dir}),
		"path up and away":    entry(manifest.Entry{Path: "../x", Type: manifest.Dir}),
		"path up inside":      entry(manifest.Entry{Path: "a/../b", Type: manifest.Dir}),
		"path absolute":       entry(manifest.Entry{Path: "/a", Type: manifest.Dir}),
		"path with slash":     entry(manifest.Entry{Path: "a/", Type: manifest.Dir}),
		"path not clean":      entry(manifest.Entry{Path: "a//b", Type: manifest.Dir}),
		"path NUL":            entry(manifest.Entry{Path: "a\x00", Type: manifest.Dir}),
		"path long":           entry(manifest.Entry{Path: strings.Repeat("a/", 2048) + "a", Type: manifest.Dir}),
		"component long":      entry(manifest.Entry{Path: strings.Repeat("a", 256), Type: manifest.Dir}),
		"twice":               entry(manifest.Entry{Path: "bin", Type: manifest.Dir}),
		"below a file":        entry(manifest.Entry{Path: "bin/app/x", Type: manifest.Dir}),
		"below a symlink":     entry(manifest.Entry{Path: "日本/\n\t\"\\\x7f/a/b", Type: manifest.Dir}),
		"below a hard link":   entry(manifest.Entry{Path: "bin/link/x", Type: manifest.Dir}),
		"link over directory": entry(manifest.Entry{Path: "日本", Type: manifest.Symlink, Link: "/"}),
		"type":                entry(manifest.Entry{Path: "x", Type: "fifo"}),
		"mode":                entry(manifest.Entry{Path: "x", Type: manifest.Dir, Mode: 0o40755}),
		"negative owner":      entry(manifest.Entry{Path: "x", Type: manifest.Dir, UID: -1}),
		"owner -1 unsigned":   entry(manifest.Entry{Path: "x", Type: manifest.Dir, GID: math.MaxUint32}),
		"owner name":          entry(manifest.Entry{Path: "x", Type: manifest.Dir, Owner: strings.Repeat("o", 256)}),
		"mtime":               entry(manifest.Entry{Path: "x", Type: manifest.Dir, MTime: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}),
		"no digest":           entry(manifest.Entry{Path: "x", Type: manifest.File, Size: 1}),
		"digest of nothing":   entry(manifest.Entry{Path: "x", Type: manifest.File, Digest: one}),
		"negative size":       entry(manifest.Entry{Path: "x", Type: manifest.File, Size: -1}),
		"sizes overflow":      entry(manifest.Entry{Path: "x", Type: manifest.File, Size: math.MaxInt64, Digest: one}),
		"file with link":      entry(manifest.Entry{Path: "x", Type: manifest.File, Link: "y"}),
		"directory with size": entry(manifest.Entry{Path: "x", Type: manifest.Dir, Size: 1}),
		"directory with link": entry(manifest.Entry{Path: "x", Type: manifest.Dir, Link: "y"}),
		"symlink to nothing":  entry(manifest.Entry{Path: "x", Type: manifest.Symlink}),
		"symlink with NUL":    entry(manifest.Entry{Path: "x", Type: manifest.Symlink, Link: "a\x00b"}),
		"hard link outside":   entry(manifest.Entry{Path: "x", Type: manifest.Hardlink, Link: "../y"}),
		"hard link to later":  entry(manifest.Entry{Path: "x", Type: manifest.Hardlink, Link: "y"}),
		"hard link to a link": entry(manifest.Entry{Path: "x", Type: manifest.Hardlink, Link: "bin/link"}),
		"hard link to a dir":  entry(manifest.Entry{Path: "x", Type: manifest.Hardlink, Link: "bin"}),
		"extent outside":      entry(manifest.Entry{Path: "x", Type: manifest.File, Size: 9, Digest: one, Sparse: []manifest.Extent{{Offset: 5, Length: 5}}}),
		"extents overlap":     entry(manifest.Entry{Path: "x", Type: manifest.File, Size: 9, Digest: one, Sparse: []manifest.Extent{{Length: 5}, {Offset: 4, Length: 1}}}),
		"extents touch":       entry(manifest.Entry{Path: "x", Type: manifest.File, Size: 9, Digest: one, Sparse: []manifest.Extent{{Length: 5}, {Offset: 5, Length: 1}}}),
		"extent overflow":     entry(manifest.Entry{Path: "x", Type: manifest.File, Size: 9, Digest: one, Sparse: []manifest.Extent{{Offset: math.MaxInt64, Length: math.MaxInt64}}}),
		"extents missing":     entry(manifest.Entry{Path: "x", Type: manifest.File, Size: 9, Digest: one, Sparse: []manifest.Extent{}}),
		"sparse directory":    entry(manifest.Entry{Path: "x", Type: manifest.Dir, Sparse: []manifest.Extent{{Length: 1}}}),
		"xattr without name":  entry(manifest.Entry{Path: "x", Type: manifest.Dir, Xattrs: map[string][]byte{"": nil}}),
		"xattrs too large":    entry(manifest.Entry{Path: "x", Type: manifest.Dir, Xattrs: map[string][]byte{"user.a": make([]byte, manifest.MaxXattrs)}}),
	} {
		t.Run(name, func(t *testing.T) {
			m := sample()
			change(m)
			err := m.Validate()
			if !fault.Is(err, fault.KindInvalid) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(err.Error(), m.Version) && !strings.Contains(name, "app") && !strings.Contains(name, "version") {
				t.Errorf("does not name the release: %.300v", err)
			}
		})
	}
}

// Whatever Validate accepts fits in a line that Decode reads.
func TestLongestEntryFits(t *testing.T) {
	m := sample()
	e := manifest.Entry{
		Path: strings.Repeat(strings.Repeat("\x01", 255)+"/", 15) + strings.Repeat("\x01", 250), Type: manifest.File, Mode: 0o7777,
		UID: math.MaxUint32 - 1, GID: math.MaxUint32 - 1, Owner: strings.Repeat("\xff", 255), Group: strings.Repeat("\x01", 255),
		MTime: m.Created, Size: math.MaxInt64 - m.Size, Digest: &manifest.Digest{},
		Xattrs: map[string][]byte{strings.Repeat("\x01", 200): make([]byte, manifest.MaxXattrs-200)},
	}
	for i := range manifest.MaxExtents {
		e.Sparse = append(e.Sparse, manifest.Extent{Offset: math.MaxInt64/2 + int64(i)<<40, Length: 1 << 39})
	}
	m.Entries = append(m.Entries, e)
	m.Tally()
	if err := m.Validate(); err != nil {
		t.Fatalf("%.300v", err)
	}
	if _, err := manifest.Decode(strings.NewReader(string(m.Bytes()))); err != nil {
		t.Errorf("%.300v", err)
	}
}

func TestDiff(t *testing.T) {
	old, next := sample(), sample()
	next.Entries[1].Digest = &manifest.Digest{9} // bin/app: contents
	next.Entries[3].Mode = 0o600                 // touched
	next.Entries[4].Link = "elsewhere"           // link target
	next.Entries[5].Path = "sparse2"             // renamed: nothing to fetch
	next.Entries = append(next.Entries, manifest.Entry{Path: "new", Type: manifest.Dir, MTime: old.Created})
	next.Tally()
	d := manifest.Diff(old, next)
	if d.Added != 2 || d.Removed != 1 || d.Modified != 2 || d.Touched != 1 || d.Fetch != 3 || len(d.Changes) != 6 {
		t.Errorf("%+v", d)
	}
	for i := 1; i < len(d.Changes); i++ {
		if d.Changes[i-1].Path >= d.Changes[i].Path {
			t.Error("changes are not sorted")
		}
	}
	if d := manifest.Diff(nil, old); d.Added != len(old.Entries) || d.Fetch != old.Size {
		t.Errorf("against nothing: %d added, %d bytes", d.Added, d.Fetch)
	}
	if d := manifest.Diff(old, sample()); len(d.Changes) != 0 || d.Fetch != 0 {
		t.Errorf("against itself: %+v", d)
	}
}
