package site

import (
	"context"
	"maps"
	"slices"
	"time"

	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/plan"
	"kaname.dev/kaname/rib/zone/server"
	"kaname.dev/kaname/rib/zone/watch"
)

// work does passes until ctx ends: over everything at the start, each minute and when
// asked; over what the keeper has just said, at once.
func (s *Site) work(ctx context.Context) {
	full, due := time.NewTimer(0), time.Now()
	kick := time.NewTicker(probeAgain)
	defer full.Stop()
	defer kick.Stop()
	again := func(in time.Duration) {
		due = time.Now().Add(in)
		full.Reset(in)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case l := <-s.looks:
			p, err := s.passAll(ctx, l)
			if l.done != nil {
				l.done <- lookResult{p, err}
			}
			again(s.next(err))
		case <-full.C:
			_, err := s.passAll(ctx, look{})
			again(s.next(err))
		case <-s.dirty:
			if in := s.next(s.passTouched(ctx)); time.Now().Add(in).Before(due) {
				again(in)
			}
		case <-kick.C:
			if s.silent() {
				_, err := s.passAll(ctx, look{}) // what is wrong with the server as a whole
				again(s.next(err))
			}
			s.kick(ctx)
		}
	}
}

// silent reports whether the server has stopped to answer without being in trouble yet.
func (s *Site) silent() bool {
	if s.inTrouble() {
		return false
	}
	for z := range s.watcher.Deviations() {
		if z.State == watch.Silent {
			return true
		}
	}
	return false
}

// next returns after what time to look at everything again.
func (s *Site) next(err error) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.heldOps) > 0 && s.held == nil:
		return time.Second // a whole plan is what an operator is to judge
	case err != nil, s.trouble != "":
		return 2 * time.Second
	case s.unsettled() > 0:
		return 15 * time.Second // what did not succeed
	default:
		return lookEvery
	}
}

// unsettled returns how many zones could not be done and may be, later. s.mu is held.
func (s *Site) unsettled() int {
	n := 0
	for _, note := range s.notes {
		if !note.settled {
			n++
		}
	}
	return n
}

// passAll lists what the server has and does the whole difference.
func (s *Site) passAll(ctx context.Context, l look) (plan.Plan, error) {
	if err := s.list(ctx); err != nil {
		s.setTrouble(err)
		return plan.Plan{}, err
	}
	s.mu.Lock()
	p := plan.Make(maps.Values(s.desired.Zones), maps.Values(s.have), s.policy(len(s.have)))
	d := s.desired.Generation != ""
	if !l.dry {
		clear(s.touched)
		clear(s.conflicts)
		clear(s.heldOps)
		s.judge(&p)
		s.held = held(&p, s.held)
		s.foreign, s.converged = p.Foreign, len(p.Held) == 0 && !slices.ContainsFunc(p.Ops, func(op plan.Op) bool { return !s.notes[op.Name].settled })
	}
	s.mu.Unlock()
	if l.dry || !d || s.o.Manual && !l.force {
		return p, nil
	}
	return p, s.do(ctx, p.Ops)
}

// passTouched does what the keeper has just said, against what the server is known to
// have.
func (s *Site) passTouched(ctx context.Context) error {
	s.mu.Lock()
	if s.looked.IsZero() || s.o.Manual || s.trouble != "" {
		s.mu.Unlock()
		return nil // the pass over everything comes soon
	}
	wants := make([]plan.Want, 0, len(s.touched))
	have := make([]server.Zone, 0, len(s.touched))
	for n := range s.touched {
		if w, ok := s.desired.Zones[n]; ok {
			wants = append(wants, w)
		}
		if z, ok := s.have[n]; ok {
			have = append(have, z)
		}
	}
	p := plan.Make(slices.Values(wants), slices.Values(have), s.policy(len(s.have)))
	for n := range s.touched {
		delete(s.conflicts, n)
		delete(s.heldOps, n)
	}
	clear(s.touched)
	s.judge(&p)
	s.mu.Unlock()
	return s.do(ctx, p.Ops)
}

// policy is the guard's, for one pass. s.mu is held.
func (s *Site) policy(total int) plan.Policy {
	p := s.desired.Policy
	return plan.Policy{
		Share: p.Share, Least: p.Least, Total: total, Accepted: p.Accepted, Resets: s.desired.Resets,
		Let: func(n name.Name) bool { return s.desired.Gone[n] },
	}
}

// judge notes what a plan does not do. s.mu is held.
func (s *Site) judge(p *plan.Plan) {
	for _, n := range p.Conflicts {
		s.conflicts[n] = true
	}
	for _, op := range p.Held {
		s.heldOps[op.Name] = true
	}
	s.changed = true
}

// held is what people see of the removals that a whole plan holds.
func held(p *plan.Plan, was *exchange.Held) *exchange.Held {
	if len(p.Held) == 0 {
		return nil
	}
	h := &exchange.Held{Hash: p.Hash, Why: p.Why, Count: len(p.Held), Since: time.Now()}
	if was != nil && was.Hash == p.Hash {
		h.Since = was.Since
	}
	for _, op := range p.Held[:min(len(p.Held), 10)] {
		h.Names = append(h.Names, op.Name)
	}
	return h
}

// list reads what the server has.
func (s *Site) list(ctx context.Context) error {
	info, err := s.o.Driver.Probe(ctx)
	if err != nil {
		return err
	}
	zones, err := s.o.Driver.List(ctx)
	if err != nil {
		return err
	}
	have := make(map[name.Name]server.Zone, len(zones))
	for _, z := range zones {
		have[z.Name] = z
	}
	s.mu.Lock()
	s.have, s.info, s.trouble, s.looked, s.changed = have, info, "", time.Now(), true
	s.mu.Unlock()
	s.watch()
	return nil
}

// setTrouble notes that the server as a whole cannot be worked.
func (s *Site) setTrouble(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble != err.Error() {
		s.o.Log.Warn("name server cannot be worked", "why", err)
	}
	s.trouble, s.converged, s.changed = err.Error(), false, true
}

// do does operations in their order, additions in batches.
func (s *Site) do(ctx context.Context, ops []plan.Op) error {
	byKind := map[plan.OpKind][]plan.Op{}
	for _, op := range ops {
		byKind[op.Kind] = append(byKind[op.Kind], op)
	}
	if len(ops) > 0 {
		s.o.Log.Info("name server is brought up to what is desired",
			"add", len(byKind[plan.Add]), "change", len(byKind[plan.Change]), "reset", len(byKind[plan.Reset]), "remove", len(byKind[plan.Remove]))
	}
	if err := s.add(ctx, append(byKind[plan.Add], byKind[plan.Change]...)); err != nil {
		return err
	}
	if err := s.reset(ctx, byKind[plan.Reset]); err != nil {
		return err
	}
	return s.remove(ctx, byKind[plan.Remove])
}
