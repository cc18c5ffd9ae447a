package openflow

import (
	"fmt"
	"slices"

	"kaname.dev/kaname/rib/netpath/facts"
)

// How ports treat VLANs (ovs-vswitchd.conf.db(5), vlan_mode).
const (
	modeAccess = "access"
	modeTrunk  = "trunk"
	modeTagged = "native-tagged"
	modeNative = "native-untagged"
	modeTunnel = "dot1q-tunnel"
)

// vlanMode returns a port's mode: where it says none, it is an access port if it has a tag,
// else a trunk.
func vlanMode(p *facts.Port) string {
	switch {
	case p.Mode != "":
		return p.Mode
	case p.Tag != 0:
		return modeAccess
	}
	return modeTrunk
}

func trunks(p *facts.Port, vid int) bool {
	if mode := vlanMode(p); (mode == modeTagged || mode == modeNative) && vid == p.Tag {
		return true
	}
	return len(p.Trunks) == 0 || slices.Contains(p.Trunks, vid)
}

// normal switches as a bridge that learns does: to the station's port if it is known, else to
// all that carry the VLAN.
func (a *at) normal() {
	a.leave()
	path := a.path
	defer func() { a.path = path }()
	a.step(a.table, nil, "")
	in := a.b.ports[a.w.inPort()]
	if in == nil {
		a.note("NORMAL: port %d, by which the packet came, does not exist; it is dropped", a.w.inPort())
		return
	}
	tci := a.w[slotEthSrc] & 0xffff
	vid := int(tci & 0xfff)
	if !a.w.tagged() {
		vid, tci = 0, 0
	}
	if why := refuses(in, vid); why != "" {
		a.note("NORMAL: %s; the packet is dropped", why)
		return
	}
	vlan := vid
	switch vlanMode(in) {
	case modeAccess:
		vlan = in.Tag
	case modeTagged, modeNative:
		if vid == 0 {
			vlan = in.Tag
		}
	case modeTunnel:
		a.r.unknown("vlan_mode dot1q-tunnel of port " + in.Name)
		return
	}
	dst := valueMAC(a.w[slotEthDst] >> 16)
	if dst[0] == 0x01 && dst[1] == 0x80 && dst[2] == 0xc2 && dst[3] == 0 && dst[4] == 0 && dst[5]&0xf0 == 0 && a.b.facts.Other["forward-bpdu"] != "true" {
		a.note("NORMAL: the destination is one that bridges keep to themselves; the packet is dropped")
		return
	}
	pcp, inner := tci&0xe000, a.w[slotVLANs]>>16&0xfff
	if name, ok := a.b.fdb[station{dst, vlan}]; ok {
		switch p := a.b.byName[name]; p {
		case nil:
			a.note("NORMAL: %s was learned on %s, which is not there; the packet is dropped", dst, name)
		case in:
			a.note("NORMAL: %s is behind %s, by which the packet came; it is dropped", dst, name)
		default:
			a.note("NORMAL: to %s, where %s was learned in VLAN %d", name, dst, vlan)
			a.switchTo(p, vlan, pcp)
		}
		return
	}
	a.note("NORMAL: floods; no port is known for %s in VLAN %d", dst, vlan)
	for _, p := range a.b.order {
		if p != in && carries(p, vlan, inner != 0) {
			a.switchTo(p, vlan, pcp)
		}
	}
}

// refuses says why a port does not take a packet with that VLAN; "" if it does.
func refuses(in *facts.Port, vid int) string {
	switch vlanMode(in) {
	case modeAccess:
		if vid != 0 {
			return fmt.Sprintf("VLAN %d comes in by %s, an access port of VLAN %d", vid, in.Name, in.Tag)
		}
	case modeTagged, modeNative:
		if vid == 0 {
			return ""
		}
		fallthrough
	case modeTrunk:
		if !trunks(in, vid) {
			return fmt.Sprintf("VLAN %d comes in by %s, whose trunks do not have it", vid, in.Name)
		}
	}
	return ""
}

// carries reports whether a VLAN is flooded to a port; twice: there is a second tag.
func carries(p *facts.Port, vlan int, twice bool) bool {
	switch vlanMode(p) {
	case modeAccess:
		return vlan == p.Tag && !twice
	case modeTunnel:
		return false
	}
	return trunks(p, vlan)
}

// switchTo lets the packet leave as the port has it: with its tag, or without.
func (a *at) switchTo(p *facts.Port, vlan int, pcp uint64) {
	saved, tags := a.w[slotEthSrc], a.w[slotVLANs]
	tci := uint64(vlan) | pcp
	switch vlanMode(p) {
	case modeAccess:
		tci = 0
		a.w[slotVLANs] = 0
	case modeNative:
		if vlan == p.Tag {
			tci = tags >> 16 & 0xefff
			a.w[slotVLANs] = tags << 16 & (0xffff << 48)
		}
	case modeTunnel:
		a.r.unknown("vlan_mode dot1q-tunnel of port " + p.Name)
		return
	}
	if tci != 0 {
		tci |= presentTCI
		if a.w[slotVLANs]>>48 == 0 {
			a.w[slotVLANs] |= 0x8100 << 48
		}
	}
	a.w[slotEthSrc] = saved&^0xffff | tci
	a.output(p.OFPort)
	a.w[slotEthSrc], a.w[slotVLANs] = saved, tags
}
