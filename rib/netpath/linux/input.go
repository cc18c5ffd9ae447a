package linux

import (
	"net/netip"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// Receive lets a frame come in by a device. By a port of a Linux bridge it does as Forward.
func (s *Space) Receive(p packet.Packet, dev string, x Context) Outcome {
	w := &walk{s: s, c: s.compiled(), x: x}
	v := &view{p: p, in: dev, space: s, sets: w.c.sets}
	l, ok := w.arrives(v, dev)
	if !ok {
		return w.o
	}
	if m := s.ns.Link(l.Master); m != nil && m.Kind == "bridge" {
		return w.bridge(v, l, m)
	}
	return w.frame(v, l)
}

// arrives checks the device by which a frame comes and follows VLANs and bonds up.
func (w *walk) arrives(v *view, dev string) (*facts.Link, bool) {
	for range 8 {
		v.in = dev
		l := w.s.ns.Link(dev)
		if l == nil {
			if why := w.s.lacks(facts.Links); why != "" {
				return nil, w.unknown(v, "links of "+w.s.label()+": "+why)
			}
			w.drop(v, WhyNoDevice, map[string]string{"dev": dev})
			return nil, false
		}
		if !l.Up {
			w.drop(v, WhyDown, map[string]string{"dev": dev}, w.linkProof(l)...)
			return nil, false
		}
		if l.Kind == "veth" && v.p.Size > l.MTU && l.MTU > 0 { // is_skb_forwardable
			w.drop(v, WhyMTU, mtuFacts(v.p.Size, l.MTU, dev), w.linkProof(l)...)
			return nil, false
		}
		m := w.s.ns.Link(l.Master)
		switch {
		case m != nil && m.Kind == "bond":
			dev = m.Name
			continue
		case m != nil && m.Kind == "bridge", v.p.VLAN == 0:
			return l, true
		}
		up := w.s.vlanOn(dev, int(v.p.VLAN))
		if up == nil {
			w.drop(v, WhyNoDevice, map[string]string{"dev": dev, "vlan": strconv.Itoa(int(v.p.VLAN))})
			return nil, false
		}
		v.p.VLAN, dev = 0, up.Name
	}
	return nil, w.unknown(v, "devices of "+w.s.label()+" stand on each other in a circle")
}

func (s *Space) vlanOn(parent string, id int) *facts.Link {
	for i := range s.ns.Links {
		if l := &s.ns.Links[i]; l.Kind == "vlan" && l.Parent == parent && l.VLAN == id {
			return l
		}
	}
	return nil
}

func mtuFacts(size, mtu int, dev string) map[string]string {
	return map[string]string{"size": strconv.Itoa(size), "mtu": strconv.Itoa(mtu), "dev": dev}
}

// linkProof writes a link as ip -o link does, shortened to what matters here.
func (w *walk) linkProof(l *facts.Link) []trace.Proof {
	return []trace.Proof{{Host: w.s.name(), Where: w.s.where("links"), Line: LinkLine(*l)}}
}

// LinkLine writes a link as ip link does, shortened to its state and MTU.
func LinkLine(l facts.Link) string {
	flags := ""
	var names strings.Builder
	for _, f := range []struct {
		on   bool
		name string
	}{{l.Up && !l.Running, "NO-CARRIER"}, {l.Promisc, "PROMISC"}, {l.Up, "UP"}, {l.Up && l.Running, "LOWER_UP"}} {
		if f.on {
			names.WriteString("," + f.name)
		}
	}
	flags += names.String()
	if flags != "" {
		flags = flags[1:]
	}
	line := strconv.Itoa(l.Index) + ": " + l.Name + ": <" + flags + "> mtu " + strconv.Itoa(l.MTU)
	if l.Master != "" {
		line += " master " + l.Master
	}
	return line + " link/ether " + l.MAC.String()
}

// frame takes a frame that has come to a device which is no port of a bridge.
func (w *walk) frame(v *view, l *facts.Link) Outcome {
	if d := v.p.Dst; !d.Group() && !d.Zero() && d != l.MAC && l.Name != "lo" {
		return w.drop(v, WhyOther, map[string]string{"mac": d.String(), "own": l.MAC.String(), "dev": l.Name}, w.linkProof(l)...)
	}
	switch {
	case v.p.Type == packet.ARP:
		return w.arp(v.p, l.Name)
	case !v.p.IsIP():
		return w.drop(v, WhyNoIP, map[string]string{"dev": l.Name})
	}
	if !w.hook("PREROUTING", v) {
		return w.o
	}
	return w.routeIn(v)
}

// routed is where an incoming packet goes.
type routed struct {
	found
	local bool
	why   string // Why... of a drop
	told  map[string]string
	proof []trace.Proof
}

// routeIn routes a packet that has come in, and delivers or forwards it.
func (w *walk) routeIn(v *view) Outcome {
	if out, done := w.discovery(v); done {
		return out
	}
	r := w.input(v, v.p.IPDst, v.p.IPSrc)
	switch {
	case r.lacks != "":
		w.unknown(v, r.lacks)
		return w.o
	case r.why != "":
		return w.drop(v, r.why, r.told, r.proof...)
	case r.local:
		return w.deliver(v)
	}
	return w.forward(v, r)
}

// input finds the route of a packet that has come in by v.in (ip_route_input_slow).
func (w *walk) input(v *view, dst, src netip.Addr) routed {
	for _, part := range []string{facts.Rules, facts.Routes} {
		if why := w.s.lacks(part); why != "" {
			return routed{found: found{lacks: part + " of " + w.s.label() + ": " + why}}
		}
	}
	v6 := dst.Is6()
	if why := strange(src, dst); why != "" {
		return routed{why: WhyMartian, told: map[string]string{"addr": src.String(), "dev": v.in, "reason": why}}
	}
	if dst == limited {
		if src.IsUnspecified() {
			return routed{local: true}
		}
		return w.validate(v, src, netip.IPv4Unspecified(), "", routed{local: true})
	}
	if dst.IsMulticast() {
		if v6 {
			return routed{local: true}
		}
		return routed{found: found{lacks: "members of the multicast group " + dst.String()}}
	}
	r := routed{found: w.c.fib(v6).lookup(flow{src: src, dst: dst, in: v.in, mark: v.mark})}
	if r.lacks != "" {
		return r
	}
	r.proof = w.routeProof(v, r.found)
	if r.fail != "" {
		r.why, r.told = r.fail, w.routeFacts(r.found, dst)
		return r
	}
	switch r.route.Kind {
	case "broadcast": // the way back is looked up as if from nobody
		r.local = true
		return w.validate(v, src, netip.IPv4Unspecified(), "", r)
	case "local", "anycast", "multicast":
		r.local = true
		return w.validate(v, src, dst, "", r)
	}
	on, known, name := w.s.forwards(v.in, v6)
	if !known {
		return routed{found: found{lacks: name + " of " + w.s.label()}}
	}
	if !on {
		r.why, r.told = WhyForwarding, map[string]string{"sysctl": name, "dev": v.in, "addr": dst.String()}
		r.proof = append(r.proof, w.s.sysctlProof(name)...)
		return r
	}
	return w.validate(v, src, dst, r.route.Dev, r)
}

// strange returns why addresses cannot be those of a packet on a wire, "" if they can.
func strange(src, dst netip.Addr) string {
	switch {
	case !src.IsValid() || !dst.IsValid() || src.Is6() != dst.Is6():
		return "it has no address"
	case src.IsMulticast():
		return "a group does not send"
	case src == limited:
		return "a broadcast address does not send"
	case src.IsLoopback() || dst.IsLoopback():
		return "loopback addresses stay inside"
	case src.Is4() && src.IsUnspecified() && dst != limited:
		return "it has no address yet"
	}
	return ""
}

// validate checks the source of an incoming packet against the way back to it
// (fib_validate_source): rp_filter, and addresses of our own.
func (w *walk) validate(v *view, src, dst netip.Addr, out string, r routed) routed {
	if src.Is6() {
		return r
	}
	if why := w.s.lacks(facts.Sysctls); why != "" && len(w.s.ns.Sysctls) == 0 {
		return routed{found: found{lacks: "sysctl of " + w.s.label() + ": " + why}}
	}
	mode := w.s.most("net.ipv4.conf.", "rp_filter", v.in)
	acceptLocal, _ := w.s.either("accept_local", v.in)
	f := w.c.fib(false)
	redirects, _ := w.s.either("send_redirects", v.in)
	martian := func(reason string) routed {
		r.why, r.told = WhyMartian, map[string]string{"addr": src.String(), "dev": v.in, "reason": reason}
		return r
	}
	if mode == 0 && (v.in != out || !redirects) && (acceptLocal || !f.custom) {
		if !acceptLocal && w.s.deviceOf(src) != "" {
			return martian("it is an address of the namespace itself")
		}
		return r
	}
	iif := out
	if iif == "" {
		iif = "lo"
	}
	back := f.lookup(flow{src: dst, dst: src, in: iif})
	strict := func() routed {
		name := w.s.stronger(v.in)
		r.why = WhyReverse
		r.told = map[string]string{"addr": src.String(), "dev": v.in, "mode": strconv.Itoa(mode), "sysctl": name}
		if back.route != nil {
			r.told["other"], r.told["route"] = back.route.Dev, routeLine(back.route)
		}
		r.proof = append(w.routeProof(v, back), w.s.sysctlProof(name)...)
		return r
	}
	switch {
	case back.lacks != "":
		return routed{found: back}
	case back.fail != "":
		if mode != 0 {
			return strict()
		}
		return r
	case back.route.Kind != "unicast" && back.route.Kind != "" && (back.route.Kind != "local" || !acceptLocal):
		return martian("it is an address of the namespace itself")
	case back.uses(v.in):
		return r
	case !w.s.first(v.in, false).IsValid() && mode != 0, mode == 1:
		return strict()
	}
	return r
}

// stronger returns which sysctl makes rp_filter as strict as it is.
func (s *Space) stronger(dev string) string {
	a, _ := s.sysctl("net.ipv4.conf.all.rp_filter")
	b, _ := s.sysctl("net.ipv4.conf." + dev + ".rp_filter")
	if a > b {
		return "net.ipv4.conf.all.rp_filter"
	}
	return "net.ipv4.conf." + dev + ".rp_filter"
}

// deliver gives a packet to the namespace itself.
func (w *walk) deliver(v *view) Outcome {
	if !w.hook("INPUT", v) {
		return w.o
	}
	w.commit(v)
	told := map[string]string{"addr": v.p.IPDst.String()}
	dev := w.s.deviceOf(v.p.IPDst)
	if dev != "" {
		told["dev"] = dev
	}
	proof := w.addrProof(v.p.IPDst)
	port := v.p.DstPort
	if v.proxied != 0 {
		port = v.proxied
	}
	if (v.p.Proto == packet.UDP || v.p.Proto == packet.TCP && v.p.Flags == 2) && !(v.track.entry != nil && v.track.reply) {
		told["port"] = strconv.Itoa(int(port))
		socket, known := w.listener(v.p.Proto, v.p.IPDst, port)
		switch {
		case socket != nil:
			told["program"] = socket.Program
			proof = append(proof, trace.Proof{Host: w.s.name(), Where: w.s.where("sockets"), Line: SocketLine(*socket)})
		case known:
			return w.drop(v, WhyListener, told, proof...)
		}
	}
	w.add(v, "deliver", told, proof...)
	w.o.Local, w.o.Packet = true, v.p
	return w.o
}

// listener finds the socket that takes a packet; known is false when sockets were not collected.
func (w *walk) listener(proto uint8, dst netip.Addr, port uint16) (*facts.Socket, bool) {
	unicast := w.s.deviceOf(dst) != "" || dst.IsLoopback()
	for i := range w.s.ns.Sockets {
		k := &w.s.ns.Sockets[i]
		a := k.Addr.Addr().WithZone("")
		if k.Proto == proto && k.Addr.Port() == port && (a.IsUnspecified() || !a.IsValid() || a == dst || !unicast && a.IsMulticast()) {
			return k, true
		}
	}
	return nil, w.s.lacks(facts.Programs) == "" && (w.s.host == nil || w.s.host.Lacks(facts.Programs, "", "") == "")
}

// SocketLine writes a socket as ss -ln does.
func SocketLine(k facts.Socket) string {
	name, state := "udp", "UNCONN"
	if k.Proto == packet.TCP {
		name, state = "tcp", "LISTEN"
	}
	line := name + " " + state + " " + k.Addr.String()
	if k.Program != "" {
		line += " " + k.Program
	}
	return line
}
