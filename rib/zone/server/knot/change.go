package knot

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"kaname.dev/kaname/rib/zone/control/knotctl"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// ours reports whether an open transaction is one that a driver left behind: every
// template in it is ours, and at most one zone has none yet.
func ours(diff []knotctl.Data) bool {
	bare, mine := map[string]bool{}, 0
	for _, u := range diff {
		value := u.Value
		switch u.Section {
		case "zone":
			switch u.Item {
			case "domain":
				bare[value] = true
				continue
			case "template":
				delete(bare, u.ID)
			default:
				return false
			}
		case "template", "remote", "acl":
			if u.ID != "" {
				value = u.ID
			}
		default:
			return false
		}
		if !strings.HasPrefix(value, tag) {
			return false
		}
		mine++
	}
	return mine > 0 && len(bare) <= 1
}

// Add adds the zones in one transaction.
func (d *driver) Add(ctx context.Context, list []server.Addition) []error {
	errs := make([]error, len(list))
	if len(list) == 0 {
		return errs
	}
	names := make([]name.Name, len(list))
	for i := range list {
		names[i] = list[i].Name
	}
	d.transact(ctx, names, errs, func(c *knotctl.Conn, zones []server.Zone) ([]int, error) { return add(c, list, zones, errs) })
	return errs
}

// transact runs change in a transaction; change returns which of the names wait for
// its commit, and they get the error of the whole, as all do when change fails.
func (d *driver) transact(ctx context.Context, names []name.Name, errs []error, change func(*knotctl.Conn, []server.Zone) ([]int, error)) {
	all := make([]int, len(names))
	for i := range all {
		all[i] = i
	}
	c, err := knotctl.Begin(ctx, d.o.Control, patience, ours)
	if err != nil {
		fill(errs, all, d.wrap(err))
		return
	}
	defer c.Close() //nolint:errcheck // what it was for is done, or broken
	zones, err := d.find(c, names)
	var open []int
	if err == nil {
		open, err = change(c, zones)
	}
	if err == nil && len(open) > 0 {
		err = c.Commit()
	} else if err == nil {
		_, err = c.Do(knotctl.Data{Command: "conf-abort"})
	}
	if err == nil {
		return
	}
	if open == nil {
		open = all
	}
	fill(errs, open, d.wrap(err))
	_ = c.Close()
	knotctl.Abort(ctx, d.o.Control)
}

// add puts the additions into the transaction and returns which wait for its commit.
func add(c *knotctl.Conn, list []server.Addition, zones []server.Zone, errs []error) ([]int, error) {
	templates, seen := map[string]error{}, map[name.Name]bool{}
	var open, of []int
	var requests []knotctl.Data
	for i, a := range list {
		id := a.Template.ID("knot")
		if zones[i].Present && !zones[i].Owned && !a.Adopt {
			errs[i] = fmt.Errorf("%s: %w; adopt it, or remove it there", a.Name, server.ErrForeign)
			continue
		}
		if seen[a.Name] || zones[i].Owned && zones[i].Template == id {
			continue
		}
		seen[a.Name] = true
		err, made := templates[id]
		if !made {
			err = makeTemplate(c, a.Template)
			templates[id] = err
		}
		if errors.Is(err, knotctl.ErrUnreachable) {
			return nil, err
		}
		if err != nil {
			errs[i] = fmt.Errorf("%s: %w", a.Name, err)
			continue
		}
		open = append(open, i)
		one := place(a.Name, zones[i], id)
		requests = append(requests, one...)
		for range one {
			of = append(of, i)
		}
	}
	bad := map[int]bool{}
	for j, err := range c.Pipe(requests, nil) {
		if errors.Is(err, knotctl.ErrUnreachable) {
			return nil, err
		}
		if i := of[j]; err != nil && !bad[i] {
			bad[i] = true
			errs[i] = nameError(list[i].Name, err)
			_, _ = c.Do(knotctl.Data{Command: "conf-unset", Section: "zone", Item: "domain", Value: list[i].Name.String()})
		}
	}
	left := open[:0]
	for _, i := range open {
		if !bad[i] {
			left = append(left, i)
		}
	}
	return left, nil
}

