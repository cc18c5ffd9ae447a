package linux

import (
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// Forward lets a frame come in by a port of a Linux bridge.
func (s *Space) Forward(p packet.Packet, port string, x Context) Outcome {
	return s.Receive(p, port, x)
}

// bridge takes a frame that has come to a port of a bridge (br_handle_frame), through the filter
// of br_netfilter if that is on.
func (w *walk) bridge(v *view, port, br *facts.Link) Outcome {
	if !br.Up {
		return w.drop(v, WhyDown, map[string]string{"dev": br.Name}, w.linkProof(br)...)
	}
	filtered, name, sure := w.filtered(v)
	if !sure {
		w.unknown(v, name+" of "+w.s.label())
		return w.o
	}
	v.in, v.physIn = br.Name, port.Name
	if filtered && !w.hook("PREROUTING", v) {
		return w.o
	}
	known := w.s.station(br.Name, v.p)
	local := v.p.Dst == br.MAC || known != nil && known.Static && w.s.ns.Link(known.Dev).MAC == v.p.Dst
	var outs []Out
	if !local {
		outs = w.flood(br, v.p, port.Name)
	}
	if local || v.p.Dst.Group() && w.awake(br) {
		w.up(v, br, filtered, local)
	}
	if local {
		return w.o
	}
	if len(outs) == 0 && !w.o.Local && len(w.o.Out) == 0 {
		if known != nil && known.Dev == port.Name {
			told := map[string]string{"mac": v.p.Dst.String(), "port": port.Name, "dev": br.Name}
			return w.drop(v, WhySamePort, told, trace.Proof{Host: w.s.name(), Where: w.s.where("fdb " + br.Name), Line: FDBLine(*known, br.Name)})
		}
		return w.drop(v, WhyNoPort, map[string]string{"dev": br.Name}, w.linkProof(br)...)
	}
	for _, o := range outs {
		w.pass(*v, br, o, filtered, name)
	}
	return w.o
}

// filtered reports whether bridged packets pass iptables, and which sysctl says so.
func (w *walk) filtered(v *view) (on bool, name string, known bool) {
	name = "net.bridge.bridge-nf-call-iptables"
	switch v.p.Type {
	case packet.IPv4:
	case packet.IPv6:
		name = "net.bridge.bridge-nf-call-ip6tables"
	default:
		return false, "", true
	}
	n, known := w.s.sysctl(name)
	return n != 0, name, known
}

// awake reports whether a bridge has an address of its own, so that it takes part itself.
func (w *walk) awake(br *facts.Link) bool {
	for _, p := range br.Addrs {
		if !p.Addr().IsLinkLocalUnicast() {
			return true
		}
	}
	return false
}

// up gives a frame to the bridge itself, as a device of the namespace.
func (w *walk) up(v *view, br *facts.Link, filtered, only bool) {
	sub := &walk{s: w.s, c: w.c, x: w.x, o: Outcome{Steps: w.o.Steps}}
	c := *v
	var o Outcome
	if filtered { // PREROUTING was passed already
		o = sub.routeIn(&c)
	} else {
		c.physIn = ""
		o = sub.frame(&c, br)
	}
	if only || len(o.Out) > 0 || o.Local {
		w.o = o
	}
}

// pass lets a copy of a frame leave by a port.
func (w *walk) pass(v view, br *facts.Link, o Out, filtered bool, sysctl string) {
	from := len(w.o.Steps)
	l := w.s.ns.Link(o.Dev)
	v.out, v.physOut = br.Name, o.Dev
	switch {
	case filtered:
		if !w.hook("FORWARD", &v) || !w.hook("POSTROUTING", &v) {
			return
		}
	case sysctl != "":
		w.add(&v, "pass", map[string]string{"filtered": "false", "sysctl": sysctl, "from": v.physIn, "to": o.Dev}, w.s.sysctlProof(sysctl)...)
	}
	if l.MTU > 0 && v.p.Size > l.MTU {
		w.drop(&v, WhyMTU, mtuFacts(v.p.Size, l.MTU, o.Dev), w.linkProof(l)...)
		return
	}
	if !l.Running {
		w.drop(&v, WhyCarrier, map[string]string{"dev": o.Dev}, w.linkProof(l)...)
		return
	}
	w.commit(&v)
	o.Packet = v.p
	for i := from; i < len(w.o.Steps); i++ {
		o.Steps = append(o.Steps, i)
	}
	w.o.Out = append(w.o.Out, o)
}

// station returns the entry of a bridge's table for the frame's destination.
func (s *Space) station(br string, p packet.Packet) *facts.FDB {
	if p.Dst.Group() {
		return nil
	}
	for i := range s.ns.FDB {
		f := &s.ns.FDB[i]
		if f.MAC != p.Dst || f.Remote.IsValid() {
			continue
		}
		if l := s.ns.Link(f.Dev); l != nil && l.Master == br && (f.VLAN == 0 || p.VLAN == 0 || f.VLAN == int(p.VLAN)) {
			return f
		}
	}
	return nil
}

// flood returns the ports by which a frame leaves a bridge: that behind which the station is
// known to be, else all others that are up.
func (w *walk) flood(br *facts.Link, p packet.Packet, from string) []Out {
	known := w.s.station(br.Name, p)
	var outs []Out
	for i := range w.s.ns.Links {
		l := &w.s.ns.Links[i]
		if l.Master == br.Name && l.Name != from && l.Up && (known == nil || known.Dev == l.Name) {
			outs = append(outs, Out{Dev: l.Name, Packet: p})
		}
	}
	return outs
}

// FDBLine writes an entry of a bridge's table as bridge fdb does.
func FDBLine(f facts.FDB, master string) string {
	line := f.MAC.String() + " dev " + f.Dev + " master " + master
	if f.Static {
		line += " permanent"
	}
	return line
}
