package catalog

import (
	"fmt"

	"kaname.dev/kaname/rib/zone/name"
)

// Rule is a stable word for what a catalog breaks.
type Rule string

// The rules. Those with a section of RFC 9432 make the catalog broken there; the
// others are refusals of kaname's, as its section 7 allows.
const (
	RuleZone     Rule = "zone"            // the catalog's own name is none that a catalog can have
	RuleSOA      Rule = "soa"             // no SOA record at the apex, or two that differ
	RuleClass    Rule = "class"           // a record is not of class IN
	RuleVersion  Rule = "version-missing" // no TXT record at "version"
	RuleVersions Rule = "version-many"    // several of them
	RuleValue    Rule = "version-value"   // it is not "2"
	RulePointers Rule = "member-pointers" // several PTR records at one member node
	RuleTwice    Rule = "member-twice"    // the same zone at two member nodes
	RuleName     Rule = "member-name"     // a PTR record holds no name of a zone
	RuleCoo      Rule = "coo-many"        // several PTR records at one "coo"
	RuleCooName  Rule = "coo-name"        // the PTR record at "coo" holds no name of a catalog
	RuleRoot     Rule = "member-root"     // the root is a member
	RuleSelf     Rule = "member-self"     // the catalog is its own member
	RuleAbove    Rule = "member-above"    // a zone that holds the catalog is a member
	RuleWildcard Rule = "member-wildcard" // a member's name begins with "*"
	RuleOutside  Rule = "member-outside"  // a member is not at or below an allowed name
)

// law is what is said about a rule.
type law struct {
	rule    Rule
	section string // of RFC 9432
	what    string
	remedy  string
}

// laws are in the order in which one is chosen when several are broken.
var laws = []law{
	{RuleZone, "6", "the catalog cannot have this name", "give it a name of its own"},
	{RuleClass, "4.1", "a record is not of class IN", "repair the producer"},
	{RuleSOA, "4", "there is not exactly one SOA record", "repair the producer; a transfer was perhaps cut"},
	{RuleVersion, "4.2.1", `there is no TXT record at "version"`, `add: version TXT "2"; or this is no catalog zone`},
	{RuleVersions, "4.2.1", `there are several TXT records at "version"`, `leave one: version TXT "2"`},
	{RuleValue, "4.2.1", "the version of the schema is not known", `make it: version TXT "2"`},
	{RulePointers, "4.1", "a member node has several PTR records", "give each zone a member node of its own"},
	{RuleTwice, "4.1", "a zone is at two member nodes", "remove all but one"},
	{RuleName, "4.2", "a member node names no zone", "correct its PTR record"},
	{RuleCoo, "4.3.1", "a coo property has several PTR records", "leave one"},
	{RuleCooName, "4.2", "a coo property names no catalog", "correct its PTR record"},
	{RuleRoot, "7", "the root is a member", "remove it: name servers that serve it answer wrongly for every other name"},
	{RuleSelf, "7", "the catalog is a member of itself", "remove it"},
	{RuleAbove, "7", "a zone that holds the catalog is a member", "remove it, or allow exactly this name for the source"},
	{RuleWildcard, "7", `a member's name begins with "*"`, "remove it: no zone can have this name"},
	{RuleOutside, "7", "a member is outside the names that the source may have", "remove it, or allow it for the source"},
}

// Error says which rule a catalog breaks, and where.
type Error struct {
	Rule    Rule
	Section string    // of RFC 9432
	Zone    name.Name // the catalog
	Where   string    // owner name or member; empty for the catalog as a whole
	More    int       // further places where a rule is broken
	order   int
}

// Error returns what is wrong, where, the rule, and what to do.
func (e *Error) Error() string {
	l := laws[e.order]
	s := fmt.Sprintf("catalog %s: %s", e.Zone, l.what)
	if e.Where != "" {
		s += ": " + e.Where
	}
	if e.More > 0 {
		s += fmt.Sprintf(" and %d more", e.More)
	}
	return fmt.Sprintf("%s (%s, RFC 9432 section %s); %s", s, e.Rule, e.Section, l.remedy)
}

// Is makes errors.Is find an error by its rule: &Error{Rule: RuleTwice}.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Rule == e.Rule
}

// breaks collects what is broken and keeps the first by the order of the laws, then
// by place.
type breaks struct {
	zone  name.Name
	first *Error
	count int
}

func (b *breaks) add(rule Rule, where string) {
	b.count++
	for i := range laws {
		if laws[i].rule != rule {
			continue
		}
		if b.first == nil || i < b.first.order || i == b.first.order && where < b.first.Where {
			b.first = &Error{Rule: rule, Section: laws[i].section, Zone: b.zone, Where: where, order: i}
		}
	}
}

func (b *breaks) err() error {
	if b.first == nil {
		return nil
	}
	b.first.More = b.count - 1
	return b.first
}
