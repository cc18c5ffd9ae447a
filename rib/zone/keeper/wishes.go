package keeper

import (
	"context"
	"maps"
	"strings"
	"sync"
	"time"

	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/source"
)

// planeSource is the source of the zones that people add with "kaname zone add", in
// each view one: "plane", or "plane-" and the view's name.
const planeSource = "plane"

// kindPlane is the kind of these sources.
const kindPlane = "plane"

// gather is how long wishes are collected before they are taken together.
const gather = 20 * time.Millisecond

// watchWishes makes a source of the wishes.
func (r *reign) watchWishes(ctx context.Context) error {
	p := &pending{changed: make(chan struct{}, 1), all: map[Key]*Wish{}}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	wg.Go(func() { cancel(r.takeWishes(ctx, p)) })
	for c, err := range Wishes(r.k.o.Plane).Watch(ctx, "") {
		if err != nil {
			return err
		}
		switch {
		case c.Ready:
			p.ready()
		case c.Deleted:
			p.put(keyOf(c.Key), nil)
		default:
			p.put(keyOf(c.Key), &c.Value)
		}
	}
	return context.Cause(ctx)
}

// pending holds wishes until they are taken.
type pending struct {
	changed chan struct{}

	mu    sync.Mutex // guards the fields below
	all   map[Key]*Wish
	delta map[Key]*Wish // nil until all are known; then what changed, nil for a wish that is gone
}

func (p *pending) ready() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delta = map[Key]*Wish{}
	p.signal()
}

func (p *pending) put(k Key, w *Wish) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w == nil {
		delete(p.all, k)
	} else {
		p.all[k] = w
	}
	if p.delta != nil {
		p.delta[k] = w
		p.signal()
	}
}

func (p *pending) signal() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// take returns what is to be reported: all at first and after a failure, then changes.
func (p *pending) take(full bool) map[Key]*Wish {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.delta
	if full {
		out = maps.Clone(p.all)
	}
	p.delta = map[Key]*Wish{}
	return out
}

func (r *reign) takeWishes(ctx context.Context, p *pending) error {
	for full := true; ; full = false {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.changed:
		}
		if !full {
			select {
			case <-time.After(gather):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		for view, rep := range r.wishReports(p.take(full), full) {
			if err := r.take(ctx, r.k.o.Plane.Host(), &exchange.Reported{Source: planeName(view), Kind: kindPlane, View: view, Report: rep}); err != nil {
				return err
			}
		}
	}
}

// OfPeople reports whether a source is one of those that hold what people added.
func OfPeople(source string) bool {
	return source == planeSource || strings.HasPrefix(source, planeSource+"-")
}

func planeName(view string) string {
	if view == "" {
		return planeSource
	}
	return planeSource + "-" + view
}

// wishReports returns a report for each view.
func (r *reign) wishReports(wishes map[Key]*Wish, full bool) map[string]source.Report {
	out := map[string]source.Report{}
	lists := map[string][]source.Member{}
	gone := map[string][]name.Name{}
	for k, w := range wishes {
		if w == nil {
			gone[k.View] = append(gone[k.View], k.Name)
			continue
		}
		lists[k.View] = append(lists[k.View], source.Member{Name: k.Name, Group: w.Group, Primaries: w.Primaries})
	}
	if full {
		r.mu.Lock()
		for _, o := range r.sources {
			if o.doc.Value.Kind == kindPlane && lists[o.doc.Value.View] == nil {
				lists[o.doc.Value.View] = []source.Member{} // all of its wishes are gone
			}
		}
		r.mu.Unlock()
		for view, list := range lists {
			out[view] = source.Report{Full: &source.List{Members: list}}
		}
		return out
	}
	for view := range lists {
		out[view] = source.Report{Delta: &source.Delta{Add: lists[view], Remove: gone[view]}}
	}
	for view := range gone {
		out[view] = source.Report{Delta: &source.Delta{Add: lists[view], Remove: gone[view]}}
	}
	return out
}
