package path

import (
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// enter lets a frame come in by a device: to the switch or the bridge whose port it is, else
// to the namespace.
func (r *run) enter(f frame, g goal) ([]frame, []ending) {
	s := r.site(f.host)
	if s == nil {
		return r.unknown(f)
	}
	hop := trace.Hop{Place: trace.PlaceDevice, Host: f.host, Name: f.dev}
	d := s.link(f.space, f.dev)
	bridge, port := s.plugged(f.dev)
	if d == nil {
		if why := s.facts.Lacks(facts.Links, f.space, ""); why != "" && port != nil {
			return r.plug(f, bridge, port) // what a port of a switch leads to is known without
		}
		return nil, r.noDevice(f, s, hop)
	}
	if !d.link.Up {
		return nil, stop(f, down(hop, f.dev, d), trace.Dropped, "down")
	}
	switch {
	case port != nil && port.Type != "internal" && f.space == "":
		return r.plug(f, bridge, port)
	case d.link.Master != "" && kind(s, f.space, d.link.Master) == "bridge":
		return r.space(f, g)
	case f.p.VLAN != 0 && d.link.Kind != "vlan":
		for i := range d.space.Links {
			if l := &d.space.Links[i]; l.Kind == "vlan" && l.Parent == f.dev && l.VLAN == int(f.p.VLAN) {
				f.dev, f.p.VLAN = l.Name, 0
				return r.enter(f, g)
			}
		}
	}
	return r.space(f, g)
}

func kind(s *site, space, name string) string {
	if d := s.link(space, name); d != nil {
		return d.link.Kind
	}
	return ""
}

// plug puts a frame into the switch by a port.
func (r *run) plug(f frame, bridge *facts.Bridge, port *facts.Port) ([]frame, []ending) {
	if port.OFPort < 1 {
		hop := trace.Hop{Place: trace.PlaceDevice, Host: f.host, Name: port.Name, Facts: map[string]string{"bridge": bridge.Name, "error": port.Error}}
		hop.Proof = []trace.Proof{{Host: f.host, Where: "Interface " + port.Name, Line: "ofport: " + strconv.Itoa(port.OFPort) + " error: " + strconv.Quote(port.Error)}}
		return nil, stop(f, hop, trace.Dropped, "unplugged")
	}
	f.spot, f.dev, f.port, f.space = atSwitch, bridge.Name, port.OFPort, ""
	return []frame{f}, nil
}

// noDevice ends a frame that was to pass a device that is not there, or not seen.
func (r *run) noDevice(f frame, s *site, hop trace.Hop) []ending {
	for _, what := range []string{facts.Links, facts.Spaces} {
		for _, space := range []string{f.space, ""} {
			if why := s.facts.Lacks(what, space, ""); why != "" {
				r.lacks(what + " of " + f.host + ": " + why)
				return stop(f, hop, trace.Undetermined, "not-seen")
			}
		}
	}
	hop.Facts = map[string]string{"device": f.dev, "namespace": f.space}
	return stop(f, hop, trace.Dropped, "no-device")
}

func down(hop trace.Hop, dev string, d *device) trace.Hop {
	hop.Facts = map[string]string{"device": dev, "namespace": d.space.Name}
	hop.Proof = []trace.Proof{{Host: hop.Host, Where: where(d.space.Name, "links"), Line: line(d.link)}}
	return hop
}

// line is a link as ip link shows it.
func line(l *facts.Link) string {
	flags := []string{"BROADCAST", "MULTICAST"}
	if l.Up {
		flags = append(flags, "UP")
	}
	if l.Running {
		flags = append(flags, "LOWER_UP")
	} else if l.Up {
		flags = append(flags, "NO-CARRIER")
	}
	text := strconv.Itoa(l.Index) + ": " + l.Name + ": <" + strings.Join(flags, ",") + "> mtu " + strconv.Itoa(l.MTU)
	if l.Master != "" {
		text += " master " + l.Master
	}
	return text + " link/ether " + l.MAC.String()
}

// where names a part of a namespace as proofs do.
func where(space, part string) string {
	if space == "" {
		return part
	}
	return space + " " + part
}

// leave lets a frame go out by a device of a namespace.
func (r *run) leave(f frame, g goal) ([]frame, []ending) {
	s := r.site(f.host)
	if s == nil {
		return r.unknown(f)
	}
	hop := trace.Hop{Place: trace.PlaceDevice, Host: f.host, Name: f.dev}
	d := s.link(f.space, f.dev)
	bridge, port := s.plugged(f.dev)
	if d == nil {
		if machine := r.w.index.behind(f.dev); machine != nil && s.facts.Lacks(facts.Links, f.space, "") != "" {
			return r.deliver(f, g, machine.ID)
		}
		return nil, r.noDevice(f, s, hop)
	}
	if !d.link.Up {
		return nil, stop(f, down(hop, f.dev, d), trace.Dropped, "down")
	}
	if d.link.MTU > 0 && f.p.Size > d.link.MTU {
		return nil, stop(f, narrow(hop, f.dev, d, f.p.Size), trace.Dropped, "mtu")
	}
	if port != nil && (port.Type == "internal" || port.OFPort == local) {
		return r.plug(f, bridge, port)
	}
	return r.beyond(f, g, s, d)
}

// local is the OpenFlow number of a bridge's own port.
const local = 65534

func narrow(hop trace.Hop, dev string, d *device, size int) trace.Hop {
	hop.Facts = map[string]string{"device": dev, "namespace": d.space.Name, "mtu": strconv.Itoa(d.link.MTU), "size": strconv.Itoa(size)}
	hop.Proof = []trace.Proof{{Host: hop.Host, Where: where(d.space.Name, "links"), Line: line(d.link)}}
	return hop
}

// beyond finds what is at the other end of a device.
func (r *run) beyond(f frame, g goal, s *site, d *device) ([]frame, []ending) {
	if machine := r.w.index.behind(f.dev); machine != nil && f.space == "" {
		return r.deliver(f, g, machine.ID)
	}
	if d.link.Kind == "veth" {
		if p := s.peer(d); p != nil {
			f.spot, f.space, f.dev = atDevice, p.space.Name, p.link.Name
			return []frame{f}, nil
		}
	}
	if d.link.Kind == "vlan" && d.link.Parent != "" {
		f.p.VLAN, f.dev = uint16(d.link.VLAN), d.link.Parent
		return []frame{f}, nil
	}
	if d.link.Kind == "bridge" { // the namespace itself sends by its own bridge
		return nil, []ending{{verdict: trace.Dropped, idle: true, host: f.host, p: f.p, trail: f.trail}}
	}
	return r.toWire(f, s)
}

// deliver puts a frame before a machine's device.
func (r *run) deliver(f frame, g goal, id string) ([]frame, []ending) {
	port := r.w.index.ports[id]
	at := place{kind: "machine", host: f.host, dev: f.dev, port: port}
	mine := f.p.Dst == port.MAC || f.p.Dst == packet.Broadcast || f.p.Dst.Group() || r.pairedMAC(port.ID, f.p.Dst)
	hop := trace.Hop{Place: trace.PlaceVM, Host: f.host, Name: machineName(port), Does: "deliver", In: f.p, From: f.dev, Verdict: trace.Delivered}
	switch {
	case !mine:
		return nil, []ending{{verdict: trace.Dropped, idle: true, host: f.host, at: at, p: f.p, trail: f.trail}}
	case g.accept(at, f.p):
		return nil, []ending{{verdict: trace.Delivered, host: f.host, at: at, p: f.p, trail: f.trail.add(hop)}}
	case f.p.Type == packet.ARP || isSolicitation(f.p):
		return r.answerARP(f, port.ID)
	case f.p.Dst.Group():
		return nil, []ending{{verdict: trace.Dropped, idle: true, host: f.host, at: at, p: f.p, trail: f.trail}}
	}
	hop.Facts = map[string]string{"address": f.p.IPDst.String()}
	return nil, stop(f, hop, trace.Dropped, "not-its-address")
}
