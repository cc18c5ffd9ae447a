// Command docgen writes what follows from the declarations of the actions: the
// reference under docs/reference, the manual pages under dist/man, the completion
// scripts under dist/completion. Nothing in them depends on the day or the machine,
// so that a stale file shows as a difference.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/agent"
	"kaname.dev/kaname/door/api"
	"kaname.dev/kaname/door/cli"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "docgen:", err)
		os.Exit(1)
	}
}

// book is what the pages are made from.
type book struct {
	catalog action.Catalog
	groups  map[string]action.Text
	root    *cobra.Command
}

func open() book {
	b := book{catalog: agent.Catalog(ribs), groups: agent.Groups()}
	for _, r := range ribs() {
		b.groups[r.Name] = r.Summary
	}
	b.root = cli.New(cli.Options{Catalog: b.catalog, Groups: b.groups, Version: "devel"}).Command()
	return b
}

// run writes everything below dir.
func run(dir string) error {
	pages, err := open().pages()
	if err != nil {
		return err
	}
	for _, folder := range []string{"docs/reference", "dist/man", "dist/completion"} {
		if err := os.RemoveAll(filepath.Join(dir, folder)); err != nil {
			return err
		}
	}
	for name, text := range pages {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// pages returns every file by its name.
func (b book) pages() (map[string][]byte, error) {
	pages := map[string][]byte{}
	spec, err := api.OpenAPI(b.catalog, "devel")
	if err != nil {
		return nil, err
	}
	pages["docs/reference/openapi.json"] = append(spec, '\n')
	for name, text := range b.reference() {
		pages["docs/reference/"+name] = []byte(text)
	}
	for name, text := range b.manual() {
		pages["dist/man/"+name] = text
	}
	for name, write := range map[string]func(*bytes.Buffer) error{
		"kaname.bash": func(w *bytes.Buffer) error { return b.root.GenBashCompletionV2(w, true) },
		"_kaname":     func(w *bytes.Buffer) error { return b.root.GenZshCompletion(w) },
		"kaname.fish": func(w *bytes.Buffer) error { return b.root.GenFishCompletion(w, true) },
	} {
		var w bytes.Buffer
		if err := write(&w); err != nil {
			return nil, err
		}
		pages["dist/completion/"+name] = w.Bytes()
	}
	return pages, nil
}

// byGroup returns the actions by the first word of their names, and the words in
// order.
func (b book) byGroup() (words []string, actions map[string][]action.Action) {
	actions = map[string][]action.Action{}
	for _, a := range b.catalog.All() {
		w := strings.Fields(a.Name)[0]
		if !slices.Contains(words, w) {
			words = append(words, w)
		}
		actions[w] = append(actions[w], a)
	}
	return words, actions
}
