package target

import (
	"fmt"
	"strings"

	"kaname.dev/kaname/rib/zone/graduate"
	"kaname.dev/kaname/rib/zone/graduate/namedconf"
	"kaname.dev/kaname/rib/zone/server"
)

// knot writes keys, remotes, acls, templates and zones (Knot DNS configuration reference).
func knot(p *plan) server.Recipe {
	var keys, text, zones strings.Builder
	keys.WriteString("key:\n")
	for _, k := range p.keys {
		fmt.Fprintf(&keys, "  - id: \"%s\"\n    algorithm: %s\n    secret: \"%s\"\n", k.Name, k.Algorithm, k.Secret.Reveal())
	}
	remotes, acls, templates := newGroups("import-remote"), newGroups("import-acl"), newGroups("import")
	for _, z := range p.zones {
		t := templates.of(p.knotTemplate(z, remotes, acls))
		fmt.Fprintf(&zones, "  - domain: \"%s\"\n    file: \"%s\"\n    template: %s\n", z.Name.Bare(), z.copy, t)
	}
	for _, s := range []struct {
		section string
		g       *groups
	}{{"remote", remotes}, {"acl", acls}, {"template", templates}} {
		for i, body := range s.g.order {
			if i == 0 {
				fmt.Fprintf(&text, "%s:\n", s.section)
			}
			fmt.Fprintf(&text, "  - id: %s\n%s", s.g.names[body], body)
		}
	}
	if len(p.keys) == 0 {
		keys.Reset()
	}
	return server.Recipe{
		Files: []server.File{
			p.file("keys.conf", 0o640, "the TSIG keys; secret", keys.String()),
			p.file("zones.conf", 0o640, "remotes, access lists, templates and zones", text.String()+"zone:\n"+zones.String()),
		},
		Commands: [][]string{{"knotc", "conf-check"}, {"knotc", "reload"}},
		Notes: []string{
			fmt.Sprintf("add to knot.conf, in this order: include: \"%[1]s/keys.conf\" and include: \"%[1]s/zones.conf\"", p.o.Config),
			"for zones that BIND signs: keymgr ZONE import-bind K*.private for each key, then dnssec-signing: on and a policy like the old one",
		},
	}
}

// knotTemplate writes how a zone is served.
func (p *plan) knotTemplate(z zone, remotes, acls *groups) string {
	var b strings.Builder
	if ids := knotRemotes(z.Primaries, remotes); ids != "" {
		fmt.Fprintf(&b, "    master: [%s]\n    journal-content: all\n    zonefile-load: none\n    zonefile-sync: -1\n", ids)
	}
	if ids := knotRemotes(z.AlsoNotify, remotes); ids != "" {
		fmt.Fprintf(&b, "    notify: [%s]\n", ids)
	}
	var list []string
	for _, s := range z.Primaries {
		list = append(list, acls.of(knotACL(s.Address.Addr().String(), s.Key, "notify", false)))
	}
	for _, l := range []struct {
		action string
		rules  []graduate.Rule
	}{{"transfer", z.transfer}, {"update", z.update}, {"notify", z.told}} {
		list = append(list, knotRules(l.rules, l.action, acls)...)
	}
	if len(list) > 0 {
		fmt.Fprintf(&b, "    acl: [%s]\n", strings.Join(list, ", "))
	}
	return b.String()
}

func knotRemotes(list []namedconf.Server, remotes *groups) string {
	var ids []string
	for _, s := range list {
		body := fmt.Sprintf("    address: %s@%d\n", s.Address.Addr(), s.Address.Port())
		if s.Key != "" {
			body += fmt.Sprintf("    key: \"%s\"\n", s.Key)
		}
		ids = append(ids, remotes.of(body))
	}
	return strings.Join(ids, ", ")
}

// knotRules writes an access list, in BIND's order, which is Knot's too: the first acl
// that fits decides. Prefixes one after the other share an acl.
func knotRules(rules []graduate.Rule, action string, acls *groups) []string {
	var ids, run []string
	deny := false
	flush := func() {
		if len(run) > 0 {
			ids = append(ids, acls.of(knotACL(strings.Join(run, ", "), "", action, deny)))
		}
		run = nil
	}
	for _, r := range rules {
		if r.Key != "" {
			flush()
			ids = append(ids, acls.of(knotACL("", r.Key, action, r.Deny)))
			continue
		}
		if r.Deny != deny {
			flush()
		}
		deny = r.Deny
		run = append(run, r.Prefix.String())
	}
	flush()
	return ids
}

func knotACL(addresses, key, action string, deny bool) string {
	var b strings.Builder
	if addresses != "" {
		fmt.Fprintf(&b, "    address: [%s]\n", addresses)
	}
	if key != "" {
		fmt.Fprintf(&b, "    key: \"%s\"\n", key)
	}
	fmt.Fprintf(&b, "    action: %s\n", action)
	if deny {
		b.WriteString("    deny: on\n")
	}
	return b.String()
}
