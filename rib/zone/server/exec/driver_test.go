package exec

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

func driverOf(t *testing.T, c server.Commands) server.Driver {
	t.Helper()
	d, err := New(server.Options{Name: "ns5", Exec: c})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func sh(script string) []string { return []string{"sh", "-c", script} }

func TestLines(t *testing.T) {
	for line, want := range map[string]server.Zone{
		"A.test":                    {Name: "a.test.", Present: true},
		"a.test. -":                 {Name: "a.test.", Present: true},
		"a.test. x-1 1 42\n":        {Name: "a.test.", Present: true, Owned: true, Template: "x-1", Loaded: true, Serial: 42},
		`a\032b.test. - 1 7`:        {Name: `a\032b.test.`, Present: true, Loaded: true, Serial: 7},
		"a.test.\tx-1 1 4294967295": {Name: "a.test.", Present: true, Owned: true, Template: "x-1", Loaded: true, Serial: 4294967295},
	} {
		if got, err := parseLine(line); err != nil || got != want {
			t.Errorf("%q is %+v, %v", line, got, err)
		}
	}
	for _, line := range []string{"a..b", "a. x yes", "a. x 1 -1", "a. x 1 4294967296"} {
		if got, err := parseLine(line); err == nil {
			t.Errorf("%q is %+v", line, got)
		}
	}
}

func TestFailures(t *testing.T) {
	add := []server.Addition{{Name: "a.", Template: server.Template{Name: "x"}}, {Name: "b.", Template: server.Template{Name: "x"}}}
	for script, want := range map[string]error{
		"echo down >&2; exit 69": server.ErrUnreachable, "exit 77": server.ErrDenied, "exit 73": server.ErrFull, "echo broken pipe >&2; exit 3": errCommand,
		`printf 'a.\tname: too odd\nb.\tno memory\n'`: server.ErrName, "true": errCommand,
	} {
		d := driverOf(t, server.Commands{List: sh("true"), Add: sh(script), Remove: sh("true")})
		if errs := d.Add(t.Context(), add); !errors.Is(errs[0], want) || errs[1] == nil {
			t.Errorf("%s: %v", script, errs)
		} else if complaint, ok := strings.CutPrefix(script, "echo "); ok && !strings.Contains(errs[0].Error(), complaint[:4]) {
			t.Errorf("the complaint is not told: %v", errs[0])
		}
	}
	d := driverOf(t, server.Commands{List: sh("echo a.; exit 1"), Add: sh("true"), Remove: sh("true")})
	if list, err := d.List(t.Context()); err == nil || len(list) > 0 {
		t.Errorf("a list that fails is %v, %v", list, err)
	}
	d = driverOf(t, server.Commands{List: []string{"/nonexistent"}, Add: sh("true"), Remove: sh("true")})
	if _, err := d.Probe(t.Context()); !errors.Is(err, server.ErrUnreachable) {
		t.Errorf("a missing command: %v", err)
	}
	if _, err := New(server.Options{Name: "ns5"}); err == nil {
		t.Error("a server without commands is taken")
	}
}

// TestHanging has a command whose child keeps the output open.
func TestHanging(t *testing.T) {
	d := driverOf(t, server.Commands{List: sh("sleep 60 & sleep 60"), Add: sh("true"), Remove: sh("true")})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if _, err := d.List(ctx); !errors.Is(err, server.ErrUnreachable) {
		t.Errorf("List: %v", err)
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestLinesOfAdditions(t *testing.T) {
	a := server.Addition{Name: name.Name(`x\010y.`), Template: server.Template{Name: "x", Primaries: []server.Primary{{Key: "k\n\tevil."}}}}
	if line := lineOf(a); strings.Count(line, "\n") != 1 || strings.Count(line, "\t") != 2 {
		t.Errorf("%q", line)
	}
}
