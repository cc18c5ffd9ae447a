package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/door/api"
	"kaname.dev/kaname/door/api/apitest"
)

// terminal makes a pseudo terminal and returns the end that a program holds, and
// what a person sees and types.
func terminal(t *testing.T) (program, person *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(person.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 120}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close(); person.Close() })
	return program, person
}

// typed runs a command line on a terminal, types the answer, and returns what was
// seen there and on standard output.
func (l line) typed(t *testing.T, answer string, args ...string) (code int, out, seen string) {
	t.Helper()
	program, person := terminal(t)
	if _, err := person.WriteString(answer); err != nil {
		t.Fatal(err)
	}
	screen := make(chan string)
	go func() {
		var b bytes.Buffer
		_, _ = b.ReadFrom(person) // ends with EIO when the program's end is closed
		screen <- b.String()
	}()
	var stdout bytes.Buffer
	code = l.cli(program, &stdout, program).Main(t.Context(), args)
	program.Close()
	return code, stdout.String(), <-screen
}

func TestAsking(t *testing.T) {
	counter := &apitest.Counter{}
	a := apitest.Start(t, apitest.Actions(counter)...)
	l := against(a, "LANG", "C")
	for _, c := range []struct {
		args, answer string
		code, n      int
		says         string
	}{
		{"test count", "n\n", 130, 0, "count from 0 to 1\r\n  web1: add 1\r\nGo ahead? [y/N] "},
		{"test count", "\n", 130, 0, "not agreed to, nothing was done"},
		{"test count", "\x04", 130, 0, "not agreed to"},
		{"test count", "y\n", 0, 1, "Go ahead?"},
		{"test wipe", "yes\n", 0, 2, "count from 1 to 2"},
		{"test count --by 0", "", 0, 2, "nothing to do"},
		{"test count --yes", "", 0, 3, ""},
	} {
		code, out, seen := l.typed(t, c.answer, strings.Fields(c.args)...)
		if code != c.code || counter.N != c.n || !strings.Contains(seen, c.says) || strings.Contains(out, "Go ahead") {
			t.Errorf("%s, %q: code %d, counter %d\n%s%s", c.args, c.answer, code, counter.N, out, seen)
		}
	}
	code, _, seen := l.typed(t, "hunter22\n", "test", "echo", "x", "--password", "-")
	if code != 0 || !strings.Contains(seen, "a secret: ") {
		t.Errorf("code %d, %s", code, seen)
	}
}

func TestBarsOnATerminal(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	l := line{env: map[string]string{"KANAME_SOCKET": a.Socket, "TERM": "xterm"}, local: []action.Action{spread()}}
	code, _, seen := l.typed(t, "", "test", "spread")
	for _, want := range []string{"fetch", "2/3 hosts", "2.5 GiB/3.0 GiB", "web3: fetch: failed", "1 failed", "wave 1/2", "stage begins"} {
		if !strings.Contains(seen, want) {
			t.Errorf("terminal does not show %q", want)
		}
	}
	if code != 0 || !strings.Contains(seen, "█") {
		t.Errorf("code %d, %s", code, seen)
	}
}

// spread tells what a deploy tells.
func spread() action.Action {
	return action.New("test spread", "Tell what a deploy tells", action.Reads, func(_ context.Context, r *action.Run, _ struct{}) (struct{}, error) {
		r.Note("stage begins")
		for _, host := range []string{"web1", "web2", "web3"} {
			r.Say(action.Event{Host: host, Step: "fetch", State: action.StateRunning, Done: 1 << 29, Total: 1 << 30, Unit: "bytes"})
		}
		r.Say(action.Event{Host: "web1", Step: "fetch", State: action.StateDone})
		r.Say(action.Event{Host: "web2", Step: "fetch", State: action.StateDone})
		r.Say(action.Event{Host: "web3", Step: "fetch", State: action.StateFailed, Text: "disk is full"})
		r.Say(action.Event{Step: "wave 1/2", State: action.StateRunning, Done: 1, Total: 2, Unit: "hosts"})
		r.Say(action.Event{Step: "wave 1/2", State: action.StateDone, Done: 2, Total: 2, Unit: "hosts"})
		return struct{}{}, nil
	}, action.Local())
}

