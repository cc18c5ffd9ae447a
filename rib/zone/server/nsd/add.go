package nsd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

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

func (d *driver) Add(ctx context.Context, zones []server.Addition) []error {
	asked := make([]name.Name, len(zones))
	for i, a := range zones {
		asked[i] = a.Name
	}
	have, err := d.states(ctx, asked)
	if err != nil {
		return same(len(zones), err)
	}
	errs := make([]error, len(zones))
	patterns := map[string]error{}
	var fresh, moved []int
	for i, a := range zones {
		id := a.Template.ID(kind)
		if have[i].Owned && have[i].Template == id {
			continue
		}
		perr, known := patterns[id]
		if !known {
			perr = d.ensurePattern(ctx, a.Template)
			patterns[id] = perr
		}
		switch {
		case have[i].Present && !have[i].Owned && !a.Adopt:
			errs[i] = fmt.Errorf("%w: nsd has it with a pattern of others, or in nsd.conf", server.ErrForeign)
		case perr != nil:
			errs[i] = perr
		case have[i].Present:
			moved = append(moved, i)
		default:
			fresh = append(fresh, i)
		}
	}
	d.addFresh(ctx, zones, fresh, errs)
	d.change(ctx, zones, have, moved, errs)
	d.confirm(ctx, zones, append(fresh, moved...), errs)
	return errs
}

// addFresh adds zones that are not there, in bulk.
func (d *driver) addFresh(ctx context.Context, zones []server.Addition, list []int, errs []error) {
	if len(list) == 0 {
		return
	}
	lines := make([]string, len(list))
	for i, at := range list {
		lines[i] = zones[at].Name.String() + " " + prefix + zones[at].Template.ID(kind) + "\n"
	}
	reply, err := d.control.do(ctx, "addzones", lines)
	if err != nil {
		for _, at := range list {
			errs[at] = err
		}
		return
	}
	why := complaints(reply)
	for _, at := range list {
		if text, ok := why[zones[at].Name]; ok {
			errs[at] = d.explain(text)
		}
	}
}

// change gives zones another pattern. nsd forgets the contents and reads the zone
// file, so that is written before, and put where the new pattern has it.
func (d *driver) change(ctx context.Context, zones []server.Addition, have []held, list []int, errs []error) {
	if len(list) == 0 {
		return
	}
	if _, err := d.control.do(ctx, "write", nil); err != nil {
		for _, at := range list {
			errs[at] = err
		}
		return
	}
	for _, at := range list {
		pattern := prefix + zones[at].Template.ID(kind)
		if have[at].Loaded {
			d.carry(ctx, zones[at].Name, have[at].pattern, pattern)
		}
		reply, err := d.control.do(ctx, "changezone "+zones[at].Name.String()+" "+pattern, nil)
		if err != nil {
			errs[at] = err
		} else if text := refusal(reply); text != "" {
			errs[at] = d.explain(text)
		}
	}
}

// writing is how long nsd may take to write a zone's file after it was told to.
const writing = 2 * time.Second

// carry waits for a zone's file and puts it where the new pattern has it. Without it
// the zone is transferred again.
func (d *driver) carry(ctx context.Context, n name.Name, from, to string) {
	c, err := d.settings()
	if err != nil {
		return
	}
	files := []string{c.file(n, from), c.file(name.Name(n.Bare()), from)}
	next := c.file(n, to)
	for until := time.Now().Add(writing); ctx.Err() == nil && time.Now().Before(until); {
		for _, file := range files {
			if _, err := os.Stat(file); file == "" || err != nil {
				continue
			}
			if file != next {
				d.settle(file, next)
			}
			return
		}
		if files[0] == "" && files[1] == "" {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// settle moves a zone file into our folder, which nsd must be able to write.
func (d *driver) settle(file, next string) {
	dir := filepath.Dir(next)
	if up, err := os.Stat(filepath.Dir(file)); err == nil && os.Mkdir(dir, 0o750) == nil {
		give(dir, up)
	}
	if err := os.Rename(file, next); err != nil {
		d.o.Log.Warn("the contents of an adopted zone are transferred again", "server", d.o.Name, "err", err)
	}
}

// confirm asks whether nsd has the zones as it was told: it says ok though a zone is
// there with another pattern.
func (d *driver) confirm(ctx context.Context, zones []server.Addition, list []int, errs []error) {
	var names []name.Name
	var at []int
	for _, i := range list {
		if errs[i] == nil {
			names, at = append(names, zones[i].Name), append(at, i)
		}
	}
	have, err := d.states(ctx, names)
	for k, i := range at {
		switch {
		case err != nil:
			errs[i] = err
		case !have[k].Present:
			errs[i] = fmt.Errorf("nsd said that it added zone %s and does not have it; it is added again", zones[i].Name)
		case !have[k].Owned:
			errs[i] = fmt.Errorf("%w: somebody added it at the same time", server.ErrForeign)
		case have[k].Template != zones[i].Template.ID(kind):
			errs[i] = fmt.Errorf("zone %s has template %s, which somebody gave it at the same time; it is changed again", zones[i].Name, have[k].Template)
		}
	}
}

// explain gives a refusal of nsd its place among package server's errors.
func (d *driver) explain(text string) error {
	switch {
	case strings.Contains(text, "pattern"):
		return fmt.Errorf("%w: nsd: %s; run kaname zone setup %s", server.ErrTemplate, text, d.o.Name)
	case strings.Contains(text, "parse zone name"):
		return fmt.Errorf("%w: nsd: %s", server.ErrName, text)
	case strings.Contains(text, "nsd.conf") || strings.Contains(text, "config file"):
		return fmt.Errorf("%w: nsd: %s; take it out of nsd.conf and run nsd-control reconfig", server.ErrForeign, text)
	case strings.Contains(text, "No space left"):
		return fmt.Errorf("%w: nsd: %s", server.ErrFull, text)
	}
	return fmt.Errorf("nsd: %s", text)
}

// complaints reads the errors of a reply in bulk: what is wrong, then the line.
func complaints(reply string) map[name.Name]string {
	why := map[name.Name]string{}
	last := ""
	for line := range strings.Lines(reply) {
		line = strings.TrimSpace(line)
		text, ok := strings.CutPrefix(line, "error for input line '")
		if !ok {
			last = strings.TrimPrefix(strings.TrimPrefix(line, "error "), "warning ")
			continue
		}
		word, _, _ := strings.Cut(strings.TrimSuffix(text, "'"), " ")
		if n, err := name.Parse(word); err == nil {
			why[n] = last
		}
	}
	return why
}
