package graduate

import (
	"cmp"
	"slices"
	"strings"

	"kaname.dev/kaname/rib/zone/graduate/namedconf"
)

// findings collects what does not go over; the same in many zones is one finding.
type findings struct {
	list  []Finding
	seen  map[string]int // What and Remedy to the index in list
	files bool           // places are of files, and help
}

func (f *findings) add(where string, at namedconf.Place, s Severity, what, remedy string) {
	key := what + "\x00" + remedy
	if i, ok := f.seen[key]; ok {
		f.list[i].Times++
		return
	}
	f.seen[key] = len(f.list)
	found := Finding{Where: where, What: what, Severity: s, Remedy: remedy, Times: 1}
	if f.files && at.File != "" {
		found.Place = at.String()
	}
	f.list = append(f.list, found)
}

// sorted returns the findings, the gravest first, otherwise in the order of the file.
func (f *findings) sorted() []Finding {
	rank := map[Severity]int{Blocker: 0, Warning: 1, Info: 2}
	slices.SortStableFunc(f.list, func(a, b Finding) int { return cmp.Compare(rank[a.Severity], rank[b.Severity]) })
	return f.list
}

// global looks at the statements outside of views and zones.
func (f *findings) global(c *namedconf.Config) {
	for _, st := range c.Global {
		f.statement("", st)
	}
	for _, st := range c.Options {
		f.statement("options > ", st)
	}
	for _, cat := range c.Catalogs {
		where := "catalog-zones > zone " + cat.Zone.Bare()
		if cat.View != "" {
			where = "view " + cat.View + " > " + where
		}
		f.add(where, namedconf.Place{}, Warning, "the server takes zones from a catalog, which named.conf does not list",
			"name the catalog as a source of kaname (kind catalog); its members come with it")
	}
}

// view looks at the statements of a view, of which there are n.
func (f *findings) view(v namedconf.View, n int, options []namedconf.Statement) {
	where := "view " + v.Name
	if v.Recursion && restricted(v.Statements, options) {
		f.add("recursion", namedconf.Place{}, Blocker, "the server resolves for its clients; NSD, Knot and PowerDNS authoritative do not",
			"give the clients a resolver (Unbound, Knot Resolver, PowerDNS Recursor) before cutting over, or leave BIND to them")
	}
	if v.Name == "" {
		return
	}
	for _, st := range v.Statements {
		f.statement(where+" > ", st)
	}
	if n > 1 {
		f.add(where, namedconf.Place{}, Blocker, "several views: NSD, Knot and PowerDNS answer all clients alike",
			"run one server process a view, each at an address of its own, and send clients there by routing, a front (dnsdist) or their resolver's configuration; import view by view")
	}
	if v.Class != "" {
		f.add(where, namedconf.Place{}, Warning, "class "+v.Class, "leave it to BIND; other servers have only class IN")
	}
}

// restricted reports whether somebody is named that may recurse: without a list named
// 9.18 recurses for its own networks only, which every default configuration has.
func restricted(own, options []namedconf.Statement) bool {
	return slices.ContainsFunc(slices.Concat(own, options), func(st namedconf.Statement) bool {
		switch strings.ToLower(st.Word(0)) {
		case "allow-recursion", "allow-query-cache", "recursion", "allow-recursion-on":
			return true
		}
		return false
	})
}

// zone looks at a zone: its type, its statements, its lists.
func (f *findings) zone(z namedconf.Zone) {
	for _, st := range z.Statements {
		f.statement(z.Path+" > ", st)
	}
	if r, ok := zoneRules[z.Type]; ok {
		f.add(z.Path, z.At, r.severity, r.what, r.remedy)
	} else if z.Type != "primary" && z.Type != "secondary" {
		f.add(z.Path, z.At, Blocker, "a zone of type "+z.Type, "leave it to BIND, or make it a primary or secondary zone")
	}
	if z.Type != "primary" && z.Type != "secondary" {
		return
	}
	if z.Transfer == nil {
		f.add(z.Path, z.At, Warning, "no allow-transfer, so everybody may transfer the zone (BIND up to 9.18)", "say who may: allow-transfer { key ...; };")
	}
	if z.Query != nil && !(len(z.Query) == 1 && z.Query[0].Kind == namedconf.MatchAny && !z.Query[0].Not) {
		f.add(z.Path+" > allow-query", z.At, Blocker, "only some clients may ask for the zone",
			"NSD 4.8 and later: allow-query; Knot: acl action query with module queryacl; PowerDNS: a front (dnsdist) or a firewall")
	}
	if len(z.Forwarding) > 0 && allows(z.Forwarding) {
		f.add(z.Path+" > allow-update-forwarding", z.At, Warning, "updates are forwarded to the primary", "Knot and PowerDNS (forward-dnsupdate) do; with NSD send updates to the primary itself")
	}
	if z.Type == "secondary" && z.Format != "text" {
		f.add(z.Path+" > file", z.At, Info, "files of secondaries are in BIND's raw form", "nothing: the new server transfers the zone again (named-compilezone -f raw -F text reads the files)")
	}
	if z.Format == "raw" && z.Type == "primary" {
		f.add(z.Path+" > masterfile-format", z.At, Warning, "the zone file is in BIND's raw form", "write it as text: named-compilezone -f raw -F text -o FILE ZONE RAWFILE")
	}
	if s := signed(z); s != "" {
		f.add(z.Path+" > "+strings.Fields(s)[0], z.At, Warning, "BIND signs the zone ("+s+")",
			"take the keys over before cutting over, so that the DS at the parent stays right: Knot: keymgr ZONE import-bind; PowerDNS: pdnsutil import-zone-key; NSD does not sign: keep a signer in front; compare with DNSSEC ignored")
	}
	if len(z.UpdatePolicy) > 0 {
		f.add(z.Path+" > update-policy", z.At, Blocker, "update-policy grants single names and types to keys",
			"Knot: acl with update-owner, update-owner-match, update-type; PowerDNS: a Lua policy script (lua-dnsupdate-policy-script); NSD takes no updates")
	}
	if allows(z.Update) {
		f.add(z.Path+" > allow-update", z.At, Warning, "the zone is dynamic: its file lags behind its journal", "run rndc freeze ZONE or rndc sync -clean ZONE before copying the file; NSD takes no updates")
	}
}

// statement looks at a statement by its first word.
func (f *findings) statement(where string, st namedconf.Statement) {
	word := strings.ToLower(st.Word(0))
	r, ok := rules[word]
	switch {
	case ok && !(r.unlessNo && off(st)):
		f.add(where+word, st.At, r.severity, r.what, r.remedy)
	case !ok && !carried[word]:
		f.add(where+word, st.At, Info, "the statement "+word+" is not carried over", "look whether the new server needs a like of it")
	}
}

// off reports whether a statement switches off what it is about.
func off(st namedconf.Statement) bool {
	switch strings.ToLower(st.Word(1)) {
	case "no", "false", "none", "0", "off":
		return true
	}
	block, ok := st.Block()
	return ok && len(block) == 0
}
