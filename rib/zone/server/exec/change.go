package exec

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// same returns n times the error.
func same(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// Add runs the command add for the zones that are not there as asked.
func (d *driver) Add(ctx context.Context, zones []server.Addition) []error {
	if len(zones) == 0 {
		return nil
	}
	have, err := d.have(ctx)
	if err != nil {
		return same(len(zones), err)
	}
	errs := make([]error, len(zones))
	var in strings.Builder
	var todo []int
	for i, a := range zones {
		z := have[a.Name]
		switch {
		case z.Owned && z.Template == a.Template.ID(kind):
		case z.Present && !z.Owned && !a.Adopt:
			errs[i] = fmt.Errorf("%w: the command list has it without a template", server.ErrForeign)
		default:
			in.WriteString(lineOf(a))
			todo = append(todo, i)
			have[a.Name] = server.Zone{Present: true, Owned: true, Template: a.Template.ID(kind)} // not twice
		}
	}
	if len(todo) == 0 {
		return errs
	}
	out, err := d.run(ctx, d.o.Exec.Add, in.String())
	if err == nil {
		have, err = d.have(ctx)
	}
	why := complaints(out)
	for _, i := range todo {
		a := zones[i]
		z := have[a.Name]
		switch {
		case err != nil:
			errs[i] = err
		case why[a.Name] != nil:
			errs[i] = why[a.Name]
		case !z.Owned || z.Template != a.Template.ID(kind):
			errs[i] = fmt.Errorf("%w: %s succeeded, and the command list does not have zone %s with template %s", errCommand, d.o.Exec.Add[0], a.Name, a.Template.ID(kind))
		}
	}
	return errs
}

// lineOf writes an addition as the command add reads it.
func lineOf(a server.Addition) string {
	words := []string{a.Name.String(), a.Template.ID(kind)}
	for _, p := range a.Template.Primaries {
		word := fmt.Sprintf("%s@%d", p.Address.Addr(), p.Address.Port())
		if p.Key != "" {
			word += "@" + p.Key
		}
		words = append(words, word)
	}
	for i, w := range words {
		// A key's name comes from a configuration; one that would say more than itself
		// cannot be one.
		words[i] = strings.Map(func(r rune) rune {
			if r < ' ' {
				return '?'
			}
			return r
		}, w)
	}
	return strings.Join(words, "\t") + "\n"
}

// Remove runs the command remove for the zones that are there.
func (d *driver) Remove(ctx context.Context, zones []server.Removal) []error {
	if len(zones) == 0 {
		return nil
	}
	have, err := d.have(ctx)
	if err != nil {
		return same(len(zones), err)
	}
	errs := make([]error, len(zones))
	var in strings.Builder
	var todo []int
	for i, r := range zones {
		switch z := have[r.Name]; {
		case !z.Present:
		case !z.Owned && !r.Adopt:
			errs[i] = fmt.Errorf("%w: the command list has it without a template", server.ErrForeign)
		default:
			in.WriteString(r.Name.String() + "\n")
			todo = append(todo, i)
		}
	}
	if len(todo) == 0 {
		return errs
	}
	out, err := d.run(ctx, d.o.Exec.Remove, in.String())
	if err == nil {
		have, err = d.have(ctx)
	}
	why := complaints(out)
	for _, i := range todo {
		n := zones[i].Name
		switch {
		case err != nil:
			errs[i] = err
		case why[n] != nil:
			errs[i] = why[n]
		case have[n].Present:
			errs[i] = fmt.Errorf("%w: %s succeeded, and the command list still has zone %s", errCommand, d.o.Exec.Remove[0], n)
		}
	}
	return errs
}

// complaints reads what a command says of single zones.
func complaints(out string) map[name.Name]error {
	why := map[name.Name]error{}
	for line := range strings.Lines(out) {
		word, text, ok := strings.Cut(strings.TrimSpace(line), "\t")
		n, err := name.Parse(word)
		if !ok || err != nil {
			continue
		}
		if rest, is := strings.CutPrefix(text, "name:"); is {
			why[n] = fmt.Errorf("%w: %s", server.ErrName, strings.TrimSpace(rest))
		} else {
			why[n] = errors.New(text)
		}
	}
	return why
}

// Setup has nothing to set up: the commands are the operator's.
func Setup(s server.Setup) server.Recipe {
	return server.Recipe{Notes: []string{"server " + s.Options.Name + " of kind exec: its commands add zones as the operator wrote them; its keys and access are set up by hand"}}
}
