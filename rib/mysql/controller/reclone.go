package controller

import (
	"context"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/server"
	"kaname.dev/kaname/rib/mysql/topology"
)

// reclone replaces the data of a replica by a copy of another member.
func (t *charge) reclone(ctx context.Context, w wish) error {
	rec := t.record()
	m := rec.Member(w.word.Value.Member)
	switch {
	case m == nil:
		return fault.NotFound("topology " + t.name + " has no member " + w.word.Value.Member)
	case rec.Move != nil || m.Name == rec.Primary:
		return fault.Conflict(m.Name + " is the primary of " + t.name + ", or may become it").Try("see: kaname mysql status " + t.name)
	}
	source := rec.Member(rec.Primary)
	if at := rec.Member(m.Source); at != nil {
		source = at
	}
	from := t.donor(rec, m.Name, time.Now())
	t.r.say(w.key, "copying "+from.Name+" to "+m.Name)
	done, err := t.r.order(ctx, *m, order.Order{
		Topology: t.name, Epoch: rec.Epoch, Verb: order.Reclone, Source: source, Donor: from,
		Acker: rec.Policy.Durability == topology.Lossless && m.Acker(), Record: rec,
	})
	t.mu.Lock()
	delete(t.looked, m.Name) // what it said before it says no more
	t.nextLook = time.Time{}
	t.mu.Unlock()
	if err == nil && done.How != "" {
		t.r.say(w.key, done.How)
	}
	return err
}

// donorLag is how far a replica may lag to be copied in the primary's stead.
const donorLag = 10 * time.Second

// donor returns whose data are to be copied: a replica that is well, for a copy costs the
// donor reading and a moment's pause of its commits; else the primary.
func (t *charge) donor(rec *topology.Record, target string, now time.Time) *topology.Member {
	t.mu.Lock()
	defer t.mu.Unlock()
	version := ""
	if h, ok := t.heard[target]; ok {
		version = server.MajorMinor(h.report.Self.Version)
	}
	for _, m := range rec.Replicas(rec.Primary) {
		h, ok := t.heard[m.Name]
		if m.Name == target || !ok || now.Sub(h.at) > 3*topology.Beat || !fit(h.report, donorLag) {
			continue
		}
		if version == "" || server.MajorMinor(h.report.Self.Version) == version {
			return &m
		}
	}
	return rec.Member(rec.Primary)
}
