package keeper

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/plan"
	"kaname.dev/kaname/rib/zone/server"
)

// generation names a state of the desired set: the keeper's epoch and a number.
func (r *reign) generation() string {
	return fmt.Sprintf("%d.%d", r.lease.Epoch(), r.gen)
}

// numberOf reads a generation of this reign.
func (r *reign) numberOf(generation string) (uint64, bool) {
	epoch, number, ok := strings.Cut(generation, ".")
	n, err := strconv.ParseUint(number, 10, 64)
	return n, ok && err == nil && epoch == strconv.FormatUint(uint64(r.lease.Epoch()), 10)
}

// feed answers a server with what it should serve, as soon as that differs from what
// it has been told.
func (k *Keeper) feed(ctx context.Context, _ string, in exchange.Ask) (exchange.Feed, error) {
	r, err := k.current()
	if err != nil {
		return exchange.Feed{}, err
	}
	if in.Server == "" || in.Kind == "" {
		return exchange.Feed{}, fault.Invalid("the question names no server, or no kind of server")
	}
	deadline := time.NewTimer(exchange.Wait)
	defer deadline.Stop()
	for {
		r.mu.Lock()
		f, news, over := r.feedNow(&in), r.news, r.over
		r.mu.Unlock()
		if over {
			return f, fault.Unavailable("this core keeps the zones no longer").Try("ask again")
		}
		if f.Generation != in.Have {
			return f, nil
		}
		select {
		case <-news:
		case <-deadline.C:
			return f, nil
		case <-ctx.Done():
			return f, ctx.Err()
		}
	}
}

// feedNow is the answer at this moment. r.mu is held.
func (r *reign) feedNow(in *exchange.Ask) exchange.Feed {
	f := exchange.Feed{Generation: r.generation(), Policy: r.policy(in)}
	tells := teller{r: r, in: in, f: &f, ids: map[*server.Template]string{}, known: map[string]bool{}}
	if n, ok := r.numberOf(in.Have); ok && n >= r.forgotten && n <= r.gen {
		from := sort.Search(len(r.numbers), func(i int) bool { return r.numbers[i] > n })
		told := map[Key]bool{}
		for _, k := range r.changes[from:] {
			if !told[k] {
				told[k] = true
				tells.zone(k)
			}
		}
	} else {
		f.Full = true
		for _, k := range r.allKeys() {
			tells.zone(k)
		}
	}
	slices.SortFunc(f.Zones, func(a, b plan.Want) int { return cmp.Compare(a.Name, b.Name) })
	slices.Sort(f.Gone)
	f.Zones = slices.CompactFunc(f.Zones, func(a, b plan.Want) bool { return a.Name == b.Name }) // of several sources
	f.Gone = slices.Compact(f.Gone)
	return f
}

// teller writes zones into a feed.
type teller struct {
	r     *reign
	in    *exchange.Ask
	f     *exchange.Feed
	ids   map[*server.Template]string
	known map[string]bool // IDs of templates that are in the feed
}

// zone tells of one zone: how it is to be served, or that it is gone.
func (t *teller) zone(k Key) {
	if k.View != t.in.View {
		return
	}
	w := t.r.desired[k]
	if w == nil || len(t.in.Groups) > 0 && !slices.Contains(t.in.Groups, w.group) {
		t.f.Gone = append(t.f.Gone, k.Name)
		return
	}
	id := t.ids[w.template]
	if id == "" {
		tmpl := t.own(w.template)
		id = tmpl.ID(t.in.Kind)
		t.ids[w.template] = id
		if !t.known[id] {
			t.known[id] = true
			t.f.Templates = append(t.f.Templates, tmpl)
		}
	}
	t.f.Zones = append(t.f.Zones, plan.Want{Name: k.Name, Template: id, Adopt: w.adopt, Pin: w.pin, Reset: w.reset, Rescue: w.rescue})
}

// own returns a template for the asking server: its host may take transfers.
func (t *teller) own(tmpl *server.Template) server.Template {
	out := *tmpl
	out.Transfer = append(slices.Clone(tmpl.Transfer), "127.0.0.0/8", "::1")
	if self := t.in.Self; self.IsValid() && !self.IsLoopback() {
		out.Transfer = append(out.Transfer, self.String())
	}
	return out
}

// policy is what a server is told besides the zones. r.mu is held.
func (r *reign) policy(in *exchange.Ask) exchange.Policy {
	s := r.k.o.Settings()
	p := exchange.Policy{Share: s.Guard.Share, Least: s.Guard.Least, Window: s.Guard.Window, Quarantine: s.Quarantine}
	for k, m := range r.marks {
		if m.Forced && k.View == in.View {
			p.Forced = append(p.Forced, k.Name)
		}
	}
	for _, w := range r.words {
		if w.Accepted != "" {
			p.Accepted = append(p.Accepted, w.Accepted)
		}
	}
	slices.Sort(p.Forced)
	slices.Sort(p.Accepted)
	return p
}
