package activate

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/rib/release/manifest"
)

// The crashes are real: the test binary runs itself, and that process kills itself
// with SIGKILL at a given point.
const crashEnv = "KANAME_TEST_CRASH" // "root scenario n"

func TestMain(m *testing.M) {
	if s := os.Getenv(crashEnv); s != "" {
		f := strings.Fields(s)
		n, err := strconv.Atoi(f[2])
		if err == nil {
			err = crashAt(f[0], f[1], n)
		}
		fmt.Println("ended:", err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// hooksOf note which release they ran for; post of version 2 fails if wanted.
func hooksOf(root string, fail bool) Hooks {
	note := func(hook string) string {
		return `echo "` + hook + ` $KANAME_RELEASE" >> ` + root + "/notes"
	}
	h := Hooks{Pre: []string{note("pre")}, Post: []string{note("post")}, Success: []string{note("success")}, Failure: []string{note("failure")}}
	if fail {
		h.Post = append(h.Post, `test "$KANAME_RELEASE" != 2`)
	}
	return h
}

// crashAt does a scenario and kills the process at the n-th point.
func crashAt(root, scenario string, n int) error {
	a, err := Open(root, "shop")
	if err != nil {
		return err
	}
	a.step = func(point string) {
		if n--; n == 0 {
			fmt.Println("killed at:", point)
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
	switch scenario {
	case "replace":
		dir, where, err := a.Stage("2")
		if err != nil {
			return err
		}
		if err := dir.WriteFile("version", []byte("2"), 0o600); err != nil {
			return err
		}
		return a.Commit(where, Release{Version: "2", Manifest: manifest.Sum([]byte("new"))})
	case "back":
		_, err = a.Activate(context.Background(), Activation{ID: "d2", Version: "2", Back: true, Hooks: hooksOf(root, false)})
	default:
		_, err = a.Activate(context.Background(), Activation{ID: "d2", Version: "2", Shared: []string{"log/"}, Hooks: hooksOf(root, scenario == "fail")})
	}
	return err
}

// run starts the scenario in a process of its own; it returns the point at which it
// was killed, empty when it came to its end.
func run(t *testing.T, root, scenario string, n int) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", crashEnv, root, scenario, n))
	out, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || ws.Signal() != syscall.SIGKILL {
		t.Fatalf("%v: %s", err, out)
	}
	_, point, _ := strings.Cut(strings.TrimSpace(string(out)), "killed at: ")
	return point
}

func TestKilledAtEveryPoint(t *testing.T) {
	for _, scenario := range []string{"deploy", "fail", "back", "replace"} {
		t.Run(scenario, func(t *testing.T) {
			points := 0
			for n := 1; ; n++ {
				root := t.TempDir()
				a := openAt(t, root, "1", "2")
				activate(t, a, Activation{ID: "d1", Version: "1"})
				if err := a.Close(); err != nil {
					t.Fatal(err)
				}
				point := run(t, root, scenario, n)
				if point == "" {
					break
				}
				points++
				settles(t, root, scenario, point)
			}
			if points < 4 {
				t.Errorf("only %d points", points)
			}
		})
	}
}

// settles checks what a crash left, and that it can be settled and gone on from.
func settles(t *testing.T, root, scenario, point string) {
	t.Helper()
	v, err := Look(root, "shop")
	if err != nil {
		t.Fatalf("%s: %v", point, err)
	}
	if v.Live != "1" && v.Live != "2" {
		t.Fatalf("%s: current names %q", point, v.Live)
	}
	b, err := os.ReadFile(filepath.Join(v.Dir, "current", "version"))
	if err != nil || string(b) != v.Live {
		t.Fatalf("%s: current holds %q, %v", point, b, err)
	}
	a := openAt(t, root)
	r, err := a.Recover(t.Context(), "")
	if err != nil {
		t.Fatalf("%s: %v", point, err)
	}
	if err := a.Sweep(); err != nil {
		t.Fatalf("%s: %v", point, err)
	}
	if again, err := a.Recover(t.Context(), ""); again != nil || err != nil {
		t.Fatalf("%s: a second time: %+v, %v", point, again, err)
	}
	now, err := a.Live()
	if err != nil {
		t.Fatal(err)
	}
	if r != nil {
		last := notesOf(root)
		switch {
		case r.Live != now || r.Finished != (now == "2"):
			t.Fatalf("%s: recovered %+v, live %s", point, r, now)
		case scenario == "fail" && now != "1", scenario == "back" && now != "2":
			t.Fatalf("%s: live %s", point, now)
		case scenario != "back" && v.Live == "1" && now != "1":
			t.Fatalf("%s: it was not switched, and is live", point)
		case now == "2" && last != "success 2", now == "1" && last != "failure 2":
			t.Fatalf("%s: live is %s, the last hook %q", point, now, last)
		}
	}
	if scenario == "replace" {
		stage(t, a, "2", time.Unix(5, 0)) // whatever was left, the version can be staged again
	}
	activate(t, a, Activation{ID: "d9", Version: "2"})
	wantLive(t, a, "2")
	for _, dir := range []string{stagingDir, trashDir} {
		if names, _ := os.ReadDir(filepath.Join(a.Dir(), dir)); len(names) > 0 {
			t.Errorf("%s: left in %s: %v", point, dir, names)
		}
	}
}

func notesOf(root string) string {
	b, _ := os.ReadFile(filepath.Join(root, "notes"))
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}
