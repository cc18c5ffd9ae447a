package source

import (
	"maps"
	"slices"

	"kaname.dev/kaname/rib/zone/name"
)

// Set is the zones of a source that says nothing of them but their names.
type Set map[name.Name]bool

// List returns the set as a report has it.
func (s Set) List() *List {
	l := &List{Members: make([]Member, 0, len(s))}
	for _, n := range slices.Sorted(maps.Keys(s)) {
		l.Members = append(l.Members, Member{Name: n})
	}
	return l
}

// Since returns what changed since an earlier set, nil when nothing did.
func (s Set) Since(before Set) *Delta {
	var d Delta
	for _, n := range slices.Sorted(maps.Keys(s)) {
		if !before[n] {
			d.Add = append(d.Add, Member{Name: n})
		}
	}
	for _, n := range slices.Sorted(maps.Keys(before)) {
		if !s[n] {
			d.Remove = append(d.Remove, n)
		}
	}
	if len(d.Add)+len(d.Remove) == 0 {
		return nil
	}
	return &d
}

// Allowed reports whether a zone of this name may be a member.
func (o *Options) Allowed(n name.Name) bool {
	if len(o.Allow) == 0 {
		return n != name.Root
	}
	return slices.ContainsFunc(o.Allow, n.Under)
}
