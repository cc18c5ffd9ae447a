// Package story plays whole flows as an operator sees them: the built kaname, a core
// and its hosts as processes of their own, a shell-like script a story.
//
// A story is a txtar file for testscript; see its own commands in commands_test.go
// and fleet_test.go. One alone: go test ./story -run 'TestStories/tuggle'.
package story

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"kaname.dev/kaname/lab"
)

// bin is the folder of the kaname under test: built once, or what $KANAME_BIN names,
// such as that of an installed package.
var bin = os.Getenv("KANAME_BIN") //nolint:forbidigo // says what is tested

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if bin != "" {
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "kaname-story")
		if err != nil {
			fmt.Fprintln(os.Stderr, "story:", err)
			return 1
		}
		defer os.RemoveAll(dir)
		build := exec.Command("go", "build", "-o", filepath.Join(dir, "kaname"), "kaname.dev/kaname")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "story: build kaname:", err)
			return 1
		}
		bin = dir
		return m.Run()
	}())
}

func TestStories(t *testing.T) {
	for _, p := range []string{"curl", "jq", "rsync", "tar"} {
		lab.Need(t, p)
	}
	lab.NeedRoot(t) // archives keep owners, and root needs no token at the socket
	testscript.Run(t, testscript.Params{
		Dir:                 ".",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fleet": fleetCmd, "host": hostCmd, "freeport": freePortCmd,
			"exits": exitsCmd, "until": untilCmd, "check": checkCmd, "take": takeCmd,
			"noise": noiseCmd, "web": webCmd, "hostile": hostileCmd,
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("LC_ALL", "C.UTF-8")
			f := &fleet{work: env.WorkDir, hosts: map[string]*member{}}
			env.Values[fleetKey{}] = f
			env.Defer(func() {
				f.stopAll()
				if ft, ok := env.T().(interface{ Failed() bool }); ok && ft.Failed() {
					env.T().Log(f.complaints())
				}
			})
			return nil
		},
	})
}

// neverNegated ends the story when a command that has no opposite was given "!".
func neverNegated(ts *testscript.TestScript, neg bool, usage string, ok bool) {
	if neg || !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

// lastLines returns the end of a text.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
