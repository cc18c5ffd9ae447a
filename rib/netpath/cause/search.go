package cause

import (
	"cmp"
	"slices"
	"strings"

	"kaname.dev/kaname/rib/netpath/trace"
)

// near says how much a finding has to do with where the packet ended: more is nearer.
func (x *explainer) near(f *trace.Finding) int {
	n := 0
	hop, _ := last(&x.was)
	if hop != nil && f.Host == hop.Host {
		n += 4
		if mentions(f, hop.Name) || mentions(f, hop.From) || mentions(f, hop.To) {
			n += 8
		}
	}
	for _, s := range []string{x.was.Source.Addr.String(), x.was.Target.Addr.String(), x.was.Source.Port, x.was.Target.Port, x.was.Target.Float.String(), x.was.Source.Float.String()} {
		if s != "" && s != "invalid IP" && mentions(f, s) {
			n += 2
		}
	}
	for _, h := range x.was.Forward.Hops {
		if h.Host == f.Host && mentions(f, h.Name) {
			n++
			break
		}
	}
	return n
}

// mentions reports whether a finding is about something of that name.
func mentions(f *trace.Finding, name string) bool {
	if name == "" {
		return false
	}
	if strings.Contains(f.Where, name) {
		return true
	}
	for _, v := range f.Params {
		if v == name {
			return true
		}
	}
	return false
}

// failed looks for what it takes to deliver the packet.
func (x *explainer) failed(t *trace.Trace) {
	defer func() { t.Latent = x.rest(t.Causes) }()
	all := make([]*trace.Finding, 0, len(x.denials)+len(x.found))
	for i := range x.denials {
		all = append(all, &x.denials[i])
	}
	for i := range x.found {
		if f := &x.found[i]; len(f.Repair.Hosts) > 0 || f.Repair.Admit != "" {
			all = append(all, f)
		}
	}
	if t.Causes = x.singles(all); len(t.Causes) > 0 {
		return
	}
	if t.Causes = x.chain(all); len(t.Causes) > 0 {
		return
	}
	if t.Causes = x.pairs(all); len(t.Causes) > 0 {
		return
	}
	// What Neutron itself refuses needs no mending of a host.
	if t.Causes = append(slices.Clone(x.plain), x.denials...); len(t.Causes) == 0 {
		t.Causes = x.unproved()
	}
	for i := range t.Causes {
		x.at(&t.Causes[i], &x.was)
	}
	if len(t.Causes) == 0 {
		t.Causes = []trace.Finding{x.cannotTell()}
	}
}

// at writes where in a trace a finding stopped the packet.
func (x *explainer) at(f *trace.Finding, t *trace.Trace) {
	if hop, back := last(t); hop != nil {
		f.Hop, f.Back = hop.N, back
	}
}

// singles lists the findings each of which alone delivers the packet when it is repaired.
func (x *explainer) singles(all []*trace.Finding) []trace.Finding {
	var list []trace.Finding
	for _, f := range all {
		t, ok := x.try(f)
		if !ok {
			break
		}
		if t.Verdict == trace.Delivered {
			c := *f
			x.at(&c, &x.was)
			list = append(list, c)
		}
	}
	return list
}

// chain follows the packet from fault to fault: the repair that brings it furthest is kept,
// and what stops it there is looked for again.
func (x *explainer) chain(all []*trace.Finding) []trace.Finding {
	var kept []*trace.Finding
	var causes []trace.Finding
	now := x.was
	for len(kept) < mostTogether {
		var best *trace.Finding
		var reached trace.Trace
		for _, f := range all {
			if slices.Contains(kept, f) {
				continue
			}
			t, ok := x.try(append(slices.Clone(kept), f)...)
			if !ok {
				return nil
			}
			if (best == nil && further(&t, &now)) || best != nil && further(&t, &reached) {
				best, reached = f, t
			}
		}
		if best == nil {
			return nil
		}
		c := *best
		c.Together = true
		x.at(&c, &now)
		kept, causes, now = append(kept, best), append(causes, c), reached
		if now.Verdict == trace.Delivered {
			return x.needed(kept, causes)
		}
	}
	return nil
}

// further reports whether a packet came further in one trace than in another.
func further(a, b *trace.Trace) bool { return reach(a) > reach(b) }

func reach(t *trace.Trace) int {
	n := len(t.Forward.Hops) + len(t.Back.Hops)
	if t.Forward.Verdict == trace.Delivered {
		n += 1000
	}
	if t.Verdict == trace.Delivered {
		n += 1000
	}
	if hop, _ := last(t); hop != nil && hop.Facts["why"] == "nobody-answers" {
		n -= 5 // a request that is lost at its far end is no nearer than a packet that is
	}
	return n
}

