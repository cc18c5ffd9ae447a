package journal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"kaname.dev/kaname/plane/journal"
)

func read(t *testing.T, path string) (got []string, found journal.Found) {
	t.Helper()
	l, found, err := journal.Open(path, func(b []byte) error { got = append(got, string(b)); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return got, found
}

func write(t *testing.T, path string, n int) {
	t.Helper()
	l, _, err := journal.Open(path, func([]byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := l.Append(fmt.Appendf(nil, "record %d", i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(nil); err == nil {
		t.Error("a closed journal took a record")
	}
}

func TestAppendsAtOnceAreAllKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "log")
	write(t, path, 100)
	got, found := read(t, path)
	if slices.Sort(got); len(slices.Compact(got)) != 100 || found != (journal.Found{Records: 100}) {
		t.Fatalf("%d %+v", len(got), found)
	}
}

func TestRewriteReplacesAndAppendsGoOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, 50)
	l, _, err := journal.Open(path, func([]byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Rewrite(slices.Values([][]byte{[]byte("a"), []byte("b")})); err != nil {
		t.Fatal(err)
	}
	if err := l.Append([]byte("c")); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got, _ := read(t, path); fmt.Sprint(got) != "[a b c]" {
		t.Fatal(got)
	}
}

// TestAnyDamageIsSeen cuts the file at every length and flips a bit of every
// byte: what is given back is always part of what was written, and the loss is told.
func TestAnyDamageIsSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, 5)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	original, _ := read(t, path)
	try := func(what string, b []byte, lost bool) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, found := read(t, path)
		for _, g := range got {
			if !slices.Contains(original, g) {
				t.Fatalf("%s: invented %q", what, g)
			}
		}
		if told := found.Torn > 0 || found.Damaged > 0; told != lost {
			t.Fatalf("%s: %+v", what, found)
		}
		if lost && len(got) < 4 && found.Damaged > 0 {
			t.Fatalf("%s: more than one record lost: %q", what, got)
		}
	}
	for i := range whole {
		flipped := slices.Clone(whole)
		flipped[i] ^= 1 << (i % 8)
		try(fmt.Sprintf("flip at %d", i), flipped, true)
		if _, found := read(t, path); found.Torn != 0 {
			t.Fatal("a torn tail was not cut off")
		}
	}
	size := len(whole) / 5
	for i := range whole {
		try(fmt.Sprintf("cut at %d", i), whole[:i], i%size != 0)
	}
}
