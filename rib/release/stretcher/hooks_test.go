package stretcher

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kaname.dev/kaname/rib/release/manifest"
)

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "it's a tree")
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// run does the lines as a host does: each in a shell of its own, until one fails.
func run(t *testing.T, release string, lines []string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	for _, line := range lines {
		c := exec.CommandContext(t.Context(), "/bin/sh", "-c", line)
		c.Env = append(os.Environ(), "KANAME_RELEASE_PATH="+release)
		c.Stdout, c.Stderr = &out, &out
		if err := c.Run(); err != nil {
			return out.String(), err
		}
	}
	return out.String(), nil
}

func parse(t *testing.T, text string) *Manifest {
	t.Helper()
	m, err := Parse("m.yml", []byte(text), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func exists(p string) bool { _, err := os.Lstat(p); return err == nil }

func TestRsyncMakesDestEqualButForTheExcludes(t *testing.T) {
	src := tree(t, map[string]string{"app": "v2", "run.pid": "1", "exclude.list": "keep/\n"})
	dest := tree(t, map[string]string{"app": "v1", "old": "", "live.pid": "7", "keep/log": "x"})
	m := parse(t, "src: file:///a.tar\ndest: \""+dest+"\"\ndest_mode: 0711\ncommands:\n  post: ['echo done']\nexcludes: ['*.pid']\nexclude_from: exclude.list\n")
	out, err := run(t, src, m.Hooks(nil).Post)
	if err != nil || !strings.Contains(out, "done") {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, want := range map[string]bool{"app": true, "old": false, "live.pid": true, "run.pid": false, "keep/log": true} {
		if exists(filepath.Join(dest, name)) != want {
			t.Errorf("%s exists: %v, want %v", name, !want, want)
		}
	}
	if b, _ := os.ReadFile(filepath.Join(dest, "app")); string(b) != "v2" {
		t.Errorf("app is %q: same size, same second, other contents", b)
	}
	if st, _ := os.Stat(dest); st.Mode().Perm() != 0o711 {
		t.Errorf("dest has mode %v", st.Mode())
	}
	if _, err := run(t, src, m.Hooks(&manifest.Entry{Mode: 0o750}).Post); err != nil {
		t.Fatal(err)
	}
	if st, _ := os.Stat(dest); st.Mode().Perm() != 0o750 {
		t.Errorf("dest has mode %v, the archive's own directory 0750", st.Mode())
	}
}

func TestMoveRefusesAnExistingDest(t *testing.T) {
	src := tree(t, map[string]string{"app": "v2"})
	dest := filepath.Join(t.TempDir(), "de'st")
	m := parse(t, "src: file:///a\ndest: \""+dest+"\"\nsync_strategy: mv\n")
	if out, err := run(t, src, m.Hooks(nil).Post); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if b, _ := os.ReadFile(filepath.Join(dest, "app")); string(b) != "v2" {
		t.Errorf("dest/app is %q", b)
	}
	if !exists(filepath.Join(src, "app")) {
		t.Error("the release itself is gone")
	}
	out, err := run(t, tree(t, map[string]string{"app": "v3"}), m.Hooks(nil).Post)
	if err == nil || !strings.Contains(out, "exists already") {
		t.Errorf("an existing dest: %v\n%s", err, out)
	}
	if b, _ := os.ReadFile(filepath.Join(dest, "app")); string(b) != "v2" {
		t.Error("an existing dest was touched")
	}
}

func TestCommandsOnly(t *testing.T) {
	m := parse(t, "commands:\n  pre: ['echo a']\n  post: ['echo b']\n")
	if c := m.Hooks(nil); len(c.Post) != 1 || len(c.Pre) != 1 {
		t.Errorf("%+v", c)
	}
}
