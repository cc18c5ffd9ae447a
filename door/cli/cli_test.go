package cli_test

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/door/api/apitest"
	"kaname.dev/kaname/door/cli"
	"kaname.dev/kaname/fault"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	time.Local = time.UTC // tables show local times
	m.Run()
}

// line is how a command line is run in this process.
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
	code = l.cli(stdin, &stdout, &stderr).Main(t.Context(), args)
	return code, stdout.String(), stderr.String()
}

func (l line) cli(in io.Reader, out, errs io.Writer) *cli.CLI {
	return cli.New(cli.Options{
		Catalog: action.NewCatalog(append(apitest.Actions(&apitest.Counter{}), l.local...)...),
		Groups:  map[string]action.Text{"test": {EN: "Things to test with", JA: "試験用"}},
		Stdin:   in, Stdout: out, Stderr: errs, Version: "v1.2.3",
		Env: func(k string) string { return l.env[k] },
	})
}

// against is a command line that calls the API, quietly.
func against(a *apitest.API, more ...string) line {
	env := map[string]string{"KANAME_SOCKET": a.Socket, "KANAME_PROGRESS": "none"}
	for i := 0; i < len(more); i += 2 {
		env[more[i]] = more[i+1]
	}
	return line{env: env}
}

// golden compares a text with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
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
	golden(t, "echo.json", out)
	if code != 0 || errs != "" {
		t.Errorf("code %d, %s", code, errs)
	}
	code, out, errs = against(a).run(t, "test", "echo", "x", "--file", "s3://bucket/key", "--password", "@"+file)
	golden(t, "echo.txt", out)
	if code != 0 || errs != "" {
		t.Errorf("code %d, %s", code, errs)
	}
}

func TestHelp(t *testing.T) {
	for name, args := range map[string][]string{
		"help.txt": {}, "help-group.txt": {"test"}, "help-action.txt": {"test", "echo", "--help"}, "help-environment.txt": {"help", "environment"}, "help-exit-codes.txt": {"help", "exit-codes"},
	} {
		for lang, prefix := range map[string]string{"C.UTF-8": "", "ja_JP.UTF-8": "ja-"} {
			code, out, errs := line{env: map[string]string{"LANG": lang}}.run(t, args...)
			if code != 0 || errs != "" {
				t.Errorf("%v: code %d, %s", args, code, errs)
			}
			golden(t, prefix+name, out)
		}
	}
}

func TestRendering(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	for name, args := range map[string][]string{
		"rows.txt": {"rows"}, "rows-wide.txt": {"rows", "-o", "wide"}, "rows.json": {"rows", "--json"}, "rows.yaml": {"rows", "-o", "yaml"}, "rows.names": {"rows", "-o", "name"},
		"row.txt": {"row"}, "row.names": {"row", "-o", "name"}, "plan.txt": {"count", "--dry-run"}, "plan.json": {"count", "--dry-run", "-o", "json"},
	} {
		code, out, errs := against(a).run(t, append([]string{"test"}, args...)...)
		if code != 0 || errs != "" {
			t.Errorf("%v: code %d, %s", args, code, errs)
		}
		golden(t, name, out)
	}
	if _, out, _ := against(a, "KANAME_OUTPUT", "json").run(t, "test", "row"); !strings.HasPrefix(out, "{") {
		t.Errorf("KANAME_OUTPUT is not heeded: %s", out)
	}
	if _, out, _ := against(a, "CLICOLOR_FORCE", "1").run(t, "test", "rows"); !strings.Contains(out, "\x1b[2m") {
		t.Errorf("CLICOLOR_FORCE is not heeded: %q", out)
	}
	if _, out, _ := against(a, "CLICOLOR_FORCE", "1", "NO_COLOR", "1").run(t, "test", "rows"); strings.Contains(out, "\x1b") {
		t.Errorf("NO_COLOR is not heeded: %q", out)
	}
}

