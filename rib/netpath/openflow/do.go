package openflow

import (
	"fmt"
	"net/netip"
	"slices"

	"kaname.dev/kaname/rib/netpath/packet"
)

// do executes actions in order.
func (a *at) do(actions []Action) {
	if len(actions) == 0 {
		a.leave()
		a.note("drops")
	}
	for i := range actions {
		if a.failed || a.exit || !a.one(&actions[i]) {
			break
		}
	}
	if len(a.path) > 0 && !a.failed {
		// A flow that led nowhere has changed the packet all the same.
		if s := &a.r.res.Steps[a.path[len(a.path)-1]]; len(a.r.res.Steps)-1 == a.path[len(a.path)-1] {
			s.Packet = a.packet()
		}
	}
}

// one executes an action; false ends the list.
func (a *at) one(x *Action) bool {
	switch x.Kind {
	case ActOutput:
		a.outputAction(x)
	case ActEnqueue:
		a.outputTo(x.Port)
	case ActController:
		a.controller()
	case ActResubmit:
		a.leave()
		port, table := a.w.inPort(), a.table
		if x.Port >= 0 {
			port = x.Port
		}
		if x.Table >= 0 {
			table = x.Table
		}
		a.lookup(table, port, x.flag)
	case ActGoto:
		a.leave()
		a.lookup(x.Table, a.w.inPort(), false)
	case ActClone:
		a.clone(x)
	case ActGroup:
		return a.group(x.number)
	case ActTrack:
		a.track(x)
	case ActUntrack:
		if a.conntracked {
			a.untrack()
		}
	case ActLearn:
		a.learn(x)
	case ActWrite:
		a.set = append(slices.Clip(a.set), x.Nested...)
	case ActClear:
		a.set = nil
	case ActExit:
		a.exit = true
	case ActDecTTL:
		return a.decTTL()
	case ActPush:
		if len(a.stack) > 4096 {
			a.fail("the stack has more than 64 kB")
			return false
		}
		a.stack = append(slices.Clip(a.stack), a.w.read(x.dst))
	case ActPop:
		if n := len(a.stack); n > 0 {
			a.writeSpan(x.dst, a.stack[n-1])
			a.stack = a.stack[:n-1]
		}
	case ActLarger:
		a.larger(x)
	case ActUnknown:
		a.r.unknown(fmt.Sprintf("%s table %d: action %.200s", a.b.facts.Name, a.table, x.Text))
	default:
		a.modify(x)
	}
	return true
}

// modify writes fields.
func (a *at) modify(x *Action) {
	w := &a.w
	switch x.Kind { //nolint:exhaustive // the others are dealt with below, or need nothing
	case ActSet:
		if w.has(x.dst.f.need) {
			w.set(x.dst.f, x.value, x.mask)
		} else {
			a.note("the packet has no %s", x.dst.f.name)
		}
	case ActMove:
		if w.has(x.dst.f.need) && w.has(x.src.f.need) {
			w.write(span{x.dst.f, x.dst.from, x.src.n}, w.read(x.src))
		}
	case ActSetVLAN, ActSetPCP:
		if !w.tagged() && x.flag {
			return
		}
		if w[slotVLANs]>>48 == 0 {
			w[slotVLANs] |= 0x8100 << 48
		}
		w.set(x.dst.f, x.value, x.mask)
	case ActPopVLAN:
		inner := w[slotVLANs] >> 16 & 0xffff
		w[slotEthSrc] = w[slotEthSrc]&^0xffff | inner
		w[slotVLANs] = w[slotVLANs] << 16 & (0xffff << 48)
	case ActPushVLAN:
		if w[slotVLANs]>>16&0xffff != 0 {
			a.r.unknown(fmt.Sprintf("%s table %d: a third VLAN tag", a.b.facts.Name, a.table))
		}
		w[slotVLANs] = x.value.lo<<48 | w[slotVLANs]>>48<<32 | w[slotEthSrc]&0xffff<<16
		w[slotEthSrc] = w[slotEthSrc]&^0xffff | presentTCI
	case ActSetMAC, ActTunnel, ActMetadata:
		w.set(x.dst.f, x.value, x.mask)
	case ActSetIP:
		if w.etherType() == packet.IPv4 {
			w.set(x.dst.f, x.value, x.mask)
		}
	case ActSetTOS, ActSetTP:
		if w.isIP() {
			w.set(x.dst.f, x.value, x.mask)
		}
	case ActConjunction, ActNothing, ActNAT:
	}
}

