package knot

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kaname.dev/kaname/rib/zone/control/knotctl"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// item sets one value of the configuration.
func item(section, id, what, value string) knotctl.Data {
	return knotctl.Data{Command: "conf-set", Section: section, Item: what, ID: id, Value: value}
}

// identify makes an entry of a section.
func identify(section, id string) knotctl.Data {
	return knotctl.Data{Command: "conf-set", Section: section, Item: "id", Value: id}
}

// render returns the settings that make a template, with the remotes and the ACLs that
// it names. Knot's journal holds all contents, so that a restart without the primary
// serves (journal-content all, zonefile-load none).
// The template itself is there already.
func render(t server.Template) ([]knotctl.Data, error) {
	id := tag + t.ID("knot")
	if len(t.Primaries) == 0 {
		return nil, fmt.Errorf("%w: template %s names no primary; give the group one", server.ErrTemplate, t.Name)
	}
	var set, use []knotctl.Data
	acl := func(suffix, action, what, value string) {
		a := id + suffix
		set = append(set, identify("acl", a), item("acl", a, what, value), item("acl", a, "action", action))
		use = append(use, item("template", id, "acl", a))
	}
	for i, p := range t.Primaries {
		r := fmt.Sprintf("%s-p%d", id, i)
		set = append(set, identify("remote", r), item("remote", r, "address", fmt.Sprintf("%s@%d", p.Address.Addr(), p.Address.Port())))
		acl(fmt.Sprintf("-n%d", i), "notify", "address", p.Address.Addr().String())
		if p.Key != "" {
			set = append(set, item("remote", r, "key", p.Key))
			// An ACL without a key takes unsigned messages alone.
			acl(fmt.Sprintf("-k%d", i), "notify", "address", p.Address.Addr().String())
			set = append(set, item("acl", fmt.Sprintf("%s-k%d", id, i), "key", p.Key))
		}
		use = append(use, item("template", id, "master", r))
	}
	for i, who := range t.Transfer {
		suffix := fmt.Sprintf("-t%d", i)
		if key, ok := strings.CutPrefix(who, "key "); ok {
			acl(suffix, "transfer", "key", key)
			continue
		}
		if p, err := netip.ParsePrefix(who); err == nil {
			who = p.Masked().String()
		} else if _, err := netip.ParseAddr(who); err != nil {
			return nil, fmt.Errorf("%w: template %s lets %q transfer, which is no address, prefix or key NAME", server.ErrTemplate, t.Name, who)
		}
		acl(suffix, "transfer", "address", who)
	}
	set = append(append(set,
		item("template", id, "journal-content", "all"), item("template", id, "zonefile-sync", "-1"),
		item("template", id, "zonefile-load", "none")), use...)
	more, err := extra(id, t.Options["knot"])
	return append(set, more...), err
}

// kept are items that the driver's work depends on.
var kept = []string{"id", "master", "journal-content", "zonefile-sync", "zonefile-load", "catalog-role"}

// extra reads further items of a template, one "item: value" a line.
func extra(id, text string) ([]knotctl.Data, error) {
	var set []knotctl.Data
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		what, value, ok := strings.Cut(line, ":")
		what, value = strings.TrimSpace(what), strings.Trim(strings.TrimSpace(value), `"`)
		if !ok || value == "" || slices.Contains(kept, what) {
			return nil, fmt.Errorf(`%w: option %q of kind knot is not of the form "item: value", or sets what kaname sets`, server.ErrTemplate, line)
		}
		set = append(set, item("template", id, what, value))
	}
	return set, nil
}

// makeTemplate puts a template into the open transaction unless it is there.
func makeTemplate(c *knotctl.Conn, t server.Template) error {
	id := tag + t.ID("knot")
	set, err := render(t)
	if err != nil {
		return err
	}
	if err := hasKeys(c, t); err != nil {
		return err
	}
	switch _, err := c.Do(identify("template", id)); {
	case errors.Is(err, knotctl.ErrExists):
		return nil // whole: it came with one commit
	case errors.Is(err, knotctl.ErrUnreachable):
		return err
	case err != nil:
		return fmt.Errorf("%w: template %s: %w", server.ErrTemplate, t.Name, err)
	}
	for i, err := range c.Pipe(set, nil) {
		if err == nil || errors.Is(err, knotctl.ErrExists) {
			continue
		}
		_, _ = c.Do(knotctl.Data{Command: "conf-unset", Section: "template", Item: "id", Value: id})
		if errors.Is(err, knotctl.ErrUnreachable) {
			return err
		}
		return fmt.Errorf("%w: template %s: %s.%s = %q: %w", server.ErrTemplate, t.Name, set[i].Section, set[i].Item, set[i].Value, err)
	}
	return nil
}

// hasKeys looks whether the server has the keys that a template names.
func hasKeys(c *knotctl.Conn, t server.Template) error {
	have, err := keysIn(c)
	if err != nil {
		return err
	}
	for _, k := range keysOf(t) {
		if n, err := name.Parse(k); err != nil || have[n] == "" {
			return fmt.Errorf("%w: knotd has no key %q, which template %s names; run: kaname zone setup", server.ErrTemplate, k, t.Name)
		}
	}
	return nil
}

// keysIn returns the keys that the server has, as it writes their names.
func keysIn(c *knotctl.Conn) (map[name.Name]string, error) {
	have := map[name.Name]string{}
	err := c.Each(read("key", "id", ""), func(u knotctl.Data) {
		if n, err := name.Parse(u.Value); err == nil {
			have[n] = u.Value
		}
	})
	return have, err
}

// keysOf returns the names of the keys that a template needs.
func keysOf(t server.Template) []string {
	var keys []string
	for _, p := range t.Primaries {
		if p.Key != "" {
			keys = append(keys, p.Key)
		}
	}
	for _, who := range t.Transfer {
		if k, ok := strings.CutPrefix(who, "key "); ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
