package activate

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

// open opens an app in a new root with complete releases in it.
func open(t *testing.T, versions ...string) *App {
	t.Helper()
	return openAt(t, t.TempDir(), versions...)
}

func openAt(t *testing.T, root string, versions ...string) *App {
	t.Helper()
	a, err := Open(root, "shop")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	for i, v := range versions {
		stage(t, a, v, time.Unix(int64(i+1), 0))
	}
	return a
}

// stage puts a complete release in place, with a file that holds its version.
func stage(t *testing.T, a *App, version string, at time.Time) {
	t.Helper()
	dir, where, err := a.Stage(version)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(dir.WriteFile("version", []byte(version), 0o644), dir.Mkdir("log", 0o755), dir.Close()); err != nil {
		t.Fatal(err)
	}
	if err := a.Commit(where, Release{Version: version, Manifest: manifest.Sum([]byte(version)), Time: at}); err != nil {
		t.Fatal(err)
	}
}

// wantLive checks what current names, and that it can be read through.
func wantLive(t *testing.T, a *App, want string) {
	t.Helper()
	got, err := a.Live()
	if err != nil || got != want {
		t.Fatalf("live is %q, %v; want %q", got, err, want)
	}
	if want == "" {
		return
	}
	b, err := os.ReadFile(filepath.Join(a.Dir(), "current", "version"))
	if err != nil || string(b) != want {
		t.Fatalf("through current: %q, %v; want %q", b, err, want)
	}
	if target, _ := os.Readlink(filepath.Join(a.Dir(), "current")); target != "releases/"+want {
		t.Fatalf("current is %q, not relative", target)
	}
}

