package path

import (
	"fmt"
	"slices"
	"strconv"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/openflow"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// through lets a frame pass the bridges of a host's Open vSwitch.
func (r *run) through(f frame) ([]frame, []ending) {
	s := r.site(f.host)
	if s == nil {
		return r.unknown(f)
	}
	if why := s.facts.Lacks(facts.Flows, "", f.dev); why != "" {
		r.lacks("flows of " + f.dev + " on " + f.host + ": " + why)
		return nil, stop(f, trace.Hop{Place: trace.PlaceOVS, Host: f.host, Name: f.dev}, trace.Undetermined, "not-seen")
	}
	tracked := r.table(f.host, s.tracks())
	res := s.open().Run(f.dev, f.port, f.p, tracked)
	if len(res.Outputs) == 0 && r.admits(f.host, f.p) {
		for _, zone := range s.allZones() {
			tracked.Commit(zone, f.p.Reply(), f.p.Reply(), 0)
		}
		res = s.open().Run(f.dev, f.port, f.p, tracked)
	}
	var next []frame
	var ends []ending
	for i := range res.Outputs {
		n, e := r.out(f, s, &res, &res.Outputs[i])
		next, ends = append(next, n...), append(ends, e...)
	}
	if dead := deadBranch(s, &res); dead != nil || len(res.Outputs) == 0 {
		ends = append(ends, r.died(f, s, &res, dead)...)
	}
	return next, ends
}

// out follows a packet that leaves the switch.
func (r *run) out(f frame, s *site, res *openflow.Result, o *openflow.Output) ([]frame, []ending) {
	hops := fold(f, s, res, o.Steps, o.Packet)
	last := &hops[len(hops)-1]
	last.Out = o.Packet
	n := frame{host: f.host, p: o.Packet, copied: f.copied || len(res.Outputs) > 1, trail: f.trail}
	if o.Port == nil {
		last.To = "controller"
		for i := range hops[:len(hops)-1] {
			n.trail = n.trail.add(hops[i])
		}
		return nil, stop(n, *last, trace.Dropped, "controller")
	}
	last.To = o.Port.Name
	if f.p.Type == packet.ARP && f.p.Op == 1 && o.Packet.Op == 2 {
		last.Does = "arp"
	}
	if o.Packet.Tunnel != (packet.Tunnel{}) {
		last.Does = "encapsulate"
	}
	for i := range hops {
		n.trail = n.trail.add(hops[i])
	}
	switch {
	case o.Port.Type == "vxlan" || o.Port.Type == "gre" || o.Port.Type == "geneve":
		n.spot, n.dev, n.port = byTunnel, o.Bridge, o.Port.OFPort
		return []frame{n}, nil
	case o.Port.Type == "internal" || o.Port.OFPort == local:
		return r.inside(n, s, o.Port)
	case o.Port.Link == "down" && s.facts.Lacks(facts.Links, "", "") != "":
		hop := trace.Hop{Place: trace.PlaceDevice, Host: f.host, Name: o.Port.Name, Facts: map[string]string{"device": o.Port.Name}}
		return nil, stop(n, hop, trace.Dropped, "down")
	}
	n.spot, n.dev = byDevice, o.Port.Name
	return []frame{n}, nil
}

// inside puts a packet that leaves by an internal port into the namespace that holds the
// port's device.
func (r *run) inside(f frame, s *site, port *facts.Port) ([]frame, []ending) {
	hop := trace.Hop{Place: trace.PlaceDevice, Host: f.host, Name: port.Name}
	f.dev = port.Name
	d := s.device(port.Name)
	if d == nil {
		ends := r.noDevice(f, s, hop)
		for i := range ends {
			ends[i].idle = ends[i].idle || f.copied
		}
		return nil, ends
	}
	if !d.link.Up {
		ends := stop(f, down(hop, f.dev, d), trace.Dropped, "down")
		ends[0].idle = f.copied
		return nil, ends
	}
	f.spot, f.space = atDevice, d.space.Name
	return []frame{f}, nil
}

// died ends the packet, or that copy of it, which some flow has dropped.
func (r *run) died(f frame, s *site, res *openflow.Result, dead []int) []ending {
	if len(res.Outputs) == 0 && len(dead) == 0 {
		for i := range res.Steps {
			dead = append(dead, i)
		}
	}
	hops := fold(f, s, res, dead, packet.Packet{})
	last := hops[len(hops)-1]
	last.Out = packet.Packet{}
	for i := range hops[:len(hops)-1] {
		f.trail = f.trail.add(hops[i])
	}
	verdict, why := trace.Dropped, "miss"
	if len(dead) > 0 {
		st := res.Steps[dead[len(dead)-1]]
		if st.Flow != nil {
			why = "flow"
		}
		last.Facts["table"] = strconv.Itoa(int(st.Table))
		if st.Note != "" {
			last.Facts["note"] = st.Note
		}
	}
	if len(res.Unknown) > 0 {
		verdict, why = trace.Undetermined, "not-understood"
		for _, u := range res.Unknown {
			r.lacks(fmt.Sprintf("the meaning of %q in the flows of %s on %s", u, last.Name, f.host))
		}
	}
	ends := stop(f, last, verdict, why)
	ends[0].idle = false
	if len(res.Outputs) > 0 {
		ends[0].weight = weighCopy
	}
	return ends
}

// deadBranch lists the steps of the last copy that did not leave, where the packet was
// copied; nil if each copy left.
func deadBranch(s *site, res *openflow.Result) []int {
	used := make([]bool, len(res.Steps))
	for i := range res.Outputs {
		for _, k := range res.Outputs[i].Steps {
			used[k] = true
		}
	}
	end := -1
	for i := range used {
		if !used[i] {
			end = i
		}
	}
	if end < 0 || len(res.Outputs) == 0 {
		return nil
	}
	var list []int
	bridge := res.Steps[end].Bridge
	for i := end; i >= 0; i-- {
		if used[i] && !common(res, i) {
			continue
		}
		b := res.Steps[i].Bridge
		if b != bridge && s.patch(b, bridge) == "" {
			continue // of another copy
		}
		bridge = b
		list = append(list, i)
	}
	slices.Reverse(list)
	return list
}

// common reports whether a step led to each output.
func common(res *openflow.Result, step int) bool {
	for i := range res.Outputs {
		if !slices.Contains(res.Outputs[i].Steps, step) {
			return false
		}
	}
	return true
}

// fold makes one hop of the steps on each bridge.
func fold(f frame, s *site, res *openflow.Result, steps []int, out packet.Packet) []trace.Hop {
	from := ""
	if b := s.facts.Bridge(f.dev); b != nil {
		if p := b.PortAt(f.port); p != nil {
			from = p.Name
		}
	}
	hops := []trace.Hop{{
		Place: trace.PlaceOVS, Host: f.host, Name: f.dev, Does: "switch", In: f.p, Out: f.p,
		From: from, Verdict: trace.Delivered, Facts: map[string]string{},
	}}
	for _, i := range steps {
		st := &res.Steps[i]
		h := &hops[len(hops)-1]
		if st.Bridge != h.Name {
			h.To = s.patch(h.Name, st.Bridge)
			hops = append(hops, trace.Hop{
				Place: trace.PlaceOVS, Host: f.host, Name: st.Bridge, Does: "switch", In: h.Out, Out: h.Out,
				From: s.patch(st.Bridge, h.Name), Verdict: trace.Delivered, Facts: map[string]string{},
			})
			h = &hops[len(hops)-1]
		}
		h.Out = st.Packet
		if p, ok := proof(f.host, st); ok {
			h.Proof = append(h.Proof, p)
		}
	}
	if out != (packet.Packet{}) {
		hops[len(hops)-1].Out = out
	}
	return hops
}

// proof is the line that a step rests on. Flows that match everything only lead on and
// prove nothing, unless the packet ends there.
func proof(host string, st *openflow.Step) (trace.Proof, bool) {
	in := fmt.Sprintf("%s table %d", st.Bridge, st.Table)
	if st.Flow == nil {
		if st.Note == "" {
			return trace.Proof{}, false
		}
		return trace.Proof{Host: host, Where: in, Line: st.Note}, true
	}
	return trace.Proof{Host: host, Where: in, Line: st.Flow.Line}, true
}
