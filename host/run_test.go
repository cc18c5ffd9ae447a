package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestRun(t *testing.T) {
	t.Setenv("KANAME_TEST_LEAK", "1")
	for name, tc := range map[string]struct {
		cmd    Command
		exit   int
		output string
		err    string
	}{
		"output of both streams": {cmd: Command{Shell: "echo out; echo err >&2"}, output: "out\nerr\n"},
		"arguments are not split": {
			cmd: Command{Args: []string{"printf", "%s|", "a b", "$HOME"}}, output: "a b|$HOME|",
		},
		"exit status":       {cmd: Command{Shell: "echo why; exit 3"}, exit: 3, output: "why\n", err: `command "echo why; exit 3": exit status 3: why`},
		"environment":       {cmd: Command{Shell: "echo $KANAME_TEST_LEAK$GIVEN", Env: []string{"GIVEN=yes"}}, output: "yes\n"},
		"working directory": {cmd: Command{Args: []string{"pwd"}}, output: "/\n"},
		"no such program":   {cmd: Command{Args: []string{"/no/such"}}, exit: -1, err: "no such file"},
		"empty":             {cmd: Command{}, exit: -1, err: "command is empty"},
		"standard input":    {cmd: Command{Args: []string{"cat"}, Stdin: strings.NewReader("in")}, output: "in"},
		"killed":            {cmd: Command{Shell: "kill -9 $$"}, exit: -1, err: "ended by signal: killed"},
	} {
		t.Run(name, func(t *testing.T) {
			res, err := Run(t.Context(), tc.cmd)
			if res.Exit != tc.exit || res.Output != tc.output {
				t.Errorf("exit %d, output %q; want %d, %q", res.Exit, res.Output, tc.exit, tc.output)
			}
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("error %v, want %q", err, tc.err)
			}
		})
	}
}

func TestRunTimeoutStopsTheWholeGroup(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	start := time.Now()
	res, err := Run(t.Context(), Command{
		Shell:   "(trap '' TERM; sh -c 'echo $$ >" + pidFile + "; exec sleep 60') & wait",
		Timeout: 300 * time.Millisecond, Grace: 200 * time.Millisecond,
	})
	if exit, ok := errors.AsType[*ExitError](err); !ok || !exit.TimedOut || !res.TimedOut {
		t.Fatalf("error %v, want an ExitError that timed out", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	raw, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(raw)))
	gone(t, pid)
}

func TestRunLeavesNothingInTheBackground(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	res, err := Run(t.Context(), Command{Shell: "sleep 60 & echo $! >" + pidFile + "; echo done"})
	if err != nil || res.Output != "done\n" {
		t.Fatalf("%+v, %v", res, err)
	}
	raw, _ := os.ReadFile(pidFile)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(raw)))
	gone(t, pid)
}

// gone waits until the process is dead or a zombie of its new parent.
func gone(t *testing.T, pid int) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	_ = unix.Kill(pid, unix.SIGKILL)
	t.Errorf("process %d survived", pid)
}

func TestRunCancelled(t *testing.T) {
	why := errors.New("the deploy was called off")
	ctx, cancel := context.WithCancelCause(t.Context())
	res, err := Run(ctx, Command{Shell: "echo started; exec sleep 60", Line: func(string) { cancel(why) }})
	if !errors.Is(err, why) || res.Signal != "terminated" {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestRunKeepsHeadAndTail(t *testing.T) {
	var lines int
	res, err := Run(t.Context(), Command{Shell: "seq 1 20000", Keep: 200, Line: func(string) { lines++ }})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(res.Output, "1\n2\n") || !strings.HasSuffix(res.Output, "\n20000\n") || len(res.Output) > 260 {
		t.Errorf("output %q", res.Output)
	}
	if lines != 20000 || res.Dropped == 0 {
		t.Errorf("%d lines, %d dropped", lines, res.Dropped)
	}
}

func TestRunAsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("changing the user needs root")
	}
	u, err := LookupUser("nobody")
	if err != nil {
		t.Fatal(err)
	}
	res, err := Run(t.Context(), Command{Shell: "id -un; echo $USER $HOME", User: u})
	if err != nil || res.Output != "nobody\nnobody "+u.Home+"\n" {
		t.Errorf("%q, %v", res.Output, err)
	}
}

func TestLookup(t *testing.T) {
	u, err := LookupUser("0")
	if err != nil || u.Name != "root" || u.UID != 0 || len(u.Groups) == 0 {
		t.Errorf("%+v, %v", u, err)
	}
	if _, err := LookupUser("no-such-user"); err == nil || !strings.Contains(err.Error(), "no-such-user") {
		t.Errorf("%v", err)
	}
	if g, err := LookupGroup("root"); err != nil || g != 0 {
		t.Errorf("%d, %v", g, err)
	}
	if _, err := LookupGroup("no-such-group"); err == nil {
		t.Error("found a group that is not there")
	}
}

func TestRunLeavesBackgroundAloneWhenAsked(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	if _, err := Run(t.Context(), Command{Shell: "sleep 60 >/dev/null 2>&1 & echo $! >" + pidFile, Background: true}); err != nil {
		t.Fatal(err)
	}
	raw, _ := os.ReadFile(pidFile)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err := unix.Kill(pid, 0); err != nil {
		t.Errorf("process %d is gone: %v", pid, err)
	}
	_ = unix.Kill(pid, unix.SIGKILL)
}
