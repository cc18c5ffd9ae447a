package catalog

import (
	"cmp"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
)

// Parse reads a catalog zone from all of its records, as a transfer gives them: an SOA
// record at the beginning and again at the end is one. The error is an *Error.
func Parse(zone name.Name, records iter.Seq[dns.RR], o Options) (Catalog, error) {
	r := NewRecords(zone)
	for rr := range records {
		r.Add(rr)
	}
	return r.Catalog(o)
}

// Catalog returns what the records say, or an *Error that names the rule they break. It
// takes time in proportion to the members.
func (r *Records) Catalog(o Options) (Catalog, error) {
	j := judge{r: r, o: o, b: breaks{zone: r.zone}}
	j.c = Catalog{Zone: r.zone, Ignored: r.ignored, Members: make(map[name.Name]Member, len(r.nodes))}
	j.apex()
	var global []Primary
	if j.b.first == nil {
		global = primaries(r.global, j.c.Version)
	}
	for label, n := range r.nodes {
		j.node(label, n, global)
	}
	if err := j.b.err(); err != nil {
		return Catalog{}, err
	}
	return j.c, nil
}

// judge holds what is known while records are judged.
type judge struct {
	r *Records
	o Options
	b breaks
	c Catalog
}

// apex judges what is not about one member.
func (j *judge) apex() {
	r := j.r
	if r.zone == "" || r.zone == name.Root {
		j.b.add(RuleZone, "")
	}
	for owner := range r.alien {
		j.b.add(RuleClass, owner)
	}
	for owner, property := range r.badName {
		if property == "coo" {
			j.b.add(RuleCooName, owner)
		} else {
			j.b.add(RuleName, owner)
		}
	}
	if len(r.soa) == 1 {
		s := r.soa[0]
		j.c.Serial = s.serial
		j.c.Times = Times{seconds(s.times[0]), seconds(s.times[1]), seconds(s.times[2])}
	} else {
		j.b.add(RuleSOA, "")
	}
	switch {
	case len(r.version) == 0:
		j.b.add(RuleVersion, "")
	case len(r.version) > 1:
		j.b.add(RuleVersions, "")
	case r.version[0] == "2":
		j.c.Version = 2
	case r.version[0] == "1" && j.o.Version1:
		j.c.Version = 1
	default:
		j.b.add(RuleValue, quoted(r.version[0]))
	}
}

// node judges one member node.
func (j *judge) node(label string, n node, global []Primary) {
	if n.member == "" { // properties of no member
		j.c.Ignored += len(n.more.coo) + len(n.more.groups) + len(n.more.extras)
		return
	}
	m := Member{Label: label, Primaries: global}
	if more := n.more; more != nil {
		if len(more.pointers) > 0 {
			j.b.add(RulePointers, label+".zones."+string(j.r.zone))
		}
		j.properties(&m, more)
	}
	if rule := j.refused(n.member); rule != "" {
		j.b.add(rule, string(n.member))
	}
	if _, twice := j.c.Members[n.member]; twice {
		j.b.add(RuleTwice, string(n.member))
		return
	}
	j.c.Members[n.member] = m
}

// properties takes a member's properties over. In version 1 there were only
// primaries.
func (j *judge) properties(m *Member, more *more) {
	if own := primaries(more.extras, j.c.Version); len(own) > 0 {
		m.Primaries = own
	}
	if j.c.Version == 1 {
		j.c.Ignored += len(more.coo) + len(more.groups)
		return
	}
	if len(more.coo) > 1 {
		j.b.add(RuleCoo, "coo."+m.Label+".zones."+string(j.r.zone))
	} else if len(more.coo) == 1 {
		if m.Coo = more.coo[0]; m.Coo == name.Root {
			j.b.add(RuleCooName, "coo."+m.Label+".zones."+string(j.r.zone))
		}
	}
	if len(more.groups) > 0 {
		m.Groups = slices.Sorted(slices.Values(more.groups))
	}
}

// refused returns the rule that keeps a zone from being a member.
func (j *judge) refused(n name.Name) Rule {
	switch {
	case n == name.Root:
		return RuleRoot
	case n == j.r.zone:
		return RuleSelf
	case strings.HasPrefix(string(n), `\042.`):
		return RuleWildcard
	case j.r.zone.Under(n) && !slices.Contains(j.o.Allow, n):
		return RuleAbove
	}
	if len(j.o.Allow) > 0 && !slices.ContainsFunc(j.o.Allow, n.Under) {
		return RuleOutside
	}
	return ""
}

// primaries makes a list of BIND's records: addresses share the key of their label.
// Version 1 has them without "ext", version 2 with it.
func primaries(extras []extra, version int) []Primary {
	var list []Primary
	for _, x := range extras {
		if !x.addr.IsValid() || x.old != (version == 1) {
			continue
		}
		p := Primary{Address: x.addr}
		for _, k := range extras {
			if k.key != "" && k.sub == x.sub && k.old == x.old && (p.Key == "" || k.key < p.Key) {
				p.Key = k.key
			}
		}
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Primary) int { return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Key, b.Key)) })
	return slices.Compact(list)
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

// quoted writes the strings of a TXT record as a zone file has them.
func quoted(joined string) string {
	return `"` + strings.ReplaceAll(joined, "\x00", `" "`) + `"`
}