func TestExitCodes(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	dead := line{env: map[string]string{"KANAME_SOCKET": "/nonexistent/k.sock"}}
	missing := against(a, "KANAME_TOKEN_FILE", "/nonexistent/token")
	stranger := against(a, "KANAME_TOKEN", "kt1.aaaa.bbbb")
	for _, c := range []struct {
		line line
		args string
		code int
		says string
	}{
		{against(a), "test rows", 0, ""},
		{against(a), "test fail plain", 1, "kaname: plain error\n"},
		{against(a), "test fail internal", 1, "kaname: web1: it was asked for\n  do not ask\n"},
		{against(a), "test fail invalid", 2, "it was asked for"},
		{against(a), "test fail partial", 3, "it was asked for"},
		{against(a), "test fail unavailable", 4, "it was asked for"},
		{against(a), "test fail denied", 5, "it was asked for"},
		{against(a), "test fail needs_approval", 5, "it was asked for"},
		{against(a), "test fail conflict", 6, "it was asked for"},
		{against(a), "test fail exists", 6, "it was asked for"},
		{against(a), "test fail not_found", 7, "it was asked for"},
		{against(a), "test fail timeout", 124, "it was asked for"},
		{against(a), "test fail canceled", 130, "canceled"},
		{against(a), "test fail of_tomorrow", 1, "it was asked for"},
		{against(a), "test echo", 2, "text is required (a text)"},
		{against(a), "test echo a b", 2, `there is no place for "b"`},
		{against(a), "test echo a --nope", 2, "unknown flag: --nope\n  see: kaname test echo --help\n"},
		{against(a), "test echo a --number x", 2, `"x" is not a whole number`},
		{against(a), "test echo a --number 1 --number 2", 2, "given 2 times"},
		{against(a), "test echo a --file /nonexistent", 7, "file /nonexistent cannot be opened: no such file"},
		{against(a), "test echo a --file /", 2, "/ is a directory"},
		{against(a), "test rows -o xml", 2, `output format "xml" does not exist`},
		{against(a), "test ecko", 2, "did you mean: kaname test echo"},
		{against(a), "tst", 2, "did you mean: kaname test"},
		{against(a), "nonsense", 2, "see: kaname --help"},
		{against(a), "test count", 2, "add --yes"},
		{against(a), "test count --yes", 0, ""},
		{against(a), "test wipe", 2, "asks before it destroys"},
		{against(a), "test count --dry-run", 0, ""},
		{against(a), "test count --dry-run --detailed-exitcode", 2, ""},
		{against(a), "test count --by 0 --dry-run --detailed-exitcode", 0, ""},
		{against(a), "test count --yes --detailed-exitcode", 2, "goes with --dry-run"},
		{against(a), "test wait --detach", 0, ""},
		{against(a), "version", 0, ""},
		{dead, "test rows", 4, "kaname does not answer at /nonexistent/k.sock"},
		{missing, "test rows", 2, "token file cannot be read"},
		{stranger, "test rows", 5, "token is unknown, revoked or has expired"},
	} {
		code, out, errs := c.line.run(t, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(errs, c.says) || c.says == "" && errs != "" {
			t.Errorf("%s: code %d, want %d, says %q; %s%s", c.args, code, c.code, c.says, out, errs)
		}
		if code != 0 && out != "" && !strings.Contains(c.args, "--detailed-exitcode") {
			t.Errorf("%s: a fault on standard output: %s", c.args, out)
		}
	}
}

func TestRemoteWithPinnedToken(t *testing.T) {
	a := apitest.Start(t, apitest.Actions(&apitest.Counter{})...)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(a.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := (line{}).run(t, "test", "rows", "--server", a.URL, "--token-file", file, "-o", "name"); code != 0 || !strings.HasPrefix(out, "web1\n") {
		t.Errorf("code %d, %s%s", code, out, errs)
	}
	other := a.Token[:strings.LastIndex(a.Token, ".")]
	for name, c := range map[string]struct {
		token string
		code  int
		says  string
	}{
		"other pin":   {other + "." + strings.Repeat("A", 43), 5, "does not belong to the plane that made the token"},
		"without pin": {other, 4, "certificate signed by unknown authority"},
	} {
		l := line{env: map[string]string{"KANAME_TOKEN": c.token, "KANAME_SERVER": a.URL}}
		if code, _, errs := l.run(t, "test", "rows"); code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%s: code %d, %s", name, code, errs)
		}
	}
	if code, _, errs := (line{}).run(t, "test", "rows", "--server", "http://core1"); code != fault.ExitUsage || !strings.Contains(errs, "not an address") {
		t.Errorf("plain HTTP: code %d, %s", code, errs)
	}
}
