package watch

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"kaname.dev/kaname/rib/mysql/server"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Server is what is asked of a server: server.Server.
type Server interface {
	Ping(ctx context.Context) error
	Look(ctx context.Context) (topology.Self, error)
	// Probe writes n to a table of kaname's own.
	Probe(ctx context.Context, n int64) error
}

// Times of the questions to the own server.
const (
	pingEvery   = 250 * time.Millisecond
	pingWithin  = time.Second            // then the connection is given up
	slow        = 500 * time.Millisecond // a question may take before the server counts as not answering
	lookWithin  = 2 * time.Second
	probeEvery  = time.Second
	probeWithin = time.Minute // as long as it is stuck there is no other
)

// Local sees one server from its own host. Process tells of the process; Local asks the
// server and looks at its disk.
type Local struct {
	server  Server
	process *Process
	log     *slog.Logger

	mu      sync.Mutex
	self    topology.Self // of the last look
	looked  time.Time     // when that one began
	unseen  string        // why the last look told nothing
	away    time.Time     // when nobody listened, as far as is known
	ping    asked
	probe   asked
	failing time.Time // since when all probes have ended with an error
	probing bool
	waits   string // what the commit under way waits for, as the server says
	disk    topology.Disk
	full    time.Time // since when the disk is, while it is

	looks, probes, changed chan struct{}
}

// asked is how questions of one kind went.
type asked struct {
	since   time.Time // the one under way began; zero: none is
	last    time.Time // the last answer
	took    time.Duration
	ok      bool // the last one that ended was answered, if only by a refusal
	refuses bool
	trouble string
}

// NewLocal returns what looks at a server over its local socket.
func NewLocal(s Server, p *Process, log *slog.Logger) *Local {
	now := time.Now()
	return &Local{
		server: s, process: p, log: log, ping: asked{last: now}, disk: topology.Disk{Free: -1},
		looks: make(chan struct{}, 1), probes: make(chan struct{}, 1), changed: make(chan struct{}, 1),
	}
}

// Run looks until ctx ends.
func (l *Local) Run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { l.each(ctx, pingEvery, nil, l.pings) })
	all.Go(func() { l.each(ctx, topology.Beat, l.looks, l.look) })
	all.Go(func() { l.each(ctx, probeEvery, l.probes, l.commit) })
	all.Go(func() { l.each(ctx, time.Second, nil, l.space) })
	all.Go(func() { l.each(ctx, topology.Beat, nil, l.explain) })
}

func (l *Local) each(ctx context.Context, every time.Duration, now <-chan struct{}, do func(context.Context)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ctx.Err() == nil {
		do(ctx)
		select {
		case <-tick.C:
		case <-now:
		case <-ctx.Done():
		}
	}
}

// Look looks at the server at once, and returns what it says.
func (l *Local) Look(ctx context.Context) (topology.Self, error) {
	l.look(ctx)
	return l.Self(), ctx.Err()
}

// Commits switches the probe by a commit on or off: it is for the primary that is open.
func (l *Local) Commits(on bool) {
	l.mu.Lock()
	news := on && !l.probing
	l.probing = on
	if !on {
		l.failing = time.Time{}
	}
	l.mu.Unlock()
	if news {
		poke(l.probes)
	}
}

// Changed has a value when something that matters may have changed since the last one was
// taken: an answer after silence, silence, or a look.
func (l *Local) Changed() <-chan struct{} { return l.changed }

// Self returns what is seen of the server now. What was learnt from a process that has
// ended is not: until the next one was asked, the server counts as read-only, and answers
// only if it refuses.
func (l *Local) Self() topology.Self {
	p := l.process.State()
	l.mu.Lock()
	defer l.mu.Unlock()
	self, stale := l.self, l.stale(p)
	if stale {
		// What is open, replicates or waits may be otherwise in another process.
		self = topology.Self{Version: self.Version, ServerID: self.ServerID, UUID: self.UUID, ReadOnly: true}
	}
	self.Process = p.Process
	if p.Process == topology.Gone {
		self.GoneFor = max(p.For, time.Nanosecond)
	}
	self.Answers, self.Silent, self.Refuses, self.Trouble = l.answers(p), 0, l.ping.refuses, l.ping.trouble
	if stale && !self.Refuses {
		self.Answers = false
	}
	if !self.Answers {
		self.Silent = time.Since(l.ping.last)
		switch {
		case self.Trouble != "":
		case stale && l.unseen != "":
			self.Trouble = l.unseen
		default:
			self.Trouble = "the last question is not answered yet"
		}
	}
	if self.Replica != nil && !self.Seen.IsZero() {
		r := *self.Replica
		r.NoNews += time.Since(self.Seen)
		self.Replica = &r
	}
	self.Disk = l.disk
	if l.disk.Full {
		self.Disk.FullFor = max(time.Since(l.full), time.Nanosecond)
	}
	if !stale {
		self.Commit = l.commits()
	}
	return self
}