func TestEventsForPrograms(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	l := against(a, "KANAME_PROGRESS", "")
	code, out, errs := l.run(t, "test", "wait", "-o", "json")
	var texts []string
	for sc := bufio.NewScanner(strings.NewReader(errs)); sc.Scan(); {
		var ln api.Line
		if err := json.Unmarshal(sc.Bytes(), &ln); err != nil || ln.Event == nil {
			t.Fatalf("not an event: %s", sc.Text())
		}
		texts = append(texts, ln.Event.Text)
	}
	if code != 0 || strings.Join(texts, ",") != "1,2,3," || out != "{\n  \"ticks\": 3\n}\n" {
		t.Errorf("code %d, %q, %s", code, texts, out)
	}
	_, _, errs = l.run(t, "test", "fail", "full", "-o", "json")
	if want := `{"fault":{"kind":"full","what":"it was asked for","where":"web1","remedy":"do not ask"}}` + "\n"; errs != want {
		t.Errorf("fault for a program: %s", errs)
	}
	_, _, errs = l.run(t, "test", "wait", "--progress", "plain")
	if !strings.Contains(errs, " web1: tick: 3/3 3\n") || strings.Contains(errs, "{") {
		t.Errorf("plain: %s", errs)
	}
}

// The screen belongs to the person: a host's text must not drive it.
func TestControlCharactersAreNotPrinted(t *testing.T) {
	evil := action.New("test evil", "Print what a host says", action.Reads, func(_ context.Context, r *action.Run, _ struct{}) ([]apitest.Row, error) {
		r.Note("\x1b[2Jgone")
		return []apitest.Row{{Host: "web\x1b]0;title\x07"}}, nil
	}, action.Local())
	_, out, errs := line{local: []action.Action{evil}}.run(t, "test", "evil", "--progress", "plain")
	if strings.ContainsAny(out+errs, "\x1b\x07") {
		t.Errorf("%q %q", out, errs)
	}
}

func TestInterruptedCommandStopsTheRun(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	ctx, interrupt := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, interrupt)
	var out, errs bytes.Buffer
	code := against(a).cli(strings.NewReader(""), &out, &errs).Main(ctx, []string{"test", "wait", "--ticks", "0"})
	if code != 130 || !strings.Contains(errs.String(), "cancelled") {
		t.Errorf("code %d, %s", code, errs.String())
	}
}

func TestCompletion(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	if _, err := a.Access.AddUser(t.Context(), "alice", "correct horse", "viewer"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line line
		args []string
		want string
	}{
		{against(a), []string{"test", "ec"}, "echo\tSay back what was understood\n:4\n"},
		{against(a), []string{"test", "echo", "--choice", ""}, "red\ngreen\n:4\n"},
		{against(a), []string{"test", "echo", "--list", "al"}, "alice\n:4\n"},
		{against(a), []string{"test", "echo", "--list", "bob,al"}, "bob,alice\n:4\n"},
		{against(a), []string{"test", "echo", "--file", ""}, ":0\n"},
		{against(a), []string{"test", "rows", "-o", "j"}, ":4\n"},
		{line{env: map[string]string{"KANAME_SOCKET": "/nonexistent"}}, []string{"test", "echo", "--list", "al"}, ":4\n"},
	} {
		_, out, errs := c.line.run(t, append([]string{"__complete"}, c.args...)...)
		if !strings.HasSuffix(out, c.want) || strings.Contains(errs, "kaname:") {
			t.Errorf("%v: %q, want %q; %s", c.args, out, c.want, errs)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if code, out, _ := (line{}).run(t, "completion", shell); code != 0 || !strings.Contains(out, "__complete") {
			t.Errorf("%s: code %d", shell, code)
		}
	}
}

// What lies on the asker's machine is looked at there, in the asker's language.
func TestAnActionThatNeedsNoCore(t *testing.T) {
	type in struct {
		From string `name:"from" help:"file"`
		Lang string `name:"lang" help:"language"`
	}
	look := action.New("test peek", "Look at a file", action.Reads, func(_ context.Context, _ *action.Run, in in) ([]apitest.Row, error) {
		return []apitest.Row{{Host: in.From + " in " + in.Lang}}, nil
	}, action.LocalWith("from"))
	l := line{local: []action.Action{look}, env: map[string]string{"LANG": "ja_JP.UTF-8"}}
	code, out, errs := l.run(t, "test", "peek", "--from", "file")
	if code != 0 || !strings.Contains(out, "file in ja") {
		t.Errorf("code %d, %q, %s", code, out, errs)
	}
	if code, out, _ = l.run(t, "test", "peek"); code == 0 {
		t.Errorf("without the file no core was asked: %q", out)
	}
}
