package expect

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/trace"
)

// flowFirewall reports whether security groups of a port are flows of the bridge here.
func (v *view) flowFirewall(p *intent.Port) bool {
	root := v.h.Space("")
	return !p.Hybrid && (root == nil || root.Link("qvo"+short(p.ID)) == nil) && (v.l2 == nil || v.l2.Firewall == "" || v.l2.Firewall == "openvswitch")
}

// guarded lists the ports of this host whose groups are flows.
func (v *view) guarded() []*intent.Port {
	var out []*intent.Port
	for _, p := range v.in.byHost[v.h.Name] {
		o := v.byIface[p.ID]
		if isVM(p) && p.Up && p.Secured && o != nil && o.OFPort > 0 && v.vlans[p.Network] > 0 && v.flowFirewall(p) && len(p.IPs) > 0 {
			out = append(out, p)
		}
	}
	return sortedPorts(out)
}

// firewallWants lists the flows that packets of IPv4 need to pass the groups of all ports.
func (v *view) firewallWants() []want {
	var out []want
	for _, p := range v.guarded() {
		out = append(out, v.portWants(p)...)
	}
	return out
}

// Stages of the firewall, each of which is a table.
const (
	stageEntry  = "classify"
	stageOut    = "egress, own addresses"
	stageRules  = "egress, rules"
	stageCommit = "egress, accepted"
	stageIn     = "ingress"
	stageAdmit  = "ingress, rules"
)

// portWants lists what a port's packets need, but for the rules of its groups.
func (v *view) portWants(p *intent.Port) []want {
	o, vlan := v.byIface[p.ID], v.vlans[p.Network]
	n := o.OFPort
	reg := fmt.Sprintf("reg5=0x%x", n)
	in := fmt.Sprintf("in_port=%d", n)
	load := fmt.Sprintf("set_field:0x%x->reg5,set_field:0x%x->reg6,", n, vlan)
	var out []want
	add := func(stage string, table int, key, match, action string, is func(*flow) bool) {
		out = append(out, want{role: stage + " " + match[:min(12, len(match))], group: stage, key: key, table: table, match: match, action: action, id: "firewall-port-incomplete", where: o.Name, is: is, params: v.portParams(p, o.Name), proof: []trace.Proof{intentPort(p)}})
	}
	goes := func(f *flow) bool { return !f.drops() && len(f.actions) > 0 }
	add(stageEntry, 60, in, "priority=100,"+in, load+"resubmit(,71)", func(f *flow) bool {
		s, ok := f.sets("reg5", "NXM_NX_REG5[]")
		return ok && same(s, n)
	})
	add(stageEntry, 60, "dl_dst="+p.MAC.String(), fmt.Sprintf("priority=90,dl_vlan=%d,dl_dst=%s", vlan, p.MAC), load+"pop_vlan,resubmit(,81)", func(f *flow) bool {
		s, ok := f.sets("reg5", "NXM_NX_REG5[]")
		return ok && same(s, n) && f.vlan() == vlan
	})
	for _, ip := range p.IPs {
		if !ip.Addr.Is4() {
			continue
		}
		mac, a := p.MAC.String(), ip.Addr.String()
		add(stageOut, 71, reg, fmt.Sprintf("priority=95,arp,%s,%s,dl_src=%s,arp_spa=%s", reg, in, mac, a), "resubmit(,94)", func(f *flow) bool {
			s, ok := f.get("arp_spa")
			return ok && s == a && f.hasMAC("dl_src", mac) && goes(f)
		})
		add(stageOut, 71, reg, fmt.Sprintf("priority=65,ip,%s,%s,dl_src=%s,nw_src=%s", reg, in, mac, a), "ct(table=72,zone=NXM_NX_REG6[0..15])", func(f *flow) bool {
			s, ok := f.get("nw_src")
			return ok && s == a && f.has("ip") && f.hasMAC("dl_src", mac) && goes(f)
		})
	}
	add(stageOut, 71, reg, fmt.Sprintf("priority=80,udp,%s,%s,dl_src=%s,nw_src=0.0.0.0,tp_src=68,tp_dst=67", reg, in, p.MAC), "resubmit(,73)", func(f *flow) bool {
		return f.has("udp") && f.number("tp_src") == 68 && f.number("tp_dst") == 67 && goes(f)
	})
	answers := func(f *flow) bool {
		s, _ := f.get("ct_state")
		return strings.Contains(s, "+est") && strings.Contains(s, "+rpl") && goes(f)
	}
	add(stageRules, 72, reg, fmt.Sprintf("priority=50,ct_state=+est-rel+rpl,ct_zone=%d,ct_mark=0,%s", vlan, reg), "resubmit(,94)", func(f *flow) bool { return answers(f) && len(f.outputs()) == 0 })
	add(stageCommit, 73, reg, "priority=90,ct_state=+new-est,ip,"+reg, "ct(commit,zone=NXM_NX_REG6[0..15]),resubmit(,91)", func(f *flow) bool {
		return f.has("ip") && strings.Contains(strings.Join(f.actions, ","), "ct(commit") && f.resubmits() >= 0 && len(f.outputs()) == 0
	})
	add(stageCommit, 73, reg, "priority=80,"+reg, "resubmit(,94)", func(f *flow) bool {
		return len(f.fields) == 1 && f.resubmits() >= 0
	})
	send := fmt.Sprintf("output:%d", n)
	sends := func(f *flow) bool { return slices.Contains(f.outputs(), n) }
	add(stageIn, 81, reg, "priority=100,arp,"+reg, send, func(f *flow) bool { return f.has("arp") && sends(f) })
	add(stageIn, 81, reg, fmt.Sprintf("priority=95,udp,%s,tp_src=67,tp_dst=68", reg), send, func(f *flow) bool { return f.has("udp") && f.number("tp_src") == 67 && sends(f) })
	add(stageIn, 81, reg, "priority=90,ct_state=-trk,ip,"+reg, "ct(table=82,zone=NXM_NX_REG6[0..15])", func(f *flow) bool {
		return f.has("ip") && strings.HasPrefix(f.actions[0], "ct(table=")
	})
	add(stageIn, 81, reg, "priority=80,ct_state=+trk,"+reg, "resubmit(,82)", func(f *flow) bool { s, _ := f.get("ct_state"); return s == "+trk" && f.resubmits() >= 0 })
	add(stageAdmit, 82, reg, fmt.Sprintf("priority=50,ct_state=+est-rel+rpl,ct_zone=%d,ct_mark=0,%s", vlan, reg), send, func(f *flow) bool { return answers(f) && sends(f) })
	return append(out, v.ruleWants(p, n)...)
}