func activate(t *testing.T, a *App, x Activation) Outcome {
	t.Helper()
	out, err := a.Activate(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// noted returns a command that appends a line to a file of the app, and how to
// read that file.
func noted(a *App, text string) string { return `echo "` + text + `" >> ` + a.Dir() + "/notes" }

func notes(t *testing.T, a *App) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(a.Dir(), "notes"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

func TestActivateRollBackAndAgain(t *testing.T) {
	a := open(t, "1", "2", "3")
	for _, v := range []string{"1", "2", "3"} {
		activate(t, a, Activation{ID: "d" + v, Version: v})
		wantLive(t, a, v)
	}
	if out := activate(t, a, Activation{ID: "d3", Version: "3"}); !out.Already {
		t.Errorf("asked twice: %+v", out)
	}
	for _, want := range []string{"2", "1"} {
		v, err := Look(filepath.Dir(a.Dir()), "shop")
		if err != nil || v.Previous != want {
			t.Fatalf("a rollback would go to %q, %v; want %q", v.Previous, err, want)
		}
		out := activate(t, a, Activation{ID: "r" + want, Version: v.Previous, Back: true})
		wantLive(t, a, want)
		if out.Switch <= 0 || out.Switch > time.Second {
			t.Errorf("the switch took %v", out.Switch)
		}
	}
	if v, _ := Look(filepath.Dir(a.Dir()), "shop"); v.Previous != "" || len(v.Releases) != 3 || !v.Releases[2].Live {
		t.Errorf("got %+v", v)
	}
	activate(t, a, Activation{ID: "off", Back: true})
	wantLive(t, a, "")
}

func TestHooksSeeTheReleaseAndRunInOrder(t *testing.T) {
	a := open(t, "1", "2")
	activate(t, a, Activation{ID: "d1", Version: "1"})
	var said []string
	out := activate(t, a, Activation{ID: "d2", Version: "2", Wave: 2, Waves: 3, Host: "web1", Say: func(h, line string) { said = append(said, h) }, Hooks: Hooks{
		Pre:     []string{noted(a, "pre $KANAME_APP $KANAME_RELEASE after $KANAME_PREVIOUS wave $KANAME_WAVE/$KANAME_WAVES on $KANAME_HOST, live $(cat $KANAME_CURRENT/version)")},
		Post:    []string{noted(a, "post $(cat version) live $(cat $KANAME_CURRENT/version) $KANAME_REASON"), "pwd"},
		Success: []string{noted(a, "success"), "echo no; exit 3"},
		Failure: []string{noted(a, "failure")},
	}})
	want := []string{"pre shop 2 after 1 wave 2/3 on web1, live 1", "post 2 live 2 deploy", "success"}
	if got := notes(t, a); !slices.Equal(got, want) {
		t.Errorf("hooks noted %q, want %q", got, want)
	}
	if strings.Join(said, " ") != "pre post post success success" {
		t.Errorf("said %q", said)
	}
	if len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "exit status 3: no") {
		t.Errorf("a failing success hook: %q", out.Warnings)
	}
	if p := out.Ran[2]; strings.TrimSpace(p.Output) != a.Path("2") {
		t.Errorf("post ran in %q", p.Output)
	}
}

func TestPreFailsAndNothingIsSwitched(t *testing.T) {
	a := open(t, "1", "2")
	activate(t, a, Activation{ID: "d1", Version: "1"})
	out, err := a.Activate(t.Context(), Activation{ID: "d2", Version: "2", Hooks: Hooks{
		Pre: []string{"echo the database is away >&2; exit 7"}, Post: []string{noted(a, "post")}, Failure: []string{noted(a, "failure $KANAME_RELEASE")},
	}})
	if err == nil || !strings.Contains(err.Error(), "hook pre failed") || !strings.Contains(err.Error(), "exit status 7: the database is away") {
		t.Errorf("got %v", err)
	}
	wantLive(t, a, "1")
	if got := notes(t, a); !slices.Equal(got, []string{"failure 2"}) || out.TookBack {
		t.Errorf("noted %q, %+v", got, out)
	}
	// It is settled: the next one goes through.
	activate(t, a, Activation{ID: "d3", Version: "2"})
	wantLive(t, a, "2")
}

func TestPostFailsAndItIsSwitchedBack(t *testing.T) {
	a := open(t, "1", "2")
	post := []string{noted(a, "post $KANAME_RELEASE"), `test "$KANAME_RELEASE" = 1`}
	activate(t, a, Activation{ID: "d1", Version: "1", Hooks: Hooks{Post: post}})
	out, err := a.Activate(t.Context(), Activation{ID: "d2", Version: "2", Hooks: Hooks{Post: post, Failure: []string{noted(a, "failure")}}})
	if err == nil || !out.TookBack || out.Live != "1" {
		t.Fatalf("got %+v, %v", out, err)
	}
	wantLive(t, a, "1")
	if got := notes(t, a); !slices.Equal(got, []string{"post 1", "post 2", "post 1", "failure"}) {
		t.Errorf("noted %q", got)
	}
	if v, _ := Look(filepath.Dir(a.Dir()), "shop"); len(v.History) != 1 || v.Busy != "" {
		t.Errorf("got %+v", v)
	}
}

func TestRollbackGoesThroughWhateverHooksSay(t *testing.T) {
	a := open(t, "1", "2")
	activate(t, a, Activation{ID: "d1", Version: "1"})
	activate(t, a, Activation{ID: "d2", Version: "2"})
	out := activate(t, a, Activation{ID: "r", Version: "1", Back: true, Hooks: Hooks{Pre: []string{"false"}, Post: []string{"false"}}})
	wantLive(t, a, "1")
	if len(out.Warnings) != 2 {
		t.Errorf("warnings %q", out.Warnings)
	}
}

func TestHookTimeoutEndsTheWholeGroup(t *testing.T) {
	a := open(t, "1")
	pid := filepath.Join(t.TempDir(), "pid")
	start := time.Now()
	_, err := a.Activate(t.Context(), Activation{ID: "d1", Version: "1", Hooks: Hooks{Timeout: 200 * time.Millisecond, Pre: []string{"sleep 60 & echo $! > " + pid + "; wait"}}})
	if !fault.Is(err, fault.KindTimeout) || time.Since(start) > 10*time.Second {
		t.Errorf("got %v after %v", err, time.Since(start))
	}
	b, _ := os.ReadFile(pid)
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) { //nolint:forbidigo // polling with a deadline
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(b)) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the grandchild is still there")
		}
	}
	wantLive(t, a, "")
}

