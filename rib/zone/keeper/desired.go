package keeper

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
)

// want is a desired zone.
type want struct {
	source   string // its owner
	group    string
	template *server.Template
	reset    string
	adopt    bool
	pin      bool
	rescue   bool // served from contents that hosts kept, for its source has it no longer
}

func (w *want) same(v *want) bool {
	return w != nil && v != nil && w.source == v.source && w.group == v.group && w.reset == v.reset && w.adopt == v.adopt &&
		w.pin == v.pin && w.rescue == v.rescue && reflect.DeepEqual(w.template, v.template)
}

// Desired is all that is desired in one view, for those who serve it as a catalog.
type Desired struct {
	Generation uint64
	Zones      map[Key]Zone
}

// Zone is a desired zone, as others see it.
type Zone struct {
	Source   string
	Group    string
	Template server.Template
}

// redecide decides anew about zones and reports whether anything changed. r.mu is held.
func (r *reign) redecide(keys []Key) bool {
	pool := map[[2]string]*server.Template{}
	changed := false
	for _, k := range keys {
		w := r.decide(k, pool)
		was := r.desired[k]
		if was == nil && w == nil || was.same(w) {
			continue
		}
		if w == nil {
			delete(r.desired, k)
		} else {
			r.desired[k] = w
		}
		if !changed {
			r.gen++ // one generation for all of them
			changed = true
		}
		r.changes = append(r.changes, k)
		r.numbers = append(r.numbers, r.gen)
	}
	if n := len(r.changes) - maxChanges; n > 0 {
		r.forgotten = r.numbers[n-1]
		r.changes, r.numbers = slices.Clone(r.changes[n:]), slices.Clone(r.numbers[n:])
	}
	if changed {
		r.wake()
	}
	return changed
}

// wake lets those look again who wait for a new generation. r.mu is held.
func (r *reign) wake() {
	close(r.news)
	r.news = make(chan struct{})
}

// claim is one source's say about a zone.
type claim struct {
	name string
	o    *origin
	e    entry
}

// decide returns what is wanted of a zone, nil for nothing. r.mu is held.
func (r *reign) decide(k Key, pool map[[2]string]*server.Template) *want {
	owner, lost := r.owner(k)
	mark := r.marks[k]
	w := &want{adopt: mark.Adopt, pin: mark.Pin}
	c := owner
	switch {
	case owner != nil:
	case lost != nil && (mark.Pin || mark.Restored.After(lost.e.Gone)):
		c, w.rescue = lost, true
	default:
		return nil
	}
	w.source, w.reset = c.name, c.e.Reset
	if owner != nil && lost != nil && lost.name != owner.name && lost.e.ID != "" && owner.e.ID != "" && lost.e.ID != owner.e.ID {
		w.reset = owner.e.ID // it changed hands under another label: RFC 9432 section 4.3.1
	}
	w.group, w.template = r.template(c, pool)
	if len(w.template.Primaries) == 0 {
		return nil // nobody could serve it; the source's state says so
	}
	return w
}

// owner returns the source that owns a zone, or else the one that lost it last. Of
// several that have it the one owns it that has had it longest, unless its catalog
// hands the zone over to another's (RFC 9432 section 4.3.1).
func (r *reign) owner(k Key) (owner, lost *claim) {
	for src, o := range r.sources {
		e, ok := o.zones.get(k.Name)
		if !ok || o.doc.Value.View != k.View {
			continue
		}
		c := &claim{src, o, e}
		if !e.Gone.IsZero() {
			if lost == nil || e.Gone.After(lost.e.Gone) {
				lost = c
			}
			continue
		}
		if owner == nil || older(c, owner) {
			owner = c
		}
	}
	if owner != nil && owner.e.Coo != "" {
		for src, o := range r.sources {
			e, ok := o.zones.get(k.Name)
			if ok && e.Gone.IsZero() && o.doc.Value.View == k.View && o.doc.Value.Catalog == owner.e.Coo {
				return &claim{src, o, e}, lost
			}
		}
	}
	return owner, lost
}

func older(a, b *claim) bool {
	if !a.e.Since.Equal(b.e.Since) {
		return a.e.Since.Before(b.e.Since)
	}
	return a.name < b.name
}

// template returns the group of a claim and its template, one copy for all that have
// the same.
func (r *reign) template(c *claim, pool map[[2]string]*server.Template) (group string, t *server.Template) {
	src := &c.o.doc.Value
	group = c.e.Group
	if group == "" {
		group = src.Group
	}
	if t := pool[[2]string{c.name, group}]; t != nil && len(c.e.Primaries) == 0 {
		return group, t
	}
	var made server.Template
	settings := r.k.o.Settings()
	if set, ok := settings.Groups[group]; ok {
		made = set
	} else if set, ok := settings.Groups["default"]; ok {
		made = set
	}
	made.Name = groupName(group)
	if len(c.e.Primaries) > 0 {
		made.Primaries = nil
		for _, a := range c.e.Primaries {
			made.Primaries = append(made.Primaries, server.Primary{Address: a, Key: keyAt(src.Primary, a)})
		}
	}
	if len(made.Primaries) == 0 {
		made.Primaries = src.Primary
	}
	if len(c.e.Primaries) == 0 {
		pool[[2]string{c.name, group}] = &made
	}
	return group, &made
}

// keyAt returns the name of the key that is used at an address, or else at the first.
func keyAt(known []server.Primary, a netip.AddrPort) string {
	for _, p := range known {
		if p.Address == a {
			return p.Key
		}
	}
	if len(known) > 0 {
		return known[0].Key
	}
	return ""
}

// groupName makes a template's name of a group's, which may be any text of a catalog.
func groupName(group string) string {
	if group == "" {
		return "default"
	}
	clean := strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' {
			return c
		}
		return '-'
	}, strings.ToLower(group))
	return clean[:min(len(clean), 32)]
}

// allKeys returns all zones that any source has or had. r.mu is held.
func (r *reign) allKeys() []Key {
	var keys []Key
	for _, o := range r.sources {
		keys = append(keys, r.keysOf(o)...)
	}
	return keys
}

// publish hands what is desired to those who serve it as a catalog.
func (r *reign) publish() {
	if r.k.o.Desired == nil {
		return
	}
	r.mu.Lock()
	d := Desired{Generation: r.gen, Zones: make(map[Key]Zone, len(r.desired))}
	for k, w := range r.desired {
		d.Zones[k] = Zone{Source: w.source, Group: w.group, Template: *w.template}
	}
	r.mu.Unlock()
	r.k.o.Desired(d)
}

// sweepable returns the zones whose quarantine has ended. r.mu is held.
func (r *reign) sweepable(o *origin, now time.Time, quarantine time.Duration) []name.Name {
	var list []name.Name
	for n, e := range o.zones.all() {
		if e.Gone.IsZero() || now.Sub(e.Gone) < quarantine {
			continue
		}
		if w := r.desired[Key{o.doc.Value.View, n}]; w != nil && w.rescue {
			continue
		}
		list = append(list, n)
	}
	return list
}
