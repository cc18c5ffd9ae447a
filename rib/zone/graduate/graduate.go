// Package graduate says what of a named.conf other name servers and kaname take over,
// and what they do not, each with what to do about it. Its folders read the file, write
// the other servers' configuration, compare answers and keep the state of a move.
package graduate

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kaname.dev/kaname/rib/zone/graduate/namedconf"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// Import is what a named.conf comes to. It has no secrets.
type Import struct {
	By        string            `json:"by"` // namedconf.ByCheckconf or ByFiles
	Notes     []string          `json:"notes,omitempty"`
	Views     []string          `json:"views,omitempty"`
	Zones     []Zone            `json:"zones"`
	Keys      []Key             `json:"keys,omitempty"`
	Templates []server.Template `json:"templates,omitempty"` // of the secondary zones, the most used first
	Unmapped  []Finding         `json:"unmapped,omitempty"`  // the gravest first
}

// Zone is a zone that goes over.
type Zone struct {
	Name     name.Name `json:"name"`
	View     string    `json:"view,omitempty"`
	Type     string    `json:"type"` // primary or secondary
	File     string    `json:"file,omitempty"`
	Template string    `json:"template,omitempty"` // of a secondary: Template.Name
	Signed   string    `json:"signed,omitempty"`   // what signs it now: "dnssec-policy default", "auto-dnssec maintain"
	Dynamic  bool      `json:"dynamic,omitempty"`  // takes updates: its file lags behind until rndc sync
}

// Key is a TSIG key; its secret stays in the configuration.
type Key struct {
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	View      string `json:"view,omitempty"`
}

// Severity says how much a finding matters.
type Severity string

// Severities.
const (
	Blocker Severity = "blocker" // answers, or who gets them, will differ unless something is done
	Warning Severity = "warning" // work that a person has to do beside
	Info    Severity = "info"    // does not change answers
)

// Finding is something in the configuration that does not go over.
type Finding struct {
	Where    string   `json:"where"` // path of the statement: "view inside > zone example.com > update-policy"
	Place    string   `json:"place,omitempty"`
	What     string   `json:"what"`
	Severity Severity `json:"severity"`
	Remedy   string   `json:"remedy"`
	Times    int      `json:"times"` // how often it was found; Where is the first
}

// New says what a configuration comes to. It is pure.
func New(c *namedconf.Config) Import {
	f := findings{seen: map[string]int{}, files: c.By == namedconf.ByFiles}
	imp := Import{By: c.By, Notes: c.Notes}
	for _, k := range c.Keys {
		imp.Keys = append(imp.Keys, Key{k.Name, k.Algorithm, k.View})
	}
	f.global(c)
	t := templates{byText: map[string]*group{}}
	for _, v := range c.Views {
		if v.Name != "" {
			imp.Views = append(imp.Views, v.Name)
		}
		f.view(v, len(c.Views), c.Options)
		for _, z := range v.Zones {
			f.zone(z)
			if z.Class != "" || z.Type != "primary" && z.Type != "secondary" {
				continue
			}
			out := Zone{
				Name: z.Name, View: z.View, Type: z.Type, File: z.File, Signed: signed(z),
				Dynamic: len(z.UpdatePolicy) > 0 || allows(z.Update),
			}
			imp.Zones = append(imp.Zones, out)
			if z.Type == "secondary" {
				t.add(len(imp.Zones)-1, z, &f)
			}
		}
	}
	imp.Templates = t.name(imp.Zones)
	imp.Unmapped = f.sorted()
	return imp
}

// signed says what signs a zone, "" for nothing.
func signed(z namedconf.Zone) string {
	switch {
	case z.Policy != "":
		return "dnssec-policy " + z.Policy
	case z.AutoDNSSEC != "" && z.AutoDNSSEC != "off":
		return "auto-dnssec " + z.AutoDNSSEC
	}
	return ""
}

// allows reports whether anybody fits a list.
func allows(list []namedconf.Match) bool {
	for _, m := range list {
		if m.Not && m.Kind == namedconf.MatchAny {
			return false
		}
		if !m.Not {
			return true
		}
	}
	return false
}

// group are secondary zones that are served alike.
type group struct {
	template server.Template
	zones    []int
}

