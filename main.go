// Command kaname brings releases to hosts, and more: one binary, run as a core
// ("kaname up"), as the agent of a plain host ("kaname agent") and as the command
// line of both. This file is where ribs, doors and agent meet.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/agent"
	"kaname.dev/kaname/demo"
	"kaname.dev/kaname/door/cli"
)

//go:generate go run ./tools/ribgen
//go:generate go run ./tools/confgen
//go:generate go run ./tools/docgen

func main() { os.Exit(run()) }

// run returns the exit code. The first INT or TERM asks what runs to stop; the
// agent counts the second one itself, for any other command it ends the process.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return cli.New(cli.Options{
		Catalog: catalog(), Groups: groups(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.Getenv, Version: agent.ThisBuild().Version,
	}).Main(ctx, os.Args[1:])
}

// catalog is everything that this binary can do.
func catalog() action.Catalog { return agent.Catalog(ribs, demo.Action()) }

// groups gives the first words of the actions their sentences.
func groups() map[string]action.Text {
	all := agent.Groups()
	for _, r := range ribs() {
		all[r.Name] = r.Summary
	}
	return all
}
