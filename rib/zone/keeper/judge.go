package keeper

import (
	"time"

	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/guard"
	"kaname.dev/kaname/rib/zone/name"
)

// judge asks the guard whether zones may go that a source no longer has. It returns
// what is held, nil if they may, and what the guard is to remember with the change.
// What people take away themselves is not judged: they were asked.
func (r *reign) judge(o *origin, c *change, gone []name.Name, serial *uint32, now time.Time) (*exchange.Held, guard.State) {
	d := &o.doc.Value
	if d.Kind == kindPlane {
		return nil, d.Guard
	}
	next := o.active - len(gone)
	for n := range c.put {
		if e, ok := o.zones.get(n); !ok || !e.Gone.IsZero() {
			next++
		}
	}
	word := r.wordOf(d.Name)
	v := guard.Judge(r.k.o.Settings().Guard, d.Guard, now,
		guard.Change{Had: o.active, Next: next, Gone: gone, Serial: serial}, guard.Ack{Hash: word.Accepted, At: word.At})
	if !v.Held {
		return nil, v.State
	}
	h := &exchange.Held{Hash: v.Hash, Why: v.Why, Count: v.Count, Names: v.Names, Since: now}
	if was := d.Held; was != nil && was.Hash == h.Hash {
		h.Since = was.Since
	}
	return h, v.State
}
