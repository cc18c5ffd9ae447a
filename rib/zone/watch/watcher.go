package watch

import (
	"context"
	"iter"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/wire"
)

// Keys are the TSIG keys that primaries may ask for, found by name.
type Keys []wire.Key

// Options say what a Watcher watches.
type Options struct {
	Server  netip.AddrPort // where the watched server answers DNS, unsigned
	Name    string         // the server's name, a label of metrics
	Keys    Keys
	Period  time.Duration // each zone is asked for so often; 1 minute when zero
	Rate    int           // questions a second to the server, at most; 1000 when zero
	Sweep   int           // questions a second to each primary, at most; 100 when zero
	Metrics *Metrics      // may be nil
	Log     *slog.Logger  // may be nil
	// OnServed and OnGone are told how long after Added and Removed a zone was answered,
	// and not any more. They must not block. Both may be nil.
	OnServed func(n name.Name, took time.Duration)
	OnGone   func(n name.Name, took time.Duration)

	asker    func(wire.Peer) asker                                      // tests set it
	diagnose func(ctx context.Context, p wire.Peer, n name.Name) string // tests set it
}

// Zone is a zone that the server should answer.
type Zone struct {
	Group     string // a label of metrics; may be empty
	Primaries []server.Primary
}

// Seen is what is known of a zone.
type Seen struct {
	Name    name.Name
	State   State
	Serial  uint32    // served; 0 when it is not
	Primary uint32    // at the primary; 0 when not known
	Since   time.Time // of the state
	Behind  time.Time // since when the primary has had a newer serial; zero when it has none
	Expires time.Time // when the server gives it up, as it says itself; zero when it does not say
	Note    string    // cause and remedy
}

// Waiting is a zone that was added and is not answered yet, or removed and still is.
type Waiting struct {
	Name name.Name
	Age  time.Duration
}

// Watcher watches one server. Its methods may be called at any time, Run once.
type Watcher struct {
	o    Options
	wake chan struct{}

	mu       sync.Mutex // guards the fields below
	zones    []zone
	index    map[name.Name]int32
	routes   []*route
	own      *target
	targets  map[wireKey]*target
	chases   chases
	fresh    []name.Name // that were never asked for
	ask      []name.Name // whose primaries are to be asked soon
	causes   map[name.Name]cause
	sweep    sweep
	primary  sweep
	version  uint64
	measured time.Time
}

// New returns a watcher of no zones.
func New(o Options) *Watcher {
	if o.Period <= 0 {
		o.Period = time.Minute
	}
	if o.Rate <= 0 {
		o.Rate = 1000
	}
	if o.Sweep <= 0 {
		o.Sweep = 100
	}
	if o.asker == nil {
		o.asker = newDatagrams
	}
	if o.diagnose == nil {
		o.diagnose = diagnose
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	w := &Watcher{
		o: o, wake: make(chan struct{}, 1), index: map[name.Name]int32{}, targets: map[wireKey]*target{}, causes: map[name.Name]cause{},
	}
	w.own = newTarget(wire.Peer{Address: o.Server}, o.asker, o.Rate)
	w.chases.by = map[name.Name]*chase{}
	return w
}

// Set says which zones the server should answer; those that are new are asked for soon.
func (w *Watcher) Set(zones map[name.Name]Zone) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now().UnixNano()
	for i := 0; i < len(w.zones); {
		if _, ok := zones[w.zones[i].name]; ok {
			i++
			continue
		}
		w.drop(i)
	}
	var last *route
	for n, z := range zones {
		if last == nil || !last.is(&z) {
			last = w.route(&z)
		}
		if i, ok := w.index[n]; ok {
			w.move(&w.zones[i], last)
			continue
		}
		w.index[n] = int32(len(w.zones)) //nolint:gosec // fewer than 2^31 zones
		w.zones = append(w.zones, zone{name: n, route: last, since: now, state: Unknown})
		w.fresh = append(w.fresh, n)
		w.version++
	}
	w.rouse()
}

