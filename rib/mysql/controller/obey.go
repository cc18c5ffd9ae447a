package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/mysql/judge"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// hear takes a word. It is deleted before anything follows from it, so that it is never
// done twice; the answer is kept for those who ask.
func (r *reign) hear(doc plane.Doc[Word], listening bool) {
	r.mu.Lock()
	if r.answers[doc.Key] != nil {
		r.mu.Unlock()
		return
	}
	r.answers[doc.Key] = &answer{void: doc.Value.void(time.Now(), listening)}
	t := r.charges[doc.Value.Topology]
	r.mu.Unlock()
	switch {
	case doc.Value.Verb == Adopt:
		r.work.Go(func() {
			if r.begin(r.life, doc) {
				r.answer(doc.Key, r.adopt(r.life, doc))
			}
		})
	case t == nil:
		r.work.Go(func() {
			if r.begin(r.life, doc) {
				_, err := r.charge(doc.Value.Topology)
				r.answer(doc.Key, err)
			}
		})
	default:
		t.mu.Lock()
		t.wishes = append(t.wishes, wish{key: doc.Key, word: doc})
		t.mu.Unlock()
		t.stir()
	}
}

// begin deletes a word and reports whether it is to be done.
func (r *reign) begin(ctx context.Context, doc plane.Doc[Word]) bool {
	if err := words(r.c.o.Plane).Delete(ctx, doc); err != nil {
		r.answer(doc.Key, err)
		return false
	}
	r.mu.Lock()
	a := r.answers[doc.Key]
	late := a == nil || time.Now().After(a.void)
	r.mu.Unlock()
	if late {
		r.answer(doc.Key, fault.Timeout("no controller came to it within a minute, so it was not done").Try("say it again; if that is of no use, compare the clocks of the cores: kaname doctor"))
		return false
	}
	return true
}

// answer says what became of a word.
func (r *reign) answer(key string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.answers[key]
	if a == nil {
		return
	}
	a.done, a.ended = true, time.Now()
	if err != nil {
		a.fault = fault.Of(err)
	}
}

// say tells those who wait for a word's outcome how it goes.
func (r *reign) say(key, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.answers[key]; a != nil {
		a.said = append(a.said, text)
	}
}

// obey does what a person wants of a topology.
func (t *charge) obey(ctx context.Context, w wish) {
	if !t.r.begin(ctx, w.word) {
		return
	}
	word := w.word.Value
	var err error
	switch word.Verb {
	case Switchover, Failover, Drill:
		err = t.moveAsked(ctx, w)
	case Reclone: // it can take hours, and the primary may die meanwhile
		t.r.work.Go(func() { t.outcome(w, t.reclone(ctx, w)) })
		return
	case Add:
		err = t.add(ctx, w)
	case Forget:
		err = t.forget(ctx)
	default:
		rec := t.record()
		err = t.save(ctx, func(rec *topology.Record) error { return change(rec, &word) })
		if m := rec.Member(word.Member); err == nil && word.Verb == Remove && m != nil {
			_ = t.leave(ctx, rec, *m) // one that does not answer stays closed, and counts for nothing
		}
	}
	t.outcome(w, err)
}

// outcome answers a wish that was obeyed, or could not be.
func (t *charge) outcome(w wish, err error) {
	t.r.answer(w.key, err)
	t.r.emit("mysql.word", Told{Topology: t.name, Word: &w.word.Value, Trouble: trouble(err)})
	t.stir()
}

func trouble(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// change applies a word that only concerns the record.
func change(rec *topology.Record, w *Word) error {
	switch w.Verb {
	case Pause:
		rec.Paused = &topology.Pause{By: w.By, Why: w.Why, Until: w.At.Add(w.For)}
	case Resume:
		rec.Paused = nil
	case Acknowledge:
		if rec.Last == nil {
			return fault.NotFound("topology " + rec.Name + " has had no move yet")
		}
		rec.Last.Acked = w.By
	case Policy:
		rec.Policy = *w.Policy
		return judge.CheckRecord(rec)
	case Role:
		m := rec.Member(w.Member)
		if m == nil {
			return fault.NotFound("topology " + rec.Name + " has no member " + w.Member).Try("see: kaname mysql topology " + rec.Name)
		}
		m.Role = w.Role
		return judge.CheckRecord(rec)
	case Remove:
		if rec.Primary == w.Member {
			return fault.Conflict(w.Member + " is the primary of " + rec.Name).Try("move the primary first: kaname mysql switchover " + rec.Name)
		}
		i := slices.IndexFunc(rec.Members, func(m topology.Member) bool { return m.Name == w.Member })
		if i < 0 {
			return fault.NotFound("topology " + rec.Name + " has no member " + w.Member)
		}
		rec.Members = slices.Delete(rec.Members, i, i+1)
		return judge.CheckRecord(rec)
	default:
		return fault.Unsupported("this core does not know the word " + string(w.Verb)).Try("upgrade kaname on this core")
	}
	return nil
}

// save changes the record, as the only one who may. When somebody else has changed it,
// another core is the controller, and this reign ends.
func (t *charge) save(ctx context.Context, change func(*topology.Record) error) error {
	t.mu.Lock()
	doc := t.doc
	t.mu.Unlock()
	rec := doc.Value.Clone()
	if err := change(rec); err != nil {
		return err
	}
	doc.Value = *rec
	return t.swap(ctx, doc)
}

// saveFor is how long the store may take to answer. A move that is called off meanwhile
// must still know what is stored.
const saveFor = 15 * time.Second

func (t *charge) swap(ctx context.Context, doc plane.Doc[topology.Record]) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveFor)
	defer cancel()
	stored, err := records(t.r.c.o.Plane).Swap(ctx, doc)
	if err != nil {
		t.r.fail(fmt.Errorf("record of %s: %w", t.name, err)) // unknown or lost: read it anew, in another reign
		return err
	}
	t.mu.Lock()
	t.doc = stored
	t.mu.Unlock()
	return nil
}

