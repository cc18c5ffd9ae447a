package story

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// exitsCmd runs a program that must end with this code: exits CODE PROGRAM [ARG]…
func exitsCmd(ts *testscript.TestScript, neg bool, args []string) {
	neverNegated(ts, neg, "exits CODE PROGRAM [ARG]…", len(args) > 1)
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s ended with %d, want %d", args[1], got, want)
	}
}

// untilCmd runs a program again and again until what it prints matches, with ! until
// it does not: [!] until REGEXP PROGRAM [ARG]… The end of patience ends the story.
func untilCmd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: [!] until REGEXP PROGRAM [ARG]…")
	}
	re, err := regexp.Compile(`(?m)` + args[0])
	ts.Check(err)
	for deadline := time.Now().Add(patience); ; <-time.After(100 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if re.MatchString(ts.ReadFile("stdout")+ts.ReadFile("stderr")) != neg && (err == nil || !neg) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("waited %s in vain for %q", patience, args[0])
		}
	}
}

// checkCmd holds the JSON that the last program printed against a jq condition:
// [!] check CONDITION [ARG]… ARGs are $a, $b, … in it, as numbers where they are.
func checkCmd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 {
		ts.Fatalf("usage: [!] check CONDITION [ARG]…")
	}
	text := ts.ReadFile("stdout")
	out, err := jq(text, append([]string{"-e"}, jqArgs(args)...)...)
	var exit *exec.ExitError
	switch {
	case err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 1):
		ts.Fatalf("jq: %v %s\nin %s", err, out, text)
	case (err == nil) == neg:
		ts.Fatalf("%s with %q is %s in\n%s", args[0], args[1:], strings.TrimSpace(out), text)
	}
}

// takeCmd sets a variable from the JSON that the last program printed: take NAME PATH
func takeCmd(ts *testscript.TestScript, neg bool, args []string) {
	neverNegated(ts, neg, "take NAME PATH", len(args) >= 2)
	out, err := jq(ts.ReadFile("stdout"), append([]string{"-r"}, jqArgs(args[1:])...)...)
	if err != nil {
		ts.Fatalf("jq: %v %s", err, out)
	}
	ts.Setenv(args[0], strings.TrimSpace(out))
}

func jqArgs(args []string) []string {
	var list []string
	for i, a := range args[1:] {
		kind := "--arg"
		if _, err := strconv.ParseFloat(a, 64); err == nil {
			kind = "--argjson"
		}
		list = append(list, kind, string(rune('a'+i)), a)
	}
	return append(list, args[0])
}

func jq(text string, args ...string) (string, error) {
	cmd := exec.CommandContext(context.Background(), "jq", args...)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// noiseCmd writes bytes that no compression makes fewer: noise FILE BYTES SEED
func noiseCmd(ts *testscript.TestScript, neg bool, args []string) {
	neverNegated(ts, neg, "noise FILE BYTES SEED", len(args) == 3)
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	var seed [32]byte
	copy(seed[:], args[2])
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o755))
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	_, err = io.CopyN(f, rand.NewChaCha8(seed), n)
	ts.Check(err)
}

// webCmd serves a folder over HTTP at $WEB: web FOLDER
func webCmd(ts *testscript.TestScript, neg bool, args []string) {
	neverNegated(ts, neg, "web FOLDER", len(args) == 1)
	server := httptest.NewServer(http.FileServer(http.Dir(ts.MkAbs(args[0]))))
	ts.Defer(server.Close)
	ts.Setenv("WEB", server.URL)
}

// freePortCmd sets a variable to a free address: freeport NAME
func freePortCmd(ts *testscript.TestScript, neg bool, args []string) {
	neverNegated(ts, neg, "freeport NAME", len(args) == 1)
	address, err := freePort()
	ts.Check(err)
	ts.Setenv(args[0], address)
}
