package plane

import (
	"context"
	"maps"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"kaname.dev/kaname/fault"
)

// lookEvery is how often a follower looks for news without being woken.
const lookEvery = time.Second

// follow gives the messages of the stream that match the filter, from a sequence
// on, and then those that come, until give returns false or one of the contexts
// ends. caughtUp, if not nil, is called once, when the end was first reached.
//
// It is a loop of plain reads by sequence, woken by notes of the writers, and no
// consumer: nothing is kept in the server, so nothing is lost when a server dies.
func (s *store) follow(ctx, life context.Context, stream, filter string, from uint64, give func(record) bool, caughtUp func() bool) {
	wake, deaf := s.listen(stream, filter)
	defer deaf()
	f := follower{ctx: ctx, life: life, wake: wake}
	for ctx.Err() == nil && life.Err() == nil {
		recs, end, err := s.batch(ctx, stream, filter, from)
		if err != nil { // a server is away; look again soon
			if !pause(ctx, 3) {
				return
			}
			continue
		}
		for _, rec := range recs {
			if ctx.Err() != nil || !give(rec) {
				return
			}
			from = rec.seq + 1
		}
		if !end {
			continue
		}
		if caughtUp != nil {
			if !caughtUp() {
				return
			}
			caughtUp = nil
		}
		if !f.wait(len(recs) > 0) {
			return
		}
	}
}

// listen returns a channel on which the notes of writers are heard that match the
// filter, until deaf is called. Without it, a follow looks by the clock.
func (s *store) listen(stream, filter string) (wake chan struct{}, deaf func()) {
	wake = make(chan struct{}, 1)
	sub, err := s.l.nc.Subscribe(subjectNote+stream, func(m *nats.Msg) {
		if subjectMatches(filter, string(m.Data)) {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	})
	if err != nil {
		return wake, func() {}
	}
	return wake, func() { _ = sub.Unsubscribe() } // fails only when the connection is closed
}

// follower is how a follow waits at the end of its stream.
type follower struct {
	ctx, life context.Context //nolint:containedctx // those of one call of follow
	wake      chan struct{}
	woken     bool // by a note, since when
	idle      int  // looks in a row found nothing
}

// wait waits until there may be more; false means that it is over. A replica may hear
// of a write before it has it: then it looks again soon.
func (f *follower) wait(found bool) bool {
	if f.idle++; found || !f.woken {
		f.idle = 0
	}
	if 0 < f.idle && f.idle < 5 {
		return pause(f.ctx, f.idle-1)
	}
	var more bool
	f.woken, more = waitWake(f.ctx, f.life, f.wake)
	return more
}

// waitWake waits for a note or for the time to look anyway; more is false when one
// of the contexts has ended.
func waitWake(ctx, life context.Context, wake <-chan struct{}) (woken, more bool) {
	t := time.NewTimer(lookEvery)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false, false
	case <-life.Done():
		return false, false
	case <-wake:
		return true, true
	case <-t.C:
		return false, true
	}
}

// subjectMatches reports whether a subject matches a filter whose only
// wildcard is its last token.
func subjectMatches(filter, subject string) bool {
	return strings.HasPrefix(subject, strings.TrimRight(filter, "*>"))
}

// end returns the sequence that the next message of the stream will have.
func (s *store) end(ctx context.Context, stream string) (uint64, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	for n := 0; ; n++ {
		st, err := s.js.Stream(ctx, stream)
		if err == nil {
			return st.CachedInfo().State.LastSeq + 1, nil
		}
		if !retryable(err) || !pause(ctx, n) {
			return 0, fault.Unavailable("the store does not answer").At(s.o.Host).Because(err)
		}
	}
}

// freshFor is how long a replica may take to have a write: far longer than it
// does, far shorter than memory matters.
const freshFor = time.Minute

// remember keeps a document that this process has written: the replica that is
// asked next may not have it yet.
func (s *store) remember(rec record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.fresh[rec.subject]; !ok || old.seq < rec.seq {
		s.fresh[rec.subject] = rec
	}
	if time.Since(s.pruned) > freshFor {
		s.pruned = time.Now()
		maps.DeleteFunc(s.fresh, func(_ string, rec record) bool { return time.Since(rec.time) > freshFor })
	}
}

// freshest returns what this process has written lately under a subject prefix.
func (s *store) freshest(prefix string) map[string]record {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]record{}
	for subject, rec := range s.fresh {
		if strings.HasPrefix(subject, prefix) {
			out[subject] = rec
		}
	}
	return out
}
