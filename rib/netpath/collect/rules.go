package collect

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kaname.dev/kaname/rib/netpath/facts"
)

// everything is the prefix that holds all addresses of a family.
func everything(family int) netip.Prefix {
	if family == netlink.FAMILY_V6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// ruleKinds are the names of actions of rules (linux/fib_rules.h, FR_ACT_*).
var ruleKinds = map[uint8]string{1: "lookup", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}

// readRules parses rules itself: the library leaves out what a rule does.
func (v *visit) readRules(*netlink.Handle) error {
	v.out.Rules = []facts.Rule{}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		req := nl.NewNetlinkRequest(unix.RTM_GETRULE, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfInfomsg(family))
		all, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWRULE)
		if family == netlink.FAMILY_V6 && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP)) {
			continue // a kernel without IPv6, or without its rules
		}
		if err != nil {
			return err
		}
		for _, m := range all {
			if len(m) < unix.SizeofRtMsg {
				continue
			}
			attrs, err := nl.ParseRouteAttr(m[unix.SizeofRtMsg:])
			if err != nil {
				return err
			}
			v.out.Rules = append(v.out.Rules, rule(nl.DeserializeRtMsg(m), attrs))
		}
	}
	return nil
}

// invert is the flag of a rule that is for all but what it names (linux/fib_rules.h, FIB_RULE_INVERT).
const invert = 2

func rule(m *nl.RtMsg, attrs []syscall.NetlinkRouteAttr) facts.Rule {
	out := facts.Rule{V6: m.Family == netlink.FAMILY_V6, Kind: ruleKinds[m.Type], Table: uint32(m.Table), Not: m.Flags&invert != 0}
	if out.Kind == "" {
		out.Kind = "action " + strconv.Itoa(int(m.Type))
	}
	for _, a := range attrs {
		switch a.Attr.Type {
		case nl.FRA_SRC:
			out.From = netip.PrefixFrom(addr(a.Value), int(m.Src_len))
		case nl.FRA_DST:
			out.To = netip.PrefixFrom(addr(a.Value), int(m.Dst_len))
		case nl.FRA_IIFNAME:
			out.In = unix.ByteSliceToString(a.Value)
		case nl.FRA_OIFNAME:
			out.Out = unix.ByteSliceToString(a.Value)
		}
		if len(a.Value) < 4 {
			continue
		}
		n := binary.NativeEndian.Uint32(a.Value)
		switch a.Attr.Type {
		case nl.FRA_PRIORITY:
			out.Priority = int(n)
		case nl.FRA_TABLE:
			out.Table = n
		case nl.FRA_FWMARK:
			out.Mark = n
		case nl.FRA_FWMASK:
			out.Mask = n
		}
	}
	return out
}

// states are the names of states of neighbours (rtnetlink(7), ndm_state).
var states = map[int]string{
	unix.NUD_INCOMPLETE: "incomplete", unix.NUD_REACHABLE: "reachable", unix.NUD_STALE: "stale", unix.NUD_DELAY: "delay",
	unix.NUD_PROBE: "probe", unix.NUD_FAILED: "failed", unix.NUD_NOARP: "noarp", unix.NUD_PERMANENT: "permanent",
}

func (v *visit) readNeighbours(h *netlink.Handle) error {
	v.out.Neighbours, v.out.FDB = []facts.Neighbour{}, nil
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		all, err := h.NeighList(0, family)
		if err != nil {
			return err
		}
		for i := range all {
			if state, ok := states[all[i].State]; ok && all[i].State != unix.NUD_NOARP {
				v.out.Neighbours = append(v.out.Neighbours, facts.Neighbour{
					Addr: addr(all[i].IP), Dev: v.links[all[i].LinkIndex], MAC: mac(all[i].HardwareAddr), State: state,
				})
			}
		}
		if all, err = h.NeighProxyList(0, family); err != nil {
			return err
		}
		for i := range all {
			v.out.Neighbours = append(v.out.Neighbours, facts.Neighbour{Addr: addr(all[i].IP), Dev: v.links[all[i].LinkIndex], Proxy: true})
		}
	}
	stations, err := h.NeighList(0, unix.AF_BRIDGE)
	if err != nil {
		return err
	}
	for i := range stations {
		n := &stations[i]
		l := v.out.Link(v.links[n.LinkIndex])
		if l == nil || l.Master == "" && l.Kind != "bridge" && l.Kind != "vxlan" || n.MasterIndex == 0 && mac(n.HardwareAddr).Group() {
			continue // what a network card listens to is no station of a bridge
		}
		v.out.FDB = append(v.out.FDB, facts.FDB{
			MAC: mac(n.HardwareAddr), Dev: l.Name, VLAN: n.Vlan,
			Static: n.State&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0, Remote: addr(n.IP),
		})
	}
	return nil
}
