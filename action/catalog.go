package action

import (
	"fmt"
	"slices"
	"strings"

	"kaname.dev/kaname/fault"
)

// Catalog is the set of actions that a process knows, sorted by name.
type Catalog struct{ actions []Action }

// NewCatalog makes a catalog; it panics when two actions share a name.
func NewCatalog(actions ...Action) Catalog {
	c := Catalog{slices.Clone(actions)}
	slices.SortFunc(c.actions, func(a, b Action) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(c.actions); i++ {
		if c.actions[i].Name == c.actions[i-1].Name {
			panic(fmt.Sprintf("action %q is declared twice", c.actions[i].Name))
		}
	}
	return c
}

// All returns every action, sorted by name.
func (c Catalog) All() []Action { return c.actions }

// Find returns the action with the name, in words or with dots.
func (c Catalog) Find(name string) (Action, error) {
	name = strings.ReplaceAll(name, ".", " ")
	for _, a := range c.actions {
		if a.Name == name {
			return a, nil
		}
	}
	return Action{}, fault.Unsupported("there is no action " + name + " here").Try("see the list with: kaname help; a newer kaname may have it")
}
