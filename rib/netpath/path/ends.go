package path

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// Kinds of ends.
const (
	kindVM       = "vm"
	kindRouter   = "router"
	kindDHCP     = "dhcp"
	kindMetadata = "metadata"
	kindOutside  = "outside"
	kindAddress  = "address"
)

// metadata is the address at which machines ask for what they are (of Amazon's EC2).
var metadata = netip.MustParseAddr("169.254.169.254")

// side is one end of a question, resolved.
type side struct {
	trace.End
	port    *intent.Port
	network *intent.Network // that it stands on, where that is not the port's
	target  netip.Addr      // what packets to it are addressed to
}

// ends resolves both ends of a question.
func (w *World) ends(q trace.Question) (src, dst side, err error) {
	if slices.Contains([]string{kindMetadata, kindDHCP, "dns", "gateway"}, q.From) {
		return side{}, side{}, &fault.Fault{Kind: fault.KindInvalid, What: fmt.Sprintf("%q can be asked, it does not ask", q.From), Remedy: "give the machine that asks as the source"}
	}
	from, err := w.find(q.From)
	if err != nil {
		return side{}, side{}, err
	}
	if service := slices.Contains([]string{kindMetadata, kindDHCP, "dns", "gateway"}, q.To); service {
		if src, err = w.only(q.From, from, nil); err != nil {
			return side{}, side{}, err
		}
		dst, err = w.service(src, q.To)
		return src, dst, err
	}
	to, err := w.find(q.To)
	if err != nil {
		return side{}, side{}, err
	}
	if src, err = w.only(q.From, from, to); err != nil {
		return side{}, side{}, err
	}
	if dst, err = w.only(q.To, to, []side{src}); err != nil {
		return side{}, side{}, err
	}
	return w.aim(src, dst)
}

// aim decides which addresses the two ends use towards one another.
func (w *World) aim(src, dst side) (side, side, error) {
	if src.Kind == kindAddress {
		return src, dst, &fault.Fault{Kind: fault.KindInvalid, What: src.Name + " has no port: nothing can send from there", Remedy: "give a machine, a port or \"internet\" as the source"}
	}
	if src.Kind == kindOutside && dst.Kind == kindOutside {
		return src, dst, fault.Invalid(fmt.Sprintf("neither %s nor %s is of this cloud", src.Name, dst.Name))
	}
	if src.port != nil && dst.port != nil && dst.target == dst.Addr {
		src.Addr, dst.target = w.family(src.port, dst.port, src.Addr, dst.Addr)
		dst.Addr = dst.target
	}
	if src.Kind == kindOutside {
		return w.aimIn(src, dst)
	}
	if dst.Kind == kindOutside && !src.Addr.Is4() && dst.Name == "internet" {
		dst.Addr, dst.target = internet6, internet6
	}
	return src, dst, nil
}

// aimIn decides how a packet from beyond the cloud gets to a machine: by its floating
// address, or by its own where that is on a network that leads out.
func (w *World) aimIn(src, dst side) (side, side, error) {
	if dst.port == nil {
		src.network = dst.network
		if src.network == nil {
			return src, dst, fault.Invalid(dst.Name + " cannot be reached from outside")
		}
		return src, dst, nil
	}
	if dst.Float.IsValid() {
		dst.target = dst.Float
		src.network = w.index.networks[w.index.floats[dst.Float].Network]
		return src, dst, nil
	}
	n := w.index.networks[dst.port.Network]
	if n != nil && (n.External || n.Kind == "flat" || n.Kind == "vlan") {
		src.network = n
		return src, dst, nil
	}
	for _, leg := range w.index.taps[dst.port.Network] {
		ro := w.index.routers[leg.Device]
		if ro != nil && ro.External != "" && !ro.SNAT {
			src.network = w.index.networks[ro.External]
			return src, dst, nil
		}
	}
	return src, dst, &fault.Fault{
		Kind: fault.KindInvalid, What: dst.Name + " has no floating address, and its network does not lead out: nobody outside can send to it",
		Remedy: "associate a floating address: openstack floating ip create --port " + dst.port.ID + " NETWORK",
	}
}

// family chooses addresses of the same family, of the same subnet if there is one.
func (w *World) family(a, b *intent.Port, x, y netip.Addr) (netip.Addr, netip.Addr) {
	for _, i := range a.IPs {
		for _, j := range b.IPs {
			if i.Subnet == j.Subnet {
				return i.Addr, j.Addr
			}
		}
	}
	for _, i := range a.IPs {
		for _, j := range b.IPs {
			if i.Addr.Is4() == j.Addr.Is4() {
				return i.Addr, j.Addr
			}
		}
	}
	return x, y
}

