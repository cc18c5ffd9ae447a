// Package target writes the configuration of another name server for the zones of a
// named.conf, primaries and secondaries alike: zones, keys, access lists, notifies. What
// it writes is to be included by the server's main file, or run once.
package target

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"kaname.dev/kaname/rib/zone/graduate"
	"kaname.dev/kaname/rib/zone/graduate/namedconf"
	"kaname.dev/kaname/rib/zone/server"
)

// Options say what is written for which server.
type Options struct {
	Kind   string // bind, nsd, knot, pdns
	View   string // the view whose zones are meant; empty for those of no view
	Folder string // absolute, on the new server: the zone files
	Config string // folder, on the new server, that the files of the recipe go to
}

// Recipe writes what the new server needs, and says what it cannot have. The files
// hold the secrets of the keys and are of mode 0600 or 0640: they are to be written, not
// printed. It reads and writes nothing itself.
func Recipe(c *namedconf.Config, o Options) (server.Recipe, []graduate.Finding, error) {
	writers := map[string]func(*plan) server.Recipe{"bind": bind, "nsd": nsd, "knot": knot, "pdns": pdns}
	write, ok := writers[o.Kind]
	if !ok {
		return server.Recipe{}, nil, fmt.Errorf("kind %q of the new server is unknown; use bind, nsd, knot or pdns", o.Kind)
	}
	for _, f := range []string{o.Folder, o.Config} {
		if !path.IsAbs(f) || !safe(f) {
			return server.Recipe{}, nil, fmt.Errorf("folder %q of the new server is not an absolute path without quotes, spaces and control characters; name another", f)
		}
	}
	p := newPlan(c, o)
	if len(p.zones) == 0 {
		return server.Recipe{}, nil, fmt.Errorf("view %q has no primary or secondary zones; name one of the views", o.View)
	}
	r := write(p)
	r.Files = append(r.Files, p.copies())
	r.Notes = append(r.Notes,
		"on the old server, before copying: rndc freeze (or rndc sync -clean) for zones that take updates, so that the files are whole",
		"copy the zone files of copy.list from the old server, with the files that they $INCLUDE")
	return r, p.found, nil
}

// plan is what all kinds of servers are told, each in its words.
type plan struct {
	o     Options
	keys  []namedconf.Key
	zones []zone
	found []graduate.Finding
}

// zone is a zone with its lists as all servers have them.
type zone struct {
	namedconf.Zone

	copy     string // its file on the new server
	transfer []graduate.Rule
	update   []graduate.Rule
	told     []graduate.Rule // who may notify
}

func newPlan(c *namedconf.Config, o Options) *plan {
	p := &plan{o: o}
	used := map[string]bool{}
	for _, v := range c.Views {
		if v.Name != o.View || v.Class != "" {
			continue
		}
		for _, z := range v.Zones {
			if z.Class == "" && (z.Type == "primary" || z.Type == "secondary") {
				p.add(z, used)
			}
		}
	}
	for _, k := range c.Keys {
		if !used[k.Name] || k.View != "" && k.View != o.View {
			continue
		}
		if !safe(k.Name) || !safe(k.Algorithm) || !safe(k.Secret.Reveal()) {
			p.miss("key", "a key whose name, algorithm or secret cannot be written", "rename the key, or give it a base64 secret")
			continue
		}
		p.keys = append(p.keys, k)
		delete(used, k.Name)
	}
	for _, k := range p.keys {
		delete(used, k.Name)
	}
	for k := range used {
		if used[k] {
			p.miss("key "+k, "a key that is used and not defined", "define it in named.conf, or remove it there")
		}
	}
	return p
}

// add takes a zone, and notes which keys it uses.
func (p *plan) add(z namedconf.Zone, used map[string]bool) {
	report := func(where string, _ namedconf.Place, s graduate.Severity, what, remedy string) {
		p.found = append(p.found, graduate.Finding{Where: where, What: what, Severity: s, Remedy: remedy, Times: 1})
	}
	out := zone{Zone: z, copy: path.Join(p.o.Folder, z.Name.File()+".zone")}
	out.transfer = graduate.Rules(z.Transfer, z.Path+" > allow-transfer", z.At, report)
	if z.Update != nil {
		out.update = graduate.Rules(z.Update, z.Path+" > allow-update", z.At, report)
	}
	if z.AcceptNotify != nil {
		out.told = graduate.Rules(z.AcceptNotify, z.Path+" > allow-notify", z.At, report)
	}
	for _, list := range [][]graduate.Rule{out.transfer, out.update, out.told} {
		for _, r := range list {
			if r.Key != "" {
				used[r.Key] = true
			}
		}
	}
	for _, s := range slices.Concat(z.Primaries, z.AlsoNotify) {
		if s.Key != "" {
			used[s.Key] = true
		}
	}
	if z.Notify == "no" {
		out.AlsoNotify = nil
	}
	if len(z.UpdatePolicy) > 0 {
		report(z.Path+" > update-policy", z.At, graduate.Blocker, "update-policy is not written", "write the rules by hand, see the import's findings")
	}
	p.zones = append(p.zones, out)
}

func (p *plan) miss(where, what, remedy string) {
	p.found = append(p.found, graduate.Finding{Where: where, What: what, Severity: graduate.Blocker, Remedy: remedy, Times: 1})
}

// copies lists the zone files to copy: the old path, a tab, the new one.
func (p *plan) copies() server.File {
	var b strings.Builder
	for _, z := range p.zones {
		if z.Type != "primary" || z.File == "" {
			continue
		}
		from := z.File
		if p.o.Kind == "nsd" && (z.InlineSigning || z.Policy != "") {
			from += ".signed" // NSD does not sign
		}
		if strings.ContainsAny(from, "\t\n") {
			p.miss(z.Path+" > file", "the file's name has a tab or a line end", "copy it by hand")
			continue
		}
		fmt.Fprintf(&b, "%s\t%s\n", from, z.copy)
	}
	return p.file("copy.list", 0o644, "zone files to copy: the path on the old server, a tab, the path on the new one", b.String())
}

func (p *plan) file(name string, mode uint32, why, text string) server.File {
	return server.File{Path: path.Join(p.o.Config, name), Mode: mode, Why: why, Text: text}
}

// safe reports whether a text can stand in every server's configuration, in quotes or
// not, and in a shell's quotes.
func safe(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"'\\`$;{}#", r)
	})
}

// allows leaves out what is denied and says so where the kind of server has no like.
func allowed(rules []graduate.Rule) []graduate.Rule {
	return slices.DeleteFunc(slices.Clone(rules), func(r graduate.Rule) bool { return r.Deny })
}

// groups numbers texts: equal ones get one name.
type groups struct {
	prefix string
	names  map[string]string
	order  []string
}

func newGroups(prefix string) *groups { return &groups{prefix: prefix, names: map[string]string{}} }

func (g *groups) of(text string) string {
	if n, ok := g.names[text]; ok {
		return n
	}
	g.order = append(g.order, text)
	g.names[text] = fmt.Sprintf("%s-%d", g.prefix, len(g.order))
	return g.names[text]
}
