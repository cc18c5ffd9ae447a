package move_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/topology"
)

// bugs break rules on purpose: the simulation must notice each.
type bugs struct {
	noLease     bool // open without waiting for the old primary's lease
	oneTooFew   bool // freeze one replica less than is needed
	early       bool // follow before what was received is applied
	stopFirst   bool // freeze by stopping both threads, then starting the applier
	anyEpoch    bool // carry out orders of an epoch that is over
	byName      bool // choose without looking at positions
	neverShort  bool // count a replica that has lost its relay log
	stillGrants bool // an agent that was frozen goes on granting
	noFloor     bool // forget what the primary had when it was opened
	dropAny     bool // follow although the source may lack what was received
}

// world is a topology with everything that happens to it, under virtual time.
type world struct {
	seed    uint64
	rng     *rand.Rand
	flavour string
	policy  topology.Policy
	lease   time.Duration
	bug     bugs
	ctx     context.Context
	wg      sync.WaitGroup
	began   time.Time

	mu      sync.Mutex // guards what follows, and all of servers and agents
	over    bool
	servers []*server
	agents  []*agent
	cuts    []bool // one way, from*(n+1)+to; the last is the controller's host
	ctrl    *controller
	doc     *topology.Record
	rev     uint64
	led     endpoint.Target
	nums    int
	lazy    bool    // appliers fall behind again and again
	doom    bool    // who was just opened often dies at once
	trouble float64 // probability that a save ends badly
	dup     float64 // that an order comes a second time, late

	acks   []ack
	opens  []opening
	lost   set            // acknowledged, and given up by a move that said so
	risk   uint64         // opened in this epoch although an earlier primary may be open, and it was said
	ends   map[string]int // how moves ended
	broken []string
	story  []string
}

type ack struct {
	num    int
	epoch  uint64
	server int
}

type opening struct {
	epoch  uint64
	server int
	has    set
	proven bool
}

func newWorld(ctx context.Context, seed uint64, bug bugs) *world { //nolint:funlen // a list
	rng := rand.New(rand.NewPCG(seed, 1))
	w := &world{
		seed: seed, rng: rng, ctx: ctx, began: time.Now(), policy: topology.DefaultPolicy(), bug: bug, ends: map[string]int{},
		flavour: []string{gtid.MySQL, gtid.MariaDB}[rng.IntN(2)],
	}
	n := 3 + rng.IntN(2) + rng.IntN(2)*rng.IntN(2)
	w.policy.Acks = 1 + rng.IntN(n-2)
	w.lease = w.policy.Lease
	w.lazy, w.doom = rng.IntN(2) == 0, rng.IntN(3) == 0
	if w.doom && rng.IntN(2) == 0 {
		n, w.policy.Acks, w.lazy = 4, 2, true // the second move needs no word of the first old primary
	}
	switch rng.IntN(8) {
	case 0:
		w.policy.Durability = topology.Async
	case 1:
		w.policy.Unprovable, w.policy.PromoteAfter = topology.PromoteAfter, 5*time.Second
	}
	if w.rng.IntN(3) == 0 {
		w.policy.FenceCommand = []string{"off"}
	}
	r := &topology.Record{Name: "shop", Flavour: w.flavour, Epoch: 1, Primary: "db1", Policy: w.policy}
	for i := range n {
		s := &server{w: w, i: i, name: fmt.Sprintf("db%d", i+1), up: true, next: -1, strays: map[int]time.Time{}}
		m := topology.Member{Name: s.name, Role: topology.Candidate, Zone: []string{"a", "b"}[rng.IntN(2)]}
		if i > 0 {
			m.Role = []topology.Role{topology.Candidate, topology.Candidate, topology.Preferred, topology.Never}[rng.IntN(4)]
		}
		r.Members = append(r.Members, m)
		w.servers = append(w.servers, s)
	}
	w.cuts = make([]bool, (n+1)*(n+1))
	w.doc, w.rev = r, 1
	w.led = endpoint.Target{Topology: "shop", Epoch: 1, Primary: &r.Members[0]}
	for i, s := range w.servers {
		a := &agent{w: w, s: s, i: i, rec: r.Clone(), rev: 1}
		a.promise.Epoch = 1
		w.agents = append(w.agents, a)
		a.begin()
		if i > 0 {
			s.replies = r.Members[i].Acker() && w.policy.Durability == topology.Lossless
			s.follow(w.servers[0], time.Now())
		}
	}
	return w
}

func (w *world) away() int { return len(w.servers) }

func (w *world) index(name string) int {
	return slices.IndexFunc(w.servers, func(s *server) bool { return s.name == name })
}

func (w *world) link(from, to int) bool { return !w.cuts[from*(len(w.servers)+1)+to] }

func (w *world) cut(from, to int, is bool) { w.cuts[from*(len(w.servers)+1)+to] = is }

// some is a random time up to d.
func (w *world) some(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d))) }

// delay is how long a message takes: mostly a few milliseconds, sometimes much longer. It
// depends on the seed and the instant, not on who is scheduled first.
func (w *world) delay(kind string, from, to int) time.Duration {
	at := uint64(time.Since(w.began))
	r := rand.New(rand.NewPCG(w.seed^at, fnv(fmt.Sprint(kind, from, to))))
	d := 500*time.Microsecond + time.Duration(r.Int64N(int64(5*time.Millisecond)))
	if kind != "ask" && r.IntN(40) == 0 {
		d += time.Duration(r.Int64N(int64(3 * time.Second)))
	}
	return d
}

func fnv(s string) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range []byte(s) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// nap waits; false when ctx ended first.
func nap(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return ctx.Err() == nil
	}
}

