package path

import (
	"slices"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// toWire puts a frame that leaves a host by hardware onto the physical network behind it.
func (r *run) toWire(f frame, s *site) ([]frame, []ending) {
	bridge, port := s.plugged(f.dev)
	if bridge == nil {
		hop := trace.Hop{Place: trace.PlaceDevice, Host: f.host, Name: f.dev, Facts: map[string]string{"device": f.dev, "namespace": f.space}}
		ends := stop(f, hop, trace.Dropped, "leads-nowhere")
		ends[0].idle = f.copied
		return nil, ends
	}
	f.spot, f.space, f.dev = atWire, r.physical(f.host, s, bridge), port.Name
	return []frame{f}, nil
}

// physical is the physical network that the devices of a bridge lead to: what the agent
// maps to the bridge, or to one that patch ports join to it; else the bridge's own name.
func (r *run) physical(host string, s *site, bridge *facts.Bridge) string {
	wires := r.w.index.wires[host]
	for _, name := range s.joined(bridge.Name) {
		for _, physical := range sortedKeys(wires) {
			if wires[physical] == name {
				return physical
			}
		}
	}
	return bridge.Name
}

// wire carries a frame to whoever stands on a physical network: the hosts that have what it
// is for, and what is beyond the cloud.
func (r *run) wire(f frame, g goal) ([]frame, []ending) {
	hop := trace.Hop{Place: trace.PlaceWire, Name: f.space, Does: "pass", In: f.p, Out: f.p, From: f.dev, Verdict: trace.Delivered, Facts: map[string]string{"host": f.host}}
	if f.host == "" {
		hop.Facts["host"] = "outside"
	}
	var next []frame
	var ends []ending
	if f.host != "" && (f.p.Dst.Group() || f.p.Dst == outsideMAC || !r.expected(f.p.Dst)) {
		n := f
		n.spot, n.copied, n.trail = atOutside, f.copied || f.p.Dst != outsideMAC, f.trail.add(hop)
		next = append(next, n)
	}
	if f.p.Dst == outsideMAC {
		return next, nil
	}
	hosts := r.standing(f)
	for _, host := range hosts {
		n, e := r.offWire(f, host, g.host, hop, f.copied || len(hosts) > 1 || f.p.Dst.Group())
		next, ends = append(next, n...), append(ends, e...)
	}
	if len(next) == 0 && len(ends) == 0 {
		return nil, stop(f, hop, trace.Dropped, "nobody-on-wire")
	}
	return next, ends
}

// expected reports whether Neutron knows who has a hardware address.
func (r *run) expected(mac packet.MAC) bool { return len(r.w.index.macs[mac]) > 0 }

// standing lists the hosts on a physical network, but the sender, that get a frame: the one
// whose it is, if Neutron knows; else those whose facts are known.
func (r *run) standing(f frame) []string {
	all := r.w.index.reach[f.space]
	if len(all) == 0 { // no agent maps it: an external bridge of its own
		for _, name := range r.w.names {
			if r.w.sites[name].facts.Bridge(f.space) != nil {
				all = append(all, name)
			}
		}
	}
	if ports := r.w.index.macs[f.p.Dst]; len(ports) == 1 && ports[0].Host != "" && ports[0].Host != f.host && slices.Contains(all, ports[0].Host) {
		return []string{ports[0].Host}
	}
	list := make([]string, 0, min(len(all), mostCopies))
	for _, host := range all {
		if host != f.host && (r.w.sites[host] != nil || r.concerned(f.p, host)) && len(list) < mostCopies {
			list = append(list, host)
		}
	}
	return list
}

// concerned reports whether a frame that goes to all is for something on a host.
func (r *run) concerned(p packet.Packet, host string) bool {
	if r.concerns(p, host) {
		return true
	}
	return r.floatingOn(p.IPDst) == host
}

// offWire lets a frame come into a host from a physical network.
func (r *run) offWire(f frame, host, goal string, hop trace.Hop, copied bool) ([]frame, []ending) {
	s := r.site(host)
	if s == nil {
		r.lacks("host " + host)
		hop.Host = host
		return nil, stop(f, hop, trace.Undetermined, "not-collected")
	}
	start := r.w.index.wires[host][f.space]
	if start == "" {
		start = f.space
	}
	for _, name := range s.joined(start) {
		b := s.facts.Bridge(name)
		if b == nil {
			continue
		}
		for i := range b.Ports {
			if !s.isWire(&b.Ports[i]) {
				continue
			}
			n := f
			n.spot, n.host, n.space, n.dev, n.copied, n.trail = atDevice, host, "", b.Ports[i].Name, copied, f.trail.add(hop)
			return []frame{n}, nil
		}
	}
	hop.Host = host
	hop.Facts = map[string]string{"bridge": start, "host": f.host}
	ends := stop(f, hop, trace.Dropped, "no-wire")
	ends[0].idle = copied && host != goal
	if host == goal {
		ends[0].weight = weighDrop
	}
	return nil, ends
}

// onWire is the network that a tag of a physical network is, nil if Neutron has none.
func (r *run) onWire(physical string, vlan uint16) *intent.Network {
	var other *intent.Network
	for i := range r.w.index.cloud.Networks {
		n := &r.w.index.cloud.Networks[i]
		flat := n.Kind == "flat" && vlan == 0
		tagged := n.Kind == "vlan" && int(vlan) == n.Segment
		switch {
		case n.Physical == physical && (flat || tagged):
			return n
		case n.External && other == nil && (n.Physical == "" || len(r.w.index.reach[physical]) == 0) && vlan == 0:
			other = n // an external bridge that no agent maps
		}
	}
	return other
}