func (a *at) writeSpan(s span, v u128) {
	if a.w.has(s.f.need) {
		a.w.write(s, v)
	}
}

func (a *at) decTTL() bool {
	if !a.w.isIP() {
		return true
	}
	ttl := a.w[slotTHA] >> 8 & 0xff
	if ttl <= 1 {
		a.note("the TTL is used up")
		a.controller()
		return false
	}
	a.w[slotTHA] -= 1 << 8
	return true
}

func (a *at) larger(x *Action) {
	v := u128{}
	if a.inner.Size+14 > x.number {
		v.lo = 1
	}
	a.writeSpan(x.dst, v)
}

func (a *at) controller() {
	a.leave()
	a.outputs++
	a.r.res.Outputs = append(a.r.res.Outputs, Output{Bridge: a.b.facts.Name, Packet: a.packet(), Steps: slices.Clone(a.path), Controller: true})
}

func (a *at) outputAction(x *Action) {
	if !x.flag {
		a.outputTo(x.Port)
		return
	}
	n := a.w.read(x.src)
	if n.hi != 0 || n.lo > portNone {
		a.note("%s holds no port", x.src)
		return
	}
	a.outputTo(int(n.lo))
}

// outputTo lets the packet leave by a port or what stands for some.
func (a *at) outputTo(n int) {
	in := a.w.inPort()
	switch n {
	case portInPort:
		a.output(in)
	case portTable:
		a.leave()
		a.lookup(0, in, false)
	case portNormal:
		a.normal()
	case portFlood, portAll:
		a.leave()
		for _, p := range a.b.order {
			if p.OFPort != in {
				a.output(p.OFPort)
			}
		}
	case portController:
		a.controller()
	case portNone, portUnset:
	case in:
		a.note("it would leave by the port that it came by; that needs in_port")
	default:
		a.output(n)
	}
}

// clone does actions on a copy.
func (a *at) clone(x *Action) {
	saved := *a
	a.do(x.Nested)
	if !a.failed {
		a.finish()
	}
	depth, resubmits, outputs, failed, exit := a.depth, a.resubmits, a.outputs, a.failed, a.exit
	*a = saved
	a.depth, a.resubmits, a.outputs, a.failed, a.exit = depth, resubmits, outputs, failed, exit
}

func (a *at) learn(x *Action) {
	if a.r.still {
		return
	}
	f := x.learn.make(&a.w)
	if a.r.learned == nil {
		a.r.learned = map[*bridge][]*Flow{}
	}
	for i, o := range a.r.learned[a.b] {
		if o.Table == f.Table && o.Priority == f.Priority && slices.Equal(o.Match.terms, f.Match.terms) {
			a.r.learned[a.b][i] = f
			return
		}
	}
	if len(a.r.learned[a.b]) < 1024 {
		a.r.learned[a.b] = append(a.r.learned[a.b], f)
	}
}

// ordered returns an action set as it is executed: pop, push, TTL, fields, then the group or
// what else lets the packet leave; of each kind the last one written.
func ordered(set []Action) []Action {
	var list []Action
	last := func(kinds ...Kind) bool {
		for _, s := range slices.Backward(set) {
			if slices.Contains(kinds, s.Kind) {
				list = append(list, s)
				return true
			}
		}
		return false
	}
	last(ActPopVLAN)
	last(ActPushVLAN)
	last(ActDecTTL)
	for i := range set {
		switch set[i].Kind { //nolint:exhaustive // the others are dealt with below, or need nothing
		case ActSet, ActMove, ActSetMAC, ActSetIP, ActSetTOS, ActSetTP, ActSetVLAN, ActSetPCP, ActTunnel:
			list = append(list, set[i])
		}
	}
	if last(ActGroup) || last(ActOutput, ActController) {
		return list
	}
	last(ActResubmit)
	return list
}

func (a *at) tunnelAddr(option string, slot4, shift, slot6 int) netip.Addr {
	if option != "flow" {
		addr, _ := netip.ParseAddr(option)
		return addr
	}
	if v := a.w[slot4] >> shift & ones(32); v != 0 {
		return valueAddr4(v)
	}
	if v := (u128{a.w[slot6], a.w[slot6+1]}); v != (u128{}) {
		return valueAddr6(v)
	}
	return netip.Addr{}
}
