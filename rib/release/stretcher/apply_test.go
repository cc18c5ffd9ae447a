package stretcher

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kaname.dev/kaname/fault"
)

func run(ctx context.Context, argv []string, stdin []byte) ([]byte, error) {
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Stdin = bytes.NewReader(stdin)
	return c.CombinedOutput()
}

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
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

func parse(t *testing.T, text string) *Manifest {
	t.Helper()
	m, err := Parse("m.yml", []byte(text), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func exists(p string) bool { _, err := os.Lstat(p); return err == nil }

func TestApplyWithRsync(t *testing.T) {
	src := tree(t, map[string]string{"app": "v2", "run.pid": "1", "exclude.list": "keep/\n"})
	dest := tree(t, map[string]string{"app": "v1", "old": "", "live.pid": "7", "keep/log": "x"})
	log := filepath.Join(t.TempDir(), "log")
	m := parse(t, `
src: file:///a.tar
dest: `+dest+`
dest_mode: 0711
commands:
  pre: [echo pre-ran]
  post: ["grep -q v2 `+dest+`/app"]
  success: ["cat > `+log+`"]
  failure: ["touch `+log+`.failed"]
excludes: ["*.pid"]
exclude_from: exclude.list
`)
	if out, err := Apply(t.Context(), m, src, false, run); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, want := range map[string]bool{"app": true, "old": false, "live.pid": true, "run.pid": false, "keep/log": true} {
		if exists(filepath.Join(dest, name)) != want {
			t.Errorf("%s exists: %v, want %v", name, !want, want)
		}
	}
	if st, _ := os.Stat(dest); st.Mode().Perm() != 0o711 {
		t.Errorf("dest has mode %v", st.Mode())
	}
	if b, _ := os.ReadFile(log); !strings.Contains(string(b), "pre-ran") {
		t.Errorf("the success command got %q on its standard input", b)
	}
	if exists(log + ".failed") {
		t.Error("the failure command ran")
	}
}

func TestApplyStopsAtTheFirstFailureAndTellsIt(t *testing.T) {
	src := tree(t, map[string]string{"app": "v2"})
	dest := filepath.Join(t.TempDir(), "dest")
	told := filepath.Join(t.TempDir(), "told")
	m := parse(t, "src: file:///a\ndest: "+dest+"\ncommands:\n  pre: ['echo oops; exit 3', 'touch "+told+".second']\n  failure: ['cat > "+told+"']\n")
	_, err := Apply(t.Context(), m, src, false, run)
	if err == nil || !strings.Contains(err.Error(), "exit 3") {
		t.Errorf("got %v", err)
	}
	if exists(dest) || exists(told+".second") {
		t.Error("went on after a failed pre command")
	}
	if b, _ := os.ReadFile(told); !strings.Contains(string(b), "oops") {
		t.Errorf("the failure command got %q", b)
	}
}

func TestApplyWithMove(t *testing.T) {
	src := tree(t, map[string]string{"app": "v2"})
	dest := filepath.Join(t.TempDir(), "dest")
	m := parse(t, "src: file:///a\ndest: "+dest+"\nsync_strategy: mv\n")
	if out, err := Apply(t.Context(), m, src, true, run); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if b, _ := os.ReadFile(filepath.Join(dest, "app")); string(b) != "v2" {
		t.Errorf("dest/app is %q", b)
	}
	again := tree(t, map[string]string{"app": "v3"})
	if _, err := Apply(t.Context(), m, again, true, run); !fault.Is(err, fault.KindExists) {
		t.Errorf("an existing dest: %v", err)
	}
	if b, _ := os.ReadFile(filepath.Join(dest, "app")); string(b) != "v2" {
		t.Error("an existing dest was touched")
	}
}

func TestApplyCommandsOnly(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	m := parse(t, "commands:\n  pre: ['touch "+mark+"']\n")
	if _, err := Apply(t.Context(), m, "", false, run); err != nil || !exists(mark) {
		t.Errorf("%v, ran: %v", err, exists(mark))
	}
}
