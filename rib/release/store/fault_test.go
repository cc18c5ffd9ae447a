package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/pack"
	"kaname.dev/kaname/rib/release/store"
)

// count counts what is below a directory of the store.
func count(t *testing.T, dir string) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Whatever byte of whatever file is flipped while the store is closed, nothing wrong is
// ever given out, and fetching what is missing makes everything whole.
func TestFlippedBits(t *testing.T) {
	from, dir := t.TempDir(), t.TempDir()
	origin, host := open(t, from), open(t, dir)
	r := ingest(t, origin, "1", sample(1))
	p := fullPack(t, origin, r)
	q, _ := transfer(t, p, host)
	if _, err := host.Register(verify(t, q, nil)); err != nil {
		t.Fatal(err)
	}
	if err := host.Mark(r.ID, store.Stored, ""); err != nil {
		t.Fatal(err)
	}
	if err := host.PutSignature(r.ID, []byte("untrusted comment: x\n")); err != nil {
		t.Fatal(err)
	}
	if err := host.Close(); err != nil {
		t.Fatal(err)
	}
	var names []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil || len(names) < 6 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int{0, len(b) / 2, len(b) - 1} {
			t.Run(fmt.Sprintf("%s/%d", strings.TrimPrefix(name, dir+"/"), at), func(t *testing.T) {
				flip(t, name, at)
				defer func() {
					if err := os.WriteFile(name, b, 0o600); err != nil {
						t.Error(err)
					}
				}()
				heals(t, dir, p, r)
			})
			restore(t, dir, names, p, r)
		}
	}
}

func flip(t *testing.T, name string, at int) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 0x04
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// heals opens the store, fetches what is missing, and checks that all is right.
func heals(t *testing.T, dir string, from *store.Pack, r store.Release) {
	t.Helper()
	s := open(t, dir)
	defer s.Close() //nolint:errcheck // a test
	if m, err := s.Manifest(r.ID); err == nil && m.ID() != r.ID {
		t.Error("a wrong manifest")
	}
	for _, got := range s.Releases("") {
		if got.ID != r.ID || got.App != r.App {
			t.Logf("record %+v", got) // the registry is not signed; it must only not hurt
		}
	}
	q, err := s.Pack(from.Digest())
	if err == nil {
		if _, err := q.Verify(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	q, n := transfer(t, from, s)
	if n > 1 && n < from.Chunks() {
		t.Errorf("%d chunks fetched for one flipped bit", n)
	}
	m := verify(t, q, nil)
	if _, err := s.PutManifest(m); err != nil {
		t.Error(err)
	}
	if m, err := s.Manifest(r.ID); err != nil || m.ID() != r.ID {
		t.Error("the manifest is not there again", err)
	}
}

// restore makes the store whole again, whatever a case removed.
func restore(t *testing.T, dir string, names []string, from *store.Pack, r store.Release) {
	t.Helper()
	s := open(t, dir)
	q, _ := transfer(t, from, s)
	if _, err := s.Register(verify(t, q, nil)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.PutSignature(r.ID, []byte("untrusted comment: x\n")), s.Close()); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, err := os.Stat(name); err != nil {
			t.Fatal(err)
		}
	}
}

// A chunk that goes bad while the store is open is noticed when it is read, forgotten,
// and comes again; a reader of the pack waits for it.
func TestDamagedWhileOpen(t *testing.T) {
	dir := t.TempDir()
	origin, host := open(t, t.TempDir()), open(t, dir)
	p := fullPack(t, origin, ingest(t, origin, "1", sample(1)))
	q, _ := transfer(t, p, host)
	flip(t, filepath.Join(dir, "packs", q.ID(), "data"), 100)
	damaged := p.Describe().Head % p.Chunks() // the file begins with the chunk after the head
	changed := q.Changed()
	if _, err := q.Open(damaged); !fault.Is(err, fault.KindCorrupt) {
		t.Fatalf("got %v", err)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was told")
	}
	if q.Complete() || q.Have().Test(uint(damaged)) {
		t.Error("the damaged chunk still counts")
	}
	done := make(chan error, 1)
	go func() {
		_, err := q.Chunk(t.Context(), damaged, nil)
		done <- err
	}()
	transfer(t, p, host)
	if err := <-done; err != nil {
		t.Error(err)
	}
	verify(t, q, nil)
}

func TestPutRefuses(t *testing.T) {
	origin, host := open(t, t.TempDir()), open(t, t.TempDir())
	p := fullPack(t, origin, ingest(t, origin, "1", sample(1)))
	index, _ := p.Index()
	q, err := host.Receive(t.Context(), index)
	if err != nil {
		t.Fatal(err)
	}
	wire, err := p.Chunk(t.Context(), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(wire)
	bad[len(bad)/3] ^= 1
	for name, try := range map[string]error{
		"flipped": q.Put(t.Context(), 1, bad), "short": q.Put(t.Context(), 1, wire[1:]), "another's": q.Put(t.Context(), 0, wire),
	} {
		if !fault.Is(try, fault.KindCorrupt) {
			t.Errorf("%s: %v", name, try)
		}
	}
	if q.Have().Any() {
		t.Error("something counts")
	}
	if _, err := host.Receive(t.Context(), index[1:]); !fault.Is(err, fault.KindCorrupt) {
		t.Errorf("half an index: %v", err)
	}
}

// A journal that was cut, torn or damaged costs at most the chunks that it no longer names.
func TestTornJournal(t *testing.T) {
	from, dir := t.TempDir(), t.TempDir()
	origin, host := open(t, from), open(t, dir)
	p := fullPack(t, origin, ingest(t, origin, "1", sample(1)))
	index, _ := p.Index()
	q, err := host.Receive(t.Context(), index)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		wire, err := p.Chunk(t.Context(), i, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := q.Put(t.Context(), i, wire); err != nil {
			t.Fatal(err)
		}
	}
	if err := host.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "packs", q.ID(), "have")
	for _, tt := range []struct {
		change func(b []byte) []byte
		have   uint
	}{
		{func(b []byte) []byte { return b[:len(b)-3] }, 5},
		{func(b []byte) []byte { return append(b, 1, 2, 3) }, 5},
		{func(b []byte) []byte { return append(b, make([]byte, 800)...) }, 5},
		{func(b []byte) []byte { b[17] ^= 1; return b }, 4},
		{func([]byte) []byte { return nil }, 0},
	} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, tt.change(b), 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir)
		q, err := s.Pack(p.Digest())
		if err != nil {
			t.Fatal(err)
		}
		if n := q.Have().Count(); n != tt.have {
			t.Errorf("%d chunks, want %d", n, tt.have)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, dir)
	q, _ = transfer(t, p, s)
	verify(t, q, nil)
}

