package plane_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/planetest"
)

// soak reports whether the long runs are asked for.
func soak() bool { return os.Getenv("KANAME_SOAK") != "" }

// written is what a test has stored and must find again.
type written struct {
	docs   map[string]note
	events int
	audit  int
}

// fill writes documents, some replaced and deleted, events and audit records.
func fill(t *testing.T, p *plane.Plane, n int) written {
	t.Helper()
	w := written{docs: map[string]note{}}
	ctx := t.Context()
	docs := plane.Documents[note](p, "notes")
	for i := range n {
		key := fmt.Sprintf("key%d", i)
		d, err := docs.Create(ctx, key, note{Text: strings.Repeat("x", 100), N: i})
		if err != nil {
			t.Fatal(err)
		}
		w.docs[key] = d.Value
		switch i % 5 {
		case 0:
			d.Value.Text = "replaced"
			if _, err := docs.Swap(ctx, d); err != nil {
				t.Fatal(err)
			}
			w.docs[key] = d.Value
		case 1:
			if err := docs.Delete(ctx, d); err != nil {
				t.Fatal(err)
			}
			delete(w.docs, key)
		case 2:
			if err := p.Emit(ctx, "test.event", note{N: w.events}); err != nil {
				t.Fatal(err)
			}
			w.events++
		case 3:
			if err := p.Emit(ctx, "audit", note{N: w.audit}); err != nil {
				t.Fatal(err)
			}
			w.audit++
		}
	}
	return w
}

// missing compares the store with what was written.
func (w written) missing(ctx context.Context, p *plane.Plane) error {
	list, err := plane.Documents[note](p, "notes").List(ctx, "")
	if err != nil {
		return err
	}
	if len(list) != len(w.docs) {
		return fmt.Errorf("%d documents, want %d", len(list), len(w.docs))
	}
	for _, d := range list {
		if w.docs[d.Key] != d.Value {
			return fmt.Errorf("document %s: %+v, want %+v", d.Key, d.Value, w.docs[d.Key])
		}
	}
	if n := count(ctx, p, "test.event", w.events); n != w.events {
		return fmt.Errorf("%d events, want %d", n, w.events)
	}
	if n := count(ctx, p, "audit", w.audit); n < w.audit {
		return fmt.Errorf("%d audit records, want %d", n, w.audit)
	}
	return nil
}

// count follows a topic until it has seen want events or no more are there.
func count(ctx context.Context, p *plane.Plane, topic string, want int) (n int) {
	_ = p.Emit(ctx, topic+".end", note{})
	for e, err := range p.Follow(ctx, topic, 1) {
		if err != nil || e.Topic == topic+".end" {
			break
		}
		if e.Topic == topic {
			n++
		}
	}
	return n
}

func options(t *testing.T, dir string) plane.Options {
	return plane.Options{Host: "core", Dir: dir, Log: slog.New(slog.DiscardHandler)}
}

// reopen opens the plane in dir; it does not fail the test.
func reopen(t *testing.T, o plane.Options) (*plane.Plane, error) {
	t.Helper()
	p, err := plane.Open(t.Context(), o)
	if err == nil {
		t.Cleanup(func() { planetest.Close(t, p) })
	}
	return p, err
}

