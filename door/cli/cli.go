// Package cli is the command line: a tree of commands drawn from the catalogue of
// actions, with flags, completion and help from their declarations. It knows
// actions, not ribs, and calls a core through door/api; actions marked Local run
// in its own process.
//
// Standard output carries data and nothing else; everything said to a person, or
// to a program about the way, goes to standard error. The exit code comes from the
// kind of the fault alone.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/door/api"
	"kaname.dev/kaname/fault"
)

// Options is what a command line needs.
type Options struct {
	Catalog action.Catalog         // everything, Local actions included
	Groups  map[string]action.Text // a sentence for the first word of actions: "release"
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Env     func(string) string // os.Getenv, or a test's
	Version string              // of kaname; empty reads it from the build
}

// CLI is one command line; it is used for one invocation.
type CLI struct {
	o    Options
	lang string // "ja" or "en"
	set  settings
	root *cobra.Command
}

// New makes the command line. It panics on a catalogue whose actions cannot be
// drawn as commands: a bug, found by the first test.
func New(o Options) *CLI {
	if o.Env == nil {
		o.Env = func(string) string { return "" }
	}
	if o.Version == "" {
		o.Version = api.BuildVersion()
	}
	c := &CLI{o: o, lang: language(o.Env)}
	c.build()
	return c
}

// Command returns the tree, for what draws manual pages and completion scripts
// from it.
func (c *CLI) Command() *cobra.Command { return c.root }

// Main runs the command line with the arguments after the program's name and
// returns the exit code. When ctx ends, a call under way is asked to stop.
func (c *CLI) Main(ctx context.Context, args []string) int {
	c.root.SetArgs(args)
	err := c.root.ExecuteContext(ctx)
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	if err != nil {
		c.complain(err)
	}
	return fault.ExitCode(err)
}

// exitCode ends the command line with a code and no word.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// complain tells a fault on standard error: what happened, and below it what to do.
func (c *CLI) complain(err error) {
	f := fault.Of(err)
	if c.set.jsonTalk(c) && c.set.format() == formatJSON {
		writeLine(c.o.Stderr, api.Line{Fault: f})
		return
	}
	remedy := f.Remedy
	text := (&fault.Fault{Kind: f.Kind, What: f.What, Where: f.Where, Err: f.Err}).Error()
	red := c.style(c.o.Stderr, styleBad)
	fmt.Fprintf(c.o.Stderr, "%s %s\n", red("kaname:"), text)
	if remedy != "" {
		fmt.Fprintf(c.o.Stderr, "  %s\n", strings.ReplaceAll(remedy, "\n", "\n  "))
	}
}

// terminal reports whether the stream is a terminal.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// language returns "ja" for a Japanese locale (LC_ALL, LC_MESSAGES, LANG, in this
// order; POSIX.1 §8.2), otherwise "en".
func language(env func(string) string) string {
	for _, k := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := env(k); v != "" {
			if strings.HasPrefix(v, "ja") {
				return "ja"
			}
			return "en"
		}
	}
	return "en"
}
