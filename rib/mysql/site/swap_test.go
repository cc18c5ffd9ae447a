package site

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kaname.dev/kaname/lab"
)

// data makes a data directory with old data, and a copy beside or inside of it.
func data(t *testing.T, mount bool) *swap {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	ok(t, os.Mkdir(dir, 0o750))
	if mount {
		lab.NeedRoot(t)
		ok(t, unix.Mount("none", dir, "tmpfs", 0, "size=1m"))
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	}
	w, err := newSwap(dir)
	ok(t, err)
	if w.mount != mount {
		t.Fatalf("mount point: %t, want %t", w.mount, mount)
	}
	put(t, w.dir, "ibdata1", "old", "mysql/user", "old", "old.ibd", "old")
	put(t, w.copy, "ibdata1", "new", "mysql/user", "new", "xtrabackup_info", "x")
	return w
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, dir string, files ...string) {
	t.Helper()
	for f := range slices.Chunk(files, 2) {
		path := filepath.Join(dir, f[0])
		ok(t, os.MkdirAll(filepath.Dir(path), 0o700))
		ok(t, os.WriteFile(path, []byte(f[1]), 0o600))
	}
}

// has returns the contents of a directory's files, but the mark and what is ours.
func has(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"[a-z]*", "mysql/*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		ok(t, err)
		for _, f := range found {
			name, _ := filepath.Rel(dir, f)
			if raw, err := os.ReadFile(f); err == nil && name != markName {
				out[name] = string(raw)
			}
		}
	}
	return out
}

var (
	oldData = map[string]string{"ibdata1": "old", "mysql/user": "old", "old.ibd": "old"}
	newData = map[string]string{"ibdata1": "new", "mysql/user": "new"}
)

func same(t *testing.T, what, dir string, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, has(t, dir)); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
}

func TestSwap(t *testing.T) {
	for _, mount := range []bool{false, true} {
		w := data(t, mount)
		before := w.before(time.Now())
		ok(t, dress(w.copy, w.dir, mark{From: "db3", Position: "0-1-5", Before: before}))
		ok(t, w.exchange(before))
		same(t, "in place", w.dir, newData)
		same(t, "aside", before, oldData)
		m, err := readMark(w.dir)
		if err != nil || m == nil || m.Before != before || m.Position != "0-1-5" {
			t.Fatalf("mark %+v, %v", m, err)
		}
		ok(t, w.undo(before))
		same(t, "back again", w.dir, oldData)
		if m, err := readMark(w.dir); m != nil || err != nil {
			t.Errorf("mark %+v, %v", m, err)
		}
		if left, _ := filepath.Glob(w.aside); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}

// A kill at any rename of an exchange leaves what the next one ends, or undoes.
func TestSwapInterrupted(t *testing.T) {
	w := data(t, false) // the directories have changed places, and no more
	before := w.before(time.Now())
	ok(t, dress(w.copy, w.dir, mark{Before: before}))
	ok(t, unix.Renameat2(unix.AT_FDCWD, w.copy, unix.AT_FDCWD, w.dir, unix.RENAME_EXCHANGE))
	ok(t, w.carryOn(before))
	same(t, "in place", w.dir, newData)
	same(t, "aside", before, oldData)
	ok(t, w.carryOn(before))

	w = data(t, true) // one file of the old data is out
	before = w.before(time.Now())
	ok(t, os.Mkdir(before, 0o700))
	ok(t, os.Rename(filepath.Join(w.dir, "old.ibd"), filepath.Join(before, "old.ibd")))
	ok(t, w.putBack())
	same(t, "put back", w.dir, oldData)

	w = data(t, true) // the old data are out, the mark is in
	before = w.before(time.Now())
	ok(t, dress(w.copy, w.dir, mark{Before: before}))
	ok(t, os.Mkdir(before, 0o700))
	ok(t, w.move(w.dir, before))
	ok(t, os.Rename(filepath.Join(w.copy, markName), filepath.Join(w.dir, markName)))
	ok(t, w.carryOn(before))
	same(t, "in place", w.dir, newData)
	same(t, "aside", before, oldData)
}

// A copy has owner and modes of the data that it replaces, and the host's own files.
func TestDress(t *testing.T) {
	lab.NeedRoot(t)
	w := data(t, false)
	ok(t, os.Chown(w.dir, 1234, 4321))
	ok(t, os.Chmod(filepath.Join(w.dir, "ibdata1"), 0o640))
	put(t, w.dir, "server-key.pem", "key")
	ok(t, dress(w.copy, w.dir, mark{}))
	for name, mode := range map[string]os.FileMode{"": 0o750, "mysql": 0o700, "mysql/user": 0o640, "server-key.pem": 0o640} {
		info, err := os.Stat(filepath.Join(w.copy, name))
		ok(t, err)
		if st := info.Sys().(*syscall.Stat_t); info.Mode().Perm() != mode || st.Uid != 1234 || st.Gid != 4321 {
			t.Errorf("%q: mode %o, owner %d:%d", name, info.Mode().Perm(), st.Uid, st.Gid)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(w.copy, "xtrabackup*")); len(left) > 0 {
		t.Errorf("left of the backup: %v", left)
	}
}

func TestPosition(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"bin.000003\t1234\t0-1-57\n": "0-1-57", "bin.000001\t330\t\n": "", "bin.000003\t4\t0-1-5,\n1-2-7\n": "0-1-5,1-2-7",
	} {
		put(t, dir, "xtrabackup_binlog_info", text)
		if got, err := position(dir); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	put(t, dir, "mariadb_backup_binlog_info", "bin.000003\t1234\n")
	if got, err := position(dir); err == nil {
		t.Errorf("no GTID: %q", got)
	}
}