func (f *flow) hasMAC(field, mac string) bool { s, ok := f.get(field); return ok && s == mac }

// ruleWants lists the flows of a port's rules for IPv4; of a rule that names a group, those
// of its members.
func (v *view) ruleWants(p *intent.Port, n int) []want {
	reg := fmt.Sprintf("reg5=0x%x", n)
	var out []want
	for _, id := range p.Groups {
		g := v.in.groups[id]
		if g == nil {
			continue
		}
		for i := range g.Rules {
			r := &g.Rules[i]
			if r.V6 || r.Group != "" || !knownProto(r.Proto) {
				continue
			}
			match := "ip"
			if r.Proto != "" && r.Proto != "any" {
				match = r.Proto
			}
			stage, table, priority := stageRules, 72, 74
			action := "resubmit(,73)"
			if r.Ingress {
				stage, table = stageAdmit, 82
				action = fmt.Sprintf("ct(commit,zone=NXM_NX_REG6[0..15]),output:%d,resubmit(,92)", n)
			}
			for _, ports := range portMasks(r) {
				params := v.portParams(p, v.byIface[p.ID].Name)
				params["rule"], params["group"], params["bridge"] = ruleText(r), cmpOr(g.Name, g.ID), v.br.Name
				tail := fmt.Sprintf("%s,%s", match, reg)
				if r.Prefix.IsValid() && r.Prefix.Bits() > 0 {
					tail += map[bool]string{true: ",nw_src=", false: ",nw_dst="}[r.Ingress] + host(r.Prefix.String())
				}
				out = append(out, want{
					role: stage + " rule", group: stage + " rule", key: reg, table: table, id: "firewall-rule-missing", where: v.byIface[p.ID].Name + " " + ruleText(r),
					is:    v.admits(r, ports),
					match: fmt.Sprintf("priority=%d,ct_state=+new-est,%s%s", priority, tail, ports.text), action: action, params: params, proof: []trace.Proof{neutron("security group %s rule %s: %s", g.ID, r.ID, ruleText(r)), intentPort(p)},
				})
			}
		}
	}
	return out
}

func knownProto(s string) bool { return slices.Contains([]string{"", "any", "tcp", "udp", "icmp"}, s) }

// portMask is a part of a range of ports that one flow can match.
type portMask struct {
	low, high int
	text      string // ",tp_dst=0x80e8/0xfff8"; "" for any
}

func portMasks(r *intent.Rule) []portMask {
	if !r.Ranged || r.Low == 1 && r.High == 65535 {
		return []portMask{{0, 65535, ""}}
	}
	if r.Proto == "icmp" {
		text := ",icmp_type=" + strconv.Itoa(r.Low)
		return []portMask{{r.Low, r.Low, text}}
	}
	var out []portMask
	for low := r.Low; low <= r.High; {
		size := 1
		for low%(size*2) == 0 && low+size*2-1 <= r.High {
			size *= 2
		}
		text := fmt.Sprintf(",tp_dst=0x%x/0x%x", low, 0x10000-size)
		if size == 1 {
			text = ",tp_dst=" + strconv.Itoa(low)
		}
		out = append(out, portMask{low, low + size - 1, text})
		low += size
	}
	return out
}

