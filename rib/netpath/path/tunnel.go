package path

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/linux"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// kindOfTunnel is what is known of a kind: bytes that it adds over IPv4, and how its outer
// packets look.
type kindOfTunnel struct {
	bytes int
	proto uint8
	port  uint16
}

var tunnelKinds = map[string]kindOfTunnel{
	"vxlan":  {50, packet.UDP, 4789}, // RFC 7348: 20 IP, 8 UDP, 8 VXLAN, 14 Ethernet
	"geneve": {50, packet.UDP, 6081}, // without options
	"gre":    {42, 47, 0},            // with a key: 20 IP, 8 GRE, 14 Ethernet
}

// tunnel carries a frame that left by a tunnel port to the host that has the other end.
func (r *run) tunnel(f frame) ([]frame, []ending) {
	s := r.site(f.host)
	t := f.p.Tunnel
	k := tunnelKinds[t.Kind]
	hop := trace.Hop{Place: trace.PlaceTunnel, Name: t.Kind, Does: "pass", In: f.p, Out: f.p, Verdict: trace.Delivered}
	hop.Facts = map[string]string{"from": t.Src.String(), "to": t.Dst.String(), "vni": strconv.Itoa(int(t.ID)), "host": f.host}
	far := r.endOf(t.Dst)
	if far == "" {
		hop.Host = f.host
		return nil, stop(f, hop, trace.Dropped, "no-such-host")
	}
	hop.Facts["peer"] = far
	if f.copied && r.w.sites[far] == nil && !r.concerns(f.p, far) {
		return nil, nil // a copy for nobody who matters
	}
	if ends := r.underlay(f, s, hop, k); ends != nil {
		return nil, ends
	}
	d := r.site(far)
	if d == nil {
		r.lacks("host " + far)
		hop.Host = far
		ends := stop(f, hop, trace.Undetermined, "not-collected")
		ends[0].idle = f.copied && !r.concerns(f.p, far)
		return nil, ends
	}
	if ends := r.arrival(f, d, hop, k); ends != nil {
		return nil, ends
	}
	bridge, port := tunnelPort(d.facts, t)
	if port == nil {
		hop.Host = far
		hop.Proof = tunnelPorts(d.facts)
		return nil, stop(f, hop, trace.Dropped, "no-tunnel-back")
	}
	f.trail = f.trail.add(hop)
	f.spot, f.host, f.dev, f.port, f.space = atSwitch, far, bridge.Name, port.OFPort, ""
	return []frame{f}, nil
}

// concerns reports whether a host has what a frame is for, as far as Neutron says.
func (r *run) concerns(p packet.Packet, host string) bool {
	at := r.w.index.addrs[p.IPDst]
	if !p.Dst.Group() {
		at = r.w.index.macs[p.Dst]
	}
	return slices.ContainsFunc(at, func(port *intent.Port) bool { return port.Host == host })
}

// endOf is the host that has an address of tunnels, "" if none has.
func (r *run) endOf(addr netip.Addr) string {
	if host := r.w.index.tunnels[addr]; host != "" {
		return host
	}
	for _, name := range r.w.names {
		for _, l := range r.w.sites[name].own() {
			for _, a := range l.Addrs {
				if a.Addr() == addr {
					return name
				}
			}
		}
	}
	return ""
}

// own lists the links of the host's own namespace.
func (s *site) own() []facts.Link {
	if n := s.facts.Space(""); n != nil {
		return n.Links
	}
	return nil
}

// underlay checks what carries the tunnel on the sender's side: the device that has the
// address, room for the outer headers, and the host's own filter where the kernel sends.
func (r *run) underlay(f frame, s *site, hop trace.Hop, k kindOfTunnel) []ending {
	t := f.p.Tunnel
	hop.Host = f.host
	if why := s.facts.Lacks(facts.Links, "", ""); why != "" {
		return nil // the far side tells whether it works
	}
	l := s.having(t.Src)
	if l == nil {
		if !t.Src.IsValid() {
			return nil
		}
		return stop(f, hop, trace.Dropped, "no-tunnel-address")
	}
	for _, l := range s.carriers(l) {
		d := &device{space: s.facts.Space(""), link: l}
		if !l.Up {
			h := down(hop, l.Name, d)
			h.Facts["peer"] = hop.Facts["peer"]
			return stop(f, h, trace.Dropped, "down")
		}
		if l.MTU > 0 && f.p.Size+k.bytes > l.MTU {
			h := narrow(hop, l.Name, d, f.p.Size+k.bytes)
			h.Facts["inner"], h.Facts["overhead"], h.Facts["peer"] = strconv.Itoa(f.p.Size), strconv.Itoa(k.bytes), hop.Facts["peer"]
			return stop(f, h, trace.Dropped, "mtu")
		}
	}
	if s.user() {
		return nil
	}
	out := s.space("").Send(outer(f.p, k), linux.Context{Tracked: r.table(f.host, "").Clone(), Known: map[linux.Ask]packet.MAC{}})
	if len(out.Out) > 0 || out.Resolve != nil || len(out.Unknown) > 0 {
		return nil
	}
	return r.refused(f, hop, &out)
}

