package unpack_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/unpack"
)

// Each way in which a tree can drift is found, and nothing else.
func TestCompareFinds(t *testing.T) {
	dir := func(p string) manifest.Entry {
		return manifest.Entry{Path: p, Type: manifest.Dir, Mode: 0o755, UID: os.Geteuid(), GID: os.Getegid(), MTime: then}
	}
	m := release(dir("d"), file("d/f", "text"), file("g", "g"), dir("empty"),
		manifest.Entry{Path: "s", Type: manifest.Symlink, Link: "g", UID: os.Geteuid(), GID: os.Getegid(), MTime: then},
		manifest.Entry{Path: "h", Type: manifest.Hardlink, Link: "g", MTime: then})
	tests := map[string]struct {
		spoil func(at func(string) string) error
		want  []string
		noise []string // aspects that the spoiling cannot help to change
	}{
		"nothing":     {func(func(string) string) error { return nil }, nil, nil},
		"mode":        {func(at func(string) string) error { return os.Chmod(at("d/f"), 0o755) }, []string{"d/f mode"}, nil},
		"time":        {func(at func(string) string) error { return os.Chtimes(at("d/f"), then, then.Add(1)) }, []string{"d/f time"}, nil},
		"owner":       {func(at func(string) string) error { return os.Lchown(at("s"), 1234, -1) }, []string{"s owner"}, nil},
		"contents":    {func(at func(string) string) error { return os.WriteFile(at("d/f"), []byte("tExt"), 0o600) }, []string{"d/f contents"}, []string{"time"}},
		"size":        {func(at func(string) string) error { return os.WriteFile(at("d/f"), []byte("longer"), 0o600) }, []string{"d/f size"}, []string{"time"}},
		"removed":     {func(at func(string) string) error { return os.Remove(at("d/f")) }, []string{"d/f missing"}, []string{"time"}},
		"tree gone":   {func(at func(string) string) error { return os.RemoveAll(at("d")) }, []string{"d missing", "d/f missing"}, nil},
		"extra file":  {func(at func(string) string) error { return os.WriteFile(at("empty/x"), nil, 0o600) }, []string{"empty/x extra"}, []string{"time"}},
		"extra tree":  {func(at func(string) string) error { return os.MkdirAll(at("new/a/b"), 0o700) }, []string{"new extra"}, nil},
		"ignored":     {func(at func(string) string) error { return os.MkdirAll(at("shared/a/b"), 0o700) }, nil, nil},
		"link target": {func(at func(string) string) error { return relink(at("s"), "h") }, []string{"s link"}, []string{"time"}},
		"type":        {func(at func(string) string) error { return retype(at("empty")) }, []string{"empty type"}, []string{"time"}},
		"hard link":   {func(at func(string) string) error { return copyOver(at("h")) }, []string{"h hardlink"}, nil},
		"directory swapped for a link outside": {
			func(at func(string) string) error {
				if err := os.RemoveAll(at("d")); err != nil {
					return err
				}
				return os.Symlink("/etc", at("d"))
			}, []string{"d type", "d/f missing"}, nil,
		},
		"attributes": {func(at func(string) string) error { return unix.Setxattr(at("d/f"), "user.new", []byte("1"), 0) }, []string{"d/f xattrs"}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if name == "owner" && os.Geteuid() != 0 {
				t.Skip("needs root")
			}
			root := fresh(t)
			split, err := unpack.Missing(t.Context(), m, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := unpack.Tree(t.Context(), root, m, nil, bagOf(split.Need, "text", "g"), nil); err != nil {
				t.Fatal(err)
			}
			if err := tt.spoil(func(p string) string { return filepath.Join(root.Name(), p) }); err != nil {
				t.Fatal(err)
			}
			o := unpack.Options{Ignore: func(p string) bool { return p == "shared" }}
			drifts, err := o.Compare(t.Context(), root, m)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range drifts {
				if s := string(d.What); !strings.Contains(strings.Join(tt.noise, " "), s) {
					got = append(got, d.Path+" "+s)
				}
				if d.String() == "" {
					t.Error("no words")
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func relink(p, to string) error {
	if err := os.Remove(p); err != nil {
		return err
	}
	return os.Symlink(to, p)
}

func retype(p string) error {
	if err := os.Remove(p); err != nil {
		return err
	}
	return os.WriteFile(p, nil, 0o600)
}

func copyOver(p string) error {
	b, err := os.ReadFile(p) //nolint:gosec // a test's own
	if err != nil {
		return err
	}
	if err := os.Remove(p); err != nil {
		return err
	}
	return os.WriteFile(p, b, 0o600)
}

func TestXattrs(t *testing.T) {
	e := file("f", "x")
	e.Xattrs = map[string][]byte{"user.kaname": {0, 1, 255}, "user.none": {}, "trusted.secret": []byte("x")}
	m := release(e)
	root := fresh(t)
	contents := func() *bag { return bagOf([]manifest.Digest{*e.Digest}, "x") }
	if err := unpack.Tree(t.Context(), root, m, nil, contents(), nil); err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(root.Name(), "f")
	buf := make([]byte, 100)
	n, err := unix.Getxattr(p, "user.kaname", buf)
	if err != nil || !bytes.Equal(buf[:n], []byte{0, 1, 255}) {
		t.Errorf("%v %v", buf[:max(n, 0)], err)
	}
	if n, err := unix.Getxattr(p, "user.none", buf); err != nil || n != 0 {
		t.Errorf("empty attribute: %d bytes, %v", n, err)
	}
	if _, err := unix.Getxattr(p, "trusted.secret", buf); err == nil {
		t.Error("an attribute outside of user.* was set")
	}
	if drifts, err := unpack.Compare(t.Context(), root, m); err != nil || len(drifts) > 0 {
		t.Error(drifts, err)
	}
	// The same attributes allow a hard link, others do not.
	had := shelf{*e.Digest: p}
	plain := file("f", "x")
	for _, tt := range []struct {
		e     manifest.Entry
		links uint64
	}{{plain, 1}, {e, 2}} {
		next := fresh(t)
		if err := unpack.Tree(t.Context(), next, release(tt.e), had, nil, nil); err != nil {
			t.Fatal(err)
		}
		if st := inode(t, filepath.Join(next.Name(), "f")); uint64(st.Nlink) != tt.links { //nolint:unconvert // 32 bits elsewhere
			t.Errorf("%d links, want %d", st.Nlink, tt.links)
		}
	}
}

func TestSparseStaysSparse(t *testing.T) {
	text := make([]byte, 64<<20)
	copy(text[32<<20:], "data")
	copy(text[48<<20+100:], "a lie: data in a hole")
	d := manifest.Sum(text)
	e := file("f", "x")
	e.Size, e.Digest = int64(len(text)), &d
	e.Sparse = []manifest.Extent{{Offset: 32 << 20, Length: 4096}}
	hole := e
	hole.Path = "same" // the contents of f, so copied from there
	m := release(e, hole)
	root := fresh(t)
	if err := unpack.Tree(t.Context(), root, m, nil, &bag{order: []manifest.Digest{d}, texts: map[manifest.Digest][]byte{d: text}}, nil); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"f", "same"} {
		st := inode(t, filepath.Join(root.Name(), p))
		if st.Blocks*512 > 4<<20 {
			t.Errorf("%s takes %d bytes on the disk", p, st.Blocks*512)
		}
	}
	if drifts, err := unpack.Compare(t.Context(), root, m); err != nil || len(drifts) > 0 {
		t.Error(drifts, err)
	}
}

func TestOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	e := file("f", "")
	e.Mode, e.UID, e.GID, e.Owner, e.Group = 0o4755, 4321, 1234, "daemon", "no-such-group"
	for owners, want := range map[unpack.Owners]struct{ uid, gid, mode uint32 }{
		unpack.ByName:  {1, 1234, 0o4755}, // daemon is 1 on Linux (LSB)
		unpack.Numeric: {4321, 1234, 0o4755},
		unpack.Mine:    {0, 0, 0o755},
	} {
		root := fresh(t)
		o := unpack.Options{Owners: owners}
		if err := o.Tree(t.Context(), root, release(e), nil, nil, nil); err != nil {
			t.Fatal(err)
		}
		st := inode(t, filepath.Join(root.Name(), "f"))
		if st.Uid != want.uid || st.Gid != want.gid || st.Mode&0o7777 != want.mode {
			t.Errorf("%q: %d:%d %o, want %v", owners, st.Uid, st.Gid, st.Mode, want)
		}
		if drifts, err := o.Compare(t.Context(), root, release(e)); err != nil || len(drifts) > 0 {
			t.Error(drifts, err)
		}
	}
}

// A file system without extended attributes is worth one warning, not a failure.
func TestWarnsOnce(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("ramfs", dir, "ramfs", 0, ""); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close() //nolint:errcheck // only read through
	a, b := file("a", ""), file("b", "")
	a.Xattrs = map[string][]byte{"user.x": {1}}
	b.Xattrs = a.Xattrs
	var log bytes.Buffer
	o := unpack.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}
	if err := o.Tree(t.Context(), root, release(a, b), nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, log.String())
	}
}
