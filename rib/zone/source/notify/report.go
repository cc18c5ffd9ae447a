package notify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/source"
)

// report tells what is to be told now.
func (r *run) report(ctx context.Context, now time.Time) error {
	r.troubled(ctx, now)
	if !r.since.IsZero() && now.Sub(r.since) < r.pace.gather {
		return nil
	}
	if !r.since.IsZero() {
		d := source.Delta{Add: members(r.add), Remove: r.drop}
		slices.Sort(d.Remove)
		if err := r.save(); err != nil {
			return err
		}
		switch {
		case r.trouble != "" || r.told.IsZero(): // the whole set is told later
		case r.tell(ctx, source.Report{Delta: &d}) != nil:
			r.later(now)
		}
	}
	if r.trouble == "" && now.Sub(r.told) >= r.pace.full {
		r.mu.Lock()
		names := slices.Collect(maps.Keys(r.known))
		r.mu.Unlock()
		r.told = now
		if r.tell(ctx, source.Report{Full: &source.List{Members: members(names)}}) != nil {
			r.later(now)
		}
	}
	return nil
}

// later has the whole set told in a second.
func (r *run) later(now time.Time) { r.told = now.Add(time.Second - r.pace.full) }

// save makes the changes durable before they are told. What cannot be is taken back, for
// what was told must be known after a restart.
func (r *run) save() error {
	add, drop := r.add, r.drop
	r.add, r.drop, r.since = nil, nil, time.Time{}
	if len(add)+len(drop) == 0 {
		return nil
	}
	err := r.set.change(add, drop)
	if err == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range add {
		delete(r.known, n)
	}
	for _, n := range drop {
		r.known[n] = &zone{}
	}
	return fmt.Errorf("the set of zones cannot be written to %s: %w", r.o.Dir, err)
}

// downAfter is how many looks in a row without an answer are the primary's silence.
const downAfter = 5

// troubled finds out whether the set can be seen, and tells when it cannot.
func (r *run) troubled(ctx context.Context, now time.Time) {
	why := ""
	r.mu.Lock()
	switch all := len(r.known); {
	case r.misses >= downAfter:
		why = fmt.Sprintf("the primary %s does not answer; is it running, and do firewalls let it answer this host", r.o.Peer.Address)
	case r.refused > 1 && r.refused >= all:
		why = fmt.Sprintf("the primary %s turns down each of the %d zones that it had; allow this host there, or, when they are all gone, remove the source", r.o.Peer.Address, all)
	}
	r.mu.Unlock()
	if why == r.trouble && (why == "" || now.Sub(r.told) < r.pace.full) {
		return
	}
	if r.trouble, r.told = why, now; why == "" {
		r.told = time.Time{}
		return
	}
	_ = r.tell(ctx, source.Report{Trouble: why}) // it is told again each minute
}

func members(names []name.Name) []source.Member {
	all := make([]source.Member, len(names))
	for i, n := range names {
		all[i].Name = n
	}
	slices.SortFunc(all, func(a, b source.Member) int {
		switch {
		case a.Name < b.Name:
			return -1
		case a.Name > b.Name:
			return 1
		default:
			return 0
		}
	})
	return all
}
