package host

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteFileReplacesWhole(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close() //nolint:errcheck // test
	if err := root.Mkdir("sub", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteBytes(root, "sub/a", 0o640, []byte("one")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err = WriteFile(root, "sub/a", 0o640, func(w io.Writer) error {
		_, _ = io.WriteString(w, "half of tw")
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "sub/a")); string(got) != "one" {
		t.Errorf("contents %q after a failed write", got)
	}
	if err := WriteBytes(root, "sub/a", 0o666, []byte("two")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "sub/a"))
	if err != nil || info.Mode() != 0o666 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	left, _ := os.ReadDir(filepath.Join(dir, "sub"))
	if len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	if err := WriteBytes(root, "../a", 0o600, nil); err == nil {
		t.Error("wrote outside the root")
	}
}

func TestWritePathMakesItsDirectory(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x", "y", "z")
	if err := WritePath(name, 0o600, []byte("z")); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(name); string(got) != "z" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestFactsOfThisMachine(t *testing.T) {
	s, err := DiskSpace(t.TempDir())
	if err != nil || s.Total <= 0 || s.Free > s.Total || s.FileSystem == "" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := DiskSpace("/no/such"); err == nil {
		t.Error("space of a path that is not there")
	}
	if _, err := ReadClock(); err != nil {
		t.Error(err)
	}
	a, err := Monotonic()
	b, _ := Monotonic()
	if err != nil || b < a || a <= 0 {
		t.Errorf("%v, %v, %v", a, b, err)
	}
}