// wait gives the lock away until something holds, at most for d.
func (w *world) wait(d time.Duration, until func() bool) bool {
	for end := time.Now().Add(d); !until(); {
		if !time.Now().Before(end) || w.over {
			return false
		}
		w.mu.Unlock()
		<-time.After(min(10*time.Millisecond, max(time.Until(end), time.Millisecond)))
		w.mu.Lock()
	}
	return true
}

func (w *world) say(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf("%8.3f ", time.Since(w.began).Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) broke(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.say("BROKEN %s", text)
	w.broken = append(w.broken, text)
}

// acked is called when a client gets its answer.
func (w *world) acked(s *server, num int, epoch uint64) {
	w.acks = append(w.acks, ack{num, epoch, s.i})
	for _, o := range w.opens {
		if o.epoch > epoch {
			w.covered(&o, ack{num, epoch, s.i})
		}
	}
}

// covered checks S1 for one acknowledged write and one opening of a later epoch.
func (w *world) covered(o *opening, a ack) {
	if o.has.has(a.num) || w.lost.has(a.num) {
		return
	}
	if w.policy.Durability != topology.Lossless || !o.proven {
		w.lost.add(a.num)
		return
	}
	if len(w.broken) > 0 {
		return // one is enough
	}
	for _, s := range w.servers {
		w.say("%s: up %t, paused %t, executed %t, relay %t, short %t; %s / %s", s.name, s.up, s.paused, s.execd.has(a.num), s.got.has(a.num), w.agents[s.i].short, s.executed(), s.received())
	}
	if w.doc.Move != nil {
		w.say("%s, %d acks: need %s of %+v, last %+v", w.flavour, w.policy.Acks, w.doc.Move.Need, w.doc.Move.Frozen, w.doc.Last)
	}
	w.broke("S1: write %d, acknowledged by db%d in epoch %d, is not on db%d, opened in epoch %d", a.num, a.server+1, a.epoch, o.server+1, o.epoch)
}

// wasOpened checks what must hold when a server is opened for writes.
func (w *world) wasOpened(s *server, r *topology.Record) {
	proven := r.Move == nil || r.Move.Proven || r.Move.Step == topology.Undo || r.Primary == r.Move.From
	w.say("open %s in epoch %d (proven %t)", s.name, s.epoch, proven)
	if r.Move != nil && strings.Contains(strings.Join(r.Move.Missing, ";"), "may still take writes") {
		w.risk = s.epoch
	}
	again := false
	for _, o := range w.opens {
		if o.epoch == s.epoch && o.server != s.i {
			w.broke("S2: db%d and %s are opened in epoch %d", o.server+1, s.name, s.epoch)
		}
		again = again || o.epoch == s.epoch && o.server == s.i
	}
	if !again {
		o := opening{s.epoch, s.i, append(set(nil), s.execd...), proven}
		w.opens = append(w.opens, o)
		for _, a := range w.acks {
			if a.epoch < o.epoch {
				w.covered(&o, a)
			}
		}
		w.strangers(s, r)
		if w.doom && o.epoch > 1 && time.Since(w.began) < storm && w.rng.IntN(2) == 0 {
			d := w.some(time.Duration(1+w.rng.IntN(5)) * 50 * time.Millisecond)
			w.wg.Go(func() {
				nap(w.ctx, d)
				w.mu.Lock()
				defer w.mu.Unlock()
				w.say("fault: %s crashes again", s.name)
				s.crash(time.Now().Add(w.some(6 * time.Second)))
			})
		}
	}
	w.single()
}

// strangers checks S4.
func (w *world) strangers(s *server, r *topology.Record) {
	if r.Move == nil || r.Move.To != s.name || strings.Contains(strings.Join(r.Move.Missing, ";"), "of its own") {
		return
	}
	defer clear(s.strays) // they are history now
	for num, at := range s.strays {
		known := at.Before(r.Move.Started) && s.execd.has(num)
		if known && !slices.ContainsFunc(w.servers, func(o *server) bool { return o != s && o.execd.has(num) }) {
			w.broke("S4: %s is opened with a transaction of its own, and nobody is told", s.name)
			return
		}
	}
}

// single checks that no two servers are open for writes at this instant.
func (w *world) single() {
	var open []string
	for _, s := range w.servers {
		if s.up && s.open && s.epoch >= w.risk && !w.excused(s.i) {
			open = append(open, fmt.Sprintf("%s in epoch %d", s.name, s.epoch))
		}
	}
	if len(open) > 1 {
		w.broke("S2: open at once: %v", open)
	}
}

// excused: without its agent nobody closes a server.
func (w *world) excused(i int) bool {
	a := w.agents[i]
	return !a.runs() || time.Since(a.awake) < topology.FenceBound
}

// tick is a step of everything that needs no message.
func (w *world) tick(now time.Time) {
	for _, s := range w.servers {
		if !s.up && !now.Before(s.backAt) {
			s.start()
		}
		if a := w.agents[s.i]; a.dead && !now.Before(a.backAt) {
			a.begin()
		}
	}
	for _, s := range w.servers {
		if s.alive() && s.open && w.rng.IntN(3) == 0 {
			s.write()
		}
		s.receive(now)
		if w.lazy && now.After(s.slowUntil) && time.Since(w.began) < storm && w.rng.IntN(60) == 0 {
			s.slowUntil = now.Add(w.some(3 * time.Second))
		}
		s.apply(now)
	}
	for _, s := range w.servers {
		s.answer()
		w.agents[s.i].beat(now)
		w.agents[s.i].tick(now)
	}
	w.single()
}

// writable returns the server that is open and that clients are led to.
func (w *world) writable() *server {
	for _, s := range w.servers {
		if s.alive() && s.open && w.led.Primary != nil && w.led.Primary.Name == s.name && w.doc.Primary == s.name && w.doc.Move == nil {
			return s
		}
	}
	return nil
}
