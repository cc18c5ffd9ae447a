package demo

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/host"
)

// plant makes a small tree with everything that a tarball can say of it.
func plant(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"a/one.go": "package a\n", "a/two.txt": "two\n", "b/empty": "", "run.sh": "#!/bin/sh\n"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		os.Chmod(filepath.Join(dir, "run.sh"), 0o755), os.Symlink("one.go", filepath.Join(dir, "a/link")),
		os.Link(filepath.Join(dir, "a/two.txt"), filepath.Join(dir, "b/two.txt")),
		os.Chtimes(filepath.Join(dir, "a/two.txt"), time.Unix(1e9, 0), time.Unix(1e9, 123456789)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAnArchiveHoldsTheTreeAndItsChanges(t *testing.T) {
	dir, work := plant(t), t.TempDir()
	unpacked := func(name string, c change) map[string]string {
		file := filepath.Join(work, name+".tar.gz")
		if err := makeArchive(file, dir, c); err != nil {
			t.Fatal(err)
		}
		if err := untar(t.Context(), file, filepath.Join(work, name)); err != nil {
			t.Fatal(err)
		}
		got, err := tree(filepath.Join(work, name), time.Now().Add(-time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	want, err := tree(dir, time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	same := unpacked("same", change{})
	if diff := differences(want, same); len(diff) > 0 {
		t.Errorf("unchanged: %q", diff)
	}
	changed := unpacked("changed", patch())
	if diff := differences(same, changed); len(diff) < 3 {
		t.Errorf("patched, but only %q differ", diff)
	}
	if bad := unpacked("bad", broken()); bad[brokenMark] == "" {
		t.Error("the broken release has no mark")
	}
}

func TestDifferencesAreFound(t *testing.T) {
	want := map[string]string{"a": "1", "b": "2", "c": "3 = a"}
	for name, got := range map[string]map[string]string{
		"changed":          {"a": "9", "b": "2", "c": "3 = a"},
		"missing":          {"a": "1", "c": "3 = a"},
		"too many":         {"a": "1", "b": "2", "c": "3 = a", "d": ""},
		"no longer a link": {"a": "1", "b": "2", "c": "3"},
	} {
		if len(differences(want, got)) != 1 {
			t.Errorf("%s: %q", name, differences(want, got))
		}
	}
	if d := differences(want, map[string]string{"a": "1", "b": "2 = a", "c": "3 = a"}); len(d) > 0 {
		t.Errorf("sharing: %q", d)
	}
}

func TestTheMainJob(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "kaname")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	archive := filepath.Join(t.TempDir(), "shop-1.tar.gz")
	if err := makeArchive(archive, plant(t), change{}); err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	res, err := host.Run(t.Context(), host.Command{
		Args: []string{binary, "demo", "--once", "--hosts", "2", "--release", archive, "-o", "json", "--progress", "none"},
		Env:  []string{"TMPDIR=" + tmp}, Timeout: 5 * time.Minute,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, res.Output)
	}
	var s Summary
	if err := json.Unmarshal([]byte(res.Output[strings.IndexByte(res.Output, '{'):]), &s); err != nil {
		t.Fatalf("%v: %s", err, res.Output)
	}
	if !s.OK || s.Live != 2 || s.LiveSecond != 2 || !s.RolledBack || s.TreesCompared != 4 || s.Files != 5 && s.Files != 4 {
		t.Errorf("%+v", s)
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestWrongNumbersAreNotPassed(t *testing.T) {
	good := Summary{Hosts: 2, Live: 2, LiveSecond: 2, BytesFull: 10 << 20, BytesOrigin: 11 << 20, BytesFullSecond: 100, BytesDelta: 5, RolledBack: true}
	if err := good.wrong(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*Summary){
		"a host not live":     func(s *Summary) { s.Live = 1 },
		"the origin's share":  func(s *Summary) { s.BytesOrigin = 14 << 20 },
		"no delta":            func(s *Summary) { s.BytesDelta = 0 },
		"a delta that is big": func(s *Summary) { s.BytesDelta = 101 },
		"no rollback":         func(s *Summary) { s.RolledBack = false },
	} {
		s := good
		if spoil(&s); s.wrong() == nil {
			t.Errorf("%s is passed", name)
		}
	}
}
