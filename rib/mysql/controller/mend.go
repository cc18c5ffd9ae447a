package controller

import (
	"context"
	"sync"
	"time"

	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/judge"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

// looked is what a member said when it was asked for all.
type looked struct {
	details order.Details
	look    *judge.Look
	errant  string // GTID set
	at      time.Time
}

// How often the members of a topology are asked for all, in peace: each 15 s, and where there
// are many topologies not more than 3 of them a second. Each adds a share of its own, so that
// many do not ask at once.
const (
	lookEvery = 15 * time.Second
	lookShare = time.Second / 3 // for each topology
)

// rest is how long to wait until a topology is asked again.
func (t *charge) rest() time.Duration {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	return max(lookEvery, time.Duration(len(t.r.charges))*lookShare) + t.share
}

// lookWithin is how long a member may take to say all.
const lookWithin = 3 * time.Second

// ask asks all members for all, the primary last: what a replica has and the primary,
// asked later, has not did not come from there. It returns the details by member.
func (t *charge) ask(ctx context.Context) map[string]order.Details {
	rec := t.record()
	out := map[string]order.Details{}
	var mu sync.Mutex
	var replicas sync.WaitGroup
	one := func(m topology.Member) {
		within, cancel := context.WithTimeout(ctx, lookWithin)
		defer cancel()
		done, err := t.r.order(within, m, order.Order{Topology: t.name, Epoch: rec.Epoch, Verb: order.Look})
		if err != nil || done.Details == nil {
			return // its report says why
		}
		mu.Lock()
		defer mu.Unlock()
		out[m.Name] = *done.Details
	}
	for _, m := range rec.Replicas(rec.Primary) {
		replicas.Go(func() { one(m) })
	}
	replicas.Wait()
	if p := rec.Member(rec.Primary); p != nil {
		one(*p)
	}
	t.keep(rec, out)
	return out
}

// keep remembers what members said.
func (t *charge) keep(rec *topology.Record, said map[string]order.Details) {
	now := time.Now()
	sets := map[string]gtid.Set{}
	for name, d := range said {
		if d.Partial {
			continue // it has not said that it has nothing
		}
		set, err := gtid.Parse(rec.Flavour, d.Executed)
		if err != nil {
			t.r.c.o.Log.Warn("a GTID set cannot be read", "topology", t.name, "member", name, "why", err)
			continue
		}
		sets[name] = set
	}
	primary, known := sets[rec.Primary]
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range said {
		delete(t.looked, name) // a server that has been away may have more now
	}
	for name, set := range sets {
		d := said[name]
		l := looked{details: d, at: now, look: &judge.Look{Executed: set, Below: d.Below, Findings: d.Findings, Aside: d.Aside}}
		if known && name != rec.Primary {
			l.look.Errants = gtid.Errant(states(rec.Flavour, d, set), states(rec.Flavour, said[rec.Primary], primary), d.Self.Origins(rec.Flavour)...)
			// A position of MariaDB that is below the primary's can still be nowhere else.
			l.look.Contained = primary.Position().Contains(set.Position()) && l.look.Errants.All.Empty()
			if !l.look.Errants.All.Empty() {
				l.errant = l.look.Errants.All.String()
			}
		}
		t.looked[name] = l
	}
}

// states returns what tells most of where transactions began.
func states(flavour string, d order.Details, executed gtid.Set) gtid.Set {
	if set, err := d.Has(flavour); err == nil {
		return set
	}
	return executed
}

// trial is how often a repair was tried.
type trial struct {
	tries int
	next  time.Time // not before
}

// firstPause and longestPause lie between two tries of one repair.
const (
	firstPause   = time.Second
	longestPause = time.Minute
	startPause   = 30 * time.Second // a server may take as long until it answers, or says that it cannot start
)

// mend puts small things right in peace, in a goroutine of its own, one at a time.
func (t *charge) mend(ctx context.Context, work *sync.WaitGroup, v judge.Verdict) {
	t.mu.Lock()
	idle := t.mending == nil && t.doc.Value.Move == nil && !v.Act
	due := idle && time.Now().After(t.nextLook)
	t.mu.Unlock()
	if !idle {
		return
	}
	repair, key, ok := t.due(v)
	if !ok && !due {
		return
	}
	within, cancel := context.WithTimeout(ctx, longestPause)
	t.mu.Lock()
	t.mending = cancel
	t.mu.Unlock()
	work.Go(func() {
		defer func() {
			cancel()
			t.mu.Lock()
			t.mending = nil
			t.mu.Unlock()
			t.stir()
		}()
		if due || repair.Order.Verb == order.Look {
			next := time.Now().Add(t.rest())
			t.mu.Lock()
			t.nextLook = next
			t.mu.Unlock()
			t.ask(within)
		}
		if ok && repair.Order.Verb != order.Look {
			t.put(within, repair, key)
		}
	})
}

// due returns the most urgent repair that may be tried now.
func (t *charge) due(v judge.Verdict) (judge.Repair, string, bool) {
	if v.State == judge.Unknown {
		return judge.Repair{}, "", false
	}
	now := time.Now()
	repairs := judge.Mend(t.know(now))
	t.mu.Lock()
	defer t.mu.Unlock()
	listed := map[string]bool{}
	var first judge.Repair
	var at string
	for _, r := range repairs {
		key := r.Order.Member + " " + string(r.Order.Verb) + " " + r.Order.Need
		listed[key] = true
		tried := t.mended[key]
		if at != "" || tried.tries > 0 && r.Once || now.Before(tried.next) {
			continue
		}
		first, at = r, key
		rest := min(firstPause<<min(tried.tries, 8), longestPause)
		if r.Order.Verb == order.Start {
			rest = max(rest, startPause)
		}
		t.mended[key] = trial{tries: tried.tries + 1, next: now.Add(rest)}
	}
	for key := range t.mended {
		if !listed[key] && now.After(t.mended[key].next) {
			delete(t.mended, key)
		}
	}
	return first, at, at != ""
}

// put carries a repair out.
func (t *charge) put(ctx context.Context, r judge.Repair, key string) {
	rec := t.record()
	m := rec.Member(r.Order.Member)
	if m == nil || rec.Epoch != r.Order.Epoch {
		return
	}
	r.Order.Record = rec
	done, err := t.r.order(ctx, *m, r.Order)
	if ctx.Err() != nil {
		return // a move has begun
	}
	text := r.Why
	if err == nil && done.How != "" {
		text += ": " + done.How
	}
	t.mu.Lock()
	if r.Order.Verb == order.SetAside && err == nil {
		t.nextLook = time.Now() // to learn the name of the file
	}
	first := t.mended[key].tries <= 1
	t.mu.Unlock()
	if err != nil {
		t.r.c.o.Log.Warn("a repair did not work, and is tried again later", "topology", t.name, "what", r.Why, "why", err)
	} else {
		t.r.c.o.Log.Info("mended", "topology", t.name, "what", text)
	}
	if first {
		t.r.emit("mysql.mended", Told{Topology: t.name, Text: text, Trouble: trouble(err)})
	}
}

// stopMending has a repair that is under way end: a move begins.
func (t *charge) stopMending() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mending != nil {
		t.mending()
	}
}