type templates struct {
	byText map[string]*group
	order  []*group
}

// add puts a secondary zone into the group of those that are served alike.
func (t *templates) add(i int, z namedconf.Zone, f *findings) {
	var tpl server.Template
	for _, p := range z.Primaries {
		if p.TLS != "" {
			f.add(z.Path+" > primaries", z.At, Blocker, "transfers over TLS ("+p.TLS+") are not carried over", "give the new server a tls section of its own (Knot, NSD 4.8 and later), or let it transfer in the clear with a TSIG key")
		}
		tpl.Primaries = append(tpl.Primaries, server.Primary{Address: p.Address, Key: p.Key})
	}
	if len(tpl.Primaries) == 0 {
		f.add(z.Path, z.At, Blocker, "a secondary zone without primaries", "give it primaries, or leave it out")
		return
	}
	tpl.Transfer = transfer(z, f)
	key := fmt.Sprint(tpl.Primaries, tpl.Transfer)
	g, ok := t.byText[key]
	if !ok {
		g = &group{template: tpl}
		t.byText[key] = g
		t.order = append(t.order, g)
	}
	g.zones = append(g.zones, i)
}

// name names the groups, the largest "default", and writes the names to the zones.
func (t *templates) name(zones []Zone) []server.Template {
	slices.SortStableFunc(t.order, func(a, b *group) int { return cmp.Compare(len(b.zones), len(a.zones)) })
	var list []server.Template
	for i, g := range t.order {
		g.template.Name = "default"
		if i > 0 {
			g.template.Name = fmt.Sprintf("group-%d", i+1)
		}
		for _, z := range g.zones {
			zones[z].Template = g.template.Name
		}
		list = append(list, g.template)
	}
	return list
}

// transfer writes allow-transfer in the words of server.Template.Transfer.
func transfer(z namedconf.Zone, f *findings) []string {
	var list []string
	for _, r := range Rules(z.Transfer, z.Path+" > allow-transfer", z.At, f.add) {
		switch {
		case r.Deny:
			f.add(z.Path+" > allow-transfer", z.At, Warning, "addresses that are denied among those that are allowed",
				"kaname's templates only allow: list the addresses that may transfer, without exceptions")
		case r.Key != "":
			list = append(list, "key "+r.Key)
		default:
			list = append(list, r.Prefix.String())
		}
	}
	return list
}

// Rule is one element of an access list as all kinds of servers have it: a prefix, or a
// key from any address. The first that fits decides; nothing fits: denied.
type Rule struct {
	Deny   bool
	Prefix netip.Prefix // of a rule without a key
	Key    string
}

// Rules brings an access list into the form that other servers have, and reports what
// cannot be. A nil list, of a statement that is nowhere, is named's default: any.
func Rules(list []namedconf.Match, where string, at namedconf.Place, report func(where string, at namedconf.Place, s Severity, what, remedy string)) []Rule {
	if list == nil {
		list = []namedconf.Match{{Kind: namedconf.MatchAny}}
	}
	var rules []Rule
	prefixes := func(deny bool, texts ...string) {
		for _, s := range texts {
			rules = append(rules, Rule{Deny: deny, Prefix: netip.MustParsePrefix(s)})
		}
	}
	for _, m := range list {
		switch m.Kind {
		case namedconf.MatchPrefix:
			rules = append(rules, Rule{Deny: m.Not, Prefix: m.Prefix})
		case namedconf.MatchKey:
			rules = append(rules, Rule{Deny: m.Not, Key: m.Key})
		case namedconf.MatchAny:
			if !m.Not {
				prefixes(false, "0.0.0.0/0", "::/0")
			}
			return rules // nothing behind it is looked at
		case namedconf.MatchLocalhost:
			prefixes(m.Not, "127.0.0.0/8", "::1/128")
		case namedconf.MatchLocalnets:
			report(where, at, Blocker, "localnets, the networks of the machine's interfaces, have no like", "write the prefixes themselves")
		default:
			report(where, at, Blocker, "the element \""+strings.TrimSpace(m.Text)+"\" has no like", "write the addresses or keys that it stands for; address and key together can be written for NSD and Knot by hand")
		}
	}
	return rules
}
