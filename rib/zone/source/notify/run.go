package notify

import (
	"context"
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/source"
)

// seen is the result of a look.
type seen struct {
	name    name.Name
	verdict verdict
	err     error
	at      time.Time
}

// run is one run of the source. Only its own goroutine touches it.
type run struct {
	*Source
	tell  func(context.Context, source.Report) error
	add   []name.Name
	drop  []name.Name
	told  time.Time // when the whole set, or a trouble, was told last; zero: it is to be told now
	since time.Time // of the first change that is not told

	due     []name.Name // known zones to be looked at
	scanned time.Time   // when due was last filled
	refused int         // known zones that the primary turns down, by then
	good    time.Time   // when the primary last had a zone of the set, or a new one
	misses  int         // looks in a row without an answer
	trouble string
}

// Run is source.Source's.
func (s *Source) Run(ctx context.Context, tell func(context.Context, source.Report) error) error {
	r := &run{Source: s, tell: tell}
	jobs, results := make(chan name.Name), make(chan seen, s.pace.flight)
	var workers sync.WaitGroup
	defer workers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	limit := rate.NewLimiter(rate.Limit(s.pace.rate), max(s.pace.flight, 1))
	for range s.pace.flight {
		workers.Go(func() { s.work(ctx, limit, jobs, results) })
	}
	tick := time.NewTicker(s.pace.gather)
	defer tick.Stop()
	for {
		n, out := r.next(time.Now()), jobs
		if n == "" {
			out = nil
		}
		select {
		case <-ctx.Done():
			return r.save()
		case out <- n:
			r.taken(n)
		case v := <-results:
			r.take(v)
		case <-s.wake:
		case <-tick.C:
		}
		if err := r.report(ctx, time.Now()); err != nil {
			return err
		}
	}
}

// work looks at zones.
func (s *Source) work(ctx context.Context, limit *rate.Limiter, jobs <-chan name.Name, results chan<- seen) {
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-jobs:
			if limit.Wait(ctx) != nil {
				return
			}
			s.mu.Lock()
			fresh := s.known[n] == nil
			s.mu.Unlock()
			v, err := s.look(ctx, n, fresh)
			select {
			case results <- seen{n, v, err, time.Now()}:
			case <-ctx.Done():
				return
			}
		}
	}
}

// next returns a zone that is to be looked at now; empty for none. New ones come first.
func (r *run) next(now time.Time) name.Name {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) > 0 {
		return r.queue[0]
	}
	if len(r.due) == 0 && now.Sub(r.scanned) >= r.pace.scan {
		r.scan(now)
	}
	if len(r.due) > 0 {
		return r.due[0]
	}
	return ""
}

// scan looks which zones are due. r.mu is held.
func (r *run) scan(now time.Time) {
	r.scanned, r.refused = now, 0
	for n, z := range r.known {
		if z.strikes >= r.pace.strikes {
			r.refused++
		}
		if !r.queued[n] && !now.Before(z.next) {
			r.due = append(r.due, n)
		}
	}
	for n, z := range r.hoped {
		if !r.queued[n] && !now.Before(z.next) {
			r.queue = append(r.queue, n)
			r.queued[n] = true
		}
	}
}

// taken notes that a zone is being looked at.
func (r *run) taken(n name.Name) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case len(r.queue) > 0 && r.queue[0] == n:
		if r.queue = r.queue[1:]; len(r.queue) == 0 {
			r.queue, r.lost = nil, 0
		}
	case len(r.due) > 0:
		r.due = r.due[1:]
	}
	r.queued[n] = true
}

// take judges the result of a look.
func (r *run) take(v seen) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.queued, v.name)
	if v.verdict == unknown {
		r.misses++
	} else {
		r.misses = 0
	}
	z, hoped := r.known[v.name], r.hoped[v.name]
	delete(r.hoped, v.name)
	switch {
	case z != nil:
		r.judge(v, z)
	case v.verdict == unknown && (hoped == nil || hoped.strikes < tries) && len(r.hoped) < r.pace.queue:
		if hoped == nil {
			hoped = &zone{}
		}
		hoped.strikes++
		hoped.next = v.at.Add(time.Duration(hoped.strikes) * r.pace.scan)
		r.hoped[v.name] = hoped
	case v.verdict == there:
		r.good = v.at
		r.known[v.name] = &zone{next: v.at.Add(r.pace.verify)}
		r.change(&r.add, v)
	default:
		r.forgetDenied(v.at)
		r.denied[v.name] = v.at.Add(r.pace.forget)
		r.log.Info("NOTIFY for an unknown zone is not followed", "source", r.o.Name, "zone", v.name, "why", v.err)
	}
}

// tries is how often a new zone is looked at again when the primary does not answer.
const tries = 5

// judge is take for a zone of the set.
func (r *run) judge(v seen, z *zone) {
	z.next = v.at.Add(r.pace.verify)
	switch v.verdict {
	case there:
		z.strikes, r.good = 0, v.at
	case absent:
		if z.strikes++; z.strikes == 1 {
			z.first = v.at
		}
		if z.strikes >= r.pace.strikes && v.at.Sub(z.first) >= r.pace.over && r.trusted(z) {
			delete(r.known, v.name)
			r.change(&r.drop, v)
			r.log.Info("zone is gone at the primary", "source", r.o.Name, "zone", v.name, "why", v.err)
			return
		}
		z.next = v.at.Add(max(r.pace.over/time.Duration(max(r.pace.strikes, 1)), 10*time.Millisecond) * time.Duration(min(1+z.strikes/10, 30)))
	default:
		z.next = v.at.Add(min(r.pace.verify, 10*r.pace.over))
	}
}

// trusted reports whether the primary's word that it lacks a zone is to be believed: it
// has had others since it first said so, or there are no others. One that turns
// everything down has another trouble, such as a changed access list.
func (r *run) trusted(z *zone) bool {
	if len(r.known) == 1 {
		return true
	}
	if r.good.After(z.first) {
		return true
	}
	for _, other := range r.known { // the word of another one is asked for now
		if other.strikes == 0 {
			other.next = time.Time{}
			break
		}
	}
	return false
}

// change notes a change that is to be told.
func (r *run) change(to *[]name.Name, v seen) {
	*to = append(*to, v.name)
	if r.since.IsZero() {
		r.since = v.at
	}
}

// forgetDenied keeps the list of those turned down bounded.
func (r *run) forgetDenied(now time.Time) {
	if len(r.denied) < r.pace.queue {
		return
	}
	maps.DeleteFunc(r.denied, func(_ name.Name, until time.Time) bool { return !now.Before(until) })
	if len(r.denied) >= r.pace.queue {
		clear(r.denied)
	}
}

// Close gives the state back; the source does not run any more.
func (s *Source) Close() error { return s.set.close() }