// needed leaves out what the packet does without.
func (x *explainer) needed(kept []*trace.Finding, causes []trace.Finding) []trace.Finding {
	for i := len(kept) - 2; i >= 0 && len(kept) > 1; i-- {
		without := slices.Delete(slices.Clone(kept), i, i+1)
		if t, ok := x.try(without...); ok && t.Verdict == trace.Delivered {
			kept, causes = without, slices.Delete(causes, i, i+1)
		}
	}
	if len(causes) == 1 {
		causes[0].Together = false
	}
	return causes
}

// pairs tries two at once: those whose way the packet crosses.
func (x *explainer) pairs(all []*trace.Finding) []trace.Finding {
	all = all[:min(len(all), mostPairs)]
	for i := range all {
		for j := i + 1; j < len(all); j++ {
			t, ok := x.try(all[i], all[j])
			if !ok {
				return nil
			}
			if t.Verdict != trace.Delivered {
				continue
			}
			two := []trace.Finding{*all[i], *all[j]}
			for k := range two {
				two[k].Together = true
				x.at(&two[k], &x.was)
			}
			return two
		}
	}
	return nil
}

// unproved lists the findings at the very place where the packet ended for which there is no
// repair in the model: all flows of a bridge lost, say. They are likely, not proved.
func (x *explainer) unproved() []trace.Finding {
	hop, _ := last(&x.was)
	if hop == nil {
		return nil
	}
	var list []trace.Finding
	for _, f := range x.found {
		if len(f.Repair.Hosts) == 0 && f.Repair.Admit == "" && f.Host == hop.Host && (mentions(&f, hop.Name) || mentions(&f, hop.From) || mentions(&f, hop.To)) {
			list = append(list, f)
		}
	}
	return list
}

// cannotTell is the honest answer where no known difference explains the end.
func (x *explainer) cannotTell() trace.Finding {
	f := trace.Finding{ID: "cannot-tell", Params: map[string]string{}}
	hop, back := last(&x.was)
	if hop == nil {
		return f
	}
	f.Host, f.Where, f.Hop, f.Back, f.Proof = hop.Host, hop.Name, hop.N, back, hop.Proof
	f.Params["why"], f.Params["hop"] = hop.Facts["why"], hop.Name
	leg := x.was.Forward.Hops
	if back {
		leg = x.was.Back.Hops
	}
	if i := hop.N - 2; i >= 0 && i < len(leg) {
		f.Params["good"], f.Params["good_host"] = leg[i].Name, leg[i].Host
	}
	return f
}

// delivered says what is not as it should be although the packet arrives: what makes it go
// another way than it should, and filters that let it pass though no rule admits it.
func (x *explainer) delivered(t *trace.Trace) {
	defer func() { t.Latent = x.rest(t.Cautions) }()
	way := route(&x.was)
	for i := range x.found {
		f := &x.found[i]
		if len(f.Repair.Hosts) == 0 {
			continue
		}
		r, ok := x.try(f)
		if !ok {
			break
		}
		other := route(&r)
		stopped := r.Verdict == trace.Dropped && len(x.denials) > 0
		if r.Verdict != trace.Delivered && !stopped || r.Verdict == trace.Delivered && slices.Equal(way, other) {
			continue
		}
		c := *f
		c.Hop = differ(way, other) + 1
		if n := len(x.was.Forward.Hops); c.Hop > n {
			c.Hop, c.Back = c.Hop-n, true
		}
		t.Cautions = append(t.Cautions, c)
	}
	if len(x.denials) == 0 || x.was.Forward.Verdict != trace.Delivered {
		return
	}
	for _, d := range x.denials {
		d.ID, d.Fix, d.Repair = "sg-open", nil, trace.Repair{}
		t.Cautions = append(t.Cautions, d)
	}
	slices.SortStableFunc(t.Cautions, func(a, b trace.Finding) int { return cmp.Compare(b2i(b.ID == "sg-open"), b2i(a.ID == "sg-open")) })
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// route is the way of a packet and its answer, for comparing: the places, and the addresses
// that it has there.
func route(t *trace.Trace) []string {
	var list []string
	for _, leg := range []*trace.Leg{&t.Forward, &t.Back} {
		for i := range leg.Hops {
			h := &leg.Hops[i]
			list = append(list, h.Place+" "+h.Host+" "+h.Name+" "+h.Out.IPSrc.String()+" "+h.Out.IPDst.String())
		}
	}
	return list
}

func differ(a, b []string) int {
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			return i
		}
	}
	return len(a)
}
