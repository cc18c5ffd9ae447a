package path

import (
	"maps"
	"slices"

	"kaname.dev/kaname/rib/netpath/conn"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/linux"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// rank orders what a namespace did with a packet: its hop is named for the most telling.
var rank = map[string]int{"pass": 1, "filter": 2, "route": 3, "deliver": 4, "arp": 5, "snat": 6, "dnat": 7, "unknown": 8, "drop": 9}

// space lets a frame come into a namespace, or a Linux bridge, by a device.
func (r *run) space(f frame, g goal) ([]frame, []ending) {
	s := r.site(f.host)
	bridge := ""
	if d := s.link(f.space, f.dev); d != nil && d.link.Master != "" && kind(s, f.space, d.link.Master) == "bridge" {
		bridge = d.link.Master
	}
	if f.p.Type == packet.ARP && f.p.Op == 2 || isAdvertisement(f.p) {
		at := place{kind: "space", host: f.host, space: f.space, dev: f.dev}
		if bridge == "" && g.accept(at, f.p) {
			return nil, []ending{{verdict: trace.Delivered, host: f.host, at: at, p: f.p, trail: f.trail}}
		}
	}
	if ends := r.unseen(f, s); ends != nil {
		return nil, ends
	}
	call := func(sp *linux.Space, x linux.Context) linux.Outcome {
		if bridge != "" {
			return sp.Forward(f.p, f.dev, x)
		}
		return sp.Receive(f.p, f.dev, x)
	}
	return r.within(f, g, s, bridge, call)
}

// unseen ends a frame that comes to a namespace of which not all is known that decides.
func (r *run) unseen(f frame, s *site) []ending {
	for _, what := range []string{facts.Links, facts.Routes, facts.Rules, facts.Filters, facts.Sysctls} {
		if why := s.facts.Lacks(what, f.space, ""); why != "" {
			r.lacks(what + " of " + spaceName(f.space, "") + " on " + f.host + ": " + why)
			return stop(f, trace.Hop{Place: trace.PlaceNamespace, Host: f.host, Name: spaceName(f.space, ""), From: f.dev}, trace.Undetermined, "not-seen")
		}
	}
	return nil
}

func spaceName(space, bridge string) string {
	switch {
	case bridge != "":
		return bridge
	case space == "":
		return "host"
	}
	return space
}

// within works out what a namespace makes of a packet, asking for addresses as often as it
// wants to know one.
func (r *run) within(f frame, g goal, s *site, bridge string, call func(*linux.Space, linux.Context) linux.Outcome) ([]frame, []ending) {
	sp := s.space(f.space)
	key := f.host + "/" + f.space
	tracked := r.table(f.host, f.space)
	if bridge != "" && r.admits(f.host, f.p) {
		tracked = r.admitted(f, s, sp, call)
	}
	var out linux.Outcome
	var asked *ending
	for range 4 {
		copied := tracked.Clone()
		out = call(sp, linux.Context{Tracked: copied, Known: r.neighbours(key)})
		if out.Resolve == nil {
			r.tracked[key] = copied
			break
		}
		mac, how := r.ask(f, s, *out.Resolve)
		r.neighbours(key)[*out.Resolve] = mac
		if mac.Zero() {
			asked = &how
		}
	}
	hop := spaceHop(f, bridge, out.Steps)
	for _, u := range out.Unknown {
		r.lacks(u + " in " + spaceName(f.space, bridge) + " on " + f.host)
	}
	if asked != nil && len(out.Out) == 0 {
		return nil, r.unanswered(f, hop, asked)
	}
	return r.after(f, g, bridge, hop, &out)
}

// admitted is the connections with which a filter on a bridge takes the packet for an
// answer to one that it has let pass.
func (r *run) admitted(f frame, s *site, sp *linux.Space, call func(*linux.Space, linux.Context) linux.Outcome) *conn.Table {
	tracked := r.table(f.host, f.space)
	if out := call(sp, linux.Context{Tracked: tracked.Clone()}); len(out.Out) > 0 || out.Local {
		return tracked
	}
	tracked = tracked.Clone()
	for _, zone := range s.allZones() {
		tracked.Commit(zone, f.p.Reply(), f.p.Reply(), 0)
	}
	return tracked
}

// after goes on from what a namespace made of a packet.
func (r *run) after(f frame, g goal, bridge string, hop trace.Hop, out *linux.Outcome) ([]frame, []ending) {
	if f.p.Type == packet.ARP && len(out.Out) > 0 && bridge == "" || out.Local && f.p.Type == packet.ARP {
		r.neighbours(f.host + "/" + f.space)[linux.Ask{Dev: f.dev, Addr: f.p.IPSrc}] = f.p.ARPSrc
	}
	var next []frame
	for i := range out.Out {
		o := &out.Out[i]
		h := hop
		if o.Steps != nil {
			h = spaceHop(f, bridge, pick(out.Steps, o.Steps))
		}
		h.Out, h.To = o.Packet, o.Dev
		next = append(next, frame{
			spot: byDevice, host: f.host, space: f.space, dev: o.Dev, p: o.Packet,
			copied: f.copied || len(out.Out) > 1, trail: f.trail.add(h),
		})
	}
	switch {
	case out.Local:
		return next, r.here(f, g, hop, out)
	case len(next) > 0:
		return next, nil
	case len(out.Unknown) > 0:
		return nil, stop(f, hop, trace.Undetermined, "not-understood")
	}
	// A frame for another station is nothing to speak of.
	why := hop.Facts["why"]
	idle := why == "other-station" || why == "" && f.p.Type == packet.ARP || f.copied && f.p.Type == packet.ARP
	if why == "" {
		why = "not-wanted"
	}
	owner := f.p.Type == packet.ARP && bridge == "" && r.shouldAnswer(f.host, f.space, f.p.IPDst)
	if owner && hop.Facts["why"] == "" {
		why = "does-not-answer"
	}
	ends := stop(f, hop, trace.Dropped, why)
	ends[0].idle = idle && !owner
	if owner {
		ends[0].weight = weighOwner
	}
	return nil, ends
}

// here ends a packet that is for the namespace itself.
func (r *run) here(f frame, g goal, hop trace.Hop, out *linux.Outcome) []ending {
	p := out.Packet
	if p == (packet.Packet{}) {
		p = f.p
	}
	at := place{kind: "space", host: f.host, space: f.space, dev: f.dev}
	if g.accept(at, p) {
		hop.Does, hop.Out = "deliver", p
		return []ending{{verdict: trace.Delivered, host: f.host, at: at, p: p, trail: f.trail.add(hop)}}
	}
	if f.p.Type == packet.ARP || f.copied || f.p.Dst.Group() {
		return []ending{{verdict: trace.Dropped, idle: true, host: f.host, at: at, p: p, trail: f.trail.add(hop)}}
	}
	return stop(f, hop, trace.Dropped, "taken") // by somebody for whom it is not
}

func pick(steps []linux.Step, which []int) []linux.Step {
	list := make([]linux.Step, 0, len(which))
	for _, i := range which {
		list = append(list, steps[i])
	}
	return list
}

// spaceHop makes one hop of what a namespace did.
func spaceHop(f frame, bridge string, steps []linux.Step) trace.Hop {
	h := trace.Hop{
		Place: trace.PlaceNamespace, Host: f.host, Name: spaceName(f.space, bridge), Does: "route", In: f.p,
		From: f.dev, Verdict: trace.Delivered, Facts: map[string]string{},
	}
	if bridge != "" {
		h.Place, h.Does = trace.PlaceBridge, "pass"
	}
	most := 0
	for i := range steps {
		st := &steps[i]
		if k := rank[st.Does]; k > most {
			most, h.Does = k, st.Does
		}
		maps.Copy(h.Facts, st.Facts)
		for _, p := range st.Proof {
			if !slices.Contains(h.Proof, p) {
				h.Proof = append(h.Proof, p)
			}
		}
	}
	return h
}
