package path

import (
	"net/netip"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/linux"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// machineName is what people call what is behind a port.
func machineName(p *intent.Port) string {
	switch {
	case p.VM != "":
		return p.VM
	case p.Name != "":
		return p.Name
	}
	return p.ID
}

// deviceOf is the name of the device that a machine's frames come in by.
func deviceOf(s *site, p *intent.Port) string {
	tail := p.ID[:min(short, len(p.ID))]
	if s.facts.OVS != nil {
		for i := range s.facts.OVS.Bridges {
			for _, o := range s.facts.OVS.Bridges[i].Ports {
				if o.Externals["iface-id"] == p.ID && o.Name != "qvo"+tail {
					return o.Name
				}
			}
		}
	}
	return "tap" + tail
}

// machine lets a frame come out of a machine: what it sends appears on its device.
func (r *run) machine(f frame, _ goal) ([]frame, []ending) {
	s := r.site(f.host)
	if s == nil {
		return r.unknown(f)
	}
	hop := trace.Hop{Place: trace.PlaceDevice, Host: f.host, Name: f.dev, Does: "pass", In: f.p, Out: f.p, From: f.dev, To: f.dev, Verdict: trace.Delivered}
	d := s.link("", f.dev)
	if d == nil && s.facts.Lacks(facts.Links, "", "") == "" {
		hop.Facts = map[string]string{"device": f.dev, "namespace": ""}
		return nil, stop(f, hop, trace.Dropped, "no-device")
	}
	if d != nil && !d.link.Up {
		return nil, stop(f, down(hop, f.dev, d), trace.Dropped, "down")
	}
	f.trail = f.trail.add(hop)
	f.spot, f.space = atDevice, ""
	return []frame{f}, nil
}

// unknown ends a frame on a host of which nothing is known.
func (r *run) unknown(f frame) ([]frame, []ending) {
	r.lacks("host " + f.host)
	return nil, stop(f, trace.Hop{Place: trace.PlaceNamespace, Host: f.host, Name: f.host}, trace.Undetermined, "not-collected")
}

// from lets a machine send a packet: it finds its next station as any machine does by what
// its subnet says, and asks for the address.
func (r *run) from(port *intent.Port, p packet.Packet) ([]frame, []ending) {
	f := frame{spot: atMachine, host: port.Host, p: p}
	hop := trace.Hop{Place: trace.PlaceVM, Host: port.Host, Name: machineName(port), Does: "send", Out: p, Verdict: trace.Delivered, Facts: map[string]string{}}
	s := r.site(port.Host)
	if s == nil {
		if port.Host == "" {
			hop.Facts["port"] = port.ID
			return nil, stop(f, hop, trace.Dropped, "unbound")
		}
		return r.unknown(f)
	}
	f.dev = deviceOf(s, port)
	hop.To = f.dev
	n := r.w.index.networks[port.Network]
	if n != nil && n.MTU > 0 && p.Size > n.MTU {
		hop.Out = packet.Packet{}
		hop.Facts["mtu"] = itoa(n.MTU)
		hop.Facts["size"] = itoa(p.Size)
		return nil, stop(f, hop, trace.Dropped, "own-mtu")
	}
	if !p.Dst.Group() {
		via, ok := r.nextOf(port, p)
		if !ok {
			hop.Out = packet.Packet{}
			hop.Facts["address"] = p.IPDst.String()
			return nil, stop(f, hop, trace.Dropped, "no-gateway")
		}
		mac, how := r.askAs(port, f.dev, p.IPSrc, via)
		if mac.Zero() {
			return nil, r.unanswered(f, hop, how)
		}
		f.p.Src, f.p.Dst = port.MAC, mac
		hop.Facts["via"] = via.String()
	}
	hop.Out = f.p
	f.trail = f.trail.add(hop)
	return []frame{f}, nil
}

// nextOf is the address of the next station on a machine's way to another: the other
// itself on the same subnet, what the subnet's routes say, its gateway.
func (r *run) nextOf(port *intent.Port, p packet.Packet) (netip.Addr, bool) {
	best, found := netip.Addr{}, -1
	for _, ip := range port.IPs {
		s := r.w.index.subnets[ip.Subnet]
		if s == nil || s.CIDR.Addr().Is4() != p.IPDst.Is4() {
			continue
		}
		if s.CIDR.Contains(p.IPDst) {
			return p.IPDst, true
		}
		for _, route := range s.Routes {
			if route.Dst.Contains(p.IPDst) && route.Dst.Bits() > found {
				best, found = route.Via, route.Dst.Bits()
			}
		}
		if p.IPDst == metadata && found < 0 && r.w.index.on(port.Network, s.Gateway) == nil {
			if d := r.w.index.dhcp[port.Network]; d != nil { // dnsmasq tells it as a route, option 121
				best, found = d.IPs[0].Addr, 32
			}
		}
		if s.Gateway.IsValid() && found < 0 {
			best, found = s.Gateway, 0
		}
	}
	return best, found >= 0
}

// askAs lets a machine ask for an address.
func (r *run) askAs(port *intent.Port, dev string, from, to netip.Addr) (packet.MAC, *ending) {
	who := "port " + port.ID
	a := linux.Ask{Dev: dev, Addr: to}
	if known := r.neighbours(who)[linux.Ask{Addr: to}]; !known.Zero() {
		return known, nil
	}
	found, how := r.query(who, frame{spot: atMachine, host: port.Host, dev: dev}, port.MAC, from, a, func(at place) bool {
		return at.kind == "machine" && at.port != nil && at.port.ID == port.ID
	})
	r.neighbours(who)[linux.Ask{Addr: to}] = found
	return found, &how
}

// answerARP lets a machine answer who asks for one of its addresses.
func (r *run) answerARP(f frame, id string) ([]frame, []ending) {
	port := r.w.index.ports[id]
	idle := []ending{{verdict: trace.Dropped, idle: true, host: f.host, p: f.p, trail: f.trail}}
	if f.p.Op == 2 || isAdvertisement(f.p) {
		return nil, idle
	}
	mac, ok := r.holds(port, f.p.IPDst)
	if !ok {
		return nil, idle
	}
	r.neighbours("port " + id)[linux.Ask{Addr: f.p.IPSrc}] = f.p.ARPSrc
	answer := f.p.Reply()
	answer.Src, answer.ARPSrc, answer.Dst, answer.ARPDst = mac, mac, f.p.Src, f.p.ARPSrc
	if f.p.Type != packet.ARP {
		answer.ICMPType, answer.TTL = advertisement, 255
	}
	hop := trace.Hop{Place: trace.PlaceVM, Host: f.host, Name: machineName(port), Does: "arp", In: f.p, Out: answer, From: f.dev, To: f.dev, Verdict: trace.Delivered}
	return []frame{{spot: atMachine, host: f.host, dev: f.dev, p: answer, trail: f.trail.add(hop)}}, nil
}

// holds reports whether a machine answers for an address, and with which hardware address:
// its own, or one that it may use besides and that is nobody's own.
func (r *run) holds(port *intent.Port, addr netip.Addr) (packet.MAC, bool) {
	for _, ip := range port.IPs {
		if ip.Addr == addr {
			return port.MAC, true
		}
	}
	for _, pair := range port.Pairs {
		if pair.Prefix.IsSingleIP() && pair.Prefix.Addr() == addr && !r.owned(port.Network, addr) {
			if pair.MAC.Zero() {
				return port.MAC, true
			}
			return pair.MAC, true
		}
	}
	return packet.MAC{}, false
}

// forwards reports whether a machine is the one by which a router's extra route leads to an
// address.
func (r *run) forwards(port *intent.Port, addr netip.Addr) bool {
	for _, leg := range r.w.index.taps[port.Network] {
		ro := r.w.index.routers[leg.Device]
		if ro == nil {
			continue
		}
		for _, route := range ro.Routes {
			for _, ip := range port.IPs {
				if route.Via == ip.Addr && route.Dst.Contains(addr) && route.Dst.Bits() > 0 {
					return true
				}
			}
		}
	}
	return false
}

// owned reports whether a machine has an address for its own. Ports that only reserve one,
// as people make them for addresses that machines share, are bound to no host.
func (r *run) owned(network string, addr netip.Addr) bool {
	p := r.w.index.on(network, addr)
	return p != nil && p.Host != ""
}

// pairedMAC reports whether a machine may use a hardware address besides its own.
func (r *run) pairedMAC(id string, mac packet.MAC) bool {
	for _, pair := range r.w.index.ports[id].Pairs {
		if !pair.MAC.Zero() && pair.MAC == mac {
			return true
		}
	}
	return false
}

// admits reports whether the packet is one of a port whose security groups let it pass in
// this world, whatever they say.
func (r *run) admits(host string, p packet.Packet) bool {
	for _, id := range r.w.admit {
		port := r.w.index.ports[id]
		if port != nil && port.Host == host && p.IsIP() && (p.Src == port.MAC || p.Dst == port.MAC) {
			return true
		}
	}
	return false
}