// place returns the settings that put a zone into the configuration.
func place(n name.Name, have server.Zone, id string) []knotctl.Data {
	var set []knotctl.Data
	domain := knotctl.Data{Command: "conf-set", Section: "zone", Item: "domain", Value: n.String()}
	if have.Present && !have.Owned { // its own items would stand above the template's
		unset := domain
		unset.Command = "conf-unset"
		set = append(set, unset)
	}
	if !have.Owned {
		set = append(set, domain)
	}
	return append(set, item("zone", n.String(), "template", tag+id))
}

func nameError(n name.Name, err error) error {
	var r *knotctl.Refused
	if errors.As(err, &r) && (strings.Contains(r.Text, "invalid") || strings.Contains(r.Text, "malformed")) {
		return fmt.Errorf("%s: %w: %w", n, server.ErrName, err)
	}
	return fmt.Errorf("%s: %w", n, err)
}

// force is knotc's -f: the default policy would keep part of it.
const force = "F"

// everything selects, for zone-purge, all that is kept of a zone that is not in the
// configuration any more: orphan, expire, zonefile, journal, timers, kaspdb, catalog.
const everything = "oefjtkc"

// Remove takes the zones out of the configuration, in one transaction, and then purges
// their contents, what an earlier call may have left too.
func (d *driver) Remove(ctx context.Context, list []server.Removal) []error {
	errs := make([]error, len(list))
	if len(list) == 0 {
		return errs
	}
	names := make([]name.Name, len(list))
	for i := range list {
		names[i] = list[i].Name
	}
	d.transact(ctx, names, errs, func(c *knotctl.Conn, zones []server.Zone) ([]int, error) { return remove(c, list, zones, errs) })
	d.purge(ctx, names, errs)
	return errs
}

// remove puts the removals into the transaction.
func remove(c *knotctl.Conn, list []server.Removal, zones []server.Zone, errs []error) ([]int, error) {
	seen := map[name.Name]bool{}
	var open []int
	var requests []knotctl.Data
	for i, r := range list {
		switch {
		case !zones[i].Present || seen[r.Name]:
			continue
		case !zones[i].Owned && !r.Adopt:
			errs[i] = fmt.Errorf("%s: %w; adopt it to remove it", r.Name, server.ErrForeign)
			continue
		}
		seen[r.Name] = true
		open = append(open, i)
		requests = append(requests, knotctl.Data{Command: "conf-unset", Section: "zone", Item: "domain", Value: r.Name.String()})
	}
	for j, err := range c.Pipe(requests, nil) {
		if errors.Is(err, knotctl.ErrUnreachable) {
			return nil, err
		}
		if err != nil && !errors.Is(err, knotctl.ErrMissing) {
			errs[open[j]] = fmt.Errorf("%s: %w", list[open[j]].Name, err)
		}
	}
	return open, nil
}

// purge deletes the contents of zones that are not in the configuration, which knotd
// looks at itself.
func (d *driver) purge(ctx context.Context, names []name.Name, errs []error) {
	var gone []int
	var requests []knotctl.Data
	for i, n := range names {
		if errs[i] == nil {
			gone = append(gone, i)
			requests = append(requests, knotctl.Data{Command: "zone-purge", Flags: force, Zone: n.String(), Filter: everything})
		}
	}
	if len(gone) == 0 {
		return
	}
	c, err := knotctl.Dial(ctx, d.o.Control)
	if err != nil {
		fill(errs, gone, d.wrap(err))
		return
	}
	defer c.Close() //nolint:errcheck // nothing is lost
	for j, err := range c.Pipe(requests, nil) {
		if err != nil && !errors.Is(err, knotctl.ErrNoZone) && !errors.Is(err, knotctl.ErrNoItem) {
			errs[gone[j]] = d.wrap(fmt.Errorf("contents of %s: %w", names[gone[j]], err))
		}
	}
}