// admits tells flows that let new connections of a rule pass, whatever else they do.
func (v *view) admits(r *intent.Rule, want portMask) func(*flow) bool {
	return func(f *flow) bool {
		s, _ := f.get("ct_state")
		if !strings.Contains(s, "+new") || f.drops() || f.table == 0 {
			return false
		}
		if f.has("arp") || len(f.outputs()) > 0 != r.Ingress {
			return false
		}
		if !f.has("ip") && !f.has(r.Proto) {
			return false
		}
		if !r.Ingress && strings.Contains(strings.Join(f.actions, ","), "ct(commit") {
			return false // what is accepted already is committed: another stage
		}
		field := map[bool]string{true: "nw_src", false: "nw_dst"}[r.Ingress]
		if a, ok := f.get(field); ok && !covers(a, r.Prefix) {
			return false
		}
		return f.coversPorts(r.Proto, want)
	}
}

// covers reports whether an address or range as a flow writes it holds all of a prefix.
func covers(text string, p netip.Prefix) bool {
	have := rawRange(text)
	if !p.IsValid() {
		return have.IsValid() && have.Bits() == 0
	}
	return have.IsValid() && have.Bits() <= p.Bits() && have.Contains(p.Addr())
}

func rawRange(s string) netip.Prefix {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p
	}
	if a := rawAddrOf(s); a.IsValid() {
		return netip.PrefixFrom(a, a.BitLen())
	}
	return netip.Prefix{}
}

func (f *flow) coversPorts(proto string, want portMask) bool {
	if proto == "icmp" {
		t := f.number("icmp_type")
		return t < 0 || t == want.low
	}
	for _, field := range []string{"tp_dst", "tcp_dst", "udp_dst"} {
		s, ok := f.get(field)
		if !ok {
			continue
		}
		value, mask, masked := strings.Cut(s, "/")
		low, size := number(value), 1
		if masked {
			size = 0x10000 - number(mask)
		}
		return low <= want.low && want.high <= low+size-1
	}
	return true
}

// flowGuard checks the firewall that is made of flows.
func (v *view) flowGuard() []trace.Finding {
	if v.br == nil || len(v.brFlows) < 2 || v.h.Lacks(facts.Flows, "", v.br.Name) != "" {
		return nil
	}
	wants := v.firewallWants()
	x := newFlowIndex(v.brFlows)
	tables := x.check(wants)
	lost := map[string][]*want{}
	all := map[string]int{}
	for i := range wants {
		w := &wants[i]
		all[w.group]++
		if w.found == nil {
			lost[w.group] = append(lost[w.group], w)
		}
	}
	ports := len(v.guarded())
	var out []trace.Finding
	whole := map[string]bool{}
	for _, stage := range []string{stageEntry, stageOut, stageRules, stageCommit, stageIn, stageAdmit} {
		list := lost[stage]
		if ports < 2 || len(list) == 0 || len(list) < all[stage] {
			continue
		}
		whole[stage], whole[stage+" rule"] = true, true
		out = append(out, v.lost(v.br, "firewall-stage-lost", stage, map[string]string{"stage": stage}, append(list, lost[stage+" rule"]...), tables))
	}
	return append(out, v.portGuard(wants, whole, tables)...)
}

// portGuard lists what single ports lack: as one finding if more than rules are gone.
func (v *view) portGuard(wants []want, whole map[string]bool, tables map[string]int) []trace.Finding {
	byPort := map[string][]*want{}
	base := map[string]bool{}
	for i := range wants {
		w := &wants[i]
		if w.found != nil || whole[w.group] {
			continue
		}
		dev := w.params["device"]
		byPort[dev] = append(byPort[dev], w)
		base[dev] = base[dev] || w.id == "firewall-port-incomplete"
	}
	var out []trace.Finding
	for _, dev := range sorted(byPort) {
		if base[dev] {
			params := map[string]string{}
			maps.Copy(params, byPort[dev][0].params)
			out = append(out, v.lost(v.br, "firewall-port-incomplete", dev, params, byPort[dev], tables))
			continue
		}
		byRule := map[string][]*want{}
		for _, w := range byPort[dev] {
			byRule[w.where] = append(byRule[w.where], w)
		}
		for _, where := range sorted(byRule) {
			out = append(out, v.lost(v.br, "firewall-rule-missing", where, byRule[where][0].params, byRule[where], tables))
		}
	}
	return out
}
