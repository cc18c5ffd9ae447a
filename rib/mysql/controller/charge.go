package controller

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/mysql/exchange"
	"kaname.dev/kaname/rib/mysql/judge"
	"kaname.dev/kaname/rib/mysql/topology"
)

// charge is a topology in the controller's charge. Its loop judges and moves; reports
// come in beside it.
type charge struct {
	r     *reign
	name  string
	began time.Time // since when this controller listens to its agents
	ways  ways      // endpoints; of the loop

	mu       sync.Mutex // guards the fields below; never held during I/O
	doc      plane.Doc[topology.Record]
	heard    map[string]heard
	granted  map[string]time.Time // when the controller last let a member be primary
	verdict  judge.Verdict
	looked   map[string]looked // what was last asked, by member
	mended   map[string]trial
	wishes   []wish
	doing    string // what the loop is at, for those who look
	gone     bool
	mending  context.CancelFunc // ends the repair that is under way; nil when there is none
	nextLook time.Time
	share    time.Duration // so that many topologies do not ask at once

	wake chan struct{} // something is to be judged anew
}

// heard is an agent's last report.
type heard struct {
	report *topology.Report // never changed
	at     time.Time
}

// wish is a word that waits for the loop.
type wish struct {
	key  string
	word plane.Doc[Word]
}

func newCharge(r *reign, doc plane.Doc[topology.Record]) *charge {
	return &charge{
		r: r, name: doc.Key, began: time.Now(), doc: doc, heard: map[string]heard{}, granted: map[string]time.Time{},
		looked: map[string]looked{}, mended: map[string]trial{}, wake: make(chan struct{}, 1), share: rand.N(lookEvery / 2),
		ways: ways{board: onBoard{board: r.board, topology: doc.Key}},
	}
}

// stir has the loop judge anew.
func (t *charge) stir() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// record returns the record as it is stored now: a later save leaves it as it is. It must
// not be changed.
func (t *charge) record() *topology.Record {
	t.mu.Lock()
	defer t.mu.Unlock()
	rec := t.doc.Value // what it points to is never changed either, a save replaces it
	return &rec
}

// report takes a report of an agent.
func (c *Controller) report(_ context.Context, host string, in topology.Report) (exchange.Heard, error) {
	r, err := c.current()
	if err != nil {
		return exchange.Heard{}, err
	}
	t, err := r.charge(in.Topology)
	if err != nil {
		return exchange.Heard{}, err
	}
	return t.report(host, in)
}

func (t *charge) report(host string, in topology.Report) (exchange.Heard, error) {
	now := time.Now()
	t.mu.Lock()
	rec := &t.doc.Value
	m := rec.Member(in.Member)
	if m == nil || m.Host != host {
		t.mu.Unlock()
		return exchange.Heard{}, fault.NotFound("topology " + t.name + " has no member " + in.Member + " on host " + host).Try("see: kaname mysql topology " + t.name)
	}
	last := t.heard[in.Member].report
	news := last == nil || faceOf(&in) != faceOf(last)
	t.heard[in.Member] = heard{report: &in, at: now}
	out := exchange.Heard{Revision: t.doc.Revision, Granted: t.grants(rec, in) && t.r.lease.Valid()}
	if out.Granted {
		t.granted[in.Member] = now
	}
	if in.Have != t.doc.Revision {
		out.Record = rec.Clone()
	}
	t.mu.Unlock()
	if news {
		t.stir() // all else is judged when the loop comes to it
	}
	return out, nil
}

// face is what a verdict may turn on at once. Whatever only grows with time is judged by
// the loop's own timer.
type face struct {
	process                                topology.Process
	answers, refuses, readOnly, held, full bool
	fenced, trouble                        string
	stuck, receiving, applying             bool
	received, applied                      string
	seen, unseen                           int
	epoch                                  uint64
}

