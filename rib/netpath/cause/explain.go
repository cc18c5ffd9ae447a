// Package cause says why a packet dies: not by what is missing, much of which breaks
// nothing, but by what it takes to mend it. Each difference between what is and what should
// be is repaired in a model of the cloud, and the packet is sent again; the repair that
// delivers it is the cause, and names the fix. Where no single one does, they are sought
// together. Nothing real is touched.
package cause

import (
	"cmp"
	"slices"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/path"
	"kaname.dev/kaname/rib/netpath/trace"
)

// Bounds of an explanation.
const (
	mostWalks    = 300 // simulations in all
	mostTogether = 4   // faults at once on one path
	mostPairs    = 16  // candidates that are tried by pairs
	mostLatent   = 100 // findings that are told though they change nothing
)

// Explain walks the path that a question asks about and says why it fails, or what is not as
// it should be although it works. differences lists what is not as it should be on a host
// (package expect). Errors are those of path.World.Walk.
func Explain(w *path.World, q trace.Question, differences func(host string) []trace.Finding) (trace.Trace, error) {
	t, err := w.Walk(q)
	if err != nil {
		return trace.Trace{}, err
	}
	x := &explainer{w: w, q: q, left: mostWalks, was: t}
	x.gather(differences)
	switch t.Verdict {
	case trace.Delivered:
		x.delivered(&t)
	case trace.Undetermined:
		t.Latent = x.rest(nil)
	default:
		x.failed(&t)
	}
	return t, nil
}

// explainer is one explanation in the making.
type explainer struct {
	w       *path.World
	q       trace.Question
	was     trace.Trace     // what is
	found   []trace.Finding // candidates, the most likely first
	denials []trace.Finding // security groups that do not admit the packet
	plain   []trace.Finding // what Neutron itself says that stops it, which no repair of a host mends
	left    int
}

// try sends the packet in the world as the repairs of findings make it; ok is false when
// enough has been tried.
func (x *explainer) try(list ...*trace.Finding) (trace.Trace, bool) {
	if x.left--; x.left < 0 {
		return trace.Trace{}, false
	}
	var edits []facts.Edit
	var admit []string
	for _, f := range list {
		edits = append(edits, f.Repair.Hosts...)
		if f.Repair.Admit != "" {
			admit = append(admit, f.Repair.Admit)
		}
	}
	t, err := x.w.With(edits, admit).Walk(x.q)
	return t, err == nil
}

// gather lists the differences of the hosts that the packet came to, or should have, those
// first that are near to where it ended.
func (x *explainer) gather(differences func(host string) []trace.Finding) {
	var hosts []string
	for _, leg := range []*trace.Leg{&x.was.Forward, &x.was.Back} {
		for i := range leg.Hops {
			hosts = append(hosts, leg.Hops[i].Host, leg.Hops[i].Facts["host"], leg.Hops[i].Facts["peer"])
		}
	}
	hosts = append(hosts, x.was.Source.Host, x.was.Target.Host)
	if more, err := path.Hosts(x.w.Cloud(), x.q); err == nil {
		hosts = append(hosts, more...)
	}
	slices.Sort(hosts)
	for _, host := range slices.Compact(hosts) {
		if host != "" && differences != nil && x.w.Host(host) != nil {
			x.found = append(x.found, differences(host)...)
		}
	}
	x.denials = x.denied()
	x.plain = x.intended()
	slices.SortStableFunc(x.found, func(a, b trace.Finding) int { return cmp.Compare(x.near(&b), x.near(&a)) })
}

// last is the hop at which a trace ended.
func last(t *trace.Trace) (hop *trace.Hop, back bool) {
	leg := &t.Forward
	if t.Forward.Verdict == trace.Delivered {
		leg, back = &t.Back, true
	}
	if len(leg.Hops) == 0 {
		return nil, back
	}
	return &leg.Hops[len(leg.Hops)-1], back
}

// rest lists the findings that are not among the told ones.
func (x *explainer) rest(told []trace.Finding) []trace.Finding {
	var list []trace.Finding
	for _, f := range x.found {
		same := func(o trace.Finding) bool { return o.ID == f.ID && o.Host == f.Host && o.Where == f.Where }
		if !slices.ContainsFunc(told, same) && len(list) < mostLatent {
			list = append(list, f)
		}
	}
	return list
}
