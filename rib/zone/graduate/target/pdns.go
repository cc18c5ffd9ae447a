package target

import (
	"fmt"
	"strings"

	"kaname.dev/kaname/rib/zone/graduate"
	"kaname.dev/kaname/rib/zone/graduate/namedconf"
	"kaname.dev/kaname/rib/zone/server"
)

// pdns writes two shell scripts of pdnsutil (pdnsutil(1), Domain Metadata): keys, zones.
func pdns(p *plan) server.Recipe {
	keys, zones := script(), script()
	for _, k := range p.keys {
		fmt.Fprintf(keys, "$pdnsutil import-tsig-key '%s' %s '%s'\n", k.Name, k.Algorithm, k.Secret.Reveal())
	}
	for _, z := range p.zones {
		p.pdnsZone(zones, z)
	}
	return server.Recipe{
		Files: []server.File{
			p.file("keys.sh", 0o600, "imports the TSIG keys; secret: remove it when it has run", keys.String()),
			p.file("zones.sh", 0o644, "creates the zones; stops at the first error", zones.String()),
		},
		Commands: [][]string{{"sh", p.o.Config + "/keys.sh"}, {"sh", p.o.Config + "/zones.sh"}, {"pdns_control", "rediscover"}},
		Notes: []string{
			"pdns.conf: primary=yes, secondary=yes, allow-axfr-ips= (empty: the zones' own lists count), only-notify= (empty), dname-processing=yes if a zone has DNAME records, dnsupdate=yes if zones take updates",
			"the scripts take pdnsutil's further arguments from the variable PDNSUTIL (PDNSUTIL='pdnsutil --config-dir=/etc/powerdns')",
			"for zones that BIND signs: pdnsutil import-zone-key ZONE FILE ksk|zsk for each key, then rectify-zone",
		},
	}
}

func script() *strings.Builder {
	var b strings.Builder
	b.WriteString("#!/bin/sh\nset -e\npdnsutil=${PDNSUTIL:-pdnsutil}\n")
	return &b
}

// pdnsZone writes the commands for one zone. Canonical names have no character that a
// shell knows, in single quotes.
func (p *plan) pdnsZone(b *strings.Builder, z zone) {
	n := z.Name.Bare()
	meta := func(kind string, values []string) {
		if len(values) > 0 {
			fmt.Fprintf(b, "$pdnsutil set-meta '%s' %s %s\n", n, kind, strings.Join(values, " "))
		}
	}
	if z.Type == "secondary" {
		fmt.Fprintf(b, "$pdnsutil create-secondary-zone '%s' %s\n", n, strings.Join(pdnsServers(z.Primaries), " "))
		if key := oneKey(z.Primaries); key != "" {
			fmt.Fprintf(b, "$pdnsutil activate-tsig-key '%s' '%s' secondary\n", n, key)
		} else if keyed(z.Primaries) {
			p.miss(z.Path+" > primaries", "PowerDNS uses one TSIG key for all primaries of a zone", "give all primaries the same key")
		}
	} else {
		fmt.Fprintf(b, "$pdnsutil load-zone '%s' '%s'\n$pdnsutil set-kind '%s' primary\n$pdnsutil rectify-zone '%s'\n", n, z.copy, n, n)
	}
	prefixes, keys := p.pdnsRules(z, "allow-transfer", z.transfer)
	meta("ALLOW-AXFR-FROM", prefixes)
	for _, k := range keys {
		fmt.Fprintf(b, "$pdnsutil activate-tsig-key '%s' '%s' primary\n", n, k)
	}
	meta("ALSO-NOTIFY", pdnsServers(z.AlsoNotify))
	if keyed(z.AlsoNotify) {
		p.miss(z.Path+" > also-notify", "PowerDNS signs notifies with the zone's transfer key, not with one a server", "allow unsigned notifies from its address at the secondaries, or use one key")
	}
	prefixes, keys = p.pdnsRules(z, "allow-update", z.update)
	meta("ALLOW-DNSUPDATE-FROM", prefixes)
	meta("TSIG-ALLOW-DNSUPDATE", keys)
}

// pdnsRules splits a list into prefixes and keys: PowerDNS looks whether one of either
// fits and has no exceptions.
func (p *plan) pdnsRules(z zone, what string, rules []graduate.Rule) (prefixes, keys []string) {
	for _, r := range rules {
		switch {
		case r.Deny:
			p.miss(z.Path+" > "+what, "PowerDNS has no exceptions in its access lists", "list what is allowed only, or use a firewall")
		case r.Key != "":
			keys = append(keys, r.Key)
		default:
			prefixes = append(prefixes, r.Prefix.String())
		}
	}
	return prefixes, keys
}

func pdnsServers(list []namedconf.Server) []string {
	var out []string
	for _, s := range list {
		out = append(out, s.Address.String())
	}
	return out
}

func keyed(list []namedconf.Server) bool {
	for _, s := range list {
		if s.Key != "" {
			return true
		}
	}
	return false
}

// oneKey returns the key that all servers of a list have, "" for none or several.
func oneKey(list []namedconf.Server) string {
	for _, s := range list {
		if s.Key != list[0].Key {
			return ""
		}
	}
	if len(list) == 0 {
		return ""
	}
	return list[0].Key
}