// storeFiles lists the files of the store that have contents.
func storeFiles(t *testing.T, dir string) (files []string, sizes []int64) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "store"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		if st.Size() > 0 {
			files, sizes = append(files, path), append(sizes, st.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, sizes
}

// copyDir copies the state directory, with the modes that keys need.
func copyDir(t *testing.T, to, from string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	keys, err := filepath.Glob(filepath.Join(to, "trust", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if err := os.Chmod(k, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func flip(t *testing.T, path string, at int64, bit int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1 << bit
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAFlippedBitIsNoticedOrHarmless damages the store of a stopped plane, at
// random places of all files and at the end, middle and start of each, and opens it:
// everything is there, or it is refused.
func TestAFlippedBitIsNoticedOrHarmless(t *testing.T) {
	dir := t.TempDir()
	p := planetest.Open(t, options(t, dir))
	w := fill(t, p, 60)
	planetest.Close(t, p)
	files, sizes := storeFiles(t, dir)
	type place struct {
		file int
		at   int64
	}
	var places []place
	for i, size := range sizes {
		places = append(places, place{i, 0}, place{i, size / 2}, place{i, size - 1})
	}
	n := 40
	if soak() {
		n = 500
	}
	rnd := rand.New(rand.NewPCG(7, 7)) //nolint:gosec // a schedule, not a secret
	for len(places) < n {
		i := rnd.IntN(len(files))
		places = append(places, place{i, rnd.Int64N(sizes[i])})
	}
	refused := 0
	for _, at := range places {
		trial := t.TempDir()
		copyDir(t, trial, dir)
		rel, _ := filepath.Rel(dir, files[at.file])
		flip(t, filepath.Join(trial, rel), at.at, rnd.IntN(8))
		p, err := reopen(t, options(t, trial))
		if err != nil {
			if refused++; !fault.Is(err, fault.KindCorrupt) || fault.Of(err).Remedy == "" {
				t.Errorf("%s at %d: refused without saying why and how: %v", rel, at.at, err)
			}
			continue
		}
		if err := w.missing(t.Context(), p); err != nil {
			t.Errorf("%s at %d: silently lost: %v", rel, at.at, err)
		}
		planetest.Close(t, p)
	}
	t.Logf("%d places, %d refused, the others harmless", len(places), refused)
	if refused == 0 {
		t.Error("no damage was ever noticed: the test does not test")
	}
}

func damage(t *testing.T, dir, stream string) {
	t.Helper()
	files, sizes := storeFiles(t, dir)
	for i, f := range files {
		if strings.HasSuffix(f, ".blk") && strings.Contains(f, "/"+stream+"/") {
			flip(t, f, sizes[i]/3, 3)
			return
		}
	}
	t.Fatal("no block of stream " + stream)
}

func TestADamagedStoreIsRestoredFromTheSeal(t *testing.T) {
	for _, stream := range []string{"DOC", "AUDIT"} {
		dir := t.TempDir()
		p := planetest.Open(t, options(t, dir))
		w := fill(t, p, 100)
		before, err := plane.Documents[note](p, "notes").Get(t.Context(), "key99")
		if err != nil {
			t.Fatal(err)
		}
		planetest.Close(t, p)
		damage(t, dir, stream)
		if _, err = reopen(t, options(t, dir)); !fault.Is(err, fault.KindCorrupt) {
			t.Fatalf("damaged %s: %v", stream, err)
		}
		t.Log(err)
		o := options(t, dir)
		o.Recover = plane.RecoverRestore
		if p, err = reopen(t, o); err != nil {
			t.Fatal(err)
		}
		if err := w.missing(t.Context(), p); err != nil {
			t.Fatalf("after restoring %s: %v", stream, err)
		}
		if _, err := plane.Documents[note](p, "notes").Swap(t.Context(), before); stream == "DOC" && !fault.Is(err, fault.KindConflict) {
			t.Fatalf("a revision from before the restore is still good: %v", err)
		}
		planetest.Close(t, p)
		if p, err = reopen(t, options(t, dir)); err != nil {
			t.Fatal("after the restore it must open without help:", err)
		}
		if err := w.missing(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		planetest.Close(t, p)
	}
}

func TestALossIsAcceptedOnlyWhenSaid(t *testing.T) {
	dir := t.TempDir()
	p := planetest.Open(t, options(t, dir))
	fill(t, p, 50)
	planetest.Close(t, p)
	damage(t, dir, "EV")
	_, err := reopen(t, options(t, dir))
	wantKind(t, err, fault.KindCorrupt)
	o := options(t, dir)
	o.Recover = plane.RecoverAccept
	if p, err = reopen(t, o); err != nil {
		t.Fatal(err)
	}
	planetest.Close(t, p)
	if p, err = reopen(t, options(t, dir)); err != nil {
		t.Fatal(err)
	}
	planetest.Close(t, p)
}

// TestAStoreThatIsGoneIsNoticed removes the whole store, as a lost disk or an old
// image does.
func TestAStoreThatIsGoneIsNoticed(t *testing.T) {
	dir := t.TempDir()
	p := planetest.Open(t, options(t, dir))
	w := fill(t, p, 20)
	planetest.Close(t, p)
	if err := os.RemoveAll(filepath.Join(dir, "store")); err != nil {
		t.Fatal(err)
	}
	_, err := reopen(t, options(t, dir))
	wantKind(t, err, fault.KindCorrupt)
	if !strings.Contains(err.Error(), "which is gone") {
		t.Error(err)
	}
	o := options(t, dir)
	o.Recover = plane.RecoverRestore
	if p, err = reopen(t, o); err != nil {
		t.Fatal(err)
	}
	w.events = 0 // of events there is no copy
	if err := w.missing(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

// TestATornTailStarts appends half a record to the newest blocks and takes the seal's
// last bytes away, as a crash in the midst of an unacknowledged write does.
func TestATornTailStarts(t *testing.T) {
	dir := t.TempDir()
	p := planetest.Open(t, options(t, dir))
	w := fill(t, p, 50)
	planetest.Close(t, p)
	files, _ := storeFiles(t, dir)
	for _, f := range files {
		if strings.HasSuffix(f, ".blk") {
			appendTo(t, f, []byte("\x40\x00\x00\x00half a rec"))
		}
	}
	seals, err := filepath.Glob(filepath.Join(dir, "seal", "*"))
	if err != nil || len(seals) != 3 {
		t.Fatal(seals, err)
	}
	for _, f := range seals {
		appendTo(t, f, []byte("\xf5kn1\x99"))
	}
	if err := os.WriteFile(filepath.Join(dir, "open"), nil, 0o600); err != nil { // as if it had not been closed
		t.Fatal(err)
	}
	var log bytes.Buffer
	o := options(t, dir)
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	if p, err = reopen(t, o); err != nil {
		t.Fatal(err)
	}
	if err := w.missing(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	planetest.Close(t, p)
	if !strings.Contains(log.String(), "all acknowledged writes are there") {
		t.Error("no word of the crash in the log:\n" + log.String())
	}
}

func appendTo(t *testing.T, path string, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestADamagedSealDoesNotStopAGoodStore flips bits in the seal: the store is whole,
// so the plane opens, and says what it saw.
func TestADamagedSealDoesNotStopAGoodStore(t *testing.T) {
	dir := t.TempDir()
	p := planetest.Open(t, options(t, dir))
	w := fill(t, p, 30)
	planetest.Close(t, p)
	path := filepath.Join(dir, "seal", "DOC.seal")
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, path, st.Size()/2, 1)
	for range 2 {
		if p, err = reopen(t, options(t, dir)); err != nil {
			t.Fatal(err)
		}
		if err := w.missing(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		planetest.Close(t, p)
	}
}

// TestOldEventsGoAndAreNotMissed lets all events become too old.
func TestOldEventsGoAndAreNotMissed(t *testing.T) {
	dir := t.TempDir()
	p := planetest.Open(t, options(t, dir))
	w := fill(t, p, 30)
	planetest.Close(t, p)
	o := options(t, dir)
	o.Keep = 1
	p, err := reopen(t, o)
	if err != nil {
		t.Fatal(err)
	}
	w.events = 0
	planetest.Eventually(t, "the events are gone", func() bool { return count(t.Context(), p, "test.event", 0) == 0 })
	planetest.Close(t, p)
	if p, err = reopen(t, options(t, dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.missing(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkCreate(b *testing.B) {
	p := planetest.Open(b, plane.Options{Host: "core", Log: slog.New(slog.DiscardHandler)})
	docs := plane.Documents[note](p, "notes")
	for i := 0; b.Loop(); i++ {
		if _, err := docs.Create(b.Context(), strconv.Itoa(i), note{Text: strings.Repeat("x", 200)}); err != nil {
			b.Fatal(err)
		}
	}
}
