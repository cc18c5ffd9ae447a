package zone

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/watch"
)

const (
	lookEvery = 10 * time.Minute       // from one look at all delegations to the next
	lookAgain = 15 * time.Second       // when this core is not the keeper, or there is none yet
	lookPace  = 200 * time.Millisecond // between zones: parents are other people's servers
	looksOpen = 8                      // zones looked at side by side: dead servers take seconds
	lookWait  = 30 * time.Second       // for one zone
	planWait  = 5 * time.Second        // for all zones of a plan, as a person waits for it
)

// meterDelegations registers the gauges of what is wrong with delegations.
func (r *service) meterDelegations(reg prometheus.Registerer) error {
	if r.config.Resolver == "" || reg == nil {
		return nil // nothing is known, which is not 0
	}
	for what, is := range map[string]func(*watch.Report) bool{
		"lame":    func(d *watch.Report) bool { return len(d.Lame) > 0 },
		"absent":  func(d *watch.Report) bool { return len(d.Absent) > 0 },
		"strange": func(d *watch.Report) bool { return len(d.Strange) > 0 },
	} {
		err := reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "kaname_zone_delegation_bad", ConstLabels: prometheus.Labels{"what": what},
			Help: "Zones whose delegation has lame servers, lacks some of ours, or has strange ones; 0 on cores other than the keeper.",
		}, func() float64 {
			r.mu.Lock()
			defer r.mu.Unlock()
			n := 0
			for _, d := range r.astray {
				if is(&d) {
					n++
				}
			}
			return float64(n)
		}))
		if err != nil {
			return err
		}
	}
	return nil
}

// world is where delegations are looked up.
func (r *service) world() watch.World {
	ours, _ := names(r.config.Names) // Check has read them
	return watch.World{Resolver: addr(r.config.Resolver), At: r.known, Names: ours}
}

// delegations looks at what parents say of the desired zones, on the core that is the
// keeper, until ctx ends.
func (r *service) delegations(ctx context.Context) error {
	if r.config.Resolver == "" {
		return nil
	}
	for {
		pause := lookEvery
		if !r.lookAround(ctx) {
			pause = lookAgain
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// lookAround looks at all delegations once. It reports whether this core is the keeper,
// whose matter it is; one that is not forgets what it knew.
func (r *service) lookAround(ctx context.Context) bool {
	zones, err := r.desiredHere(ctx)
	r.mu.Lock()
	for n := range r.astray {
		if !zones[n] {
			delete(r.astray, n)
		}
	}
	r.mu.Unlock()
	if err != nil || zones == nil {
		return false
	}
	w, work := r.world(), make(chan name.Name)
	var unknown struct {
		sync.Mutex
		zones int
		why   error // of the first
	}
	var lookers sync.WaitGroup
	for range looksOpen {
		lookers.Go(func() {
			for n := range work {
				if err := r.lookAt(ctx, w, n); err != nil {
					unknown.Lock()
					if unknown.zones++; unknown.why == nil {
						unknown.why = err
					}
					unknown.Unlock()
				}
			}
		})
	}
	hand(ctx, zones, work)
	lookers.Wait()
	if unknown.zones > 0 && ctx.Err() == nil {
		r.node.Log.Warn("delegations cannot be looked up; what was known of them stays", "zones", unknown.zones, "why", unknown.why)
	}
	return true
}

// hand gives zones out, at the pace, and closes work.
func hand(ctx context.Context, zones map[name.Name]bool, work chan<- name.Name) {
	defer close(work)
	tick := time.NewTicker(lookPace)
	defer tick.Stop()
	for n := range zones {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case <-ctx.Done():
			return
		case work <- n:
		}
	}
}

// desiredHere returns the names of all desired zones if this core is the keeper,
// otherwise nil. What a name's delegation is does not depend on views.
func (r *service) desiredHere(ctx context.Context) (map[name.Name]bool, error) {
	v, err := r.view(ctx, exchange.Query{}) // without zones, for most cores are not the keeper
	if err != nil || v.Keeper != r.node.Host {
		return nil, err
	}
	if v, err = r.view(ctx, exchange.Query{States: true}); err != nil {
		return nil, err
	}
	zones := map[name.Name]bool{}
	for i := range v.States {
		if v.States[i].State == "desired" {
			zones[v.States[i].Name] = true
		}
	}
	return zones, nil
}

// lookAt looks at one delegation. What cannot be known now changes nothing.
func (r *service) lookAt(ctx context.Context, w watch.World, n name.Name) error {
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	d, err := watch.Delegation(ctx, w, n)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if astray(&d) == "" {
		delete(r.astray, n)
	} else {
		r.astray[n] = d
	}
	return nil
}

// delegationNote says what is wrong with a zone's delegation, for the keeper.
func (r *service) delegationNote(n name.Name) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, ok := r.astray[n]
	if !ok {
		return ""
	}
	return astray(&d)
}

// astray says in words what is wrong with a delegation, nothing when it is right.
func astray(d *watch.Report) string {
	var bad []string
	for i := range d.Lame {
		bad = append(bad, "lame "+d.Lame[i].Server.Bare()+": "+d.Lame[i].Why)
	}
	switch {
	case len(d.Absent) == 0:
	case !d.Delegated:
		bad = append(bad, "it is not delegated")
	default:
		bad = append(bad, "absent "+bare(d.Absent))
	}
	if len(d.Strange) > 0 {
		bad = append(bad, "strange "+bare(d.Strange))
	}
	if len(bad) == 0 {
		return ""
	}
	return "delegation by " + parentOf(d) + ": " + strings.Join(bad, "; ")
}

func bare(list []name.Name) string {
	var out []string
	for _, n := range list {
		out = append(out, n.Bare())
	}
	return strings.Join(out, ", ")
}

func parentOf(d *watch.Report) string {
	if d.Parent == name.Root {
		return "the root"
	}
	return d.Parent.Bare()
}

// stillHere says in words that a parent still sends people to our servers, nothing when
// it does not.
func stillHere(d *watch.Report, ours []name.Name) string {
	if !d.Delegated && !d.Signed {
		return ""
	}
	toUs := func(n name.Name) bool { return slices.Contains(ours, n) }
	if d.Delegated && len(ours) > 0 && !slices.ContainsFunc(d.Servers, toUs) {
		return ""
	}
	text := parentOf(d) + " still has a DS record of it and no NS records"
	if d.Delegated {
		text = parentOf(d) + " still delegates it to " + bare(d.Servers)
		if d.Signed {
			text += " and has a DS record of it: it will be bogus to resolvers that validate"
		}
	}
	return text + "; have the parent's records removed first"
}

// warnDelegated returns a warning for each zone to be removed whose parent still sends
// people here, or of which that cannot be known.
func (r *service) warnDelegated(ctx context.Context, zones []name.Name) []string {
	if r.config.Resolver == "" {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, planWait)
	defer cancel()
	var out []string
	w, unknown := r.world(), 0
	var why error
	for _, n := range zones {
		d, err := watch.Delegation(within, w, n)
		if err != nil {
			if unknown++; why == nil {
				why = err
			}
			continue
		}
		if text := stillHere(&d, w.Names); text != "" {
			out = append(out, "zone "+n.Unicode()+": "+text)
		}
	}
	if unknown > 0 {
		out = append(out, fmt.Sprintf("it is not known whether the parents still delegate the zones, of %d: %v", unknown, why))
	}
	return out
}