// service is what a machine's network offers it.
func (w *World) service(src side, name string) (side, error) {
	if src.port == nil {
		return side{}, fault.Invalid(fmt.Sprintf("%s is asked by machines; %s is none", name, src.Name))
	}
	n := w.index.networks[src.port.Network]
	sub := w.subnetOf(src)
	if n == nil || sub == nil && name != kindDHCP {
		return side{}, fault.Invalid(src.Name + " has no address on a subnet")
	}
	switch name {
	case kindDHCP:
		d := side{End: trace.End{Kind: kindDHCP, Name: "dhcp"}, network: n, target: netip.MustParseAddr("255.255.255.255")}
		if p := w.index.dhcp[n.ID]; p != nil {
			d.Port, d.Host, d.MAC, d.Addr = p.ID, p.Host, p.MAC, p.IPs[0].Addr
		}
		return d, nil
	case kindMetadata:
		return side{End: trace.End{Kind: kindMetadata, Name: "metadata", Addr: metadata, Host: src.Host}, target: metadata}, nil
	case "gateway":
		if !sub.Gateway.IsValid() {
			return side{}, fault.Invalid(fmt.Sprintf("subnet %s has no gateway", cmp.Or(sub.Name, sub.CIDR.String())))
		}
		if p := w.index.on(n.ID, sub.Gateway); p != nil {
			return w.sideOf(p, sub.Gateway), nil
		}
		return side{End: trace.End{Kind: kindOutside, Name: sub.Gateway.String(), Addr: sub.Gateway}, target: sub.Gateway, network: n}, nil
	}
	if len(sub.DNS) > 0 {
		list, err := w.find(sub.DNS[0].String())
		if err != nil {
			return side{}, err
		}
		return w.only(sub.DNS[0].String(), list, []side{src})
	}
	if p := w.index.dhcp[n.ID]; p != nil {
		return w.sideOf(p, p.IPs[0].Addr), nil
	}
	return side{}, fault.Invalid(fmt.Sprintf("network %s has neither a DNS server nor DHCP", cmp.Or(n.Name, n.ID)))
}

func (w *World) subnetOf(s side) *intent.Subnet {
	for _, ip := range s.port.IPs {
		if ip.Addr == s.Addr {
			return w.index.subnets[ip.Subnet]
		}
	}
	return nil
}

// find lists what a name can mean.
func (w *World) find(name string) ([]side, error) {
	if name == "internet" || name == "outside" {
		return []side{{End: trace.End{Kind: kindOutside, Name: "internet", Addr: internet}, target: internet}}, nil
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		return w.address(addr.Unmap()), nil
	}
	ports := w.index.names[name]
	if machines := slices.DeleteFunc(slices.Clone(ports), func(p *intent.Port) bool { return !isMachine(p.Owner) }); len(machines) > 0 {
		ports = machines
	}
	if len(ports) == 0 {
		ports = w.byID(name)
	}
	if len(ports) == 0 {
		ports = w.ofRouter(name)
	}
	if len(ports) == 0 {
		return nil, &fault.Fault{
			Kind: fault.KindNotFound, What: fmt.Sprintf("no machine, port, router or address of this cloud is called %q", name),
			Remedy: "give a VM's or a port's name, a port's id or device (tap...), an address, or \"internet\"",
		}
	}
	list := make([]side, 0, len(ports))
	for _, p := range ports {
		var a netip.Addr
		if len(p.IPs) > 0 {
			a = p.IPs[0].Addr
		}
		list = append(list, w.sideOf(p, a))
	}
	return list, nil
}

// byID finds ports by their id, the start of one, or a device that is named for one.
func (w *World) byID(name string) []*intent.Port {
	if p := w.index.ports[name]; p != nil {
		return []*intent.Port{p}
	}
	for _, prefix := range []string{"tap", "qvo", "qvb", "qbr", "vhu", "qr-", "qg-", "sg-", "fg-"} {
		name = strings.TrimPrefix(name, prefix)
	}
	if len(name) < short {
		return nil
	}
	if p := w.index.tails[name[:short]]; p != nil && strings.HasPrefix(p.ID, name) {
		return []*intent.Port{p}
	}
	return nil
}

// ofRouter lists the ports with which a router is a gateway.
func (w *World) ofRouter(name string) []*intent.Port {
	for i := range w.index.cloud.Routers {
		ro := &w.index.cloud.Routers[i]
		if ro.ID == name || ro.Name == name {
			return slices.DeleteFunc(slices.Clone(w.index.legs[ro.ID]), func(p *intent.Port) bool { return !isInterface(p.Owner) })
		}
	}
	return nil
}