// drop forgets the zone at i; the last one takes its place. w.mu is held.
func (w *Watcher) drop(i int) {
	n := w.zones[i].name
	end := len(w.zones) - 1
	w.zones[i] = w.zones[end]
	w.zones[end] = zone{}
	w.zones = w.zones[:end]
	if i < end {
		w.index[w.zones[i].name] = int32(i) //nolint:gosec // fewer than 2^31 zones
	}
	delete(w.index, n)
	delete(w.causes, n)
	if c := w.chases.by[n]; c != nil && c.why != leaving {
		w.chases.end(n)
	}
	w.version++
}

// move gives a zone other primaries. w.mu is held.
func (w *Watcher) move(z *zone, to *route) {
	if z.route == to {
		return
	}
	if !slices.Equal(z.route.to, to.to) {
		z.primary, z.behind = Answer{}, 0
		delete(w.causes, z.name)
	}
	z.route = to
	w.version++
}

// Added says that zones were just given to the server. They are asked for at short
// intervals until it answers them with authority.
func (w *Watcher) Added(names []name.Name) { w.chase(names, loading, true) }

// Removed says that zones were just taken from the server. They are asked for at short
// intervals until it does not answer them any more.
func (w *Watcher) Removed(names []name.Name) { w.chase(names, leaving, true) }

func (w *Watcher) chase(names []name.Name, why reason, told bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for _, n := range names {
		i, ok := w.index[n]
		if why == loading && !ok {
			continue
		}
		if why == leaving && ok {
			w.drop(int(i))
		}
		if ok && why == loading {
			delete(w.causes, n)
			w.zones[i].ever = false // it was given to the server anew
		}
		w.chases.start(n, why, told, now, 0)
	}
	w.version++
	w.rouse()
}

func (w *Watcher) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Waiting returns the zones that the server was given and does not answer yet, in no
// order. Those that it had before and does not answer are among them.
func (w *Watcher) Waiting() []Waiting { return w.waiting(loading) }

// Leaving returns the zones that were taken from the server and are still answered.
func (w *Watcher) Leaving() []Waiting { return w.waiting(leaving) }

func (w *Watcher) waiting(why reason) []Waiting {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []Waiting
	now := time.Now()
	for n, c := range w.chases.by {
		if c.why == why {
			all = append(all, Waiting{n, now.Sub(c.from)})
		}
	}
	return all
}

// Version changes whenever Snapshot would give something else, but for the clock.
func (w *Watcher) Version() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.version
}

// Snapshot gives every zone, in no order. The watcher stands still meanwhile and must
// not be called.
func (w *Watcher) Snapshot() iter.Seq[Seen] { return w.each(func(State) bool { return true }) }

// Deviations gives the zones that are not served as they should be, as Snapshot does.
func (w *Watcher) Deviations() iter.Seq[Seen] {
	return w.each(func(s State) bool { return s != Serving })
}

func (w *Watcher) each(want func(State) bool) iter.Seq[Seen] {
	return func(yield func(Seen) bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for i := range w.zones {
			z := &w.zones[i]
			state, since := w.stateOf(z)
			if want(state) && !yield(w.seen(z, state, since)) {
				return
			}
		}
	}
}

// stateOf is a zone's state; all are silent when the server is. w.mu is held.
func (w *Watcher) stateOf(z *zone) (State, time.Time) {
	if !w.own.down.IsZero() {
		return Silent, w.own.down
	}
	return z.state, stamp(z.since)
}

func (w *Watcher) seen(z *zone, state State, since time.Time) Seen {
	s := Seen{Name: z.name, State: state, Since: since, Behind: stamp(z.behind), Expires: stamp(z.expires)}
	if z.answer.Kind == Authoritative {
		s.Serial = z.answer.Serial
	}
	if z.primary.Kind == Authoritative {
		s.Primary = z.primary.Serial
	}
	s.Note = w.note(z, state)
	return s
}

// stamp is a time of the compact form.
func stamp(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
