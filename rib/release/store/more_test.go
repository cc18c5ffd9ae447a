package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/store"
)

func TestQuota(t *testing.T) {
	dir := t.TempDir()
	origin, host := open(t, t.TempDir()), open(t, dir, func(o *store.Options) { o.Quota = 6 << 20 })
	p := fullPack(t, origin, ingest(t, origin, "1", sample(1)))
	transfer(t, p, host)
	before := count(t, dir)
	_, err := tryIngest(t, host, "2", tarball(t, sample(2)))
	if !fault.Is(err, fault.KindFull) || !strings.Contains(err.Error(), "6.0 MiB") || !strings.Contains(err.Error(), "prune") {
		t.Errorf("ingest: %v", err)
	}
	if n := count(t, dir); n != before {
		t.Errorf("%d files, %d before", n, before)
	}
	room, err := host.Reserve(100 << 10)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := host.Reserve(1 << 20); !fault.Is(err, fault.KindFull) {
		t.Errorf("reserve: %v", err)
	}
	room.Release()
	room.Release()
	if u, err := host.Usage(); err != nil || u.Reserved != 0 {
		t.Errorf("%+v, %v", u, err)
	}
	// A floor beyond what is free refuses everything.
	s := open(t, t.TempDir(), func(o *store.Options) { o.Floor, o.Quota = 1<<60, -1 })
	if _, err := s.Reserve(1); !fault.Is(err, fault.KindFull) {
		t.Errorf("floor: %v", err)
	}
}