// stale reports whether the last look was at a process that has ended since, or there was
// none yet; the lock is held.
func (l *Local) stale(p ProcessState) bool {
	return !l.looked.After(p.Ended) || !l.looked.After(l.away)
}

// answers reports whether the last question was answered, and the one under way is not
// overdue. A process that has ended answers nothing, however lately it did.
func (l *Local) answers(p ProcessState) bool {
	overdue := !l.ping.since.IsZero() && time.Since(l.ping.since) > slow
	return l.ping.ok && !overdue && p.Process != topology.Gone
}

func (l *Local) commits() *topology.Commit {
	if !l.probing {
		return nil
	}
	c := &topology.Commit{Took: l.probe.took, Trouble: l.probe.trouble}
	if !l.probe.since.IsZero() {
		c.Stuck = time.Since(l.probe.since)
		c.Trouble = l.waits
		// A lossless primary with fewer replicas than it waits for is stuck by design.
		s := l.self.SemiSync
		c.Acks = forAcks(l.waits) || s.Waits && s.Active && s.Clients < max(s.Acks, 1)
	}
	if !l.failing.IsZero() {
		c.Failing = time.Since(l.failing)
	}
	return c
}

// begin and end enclose a question.
func (l *Local) begin(a *asked) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.since = time.Now()
	if a == &l.probe {
		l.waits = ""
	}
	return a.since
}

func (l *Local) end(a *asked, start time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := *a
	a.since, a.took, a.trouble, a.ok, a.refuses = time.Time{}, time.Since(start), "", true, false
	if err != nil {
		a.trouble, a.refuses = err.Error(), server.Refuses(err)
		a.ok = a.refuses
	}
	if a.ok {
		a.last = time.Now()
	}
	if before.ok != a.ok || before.refuses != a.refuses {
		poke(l.changed)
	}
}

func (l *Local) pings(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pingWithin)
	defer cancel()
	start := l.begin(&l.ping)
	overdue := time.AfterFunc(slow+time.Millisecond, func() { poke(l.changed) })
	defer overdue.Stop()
	err := l.server.Ping(ctx)
	if err != nil && !server.Refuses(err) && !server.Refused(err) && ctx.Err() == nil {
		err = l.server.Ping(ctx) // the connection was cut, as fencing does; the server may be fine
	}
	if ctx.Err() != nil && context.Cause(ctx) == context.Canceled { //nolint:errorlint // that very one: the agent ends
		return
	}
	l.end(&l.ping, start, err)
	p := l.process.State()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case server.Refused(err):
		l.away = time.Now()
	case err == nil && l.stale(p):
		poke(l.looks)
	}
}

func (l *Local) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	start := time.Now()
	self, err := l.server.Look(ctx)
	if err != nil {
		l.log.Debug("look at the server", "error", err)
		l.mu.Lock()
		l.unseen = err.Error()
		l.mu.Unlock()
		return // that it does not answer is for the pings to say
	}
	p := l.process.State()
	l.mu.Lock()
	if l.stale(p) {
		l.failing = time.Time{} // those were commits of another process
	}
	if start.After(l.looked) { // else a later one has overtaken it
		l.self, l.looked, l.unseen = self, start, ""
	}
	l.mu.Unlock()
	poke(l.changed)
}

// Fresh reports whether what Self says of the server's state was asked for after t.
func (l *Local) Fresh(t time.Time) bool {
	p := l.process.State()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.looked.After(t) && !l.stale(p)
}

// commit writes the time. While the write is stuck there is no second one, for that would
// only wait for the first one's row.
func (l *Local) commit(ctx context.Context) {
	l.mu.Lock()
	probing := l.probing
	l.mu.Unlock()
	if !probing {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	start := l.begin(&l.probe)
	err := l.server.Probe(ctx, start.UnixMilli())                   //nolint:gosec // the year is after 1970
	if ctx.Err() != nil && context.Cause(ctx) == context.Canceled { //nolint:errorlint // that very one: the agent ends
		return
	}
	l.end(&l.probe, start, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil || !l.probing || errors.Is(err, server.ErrClosed):
		l.failing = time.Time{}
	case l.failing.IsZero():
		l.failing = start
		poke(l.changed)
	}
}

func (l *Local) space(context.Context) {
	d := Disk(l.process.State().Dir) // hangs where the file system does; then nothing new is said
	l.mu.Lock()
	defer l.mu.Unlock()
	if d.Full != l.disk.Full || d.ReadOnly != l.disk.ReadOnly {
		poke(l.changed)
	}
	if d.Full && !l.disk.Full {
		l.full = time.Now()
	}
	l.disk = d
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
