package cli_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/door/api/apitest"
	"kaname.dev/kaname/door/cli"
)

// line runs one command line in this process and returns what it printed.
type line struct {
	env   map[string]string
	stdin io.Reader
	local []action.Action
}

func (l line) run(t *testing.T, args ...string) (code int, out, err string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	stdin := l.stdin
	if stdin == nil {
		stdin = strings.NewReader("")
	}
	c := cli.New(cli.Options{
		Catalog: action.NewCatalog(append(apitest.Actions(&apitest.Counter{}), l.local...)...),
		Groups:  map[string]action.Text{"test": {EN: "Things to test with", JA: "試験用"}},
		Stdin:   stdin, Stdout: &stdout, Stderr: &stderr, Version: "v1.2.3",
		Env: func(k string) string { return l.env[k] },
	})
	code = c.Main(t.Context(), args)
	return code, stdout.String(), stderr.String()
}

func against(a *apitest.API, more ...string) line {
	env := map[string]string{"KANAME_SOCKET": a.Socket, "KANAME_PROGRESS": "none"}
	for i := 0; i < len(more); i += 2 {
		env[more[i]] = more[i+1]
	}
	return line{env: env}
}

func TestEveryKindOfField(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	file := filepath.Join(t.TempDir(), "a b.tar")
	if err := os.WriteFile(file, []byte("zz"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := against(a)
	l.stdin = strings.NewReader("hunter2\nrest")
	code, out, errs := l.run(t, "test", "echo", "hello 要", "--number", "3", "--flag", "--wait=2s", "--size", "1KiB", "--list", "a,b", "--list", "c",
		"--choice", "green", "--password", "-", "--file", file, "--second", "-", "-o", "json")
	want := `{
  "text": "hello 要",
  "number": 3,
  "flag": true,
  "wait": 2000000000,
  "size": 1024,
  "list": [
    "a",
    "b",
    "c"
  ],
  "choice": "green",
  "secret_length": 7,
  "file": "a b.tar 2 2 4a60bf7d",
  "second": "stdin -1 4 3f8b5c3d",
  "address": ""
}
`
	if code != 0 || out != want || errs != "" {
		t.Errorf("code %d\nout %s\nerr %s\nwant %s", code, out, errs, want)
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{}, {"test"}, {"test", "echo", "--help"}, {"help", "environment"}, {"help", "exit-codes"}, {"version"}, {"tst"}, {"test", "ecko"}, {"test", "echo", "--nope"}} {
		code, out, errs := line{}.run(t, args...)
		t.Logf("%v: %d\n%s%s", args, code, out, errs)
	}
	code, out, errs := line{env: map[string]string{"LANG": "ja_JP.UTF-8"}}.run(t, "test", "echo", "--help")
	t.Logf("%d\n%s%s", code, out, errs)
}

func TestTables(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	for _, args := range [][]string{{"rows"}, {"rows", "-o", "wide"}, {"rows", "-o", "name"}, {"rows", "-o", "yaml"}, {"row"}, {"fail", "not_found"}, {"count"}, {"count", "--dry-run"}, {"wait", "--progress=plain"}} {
		code, out, errs := against(a).run(t, append([]string{"test"}, args...)...)
		t.Logf("%v: %d\n%s%s", args, code, out, errs)
	}
}

var _ context.Context
