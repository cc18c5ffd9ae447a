package keeper

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/source"
)

// report takes what a source has seen. It returns when that is stored.
func (k *Keeper) report(ctx context.Context, host string, in exchange.Reported) (struct{}, error) {
	r, err := k.current()
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, r.take(ctx, host, &in)
}

// overlap is how long a loss waits for other catalogs to say that they have the zones
// now: a move between two is seen in either order, and must not be a gap.
const overlap = 700 * time.Millisecond

// take judges and stores one report.
func (r *reign) take(ctx context.Context, host string, in *exchange.Reported) error {
	if r.mayMove(in) {
		select {
		case <-time.After(overlap):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.taking.Lock()
	defer r.taking.Unlock()
	o, err := r.origin(ctx, host, in)
	if err != nil {
		return err
	}
	now := r.k.o.Now().Round(time.Millisecond)
	if in.Report.Trouble != "" {
		r.trouble(ctx, in.Source, o, in.Report.Trouble, now)
		return nil
	}
	c, gone, serial := compare(o, &in.Report, now)
	held, memory := r.judge(o, c, gone, serial, now)
	if held == nil {
		for _, n := range gone {
			e, _ := o.zones.get(n)
			e.Gone = now
			c.put[n] = e
		}
	} else {
		gone = nil
	}
	doc := o.doc.Value
	doc.Serial, doc.Guard = serial, memory
	if in.Report.Full != nil || held != nil {
		doc.Held = held // a change that takes nothing away says nothing of what is held
	}
	if o.again = nil; held != nil && in.Report.Full != nil {
		o.again = in
	}
	if held != nil && (o.doc.Value.Held == nil || o.doc.Value.Held.Hash != held.Hash) {
		r.tell(ctx, "zone.held", map[string]any{"source": in.Source, "why": held.Why, "hash": held.Hash, "zones": held.Count, "names": held.Names})
	}
	if err := r.store(ctx, o, &doc, c); err != nil {
		return err
	}
	if in.Report.Full != nil {
		r.mu.Lock()
		o.notes = in.Report.Notes
		r.mu.Unlock()
	}
	r.settle(ctx, in.Source, o, c, len(gone), now)
	return nil
}

// mayMove reports whether a report takes zones from a catalog beside which there are
// others that may have them now.
func (r *reign) mayMove(in *exchange.Reported) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.sources[in.Source]
	if o == nil || in.Kind != "catalog" || in.Report.Trouble != "" {
		return false
	}
	others := 0
	for _, x := range r.sources {
		if x.doc.Value.Kind == "catalog" && x.doc.Value.View == in.View {
			others++
		}
	}
	if others < 2 {
		return false
	}
	_, gone, _ := compare(o, &in.Report, time.Time{})
	return len(gone) > 0
}

// origin returns the source that reports, or refuses it.
func (r *reign) origin(ctx context.Context, host string, in *exchange.Reported) (*origin, error) {
	if !sourceName(in.Source) {
		return nil, fault.Invalid(fmt.Sprintf("source %q: a name has 1 to 40 letters, digits and '-'", in.Source)).At(host)
	}
	r.mu.Lock()
	o := r.sources[in.Source]
	r.mu.Unlock()
	fresh := sourceDoc{Name: in.Source, Host: host, Kind: in.Kind, View: in.View, Group: in.Group, Catalog: in.Catalog, Primary: in.Primary}
	if o == nil {
		doc, err := sourceDocs(r.k.o.Plane).Create(ctx, in.Source, fresh)
		if fault.Is(err, fault.KindExists) { // an earlier report made it, and was not told so in time
			doc, err = sourceDocs(r.k.o.Plane).Get(ctx, in.Source)
		}
		if err != nil {
			return nil, err
		}
		o = &origin{doc: doc}
		r.mu.Lock()
		r.sources[in.Source] = o
		r.mu.Unlock()
	}
	if err := r.mayReport(ctx, host, in.Source, o); err != nil {
		return nil, err
	}
	was := o.doc.Value
	if was.Host == host && was.Kind == in.Kind && was.View == in.View && was.Group == in.Group && was.Catalog == in.Catalog && slices.Equal(was.Primary, in.Primary) {
		return o, nil
	}
	moved := was
	moved.Host, moved.Kind, moved.View, moved.Group, moved.Catalog, moved.Primary = host, in.Kind, in.View, in.Group, in.Catalog, in.Primary
	doc, err := sourceDocs(r.k.o.Plane).Swap(ctx, plane.Doc[sourceDoc]{Key: in.Source, Value: moved, Revision: o.doc.Revision})
	if err != nil {
		r.fail(err) // it may have been written all the same: read all again
		return nil, err
	}
	r.mu.Lock()
	o.doc = doc
	r.redecide(r.keysOf(o)) // where they come from may have changed
	r.mu.Unlock()
	return o, nil
}

// mayReport refuses a host that no operator has admitted as this source: who says
// which zones exist commands every name server. Cores need no admission.
func (r *reign) mayReport(ctx context.Context, host, src string, o *origin) error {
	if r.admitted(src, host) {
		return nil
	}
	members, err := r.k.o.Plane.Members(ctx)
	if err != nil {
		return err
	}
	for i := range members {
		if members[i].Host == host && members[i].Core && (o.doc.Value.Host == host || r.wordOf(src).Host == "") {
			return nil
		}
	}
	r.mu.Lock()
	o.heard = r.k.o.Now()
	r.mu.Unlock()
	return fault.Denied("source " + src + " waits to be admitted from host " + host).Try("kaname zone admit " + src + " --host " + host)
}

// admitted reports whether a host may report a source without being a core.
func (r *reign) admitted(src, host string) bool {
	return host == r.k.o.Plane.Host() && r.words[src].Host == "" || r.words[src].Host == host
}

func (r *reign) wordOf(src string) Word {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.words[src]
}

// compare returns what a report adds or changes, which zones it no longer has, and the
// serial after it.
func compare(o *origin, rep *source.Report, now time.Time) (c *change, gone []name.Name, serial *uint32) {
	c, serial = &change{put: map[name.Name]entry{}}, o.doc.Value.Serial
	add := func(list []source.Member) {
		for i := range list {
			if e, news := o.next(&list[i], now); news {
				c.put[list[i].Name] = e
			}
		}
	}
	if d := rep.Delta; d != nil {
		add(d.Add)
		for _, n := range d.Remove {
			if e, ok := o.zones.get(n); ok && e.Gone.IsZero() {
				gone = append(gone, n)
			}
		}
		if d.Serial != nil {
			serial = d.Serial
		}
		return c, gone, serial
	}
	add(rep.Full.Members)
	has := make(map[name.Name]bool, len(rep.Full.Members))
	for i := range rep.Full.Members {
		has[rep.Full.Members[i].Name] = true
	}
	for n, e := range o.zones.all() {
		if e.Gone.IsZero() && !has[n] {
			gone = append(gone, n)
		}
	}
	if rep.Full.Serial != nil {
		serial = rep.Full.Serial
	}
	slices.Sort(gone)
	return c, gone, serial
}

// next returns a zone's entry as a report has it, and whether that is news.
func (o *origin) next(m *source.Member, now time.Time) (entry, bool) {
	e, ok := o.zones.get(m.Name)
	if ok && e.Gone.IsZero() && e.Group == m.Group && e.Coo == m.Coo && e.ID == m.ID && slices.Equal(e.Primaries, m.Primaries) {
		return e, false
	}
	next := entry{Group: m.Group, Coo: m.Coo, ID: m.ID, Primaries: m.Primaries, Since: now}
	if ok && e.Gone.IsZero() {
		next.Since, next.Reset = e.Since, e.Reset
		if e.ID != m.ID && e.ID != "" {
			next.Reset = m.ID // RFC 9432 section 5.6
		}
	}
	return next, true
}

// store writes a change: first the parts of the set, then the source's document. What
// was written when it is cut short is a part of the change, and the source's next full
// report brings the rest.
func (r *reign) store(ctx context.Context, o *origin, doc *sourceDoc, c *change) error {
	docs := shardDocs(r.k.o.Plane)
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(8)
	parts := o.zones.touched(c)
	var revs [shards]uint64
	for i, part := range parts {
		g.Go(func() error {
			d, err := docs.Swap(within, plane.Doc[shard]{Key: shardKey(o.doc.Key, i), Value: shard{part}, Revision: o.revs[i]})
			revs[i] = d.Revision
			return err
		})
	}
	err := g.Wait()
	next := o.doc
	if err == nil && !reflect.DeepEqual(o.doc.Value, *doc) {
		next, err = sourceDocs(r.k.o.Plane).Swap(ctx, plane.Doc[sourceDoc]{Key: o.doc.Key, Value: *doc, Revision: o.doc.Revision})
	}
	if err != nil {
		r.fail(err) // what stands in the documents is not known any more: read them again
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, part := range parts {
		o.zones.parts[i], o.revs[i] = part, revs[i]
	}
	o.doc = next
	return nil
}

// settle makes a stored change the desired set, and tells of it.
func (r *reign) settle(ctx context.Context, src string, o *origin, c *change, gone int, now time.Time) {
	r.mu.Lock()
	was := o.trouble
	o.trouble, o.heard, o.good = "", now, now
	keys := make([]Key, 0, len(c.put))
	for n := range c.put {
		keys = append(keys, Key{o.doc.Value.View, n})
	}
	o.active = 0
	for _, e := range o.zones.all() {
		if e.Gone.IsZero() {
			o.active++
		}
	}
	zones := o.active
	changed := r.redecide(keys)
	r.mu.Unlock()
	if changed {
		r.publish()
	}
	if was != "" {
		r.tell(ctx, "zone.source.well", map[string]any{"source": src})
	}
	if len(c.put) > 0 {
		names := slices.Sorted(maps.Keys(c.put))
		r.tell(ctx, "zone.set", map[string]any{"source": src, "zones": zones, "changed": len(c.put) - gone, "gone": gone, "names": names[:min(len(names), 10)]})
	}
}

// trouble notes that a source's set is unknown now: all stays as it is.
func (r *reign) trouble(ctx context.Context, src string, o *origin, why string, now time.Time) {
	r.mu.Lock()
	was := o.trouble
	o.trouble, o.heard = why, now
	r.mu.Unlock()
	if was != why {
		r.tell(ctx, "zone.source.trouble", map[string]any{"source": src, "why": why})
	}
}

// tell puts an event on the record; the zones do not wait for it.
func (r *reign) tell(ctx context.Context, topic string, v any) {
	if err := r.k.o.Plane.Emit(ctx, topic, v); err != nil {
		r.k.o.Log.Warn("event is not on the record", "topic", topic, "why", err)
	}
}

// keysOf returns the zones of one source. r.mu is held.
func (r *reign) keysOf(o *origin) []Key {
	keys := make([]Key, 0, o.zones.len())
	for n := range o.zones.all() {
		keys = append(keys, Key{o.doc.Value.View, n})
	}
	return keys
}