func faceOf(r *topology.Report) face {
	s := &r.Self
	f := face{
		process: s.Process, answers: s.Answers, refuses: s.Refuses, readOnly: s.ReadOnly, held: r.Lease.Held, full: s.Disk.Full || s.Disk.ReadOnly,
		fenced: r.Lease.Fenced, trouble: s.Trouble, stuck: s.Commit != nil && s.Commit.Stuck > topology.Beat, epoch: r.Epoch,
	}
	if s.Replica != nil {
		f.receiving, f.applying, f.received, f.applied = s.Replica.Receiving, s.Replica.Applying, s.Replica.ReceiveErr, s.Replica.ApplyErr
	}
	for i := range r.Sights {
		if r.Sights[i].Answers {
			f.seen++
		}
		if !r.Sights[i].Agent {
			f.unseen++
		}
	}
	return f
}

// grants reports whether the controller holds a member for the primary; with the lock
// held. While the primary moves away from it, it does not.
func (t *charge) grants(rec *topology.Record, in topology.Report) bool {
	if rec.Primary != in.Member || rec.Epoch != in.Epoch {
		return false
	}
	return rec.Move == nil || rec.Move.From != in.Member || rec.Move.Step == topology.Close
}

// run judges the topology, and acts, until ctx ends.
func (t *charge) run(ctx context.Context) {
	defer t.ways.close()
	t.ways.open(t)
	t.settle(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var mending sync.WaitGroup
	defer mending.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		case <-timer.C:
		}
		if t.over() {
			return
		}
		t.ways.open(t)
		v := t.look(time.Now())
		switch w, ok := t.next(); {
		case v.Act:
			t.failover(ctx, v)
		case ok:
			t.obey(ctx, w)
		default:
			t.lead()
			t.mend(ctx, &mending, v)
		}
		wait := 2 * topology.Beat
		if v.Wait > 0 && v.Wait < wait {
			wait = v.Wait
		}
		timer.Reset(wait)
	}
}

// over reports whether the topology was forgotten.
func (t *charge) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.gone
}

// next takes the oldest wish.
func (t *charge) next() (wish, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.wishes) == 0 {
		return wish{}, false
	}
	w := t.wishes[0]
	t.wishes = t.wishes[1:]
	return w, true
}

// look judges what is known now.
func (t *charge) look(now time.Time) judge.Verdict {
	view := t.know(now)
	v := judge.Judge(view)
	t.mu.Lock()
	before := t.verdict
	t.verdict = v
	t.mu.Unlock()
	changed := before.State != v.State || before.Act != v.Act || before.Blocked != v.Blocked
	if changed {
		t.tell(v)
	}
	if changed || len(before.Findings) != len(v.Findings) {
		t.r.c.meters.verdict(t.name, v)
	}
	return v
}

// know returns what the judge is given.
func (t *charge) know(now time.Time) judge.View {
	troubled, watched := t.r.troubled()
	late := t.r.late(now)
	rec := t.record()
	t.mu.Lock()
	defer t.mu.Unlock()
	view := judge.View{
		Record: rec, Members: map[string]judge.Known{}, Now: now.Sub(t.began), Began: t.began, Late: late,
		Troubled: troubled, Watched: watched,
	}
	for m, h := range t.heard {
		view.Members[m] = judge.Known{Report: h.report, Age: now.Sub(h.at), Look: t.looked[m].look}
	}
	return view
}

// late returns for how long the controller has not come to reading what was sent to it.
func (r *reign) late(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(r.stalled.Sub(now), 0)
}

// troubled counts the topologies whose primary does not speak.
func (r *reign) troubled() (troubled, watched int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.silent, len(r.charges)
}

// speechless reports whether the primary does not speak, by the last verdict.
func speechless(s judge.State) bool {
	switch s {
	case judge.Dead, judge.Hung, judge.CutOff, judge.Unreachable, judge.AllDown:
		return true
	default:
		return false
	}
}

// tell says that the verdict has changed: to the log, and to those who follow events.
func (t *charge) tell(v judge.Verdict) {
	log := t.r.c.o.Log.Info
	if v.State != judge.Fine && v.State != judge.Unknown {
		log = t.r.c.o.Log.Warn
	}
	log("verdict on a topology", "topology", t.name, "state", v.State, "primary", v.Primary, "act", v.Act, "blocked", v.Blocked, "why", v.Reasons)
	t.r.emit("mysql.verdict", Told{Topology: t.name, Verdict: &v})
}