// arrival checks the receiver's side: room, and the host's own filter.
func (r *run) arrival(f frame, s *site, hop trace.Hop, k kindOfTunnel) []ending {
	t := f.p.Tunnel
	hop.Host = s.facts.Name
	if why := s.facts.Lacks(facts.Links, "", ""); why != "" {
		return nil
	}
	l := s.having(t.Dst)
	if l == nil {
		return stop(f, hop, trace.Dropped, "no-tunnel-address")
	}
	for _, l := range s.carriers(l) {
		d := &device{space: s.facts.Space(""), link: l}
		if !l.Up {
			return stop(f, down(hop, l.Name, d), trace.Dropped, "down")
		}
		if l.MTU > 0 && f.p.Size+k.bytes > l.MTU { // most drivers drop what is longer than they may send
			h := narrow(hop, l.Name, d, f.p.Size+k.bytes)
			h.Facts["inner"], h.Facts["overhead"] = strconv.Itoa(f.p.Size), strconv.Itoa(k.bytes)
			return stop(f, h, trace.Dropped, "mtu")
		}
	}
	if s.user() || s.facts.Lacks(facts.Filters, "", "") != "" {
		return nil
	}
	p := outer(f.p, k)
	p.Dst = l.MAC
	out := s.space("").Receive(p, l.Name, linux.Context{Tracked: r.table(s.facts.Name, "").Clone(), Known: map[linux.Ask]packet.MAC{}})
	if out.Local || len(out.Unknown) > 0 || len(out.Steps) == 0 || !filtered(out.Steps) {
		return nil // the kernel's own VXLAN socket takes it, whatever sockets are listed
	}
	return r.refused(f, hop, &out)
}

func filtered(steps []linux.Step) bool {
	last := steps[len(steps)-1]
	return last.Drop && (last.Facts["chain"] != "" || last.Facts["why"] == "filter")
}

func (r *run) refused(f frame, hop trace.Hop, out *linux.Outcome) []ending {
	for i := range out.Steps {
		hop.Proof = append(hop.Proof, out.Steps[i].Proof...)
		if out.Steps[i].Drop {
			hop.Facts["reason"] = out.Steps[i].Facts["why"]
		}
	}
	return stop(f, hop, trace.Dropped, "underlay-filter")
}

// outer is the packet that carries another in a tunnel.
func outer(p packet.Packet, k kindOfTunnel) packet.Packet {
	o := packet.Packet{
		Type: packet.IPv4, IPSrc: p.Tunnel.Src, IPDst: p.Tunnel.Dst, Proto: k.proto, TTL: 64, Size: p.Size + k.bytes,
		SrcPort: 49200, DstPort: k.port, Keep: true,
	}
	if k.port == 0 {
		o.SrcPort = 0
	}
	return o
}

// having is the link of the host's own namespace that has an address.
func (s *site) having(addr netip.Addr) *facts.Link {
	links := s.own()
	for i := range links {
		for _, a := range links[i].Addrs {
			if a.Addr() == addr {
				return &links[i]
			}
		}
	}
	return nil
}

// carriers lists the links that packets of a link really leave by, itself first: the ports
// of the bridge that it is, the parent that its tag goes over.
func (s *site) carriers(l *facts.Link) []*facts.Link {
	list := []*facts.Link{l}
	own := s.own()
	for i := range own {
		c := &own[i]
		switch {
		case l.Parent != "" && c.Name == l.Parent:
			list = append(list, c)
		case l.Kind == "bridge" && c.Master == l.Name && !isVirtual(c.Name):
			list = append(list, c)
		}
	}
	if b := s.facts.Bridge(l.Name); b != nil {
		for i := range b.Ports {
			if p := &b.Ports[i]; s.isWire(p) {
				if d := s.link("", p.Name); d != nil {
					list = append(list, d.link)
				}
			}
		}
	}
	return list
}

func isVirtual(name string) bool {
	return slices.ContainsFunc([]string{"tap", "qvo", "qvb", "qbr", "vnet"}, func(p string) bool { return strings.HasPrefix(name, p) })
}

// tunnelPort is the port by which a host takes packets of a tunnel, nil if it has none for
// that peer (ovs-vswitchd.conf.db(5), options remote_ip, local_ip, in_key).
func tunnelPort(h *facts.Host, t packet.Tunnel) (*facts.Bridge, *facts.Port) {
	if h.OVS == nil {
		return nil, nil
	}
	var bridge *facts.Bridge
	var port *facts.Port
	for i := range h.OVS.Bridges {
		b := &h.OVS.Bridges[i]
		for j := range b.Ports {
			p := &b.Ports[j]
			if p.Type != t.Kind || p.OFPort < 1 || !fits(p.Options["remote_ip"], t.Src.String()) || !fits(p.Options["local_ip"], t.Dst.String()) {
				continue
			}
			if !fits(p.Options["key"], strconv.Itoa(int(t.ID))) || !fits(p.Options["in_key"], strconv.Itoa(int(t.ID))) {
				continue
			}
			if port == nil || p.Options["remote_ip"] == t.Src.String() {
				bridge, port = b, p
			}
		}
	}
	return bridge, port
}

func fits(option, is string) bool { return option == "" || option == "flow" || option == is }

// tunnelPorts shows which tunnels a host has.
func tunnelPorts(h *facts.Host) []trace.Proof {
	var list []trace.Proof
	if h.OVS == nil {
		return nil
	}
	for i := range h.OVS.Bridges {
		for _, p := range h.OVS.Bridges[i].Ports {
			if _, ok := tunnelKinds[p.Type]; ok && len(list) < 4 {
				list = append(list, trace.Proof{Host: h.Name, Where: h.OVS.Bridges[i].Name, Line: p.Name + " type: " + p.Type + " options: remote_ip=" + p.Options["remote_ip"] + " local_ip=" + p.Options["local_ip"]})
			}
		}
	}
	return list
}
