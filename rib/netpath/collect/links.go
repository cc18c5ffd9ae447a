package collect

import (
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kaname.dev/kaname/rib/netpath/facts"
)

// kinds are names of kinds of links that the library has in words of its own.
var kinds = map[string]string{"device": "", "tuntap": "tun", "generic": ""}

func (v *visit) readLinks(h *netlink.Handle) error {
	all, err := h.LinkList()
	if err != nil {
		return err
	}
	addrs, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	clear(v.links)
	for _, l := range all {
		v.links[l.Attrs().Index] = l.Attrs().Name
	}
	v.out.Links = make([]facts.Link, 0, len(all))
	for _, l := range all {
		out := v.link(h, l)
		for _, a := range addrs {
			if a.LinkIndex == out.Index {
				out.Addrs = append(out.Addrs, prefix(a.IPNet))
			}
		}
		v.out.Links = append(v.out.Links, out)
	}
	return nil
}

func (v *visit) link(h *netlink.Handle, l netlink.Link) facts.Link {
	a := l.Attrs()
	kind := l.Type()
	if own, ok := kinds[kind]; ok {
		kind = own
	}
	out := facts.Link{
		Name: a.Name, Index: a.Index, Kind: kind, MAC: mac(a.HardwareAddr), MTU: a.MTU,
		Up: a.RawFlags&unix.IFF_UP != 0, Running: a.RawFlags&unix.IFF_RUNNING != 0,
		Promisc: a.Promisc > 0, Master: v.links[a.MasterIndex],
	}
	switch l := l.(type) {
	case *netlink.Veth:
		out.PeerIndex = a.ParentIndex
		out.PeerSpace = v.peer(h, a.NetNsID)
	case *netlink.Vlan:
		out.VLAN = l.VlanId
		out.Parent = v.links[a.ParentIndex]
	case *netlink.Vxlan:
		out.VNI = l.VxlanId
		out.Parent = v.links[l.VtepDevIndex]
	default:
		out.Parent = v.links[a.ParentIndex]
	}
	return out
}

// peer finds the namespace that the kernel has numbered id, as seen from here, among those
// that we know; 0 if it is none of them.
func (v *visit) peer(h *netlink.Handle, id int) uint64 {
	if id < 0 {
		return v.space.id
	}
	if v.peers == nil {
		v.peers = map[int]uint64{}
		for _, s := range v.known {
			if s.file == nil {
				continue
			}
			// Asking numbers none that has no number (RTM_GETNSID).
			if n, err := h.GetNetNsIdByFd(int(s.file.Fd())); err == nil && n >= 0 {
				v.peers[n] = s.id
			}
		}
		if n, err := h.GetNetNsIdByPid(unix.Getpid()); err == nil && n >= 0 {
			v.peers[n] = v.known[0].id // the main thread is at home
		}
	}
	return v.peers[id]
}

// routeKinds are the names of types of routes (rtnetlink(7), rtm_type).
var routeKinds = map[int]string{
	unix.RTN_UNICAST: "unicast", unix.RTN_LOCAL: "local", unix.RTN_BROADCAST: "broadcast", unix.RTN_ANYCAST: "anycast",
	unix.RTN_MULTICAST: "multicast", unix.RTN_BLACKHOLE: "blackhole", unix.RTN_UNREACHABLE: "unreachable",
	unix.RTN_PROHIBIT: "prohibit", unix.RTN_THROW: "throw", unix.RTN_NAT: "nat",
}

func (v *visit) readRoutes(h *netlink.Handle) error {
	v.out.Routes = []facts.Route{}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		all, err := h.RouteListFiltered(family, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return err
		}
		for i := range all {
			v.out.Routes = append(v.out.Routes, v.route(&all[i])...)
		}
	}
	return nil
}

// route gives one route for each next hop.
func (v *visit) route(r *netlink.Route) []facts.Route {
	out := facts.Route{
		Table: uint32(r.Table), Dst: prefix(r.Dst), Kind: routeKinds[r.Type], Via: addr(r.Gw), Dev: v.links[r.LinkIndex], //nolint:gosec // tables are 32 bits
		Src: addr(r.Src), Metric: r.Priority, MTU: r.MTU,
		Onlink: r.Flags&unix.RTNH_F_ONLINK != 0, Linked: r.Flags&unix.RTNH_F_LINKDOWN != 0,
	}
	if !out.Dst.IsValid() {
		out.Dst = everything(r.Family)
	}
	if via, ok := r.Via.(*netlink.Via); ok {
		out.Via = addr(via.Addr)
	}
	if len(r.MultiPath) == 0 {
		return []facts.Route{out}
	}
	many := make([]facts.Route, len(r.MultiPath))
	for i, hop := range r.MultiPath {
		many[i] = out
		many[i].Dev, many[i].Via = v.links[hop.LinkIndex], addr(hop.Gw)
		many[i].Onlink, many[i].Linked = hop.Flags&unix.RTNH_F_ONLINK != 0, hop.Flags&unix.RTNH_F_LINKDOWN != 0
	}
	return slices.Clip(many)
}
