package target

import (
	"fmt"
	"strings"

	"kaname.dev/kaname/rib/zone/graduate"
	"kaname.dev/kaname/rib/zone/graduate/namedconf"
	"kaname.dev/kaname/rib/zone/server"
)

// bind writes keys and zones for a newer named, every list resolved.
func bind(p *plan) server.Recipe {
	var keys, zones strings.Builder
	for _, k := range p.keys {
		fmt.Fprintf(&keys, "key %q { algorithm %s; secret %q; };\n", k.Name, k.Algorithm, k.Secret.Reveal())
	}
	for _, z := range p.zones {
		fmt.Fprintf(&zones, "zone \"%s\" {\n\ttype %s;\n\tfile %q;\n", z.Name.Bare(), z.Type, z.copy)
		bindServers(&zones, "primaries", z.Primaries)
		bindServers(&zones, "also-notify", z.AlsoNotify)
		if z.Notify != "" {
			fmt.Fprintf(&zones, "\tnotify %s;\n", z.Notify)
		}
		bindRules(&zones, "allow-transfer", z.transfer)
		if z.Type == "primary" && len(z.UpdatePolicy) == 0 {
			bindRules(&zones, "allow-update", z.update)
		}
		if z.Type == "secondary" && len(z.told) > 0 {
			bindRules(&zones, "allow-notify", z.told)
		}
		zones.WriteString("};\n")
	}
	return server.Recipe{
		Files: []server.File{
			p.file("keys.conf", 0o640, "the TSIG keys; secret", keys.String()),
			p.file("zones.conf", 0o640, "the zones", zones.String()),
		},
		Commands: [][]string{{"named-checkconf"}, {"rndc", "reconfig"}},
		Notes: []string{
			fmt.Sprintf("add to named.conf: include \"%[1]s/keys.conf\"; include \"%[1]s/zones.conf\";", p.o.Config),
			"for zones that are signed: copy key-directory and the dnssec-policy too",
		},
	}
}

func bindServers(b *strings.Builder, option string, list []namedconf.Server) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, "\t%s {", option)
	for _, s := range list {
		fmt.Fprintf(b, " %s port %d", s.Address.Addr(), s.Address.Port())
		if s.Key != "" {
			fmt.Fprintf(b, " key %q", s.Key)
		}
		b.WriteByte(';')
	}
	b.WriteString(" };\n")
}

func bindRules(b *strings.Builder, option string, rules []graduate.Rule) {
	fmt.Fprintf(b, "\t%s {", option)
	for _, r := range rules {
		b.WriteByte(' ')
		if r.Deny {
			b.WriteByte('!')
		}
		if r.Key != "" {
			fmt.Fprintf(b, "key %q;", r.Key)
		} else {
			fmt.Fprintf(b, "%s;", r.Prefix)
		}
	}
	if len(rules) == 0 {
		b.WriteString(" none;")
	}
	b.WriteString(" };\n")
}
