package target

import (
	"fmt"
	"net/netip"
	"strings"

	"kaname.dev/kaname/rib/zone/graduate"
	"kaname.dev/kaname/rib/zone/server"
)

// nsd writes keys, a pattern for each way of serving, and zones (nsd.conf(5)).
func nsd(p *plan) server.Recipe {
	var keys, zones, patterns strings.Builder
	for _, k := range p.keys {
		fmt.Fprintf(&keys, "key:\n\tname: %q\n\talgorithm: %s\n\tsecret: %q\n", k.Name, k.Algorithm, k.Secret.Reveal())
	}
	g := newGroups("import")
	for _, z := range p.zones {
		fmt.Fprintf(&zones, "zone:\n\tname: \"%s\"\n\tzonefile: %q\n\tinclude-pattern: %q\n", z.Name.Bare(), z.copy, g.of(p.nsdPattern(z)))
		if allowed(z.update) != nil {
			p.miss(z.Path+" > allow-update", "NSD takes no updates", "send updates to a hidden primary that NSD transfers from")
		}
	}
	for _, text := range g.order {
		fmt.Fprintf(&patterns, "pattern:\n\tname: %q\n%s", g.names[text], text)
	}
	return server.Recipe{
		Files: []server.File{
			p.file("keys.conf", 0o640, "the TSIG keys; secret", keys.String()),
			p.file("zones.conf", 0o640, "patterns and zones", patterns.String()+zones.String()),
		},
		Commands: [][]string{{"nsd-checkconf", "/etc/nsd/nsd.conf"}, {"nsd-control", "reconfig"}},
		Notes: []string{
			fmt.Sprintf("add to nsd.conf, in this order: include: \"%[1]s/keys.conf\" and include: \"%[1]s/zones.conf\"", p.o.Config),
			"NSD does not sign: zones that BIND signs are copied signed, and go stale; keep a signer (Knot, BIND) as hidden primary",
		},
	}
}

func (p *plan) nsdPattern(z zone) string {
	var b strings.Builder
	for _, s := range z.Primaries {
		fmt.Fprintf(&b, "\trequest-xfr: %s@%d %s\n\tallow-notify: %s %s\n", s.Address.Addr(), s.Address.Port(), nsdKey(s.Key), s.Address.Addr(), nsdKey(s.Key))
	}
	for _, s := range z.AlsoNotify {
		fmt.Fprintf(&b, "\tnotify: %s@%d %s\n", s.Address.Addr(), s.Address.Port(), nsdKey(s.Key))
	}
	nsdRules(&b, "provide-xfr", z.transfer)
	nsdRules(&b, "allow-notify", z.told)
	return b.String()
}

// nsdRules writes an access list. NSD looks for a BLOCKED that fits before anything
// else, so one behind what it is an exception of would deny more than BIND did.
func nsdRules(b *strings.Builder, option string, rules []graduate.Rule) {
	var before []netip.Prefix
	for _, r := range rules {
		switch {
		case r.Deny && r.Key != "":
			fmt.Fprintf(b, "\t%[1]s: 0.0.0.0/0 BLOCKED # key %[2]s was denied\n", option, r.Key)
		case r.Deny && covered(r.Prefix, before):
		case r.Deny:
			fmt.Fprintf(b, "\t%s: %s BLOCKED\n", option, r.Prefix)
		case r.Key != "":
			fmt.Fprintf(b, "\t%[1]s: 0.0.0.0/0 %[2]s\n\t%[1]s: ::/0 %[2]s\n", option, r.Key)
		default:
			before = append(before, r.Prefix)
			fmt.Fprintf(b, "\t%s: %s NOKEY\n", option, r.Prefix)
		}
	}
}

// covered reports whether a prefix lies in one that was allowed before it.
func covered(p netip.Prefix, before []netip.Prefix) bool {
	for _, b := range before {
		if b.Bits() <= p.Bits() && b.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

func nsdKey(key string) string {
	if key == "" {
		return "NOKEY"
	}
	return key
}