// address lists what an address can mean: addresses of private networks may repeat.
func (w *World) address(addr netip.Addr) []side {
	if f, p := w.index.holder(addr); f != nil {
		if p == nil {
			return []side{{End: trace.End{Kind: kindAddress, Name: addr.String(), Addr: addr}, network: w.index.networks[f.Network], target: addr}}
		}
		s := w.sideOf(p, f.Fixed)
		s.target = addr
		return []side{s}
	}
	var list []side
	for _, p := range w.index.addrs[addr] {
		list = append(list, w.sideOf(p, addr))
	}
	if len(list) > 0 {
		return list
	}
	for i := range w.index.cloud.Subnets {
		if s := &w.index.cloud.Subnets[i]; s.CIDR.Contains(addr) {
			n := w.index.networks[s.Network]
			kind := kindAddress
			if n != nil && n.External && addr == s.Gateway {
				kind = kindOutside
			}
			list = append(list, side{End: trace.End{Kind: kind, Name: addr.String(), Addr: addr}, network: n, target: addr})
		}
	}
	if len(list) > 0 {
		return list
	}
	return []side{{End: trace.End{Kind: kindOutside, Name: addr.String(), Addr: addr}, target: addr}}
}

// sideOf is the end that a port is, with one of its addresses.
func (w *World) sideOf(p *intent.Port, addr netip.Addr) side {
	s := side{End: trace.End{Kind: kindVM, Name: machineName(p), Port: p.ID, Host: p.Host, Addr: addr, MAC: p.MAC}, port: p, target: addr}
	switch {
	case isRouter(p.Owner) || p.Owner == intent.OwnerFloatingGW:
		s.Kind = kindRouter
		if ro := w.index.routers[p.Device]; ro != nil {
			s.Name = cmp.Or(ro.Name, ro.ID)
		}
		if p.Owner == intent.OwnerDistributed {
			s.Host = ""
		}
	case p.Owner == intent.OwnerDHCP:
		s.Kind = kindDHCP
		s.Name = addr.String()
	}
	for _, f := range w.index.floating[p.ID] {
		if f.Fixed == addr || !f.Fixed.IsValid() {
			s.Float = f.Addr
		}
	}
	return s
}

// only chooses the one of several meanings that is near the other end: on the same network,
// else joined to it by a router.
func (w *World) only(name string, list, others []side) (side, error) {
	for _, near := range []func(a, b side) bool{w.sameNetwork, w.joinedNetworks} {
		if len(list) == 1 {
			break
		}
		close := slices.DeleteFunc(slices.Clone(list), func(s side) bool {
			return !slices.ContainsFunc(others, func(o side) bool { return near(s, o) })
		})
		if len(close) > 0 {
			list = close
		}
	}
	if len(list) == 1 {
		return list[0], nil
	}
	var names []string
	for _, s := range list {
		names = append(names, strings.TrimSpace(fmt.Sprintf("%s %s %s", s.Addr, s.Host, cmp.Or(s.Port, networkName(s.network)))))
	}
	slices.Sort(names)
	if len(names) > 8 {
		names = append(names[:8], "...")
	}
	return side{}, &fault.Fault{
		Kind: fault.KindInvalid, What: fmt.Sprintf("%q can be %d things: %s", name, len(list), strings.Join(names, "; ")),
		Remedy: "give the id of the port that you mean",
	}
}

func networkName(n *intent.Network) string {
	if n == nil {
		return ""
	}
	return cmp.Or(n.Name, n.ID)
}

func (s side) networkID() string {
	switch {
	case s.port != nil:
		return s.port.Network
	case s.network != nil:
		return s.network.ID
	}
	return ""
}

func (w *World) sameNetwork(a, b side) bool {
	return a.networkID() != "" && a.networkID() == b.networkID()
}

// joinedNetworks reports whether a router stands on both networks.
func (w *World) joinedNetworks(a, b side) bool {
	for _, x := range w.index.taps[a.networkID()] {
		for _, y := range w.index.taps[b.networkID()] {
			if x.Device == y.Device {
				return true
			}
		}
	}
	return false
}

// protocol reads a question's protocol; the port that a service has where none is given.
func protocol(q trace.Question) (proto uint8, port uint16, err error) {
	name := strings.ToLower(q.Proto)
	if name == "" {
		switch q.To {
		case kindMetadata:
			return packet.TCP, 80, nil
		case kindDHCP:
			return packet.UDP, 67, nil
		case "dns":
			return packet.UDP, 53, nil
		}
		if q.Port != 0 {
			return packet.TCP, q.Port, nil
		}
		return packet.ICMP, 0, nil
	}
	switch name {
	case "icmp", "ping":
		return packet.ICMP, 0, nil
	case "tcp", "udp":
		port = q.Port
		if port == 0 {
			port = map[string]uint16{kindMetadata: 80, kindDHCP: 67, "dns": 53}[q.To]
		}
		if port == 0 {
			return 0, 0, &fault.Fault{Kind: fault.KindInvalid, What: name + " has ports, and the question names none", Remedy: "give the port: --" + name + " 443"}
		}
		if name == "tcp" {
			return packet.TCP, port, nil
		}
		return packet.UDP, port, nil
	}
	return 0, 0, &fault.Fault{Kind: fault.KindInvalid, What: fmt.Sprintf("protocol %q is not known here", q.Proto), Remedy: "give icmp, tcp or udp"}
}