// adopt makes servers a topology.
func (r *reign) adopt(ctx context.Context, doc plane.Doc[Word]) error {
	w := doc.Value
	if _, err := r.charge(w.Topology); err == nil {
		return fault.Exists("topology " + w.Topology + " is adopted already").Try("see it: kaname mysql topology " + w.Topology + "; or: kaname mysql forget " + w.Topology)
	}
	s, err := Survey(ctx, r.c.o.Plane, w.Topology, w.Members, *w.Policy)
	if err != nil {
		return err
	}
	if err := r.free(s.Record.Members); err != nil {
		return err
	}
	if len(s.Errors) > 0 && !w.Force {
		return fault.Invalid("these servers cannot be adopted: " + strings.Join(s.Errors, "; ")).Try("mend that, and see: kaname mysql adopt --dry-run …")
	}
	for _, text := range s.Warnings {
		r.say(doc.Key, text)
	}
	rec := s.Record
	for _, m := range rec.Members { // the primary first: its schema replicates to the others
		r.say(doc.Key, "preparing "+m.Name)
		done, err := r.order(ctx, m, order.Order{Topology: rec.Name, Epoch: rec.Epoch, Verb: order.Prepare, Waits: m.Name == rec.Primary, Record: &rec})
		if err != nil {
			return fault.Of(err).At("server " + m.Name)
		}
		for _, n := range done.Notes {
			r.say(doc.Key, m.Name+": "+n)
		}
	}
	stored, err := records(r.c.o.Plane).Create(ctx, rec.Name, rec)
	if err != nil {
		return err
	}
	r.take(stored)
	r.emit("mysql.word", Told{Topology: rec.Name, Word: &w})
	return nil
}

// free refuses members that belong to another topology.
func (r *reign) free(members []topology.Member) error {
	for _, t := range r.all() {
		rec := t.record()
		for _, m := range members {
			if rec.Member(m.Name) != nil {
				return fault.Conflict(m.Name + " belongs to topology " + t.name).Try("take it out first: kaname mysql remove " + t.name + " " + m.Name)
			}
		}
	}
	return nil
}

// add makes further servers members.
func (t *charge) add(ctx context.Context, w wish) error {
	rec := t.record()
	if err := t.r.free(w.word.Value.Members); err != nil {
		return err
	}
	primary := *rec.Member(rec.Primary)
	s, err := survey(ctx, t.r.c.o.Plane, t.name, append([]topology.Member{primary}, w.word.Value.Members...), rec.Policy)
	if err != nil {
		return err
	}
	if len(s.Errors) > 0 && !w.word.Value.Force {
		return fault.Invalid("these servers cannot join: " + strings.Join(s.Errors, "; ")).Try("mend that first")
	}
	joined := s.Record.Members[1:]
	// The record first: what may acknowledge must never be more than what it says.
	if err := t.save(ctx, func(rec *topology.Record) error {
		rec.Members = append(rec.Members, joined...)
		return judge.CheckRecord(rec)
	}); err != nil {
		return err
	}
	rec = t.record()
	for _, m := range joined {
		if _, err := t.r.order(ctx, m, order.Order{Topology: t.name, Epoch: rec.Epoch, Verb: order.Prepare, Record: rec}); err != nil {
			return fault.Of(err).At("server " + m.Name)
		}
	}
	return nil
}

// forget lets a topology go; its servers stay as they are.
func (t *charge) forget(ctx context.Context) error {
	t.mu.Lock()
	doc := t.doc
	t.mu.Unlock()
	rec := &doc.Value
	if rec.Move != nil {
		return fault.Conflict("the primary of " + t.name + " is moving").Try("wait until that has ended: kaname mysql status " + t.name)
	}
	primary := *rec.Member(rec.Primary)
	for _, m := range append([]topology.Member{primary}, rec.Replicas(rec.Primary)...) { // the primary first: it must not miss its voters
		if err := t.leave(ctx, rec, m); err != nil && m.Name == rec.Primary {
			return fault.Of(err).At("server " + m.Name)
		}
	}
	if err := records(t.r.c.o.Plane).Delete(ctx, doc); err != nil {
		return err
	}
	t.mu.Lock()
	t.gone = true
	t.mu.Unlock()
	t.r.mu.Lock()
	delete(t.r.charges, t.name)
	t.r.mu.Unlock()
	t.r.board.forget(t.name)
	t.r.c.meters.forget(t.name)
	return nil
}

// leave tells a member's agent that it belongs to the topology no more. One that does
// not hear it stays closed, and grants to nobody who asks.
func (t *charge) leave(ctx context.Context, rec *topology.Record, m topology.Member) error {
	within, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	_, err := t.r.order(within, m, order.Order{Topology: t.name, Epoch: rec.Epoch, Verb: order.Leave})
	return err
}