func TestRefusals(t *testing.T) {
	a := open(t, "1")
	if _, err := Open(filepath.Dir(a.Dir()), "shop"); !fault.Is(err, fault.KindConflict) {
		t.Errorf("opened twice: %v", err)
	}
	if _, err := Open(t.TempDir(), "../x"); !fault.Is(err, fault.KindInvalid) {
		t.Errorf("a bad name: %v", err)
	}
	if _, err := a.Activate(t.Context(), Activation{ID: "d", Version: "9"}); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("not staged: %v", err)
	}
	current := filepath.Join(a.Dir(), "current")
	if err := os.MkdirAll(filepath.Join(current, "important"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := a.Activate(t.Context(), Activation{ID: "d", Version: "1"})
	if !fault.Is(err, fault.KindConflict) || !strings.Contains(err.Error(), "mv "+current) {
		t.Errorf("current is a directory: %v", err)
	}
	if _, err := os.Stat(filepath.Join(current, "important")); err != nil {
		t.Error(err)
	}
	if err := errors.Join(os.RemoveAll(current), os.Symlink("/etc", current)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Activate(t.Context(), Activation{ID: "d", Version: "1"}); !fault.Is(err, fault.KindConflict) {
		t.Errorf("current points elsewhere: %v", err)
	}
	// Capistrano's absolute links are fine.
	if err := errors.Join(os.Remove(current), os.Symlink(a.Path("1"), current)); err != nil {
		t.Fatal(err)
	}
	if v, err := a.Live(); v != "1" || err != nil {
		t.Errorf("absolute link: %q, %v", v, err)
	}
	if err := a.Remove("1"); !fault.Is(err, fault.KindConflict) {
		t.Errorf("the live release is removed: %v", err)
	}
	_, where, err := a.Stage("1")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Commit(where, Release{Version: "1"}); !fault.Is(err, fault.KindConflict) {
		t.Errorf("the live release is replaced: %v", err)
	}
}

func TestSharedPaths(t *testing.T) {
	a := open(t, "1", "2")
	if err := os.WriteFile(filepath.Join(a.Dir(), "shared", "secret.yml"), []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	x := Activation{ID: "d1", Version: "1", Shared: []string{"log", "tmp/cache/", "secret.yml"}}
	activate(t, a, x)
	for _, f := range []string{"log/x", "tmp/cache/y"} {
		if err := os.WriteFile(filepath.Join(a.Dir(), "current", f), []byte("kept"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	x.ID, x.Version = "d2", "2"
	activate(t, a, x)
	for f, want := range map[string]string{"log/x": "kept", "tmp/cache/y": "kept", "secret.yml": "s", "version": "2"} {
		if b, err := os.ReadFile(filepath.Join(a.Dir(), "current", f)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", f, b, err)
		}
	}
	stage(t, a, "3", time.Unix(9, 0))
	_, err := a.Activate(t.Context(), Activation{ID: "d3", Version: "3", Shared: []string{"config/database.yml"}})
	if !fault.Is(err, fault.KindNotFound) || !strings.Contains(err.Error(), "shared/config/database.yml") {
		t.Errorf("a missing shared file: %v", err)
	}
	wantLive(t, a, "2")
	for _, bad := range [][]string{{"/etc"}, {"../x"}, {"a", "a/b"}, {"a/b", "a/"}, {""}, {"."}} {
		if err := CheckShared(bad); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSharedPathsDoNotLeaveTheRelease(t *testing.T) {
	a := open(t, "1")
	out := t.TempDir()
	if err := os.Symlink(out, filepath.Join(a.Path("1"), "config")); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Activate(t.Context(), Activation{ID: "d", Version: "1", Shared: []string{"config/x/"}}); err == nil {
		t.Error("it went through a symlink that leads outside")
	}
	if names, _ := os.ReadDir(out); len(names) != 0 {
		t.Errorf("outside: %v", names)
	}
}

func TestPruneKeepsWhatIsNeeded(t *testing.T) {
	a := open(t, "1", "2", "3", "4", "5", "6")
	activate(t, a, Activation{ID: "a", Version: "1"})
	activate(t, a, Activation{ID: "b", Version: "2"})
	if err := os.Chmod(filepath.Join(a.Path("3"), "log"), 0o500); err != nil {
		t.Fatal(err)
	}
	removed, err := a.Prune(t.Context(), 3)
	if err != nil || strings.Join(removed, " ") != "3 4 5" {
		t.Fatalf("removed %v, %v", removed, err)
	}
	removed, err = a.Prune(t.Context(), 0, "6")
	if err != nil || strings.Join(removed, " ") != "1" {
		t.Fatalf("removed %v, %v", removed, err)
	}
	wantLive(t, a, "2")
	if err := a.Sweep(); err != nil {
		t.Fatal(err)
	}
}

func TestHealth(t *testing.T) {
	a := open(t, "1")
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		switch {
		case r.URL.Path == "/moved":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case r.URL.Path == "/slow" && n < 3, r.URL.Path == "/bad":
			http.Error(w, "warming up", http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	h := Health{Every: time.Millisecond, Within: 100 * time.Millisecond, Timeout: time.Second}
	x := Activation{Version: "1"}
	ask := func(url, command string) (int, error) {
		n = 0
		h.URL, h.Command = url, command
		v, err := a.Look()
		if err != nil {
			t.Fatal(err)
		}
		return Healthy(t.Context(), v, h, x)
	}
	if tries, err := ask(s.URL+"/slow", ""); err != nil || tries != 3 {
		t.Errorf("slow: %d tries, %v", tries, err)
	}
	if _, err := ask(s.URL+"/bad", ""); err == nil || !strings.Contains(err.Error(), "503 Service Unavailable: warming up") {
		t.Errorf("bad: %v", err)
	}
	if _, err := ask(s.URL+"/moved", ""); err == nil || !strings.Contains(err.Error(), "302 Found to /ok") {
		t.Errorf("moved: %v", err)
	}
	if _, err := ask("", `test "$KANAME_RELEASE" = 1`); err != nil {
		t.Errorf("command: %v", err)
	}
	if _, err := ask("", "echo sick; exit 2"); err == nil || !strings.Contains(err.Error(), "exit status 2: sick") {
		t.Errorf("bad command: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Healthy(ctx, View{}, h, x); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, bad := range []Health{{URL: "ftp://x"}, {URL: "/healthz"}, {URL: "http://x", Command: "true"}} {
		if bad.Check() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}
