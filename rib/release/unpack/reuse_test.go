package unpack_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/unpack"
)

var then = time.Date(2024, 2, 29, 12, 0, 0, 123456789, time.UTC)

// shelf finds files by digest, as an index of other releases does.
type shelf map[manifest.Digest]string

func (s shelf) Find(e manifest.Entry) (string, bool) {
	p, ok := s[*e.Digest]
	return p, ok
}

func file(p, text string) manifest.Entry {
	d := manifest.Sum([]byte(text))
	e := manifest.Entry{Path: p, Type: manifest.File, Mode: 0o644, UID: os.Geteuid(), GID: os.Getegid(), MTime: then, Size: int64(len(text)), Digest: &d}
	if text == "" {
		e.Digest = nil
	}
	return e
}

// release makes a manifest of files, whose contents are their names followed by "!".
func release(entries ...manifest.Entry) *manifest.Manifest {
	m := &manifest.Manifest{Header: manifest.Header{App: "app", Version: "2", Kind: manifest.Tree, Created: then}, Entries: entries}
	m.Tally()
	return m
}

// bagOf holds the texts in the order of need.
func bagOf(need []manifest.Digest, texts ...string) *bag {
	b := &bag{order: need, texts: map[manifest.Digest][]byte{}}
	for _, s := range texts {
		b.texts[manifest.Sum([]byte(s))] = []byte(s)
	}
	return b
}

func inode(t *testing.T, p string) (st unix.Stat_t) {
	t.Helper()
	if err := unix.Lstat(p, &st); err != nil {
		t.Fatal(err)
	}
	return st
}

