package unpack_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/unpack"
)

// nothing fails the test unless the directory is empty.
func nothing(t *testing.T, root *os.Root) {
	t.Helper()
	names, err := os.ReadDir(root.Name())
	if err != nil || len(names) > 0 {
		t.Errorf("left behind: %v %v", names, err)
	}
}

// script delivers what a test says.
type script func(ctx context.Context) (manifest.Digest, io.Reader, error)

func (s script) Next(ctx context.Context) (manifest.Digest, io.Reader, error) { return s(ctx) }

// some is a release of small and large files in closed directories.
func some() (m *manifest.Manifest, contents func() *bag) {
	var entries []manifest.Entry
	var texts []string
	for i := range 100 {
		text := fmt.Sprintf("text %d", i)
		entries = append(entries, file(fmt.Sprintf("d/%d/f", i), text))
		texts = append(texts, text)
	}
	large := strings.Repeat("large", 1<<18)
	entries = append(entries, file("large", large), manifest.Entry{Path: "d", Type: manifest.Dir, Mode: 0o500, MTime: then},
		manifest.Entry{Path: "s", Type: manifest.Symlink, Link: "/", MTime: then})
	texts = append(texts, large)
	m = release(entries...)
	return m, func() *bag {
		b := bagOf(nil, texts...)
		for _, s := range texts {
			b.order = append(b.order, manifest.Sum([]byte(s)))
		}
		return b
	}
}

func TestFailuresLeaveNothing(t *testing.T) {
	m, contents := some()
	broken := fault.Unavailable("peer web3 does not answer")
	after := func(n int, then script) func(*bag) unpack.Contents {
		return func(b *bag) unpack.Contents {
			return script(func(ctx context.Context) (manifest.Digest, io.Reader, error) {
				if b.next == n {
					b.next++
					return then(ctx)
				}
				return b.Next(ctx)
			})
		}
	}
	tests := map[string]struct {
		contents func(*bag) unpack.Contents
		kind     fault.Kind
	}{
		"source breaks": {after(50, func(context.Context) (manifest.Digest, io.Reader, error) { return manifest.Digest{}, nil, broken }), fault.KindUnavailable},
		"source breaks within a file": {
			after(50, func(context.Context) (manifest.Digest, io.Reader, error) {
				return manifest.Sum([]byte("text 50")), io.MultiReader(strings.NewReader("te"), errReader{broken}), nil
			}), fault.KindUnavailable,
		},
		"wrong contents": {
			after(99, func(context.Context) (manifest.Digest, io.Reader, error) {
				return manifest.Sum([]byte("text 99")), strings.NewReader("text 9x"), nil
			}), fault.KindCorrupt,
		},
		"short contents": {
			after(0, func(context.Context) (manifest.Digest, io.Reader, error) {
				return manifest.Sum([]byte("text 0")), strings.NewReader("text"), nil
			}), fault.KindCorrupt,
		},
		"wrong large contents": {func(b *bag) unpack.Contents {
			d := b.order[100]
			b.texts[d] = append([]byte("L"), b.texts[d][1:]...)
			return b
		}, fault.KindCorrupt},
		"long large contents": {func(b *bag) unpack.Contents {
			d := b.order[100]
			b.texts[d] = append(b.texts[d], 'x')
			return b
		}, fault.KindCorrupt},
		"something else": {
			after(3, func(context.Context) (manifest.Digest, io.Reader, error) {
				return manifest.Sum([]byte("foreign")), strings.NewReader("foreign"), nil
			}), fault.KindCorrupt,
		},
		"twice": {
			after(3, func(context.Context) (manifest.Digest, io.Reader, error) {
				return manifest.Sum([]byte("text 0")), strings.NewReader("text 0"), nil
			}), fault.KindCorrupt,
		},
		"ends early": {
			after(3, func(context.Context) (manifest.Digest, io.Reader, error) { return manifest.Digest{}, nil, io.EOF }), fault.KindCorrupt,
		},
		"no contents": {func(*bag) unpack.Contents { return nil }, fault.KindCorrupt},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dst := fresh(t)
			err := unpack.Tree(t.Context(), dst, m, nil, tt.contents(contents()), nil)
			if !fault.Is(err, tt.kind) || !strings.Contains(err.Error(), "release app 2") {
				t.Errorf("got %v, want %s", err, tt.kind)
			}
			nothing(t, dst)
		})
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

func TestCancelLeavesNothing(t *testing.T) {
	m, contents := some()
	dst := fresh(t)
	ctx, cancel := context.WithCancel(t.Context())
	b := contents()
	err := unpack.Tree(ctx, dst, m, nil, script(func(ctx context.Context) (manifest.Digest, io.Reader, error) {
		if b.next == 60 {
			cancel()
			<-ctx.Done()
			return manifest.Digest{}, nil, ctx.Err()
		}
		return b.Next(ctx)
	}), nil)
	if !errors.Is(err, context.Canceled) || !fault.Is(err, fault.KindCanceled) {
		t.Errorf("got %v", err)
	}
	nothing(t, dst)
}

func TestTargetNotEmpty(t *testing.T) {
	m, contents := some()
	dst := fresh(t)
	precious := filepath.Join(dst.Name(), "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unpack.Tree(t.Context(), dst, m, nil, contents(), nil); !fault.Is(err, fault.KindExists) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}

func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	dst, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close() //nolint:errcheck // only read through
	m, contents := some()
	err = unpack.Tree(t.Context(), dst, m, nil, contents(), nil)
	if !fault.Is(err, fault.KindFull) || fault.Of(err).Remedy == "" {
		t.Errorf("got %v", err)
	}
	nothing(t, dst)
}

// Descriptors stay bounded with more directories than the cache holds, and none
// is left open.
func TestManyDirectories(t *testing.T) {
	var entries []manifest.Entry
	for i := range 400 {
		entries = append(entries, file(fmt.Sprintf("a/b%d/c/f", i), "x"), file(fmt.Sprintf("a/b%d/e", i), ""))
	}
	m := release(entries...)
	dst := fresh(t)
	before := descriptors(t)
	most := 0
	err := unpack.Tree(t.Context(), dst, m, nil, bagOf([]manifest.Digest{manifest.Sum([]byte("x"))}, "x"), func(files int, _ int64) {
		if files%100 == 0 {
			most = max(most, descriptors(t))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if most-before > 320 {
		t.Errorf("%d descriptors at a time", most-before)
	}
	// The runtime opens up to three of its own for polling.
	if after := descriptors(t); after > before+3 {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if drifts, err := unpack.Compare(t.Context(), dst, m); err != nil || len(drifts) > 0 {
		t.Errorf("%.3v %v", drifts, err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