// After a new start of the kernel, what was not synced is looked at again.
func TestReboot(t *testing.T) {
	dir := t.TempDir()
	origin, host := open(t, t.TempDir()), open(t, dir)
	p := fullPack(t, origin, ingest(t, origin, "1", sample(1)))
	index, _ := p.Index()
	q, err := host.Receive(t.Context(), index)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		wire, _ := p.Chunk(t.Context(), i, nil)
		if err := q.Put(t.Context(), i, wire); err != nil {
			t.Fatal(err)
		}
	}
	if err := host.Close(); err != nil {
		t.Fatal(err)
	}
	// As if the last write had not reached the disk before the power went.
	flip(t, filepath.Join(dir, "packs", q.ID(), "data"), 0)
	if err := os.WriteFile(filepath.Join(dir, "boot"), []byte("another\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	q, err = open(t, dir).Pack(p.Digest())
	if err != nil {
		t.Fatal(err)
	}
	if n := q.Have().Count(); n != 4 {
		t.Errorf("%d chunks, want 4", n)
	}
}

// On a disk that is really full, everything is refused with a Full fault and nothing
// stays behind.
func TestFullDisk(t *testing.T) {
	args := childArgs()
	if args == nil {
		if os.Getuid() != 0 {
			if os.Getenv("CI") != "" {
				t.Fatal("needs root to mount a file system")
			}
			t.Skip("needs root to mount a file system")
		}
		cmd, out := child(t, &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}, t.TempDir(), t.TempDir())
		var text []string
		for out.Scan() {
			text = append(text, out.Text())
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, strings.Join(text, "\n"))
		}
		return
	}
	if err := unix.Mount("small", args[0], "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	origin, small := open(t, args[1]), open(t, args[0], func(o *store.Options) { o.Quota = -1 })
	p := fullPack(t, origin, ingest(t, origin, "1", sample(1)))
	index, _ := p.Index()
	if _, err := small.Receive(t.Context(), index); err != nil {
		t.Fatal(err)
	}
	before := count(t, args[0])
	other := fullPack(t, origin, ingest(t, origin, "2", sample(2)))
	index, _ = other.Index()
	if _, err := small.Receive(t.Context(), index); !fault.Is(err, fault.KindFull) {
		t.Errorf("receive: %v", err)
	}
	if _, err := tryIngest(t, small, "3", tarball(t, sample(3))); !fault.Is(err, fault.KindFull) {
		t.Errorf("ingest: %v", err)
	}
	// What others write to the same disk is not foreseen by anything.
	if err := os.WriteFile(filepath.Join(args[0], "tmp", "hog"), make([]byte, 8<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	if err := small.PutSignature(p.Describe().Release, make([]byte, 60<<10)); !fault.Is(err, fault.KindFull) {
		t.Errorf("signature: %v", err)
	}
	if err := os.Remove(filepath.Join(args[0], "tmp", "hog")); err != nil {
		t.Fatal(err)
	}
	if n := count(t, args[0]); n != before {
		t.Errorf("%d files, %d before", n, before)
	}
	q, _ := transfer(t, p, small)
	verify(t, q, nil)
	// What a reservation has written does not count twice.
	if err := small.RemovePack(p.Digest()); err != nil {
		t.Fatal(err)
	}
	ingest(t, small, "3", sample(3)[:61]) // without the copy of the large file, which takes room for a moment
}

var _ pack.Chunks = (*store.Pack)(nil)