// old unpacks a first release and returns its directory and a shelf of its files.
func old(t *testing.T, root *os.Root, entries []manifest.Entry, texts ...string) shelf {
	t.Helper()
	m := release(entries...)
	s, err := unpack.Missing(t.Context(), m, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := unpack.Tree(t.Context(), root, m, nil, bagOf(s.Need, texts...), nil); err != nil {
		t.Fatal(err)
	}
	out := shelf{}
	for _, e := range entries {
		out[*e.Digest] = filepath.Join(root.Name(), e.Path)
	}
	return out
}

func TestReuse(t *testing.T) {
	was := fresh(t)
	big := strings.Repeat("big", 1<<20)
	had := old(t, was, []manifest.Entry{file("same", "same"), file("mode", "mode"), file("time", "time"), file("damaged", "damaged"), file("dir/big", big), file("grown", "grown")},
		"same", "mode", "time", "damaged", big, "grown")
	for name, text := range map[string]string{"damaged": "dAmaged", "grown": "grown longer"} {
		if err := os.WriteFile(filepath.Join(was.Name(), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	had[manifest.Sum([]byte("gone"))] = filepath.Join(was.Name(), "gone")
	had[manifest.Sum([]byte("link"))] = filepath.Join(was.Name(), "link")
	if err := os.Symlink("same", filepath.Join(was.Name(), "link")); err != nil {
		t.Fatal(err)
	}

	mode, later := file("mode", "mode"), file("time", "time")
	mode.Mode, later.MTime = 0o600, then.Add(time.Nanosecond)
	m := release(file("renamed/same", "same"), mode, later, file("damaged", "damaged"), file("dir/big", big), file("twice", big),
		file("grown", "grown"), file("gone", "gone"), file("link", "link"), file("new", "new"), file("empty", ""))
	split, err := unpack.Missing(t.Context(), m, had)
	if err != nil {
		t.Fatal(err)
	}
	if len(split.Need) != 5 || split.HaveFiles != 5 || split.HaveBytes != int64(12+len(big)) || split.NeedBytes != int64(7+5+4+4+3) {
		t.Fatalf("split %d needed (%d bytes), %d files had (%d bytes)", len(split.Need), split.NeedBytes, split.HaveFiles, split.HaveBytes)
	}
	now := fresh(t)
	var files int
	var size int64
	err = unpack.Tree(t.Context(), now, m, split, bagOf(split.Need, "damaged", "grown", "gone", "link", "new"), func(f int, b int64) { files, size = f, b })
	if err != nil {
		t.Fatal(err)
	}
	if files != m.Count || size != m.Size {
		t.Errorf("progress ends at %d, %d; want %d, %d", files, size, m.Count, m.Size)
	}
	drifts, err := unpack.Compare(t.Context(), now, m)
	if err != nil || len(drifts) > 0 {
		t.Errorf("%v %v", drifts, err)
	}
	for p, linked := range map[string]string{"renamed/same": "same", "mode": "", "time": "", "dir/big": "dir/big", "twice": "dir/big"} {
		st := inode(t, filepath.Join(now.Name(), p))
		if linked == "" && st.Nlink != 1 || linked != "" && st.Ino != inode(t, filepath.Join(was.Name(), linked)).Ino {
			t.Errorf("%s: inode %d with %d links, want a link to %q", p, st.Ino, st.Nlink, linked)
		}
	}

	apart := fresh(t)
	if err := (unpack.Options{NoLinks: true}).Tree(t.Context(), apart, m, split, bagOf(split.Need, "damaged", "grown", "gone", "link", "new"), nil); err != nil {
		t.Fatal(err)
	}
	if st := inode(t, filepath.Join(apart.Name(), "renamed/same")); st.Nlink != 1 {
		t.Error("linked although that was forbidden")
	}
}

// A file that changes between the look and the unpacking is noticed.
func TestReuseChanged(t *testing.T) {
	for name, spoil := range map[string]func(p string) error{
		"rewritten": func(p string) error { return os.WriteFile(p, []byte("sAme"), 0o600) },
		"removed":   os.Remove,
		"replaced": func(p string) error {
			if err := os.Remove(p); err != nil {
				return err
			}
			return os.Symlink("/etc/passwd", p)
		},
	} {
		t.Run(name, func(t *testing.T) {
			was := fresh(t)
			had := old(t, was, []manifest.Entry{file("same", "same")}, "same")
			m := release(file("same", "same"))
			split, err := unpack.Missing(t.Context(), m, had)
			if err != nil {
				t.Fatal(err)
			}
			if err := spoil(filepath.Join(was.Name(), "same")); err != nil {
				t.Fatal(err)
			}
			now := fresh(t)
			err = unpack.Tree(t.Context(), now, m, split, bagOf(nil), nil)
			if !fault.Is(err, fault.KindConflict) {
				t.Errorf("got %v", err)
			}
			nothing(t, now)
		})
	}
}

// On a file system that can, files are cloned: they share blocks but no inode.
func TestReflink(t *testing.T) {
	mkfs, err := exec.LookPath("mkfs.btrfs")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and mkfs.btrfs")
	}
	image, at := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 114<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "", mkfs, "-q", image)
	if out, err := exec.CommandContext(t.Context(), "mount", "-o", "loop", image, at).CombinedOutput(); err != nil {
		t.Skipf("cannot mount here: %s", out)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	roots := make([]*os.Root, 2)
	for i, name := range []string{"1", "2"} {
		dir := filepath.Join(at, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if roots[i], err = os.OpenRoot(dir); err != nil {
			t.Fatal(err)
		}
		defer roots[i].Close() //nolint:errcheck // only read through
	}
	text := strings.Repeat("0123456789abcdef", 7<<18) // 28 MiB: on this small file system four times that does not fit
	had := old(t, roots[0], []manifest.Entry{file("f", text)}, text)
	e := file("f", text)
	e.Mode = 0o600
	if err := unpack.Tree(t.Context(), roots[1], release(e), had, nil, nil); err != nil {
		t.Fatal(err)
	}
	if st := inode(t, filepath.Join(at, "2/f")); st.Nlink != 1 || st.Size != int64(len(text)) {
		t.Errorf("%d links, %d bytes", st.Nlink, st.Size)
	}
	var free unix.Statfs_t
	if err := unix.Statfs(at, &free); err != nil {
		t.Fatal(err)
	}
	if drifts, err := unpack.Compare(t.Context(), roots[1], release(e)); err != nil || len(drifts) > 0 {
		t.Error(drifts, err)
	}
}
