package keeper

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/name"
)

// silent is how long a source or server may say nothing before that is a trouble.
const silent = 90 * time.Second

// view answers what people want to see.
func (k *Keeper) view(_ context.Context, _ string, in exchange.Query) (exchange.View, error) {
	r, err := k.current()
	if err != nil {
		return exchange.View{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	v := exchange.View{Keeper: k.o.Plane.Host(), Generation: r.generation(), Zones: len(r.desired)}
	for _, src := range slices.Sorted(maps.Keys(r.sources)) {
		v.Sources = append(v.Sources, r.sourceView(src))
	}
	for _, at := range slices.Sorted(maps.Keys(r.servers)) {
		v.Servers = append(v.Servers, r.serverView(r.servers[at]))
	}
	if in.States || in.Zone != "" {
		if err := r.states(&in, &v); err != nil {
			return v, err
		}
	}
	return v, nil
}

// sourceView is one source. r.mu is held.
func (r *reign) sourceView(src string) exchange.SourceView {
	o := r.sources[src]
	d := &o.doc.Value
	v := exchange.SourceView{
		Name: src, Host: d.Host, Kind: d.Kind, View: d.View, Zones: o.active, Gone: o.zones.len() - o.active, Serial: d.Serial,
		Heard: o.heard, Good: o.good, Note: cmp.Or(o.trouble, strings.Join(o.notes, "; ")), Held: d.Held, Admitted: r.admitted(src, d.Host), State: "ok",
	}
	switch {
	case !v.Admitted:
		v.State, v.Note = "waiting", "host "+d.Host+" is not admitted as this source; kaname zone admit "+src+" --host "+d.Host
	case d.Kind == kindPlane:
	case d.Held != nil:
		v.State = "held"
	case o.trouble != "":
		v.State = "trouble"
	case r.k.o.Now().Sub(o.heard) > silent:
		v.State, v.Note = "silent", "nothing heard from host "+d.Host+"; its zones stay as they are"
	case len(d.Primary) == 0 && len(r.k.o.Settings().Groups) == 0:
		v.Note = "no primary is known, so its zones cannot be served; set primary at the source, or primaries at the group"
	}
	return v
}

// serverView is one server. r.mu is held.
func (r *reign) serverView(o *observer) exchange.ServerView {
	v := exchange.ServerView{Host: o.host, Name: o.head.Server, Heard: o.heard, Head: o.head, Count: map[string]int{}}
	for _, c := range o.cells {
		v.Count[c.State]++
	}
	for k := range r.desired {
		if k.View == o.head.View {
			v.Wants++
		}
	}
	if r.k.o.Now().Sub(o.heard) > silent && v.Head.Trouble == "" {
		v.Head.Trouble = "nothing heard from host " + o.host + " since " + o.heard.UTC().Format(time.TimeOnly)
	}
	return v
}

// states adds the zones that were asked for. r.mu is held.
func (r *reign) states(in *exchange.Query, v *exchange.View) error {
	keys, err := r.asked(in)
	if err != nil {
		return err
	}
	sorted := slices.SortedFunc(maps.Keys(keys), func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.View, b.View))
	})
	for _, k := range sorted {
		z := r.zoneView(k)
		if z.State == "" && len(z.Cells) == 0 || in.Bad && well(&z) {
			continue
		}
		if in.Limit > 0 && len(v.States) == in.Limit {
			v.More++
			continue
		}
		v.States = append(v.States, z)
	}
	return nil
}

// asked returns the zones that a query is about. r.mu is held.
func (r *reign) asked(in *exchange.Query) (map[Key]bool, error) {
	keys := map[Key]bool{}
	if in.Zone != "" {
		n, err := ParseZone(in.Zone)
		if err != nil {
			return nil, err
		}
		for _, view := range r.views() {
			keys[Key{view, n}] = true
		}
		return keys, nil
	}
	under := name.Root
	if in.Under != "" {
		n, err := ParseZone(in.Under)
		if err != nil {
			return nil, err
		}
		under = n
	}
	for k := range r.everything() {
		if k.Name.Under(under) && strings.HasPrefix(string(k.Name), in.Prefix) {
			keys[k] = true
		}
	}
	return keys, nil
}

// views returns all views. r.mu is held.
func (r *reign) views() []string {
	set := map[string]bool{"": true}
	for _, o := range r.sources {
		set[o.doc.Value.View] = true
	}
	for _, o := range r.servers {
		set[o.head.View] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// everything returns all zones that are known from anywhere. r.mu is held.
func (r *reign) everything() map[Key]bool {
	all := map[Key]bool{}
	for _, k := range r.allKeys() {
		all[k] = true
	}
	for _, o := range r.servers {
		for n := range o.cells {
			all[Key{o.head.View, n}] = true
		}
	}
	return all
}

// zoneView is one zone everywhere. r.mu is held.
func (r *reign) zoneView(k Key) exchange.ZoneView {
	m := r.marks[k]
	z := exchange.ZoneView{Name: k.Name, View: k.View, Pinned: m.Pin, Adopted: m.Adopt}
	owner, lost := r.owner(k)
	w := r.desired[k]
	switch {
	case w != nil && !w.rescue:
		z.State, z.Source, z.Group = "desired", w.source, w.group
	case w != nil:
		z.State, z.Source, z.Group = "restored", w.source, w.group
	case owner != nil:
		z.State, z.Source = "homeless", owner.name // it has no primary
	case lost != nil:
		z.State, z.Source, z.Until = "quarantined", lost.name, lost.e.Gone.Add(r.k.o.Settings().Quarantine)
	}
	if say := r.k.o.Delegation; say != nil && z.State == "desired" {
		z.Delegation = say(k.Name)
	}
	for src, o := range r.sources {
		if e, ok := o.zones.get(k.Name); ok && e.Gone.IsZero() && src != z.Source && o.doc.Value.View == k.View {
			z.Also = append(z.Also, src)
		}
	}
	slices.Sort(z.Also)
	for _, at := range slices.Sorted(maps.Keys(r.servers)) {
		o := r.servers[at]
		if c, ok := o.cells[k.Name]; ok && o.head.View == k.View {
			z.Cells = append(z.Cells, exchange.At{Server: at, Cell: c})
		}
	}
	return z
}

// well reports whether a zone is served wherever it should be, and delegated as it should.
func well(z *exchange.ZoneView) bool {
	for _, c := range z.Cells {
		if c.State != exchange.Serving {
			return false
		}
	}
	return (z.State == "desired" || z.State == "quarantined") && z.Delegation == ""
}