// The bytes that the store counts are those that it counts when it is opened again.
func TestUsageIsExact(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	one := ingest(t, s, "1", sample(1))
	two := ingest(t, s, "2", sample(2))
	if _, err := s.Delta(t.Context(), one.ID, two.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateOpaque(t.Context(), store.Opaque{Name: "x"}, strings.NewReader("text")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.PutSignature(one.ID, []byte("s")), s.PutSignature(one.ID, []byte("ss")), s.Mark(two.ID, store.Live, "/x"), s.Remove(one.ID)); err != nil {
		t.Fatal(err)
	}
	was, err := s.Usage()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	now, err := open(t, dir).Usage()
	if err != nil || now.Used != was.Used || was.Reserved != 0 {
		t.Errorf("%+v, then %+v (%v)", was, now, err)
	}
}

func TestStates(t *testing.T) {
	now := time.Unix(1e9, 0)
	dir := t.TempDir()
	clock := func(o *store.Options) { o.Now = func() time.Time { now = now.Add(time.Second); return now } }
	s := open(t, dir, clock)
	var r [5]store.Release
	for i := range r {
		r[i] = ingest(t, s, strconv.Itoa(i), []file{{"f", fmt.Appendf(nil, "%d", i)}})
	}
	mark := func(i int, state store.State) {
		t.Helper()
		if err := s.Mark(r[i].ID, state, fmt.Sprintf("/srv/%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	states := func() string {
		var b strings.Builder
		for _, r := range s.Releases("web") {
			fmt.Fprintf(&b, "%s:%s ", r.Version, r.State)
		}
		return strings.TrimSpace(b.String())
	}
	mark(0, store.Live)
	mark(1, store.Live)
	mark(2, store.Staged)
	mark(2, store.Live)
	if got, want := states(), "4:stored 3:stored 2:live 1:previous 0:staged"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	mark(1, store.Live) // rollback
	if got, want := states(), "4:stored 3:stored 2:previous 1:live 0:staged"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, clock)
	if got, want := states(), "4:stored 3:stored 2:previous 1:live 0:staged"; got != want {
		t.Errorf("after opening again: %s, want %s", got, want)
	}
	if err := s.Remove(r[1].ID); !fault.Is(err, fault.KindConflict) {
		t.Errorf("removing the live release: %v", err)
	}
	var trees []string
	gone, err := s.Prune(t.Context(), "web", store.PruneOptions{Keep: 1, KeepPrevious: true, Before: func(r store.Release) error {
		trees = append(trees, r.Path)
		return nil
	}})
	if err != nil || len(gone) != 2 || strings.Join(trees, " ") != "/srv/0 " {
		t.Errorf("%d gone, trees %q, %v", len(gone), trees, err)
	}
	if got, want := states(), "4:stored 2:previous 1:live"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, err := s.Prune(t.Context(), "web", store.PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, want := states(), "1:live"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if n := count(t, dir+"/packs"); n != 3 {
		t.Errorf("%d files of packs are left", n)
	}
	if _, err := tryIngest(t, s, "1", tarball(t, sample(1))); !fault.Is(err, fault.KindExists) {
		t.Errorf("the same version again: %v", err)
	}
}

func TestIngestLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	before := count(t, dir)
	whole := tarball(t, sample(1))
	for name, b := range map[string][]byte{"cut": whole[:len(whole)/2], "below a file": tarball(t, []file{{"a", []byte("x")}, {"a/b", []byte("y")}})} {
		if _, err := tryIngest(t, s, "1", b); err == nil {
			t.Errorf("%s: no error", name)
		}
		if n := count(t, dir); n != before {
			t.Errorf("%s: %d files, %d before", name, n, before)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.CreateOpaque(ctx, store.Opaque{Name: "x"}, bytes.NewReader(noise(1, 9<<20))); err == nil {
		t.Error("no error with an ended context")
	}
	if _, err := s.CreateOpaque(t.Context(), store.Opaque{Name: "x"}, io.MultiReader(bytes.NewReader(noise(1, 5<<20)), iotest.ErrReader(io.ErrClosedPipe))); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
	if n := count(t, dir); n != before {
		t.Errorf("%d files, %d before", n, before)
	}
}

func TestOpaque(t *testing.T) {
	dir := t.TempDir()
	s, host := open(t, dir), open(t, t.TempDir())
	before := count(t, dir)
	data := append(noise(3, 3<<20), words(4, 3<<20)...)
	o, err := s.CreateOpaque(t.Context(), store.Opaque{Name: "dir/app.tar.gz\x00", ContentType: "x/y"}, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateOpaque(t.Context(), store.Opaque{Name: o.Name}, strings.NewReader("other")); !fault.Is(err, fault.KindExists) {
		t.Errorf("a taken name: %v", err)
	}
	same, err := s.CreateOpaque(t.Context(), store.Opaque{Name: "same"}, bytes.NewReader(data))
	if err != nil || same.Pack != o.Pack {
		t.Errorf("the same bytes were stored twice (%v)", err)
	}
	if _, err := s.CreateOpaque(t.Context(), store.Opaque{Name: "empty"}, strings.NewReader("")); err != nil {
		t.Fatal(err)
	}
	p, err := s.Pack(o.Pack)
	if err != nil {
		t.Fatal(err)
	}
	transfer(t, p, host)
	if _, err := host.AdoptOpaque(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	lie := o
	lie.Name, lie.Size = "lie", 1
	if _, err := host.AdoptOpaque(t.Context(), lie); !fault.Is(err, fault.KindCorrupt) {
		t.Errorf("a wrong size: %v", err)
	}
	for _, at := range []*store.Store{s, host} {
		f, err := at.OpenOpaque(t.Context(), o.Name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(f)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes: %v", len(got), err)
		}
		part := make([]byte, 1<<20)
		if _, err := f.Seek(5<<19, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(f, part); err != nil || !bytes.Equal(part, data[5<<19:5<<19+1<<20]) {
			t.Errorf("a range: %v", err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if f, err := s.OpenOpaque(t.Context(), "empty"); err != nil {
		t.Error(err)
	} else if b, err := io.ReadAll(f); err != nil || len(b) != 0 {
		t.Error(b, err)
	}
	if n := len(s.OpaqueFiles()); n != 3 {
		t.Errorf("%d opaque files", n)
	}
	for _, name := range []string{o.Name, "same", "empty"} {
		if err := s.DeleteOpaque(name); err != nil {
			t.Error(err)
		}
	}
	if err := s.DeleteOpaque("same"); !fault.Is(err, fault.KindNotFound) {
		t.Error(err)
	}
	if n := count(t, dir); n != before {
		t.Errorf("%d files, %d before", n, before)
	}
}

// Many put, read and wait at once.
func TestConcurrent(t *testing.T) {
	origin, host := open(t, t.TempDir()), open(t, t.TempDir())
	p := fullPack(t, origin, ingest(t, origin, "1", sample(1)))
	index, _ := p.Index()
	var work sync.WaitGroup
	fail := make(chan error, 100)
	for k := range 4 {
		work.Go(func() {
			q, err := host.Receive(t.Context(), index)
			if err != nil {
				fail <- err
				return
			}
			for i := range p.Chunks() {
				i = (i*7 + k) % p.Chunks()
				wire, err := p.Chunk(t.Context(), i, nil)
				if err == nil {
					err = q.Put(t.Context(), i, wire)
				}
				if err != nil {
					fail <- err
					return
				}
			}
			fail <- q.WaitComplete(t.Context())
		})
	}
	work.Wait()
	close(fail)
	for err := range fail {
		if err != nil {
			t.Error(err)
		}
	}
	q, err := host.Pack(p.Digest())
	if err != nil {
		t.Fatal(err)
	}
	verify(t, q, nil)
	if err := host.RemovePack(p.Digest()); err != nil {
		t.Fatal(err)
	}
	if err := q.Wait(t.Context(), 0); !fault.Is(err, fault.KindNotFound) && err != nil {
		t.Error(err)
	}
	if _, err := q.Open(0); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("reading what was removed: %v", err)
	}
}
