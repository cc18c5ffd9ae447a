package keeper

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/name"
)

// reign is the keeper's knowledge while this core is it.
type reign struct {
	k     *Keeper
	lease *plane.Lease

	// taking is held while a report is judged and stored: one at a time.
	taking sync.Mutex

	mu        sync.Mutex // guards the fields below; never held during I/O
	sources   map[string]*origin
	words     map[string]Word
	marks     map[Key]Mark
	desired   map[Key]*want
	gen       uint64
	changes   []Key         // the last ones, oldest first
	numbers   []uint64      // numbers[i] is the generation of changes[i]
	forgotten uint64        // the newest generation of which changes are not kept
	news      chan struct{} // closed when gen rises
	servers   map[string]*observer
	over      bool
	fail      context.CancelCauseFunc // ends the reign
}

// origin is a source in memory.
type origin struct {
	doc     plane.Doc[sourceDoc]
	zones   set
	revs    [shards]uint64     // of the shards' documents
	active  int                // zones that are not gone
	trouble string             // why its set is unknown now
	notes   []string           // what it said beside its last full list
	heard   time.Time          // its last report
	good    time.Time          // its last report of zones
	again   *exchange.Reported // the report that is held, to be judged again when an operator has spoken; guarded by taking
}

// maxChanges is how many changes are kept for servers that ask what is new; one that
// is further behind gets all.
const maxChanges = 100_000

// accede reads all that earlier keepers have left, and takes the seat.
func (k *Keeper) accede(ctx context.Context, lease *plane.Lease, fail context.CancelCauseFunc) (*reign, error) {
	r := &reign{
		k: k, lease: lease, fail: fail, sources: map[string]*origin{}, words: map[string]Word{}, marks: map[Key]Mark{}, desired: map[Key]*want{},
		gen: 1, news: make(chan struct{}), servers: map[string]*observer{},
	}
	docs, err := sourceDocs(k.o.Plane).List(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, d := range docs {
		r.sources[d.Key] = &origin{doc: d}
	}
	if err := r.loadSets(ctx); err != nil {
		return nil, err
	}
	words, err := Words(k.o.Plane).List(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, d := range words {
		r.words[d.Key] = d.Value
	}
	marks, err := Marks(k.o.Plane).List(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, d := range marks {
		r.marks[keyOf(d.Key)] = d.Value
	}
	r.mu.Lock()
	r.redecide(r.allKeys())
	r.forgotten, r.changes, r.numbers = r.gen, nil, nil // a new reign has no past
	r.mu.Unlock()
	r.publish()
	return r, k.office.Sit(ctx, lease)
}

// loadSets reads the accepted sets.
func (r *reign) loadSets(ctx context.Context) error {
	docs, err := shardDocs(r.k.o.Plane).List(ctx, "")
	if err != nil {
		return err
	}
	for _, d := range docs {
		src, number, _ := strings.Cut(d.Key, "/")
		i, err := strconv.Atoi(number)
		o := r.sources[src]
		if err != nil || i < 0 || i >= shards || o == nil {
			return fault.Corrupt("document zone.sets " + d.Key + " belongs to no source").Try("restore the plane from a backup: docs/plane.md")
		}
		o.revs[i] = d.Revision
		o.zones.parts[i] = d.Value.Zones
		for _, e := range d.Value.Zones {
			if e.Gone.IsZero() {
				o.active++
			}
		}
	}
	return nil
}

// end lets those go who wait for news.
func (r *reign) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	r.wake()
}

// watch follows what operators write, and the clock, until ctx ends.
func (r *reign) watch(ctx context.Context, cancel context.CancelCauseFunc) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	run := func(f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil {
				cancel(err)
			}
		})
	}
	run(r.watchWords)
	run(r.watchMarks)
	run(r.watchWishes)
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			if err := r.sweep(ctx); err != nil && ctx.Err() == nil {
				r.k.o.Log.Warn("quarantine cannot be swept", "why", err)
			}
			r.measure()
		}
	}
}

func (r *reign) watchWords(ctx context.Context) error {
	for c, err := range Words(r.k.o.Plane).Watch(ctx, "") {
		if err != nil {
			return err
		}
		if c.Ready {
			continue
		}
		r.mu.Lock()
		if c.Deleted {
			delete(r.words, c.Key)
		} else {
			r.words[c.Key] = c.Value
		}
		r.gen++ // the policy may have changed
		r.wake()
		r.mu.Unlock()
		if err := r.retake(ctx, c.Key); err != nil {
			return err
		}
	}
	return nil
}

// retake judges a held report again.
func (r *reign) retake(ctx context.Context, src string) error {
	r.mu.Lock()
	o := r.sources[src]
	r.mu.Unlock()
	if o == nil {
		return nil
	}
	r.taking.Lock()
	in, host := o.again, o.doc.Value.Host
	r.taking.Unlock()
	if in == nil {
		return nil
	}
	return r.take(ctx, host, in)
}

func (r *reign) watchMarks(ctx context.Context) error {
	for c, err := range Marks(r.k.o.Plane).Watch(ctx, "") {
		if err != nil {
			return err
		}
		if c.Ready {
			continue
		}
		key := keyOf(c.Key)
		r.mu.Lock()
		if c.Deleted {
			delete(r.marks, key)
		} else {
			r.marks[key] = c.Value
		}
		changed := r.redecide([]Key{key})
		r.gen++ // the policy may have changed
		r.wake()
		r.mu.Unlock()
		if changed {
			r.publish()
		}
	}
	return nil
}

// keyOf reads Key.String.
func keyOf(s string) Key {
	view, n, _ := strings.Cut(s, "/")
	return Key{View: view, Name: name.Name(n)}
}
