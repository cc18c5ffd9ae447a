package expect

import (
	"fmt"
	"slices"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/trace"
)

// filterGuard checks the firewall that is made of iptables, and the sets that it uses.
func (v *view) filterGuard() []trace.Finding {
	root := v.h.Space("")
	if root == nil || v.h.Lacks(facts.Filters, "", "") != "" {
		return nil
	}
	var out []trace.Finding
	for _, p := range sortedPorts(v.in.byHost[v.h.Name]) {
		if !isVM(p) || !p.Up || v.byIface[p.ID] == nil || root.Link("qvo"+short(p.ID)) == nil {
			continue
		}
		out = append(out, v.senders(p)...)
		if p.Secured {
			out = append(out, v.chains(p, root)...)
		}
	}
	return append(out, v.members(root)...)
}

// chains checks the chain of what comes in to a port.
func (v *view) chains(p *intent.Port, root *facts.Namespace) []trace.Finding {
	fl := v.filters(root)
	suffix := "-i" + p.ID[:min(10, len(p.ID))]
	chain := fl.chainEnding("filter", suffix)
	var out []trace.Finding
	for _, id := range p.Groups {
		g := v.in.groups[id]
		if g == nil {
			continue
		}
		for i := range g.Rules {
			r := &g.Rules[i]
			if !r.Ingress || r.V6 || !knownProto(r.Proto) {
				continue
			}
			if slices.ContainsFunc(fl["filter"][chain], func(q filterRule) bool { return passes(&q, r) }) {
				continue
			}
			rule := "-A " + cmpOr(chain, "neutron-openvswi"+suffix) + ruleWords(r) + " -j RETURN"
			params := v.portParams(p, "tap"+short(p.ID))
			params["rule"], params["group"], params["bridge"] = ruleText(r), cmpOr(g.Name, g.ID), cmpOr(chain, suffix)
			f := v.lostRule("firewall-rule-missing", root, "tap"+short(p.ID)+" "+ruleText(r), params, rule, []trace.Proof{neutron("security group %s rule %s: %s", g.ID, r.ID, ruleText(r))}, fl["filter"][chain])
			params["rule"] = ruleText(r)
			f.Where = "tap" + short(p.ID) + " " + ruleText(r)
			f.Fix = []trace.Fix{v.run("none", "iptables -w %s", strings.Replace(rule, "-A "+chain, "-I "+chain+" 1", 1)), v.restart(agentL2)}
			f.Repair = v.editSpace("", func(s *facts.Namespace) {
				s.IPTables4 = insertRule(s.IPTables4, "filter", rule, func(line string) bool { return strings.Contains(line, "INVALID") || strings.Contains(line, "fallback") })
			})
			out = append(out, f)
		}
	}
	return out
}

func ruleWords(r *intent.Rule) string {
	s := ""
	if r.Prefix.IsValid() && r.Prefix.Bits() > 0 {
		s += " -s " + r.Prefix.String()
	}
	if r.Proto == "" || r.Proto == "any" {
		return s
	}
	s += " -p " + r.Proto
	switch {
	case r.Ranged && r.Proto == "icmp":
		s += fmt.Sprintf(" -m icmp --icmp-type %d", r.Low)
	case r.Ranged && r.Low == r.High:
		s += fmt.Sprintf(" -m %s --dport %d", r.Proto, r.Low)
	case r.Ranged:
		s += fmt.Sprintf(" -m %s -m multiport --dports %d:%d", r.Proto, r.Low, r.High)
	}
	if r.Group != "" {
		s += " -m set --match-set NIPv4" + r.Group[:min(22, len(r.Group))] + " src"
	}
	return s
}

// passes reports whether a rule of iptables lets through what a rule of a group admits.
func passes(q *filterRule, r *intent.Rule) bool {
	if t := q.get("-j"); t != "RETURN" && t != "ACCEPT" || q.get("--state") != "" || q.get("--ctstate") != "" || q.get("--sport") != "" {
		return false
	}
	if p := q.get("-p"); p != "" && p != r.Proto && p != "all" {
		return false
	}
	if s := q.get("-s"); s != "" && !covers(s, r.Prefix) && r.Group == "" {
		return false
	}
	if set := q.get("--match-set"); set != "" && (r.Group == "" || !strings.Contains(set, r.Group[:min(10, len(r.Group))])) {
		return false
	}
	if t := q.get("--icmp-type"); t != "" {
		typ, _, _ := strings.Cut(t, "/")
		return r.Ranged && number(typ) == r.Low
	}
	spec := cmpOr(q.get("--dport"), q.get("--dports"))
	if spec == "" {
		return true
	}
	low, high, ranged := strings.Cut(spec, ":")
	if !ranged {
		high = low
	}
	if !r.Ranged {
		return number(low) <= 1 && number(high) == 65535
	}
	return number(low) <= r.Low && r.High <= number(high)
}

// members checks the sets that rules with a group as other side use.
func (v *view) members(root *facts.Namespace) []trace.Finding {
	if root.IPSets == "" || v.h.Lacks(facts.Sets, "", "") != "" {
		return nil
	}
	sets := map[string][]string{}
	for line := range strings.Lines(root.IPSets) {
		w := strings.Fields(line)
		if len(w) >= 3 && w[0] == "create" {
			sets[w[1]] = []string{}
		}
		if len(w) >= 3 && w[0] == "add" {
			sets[w[1]] = append(sets[w[1]], w[2])
		}
	}
	var out []trace.Finding
	for _, name := range sorted(sets) {
		g := v.groupOfSet(name)
		if g == nil || slices.Contains(sets[name], "0.0.0.0/1") {
			continue
		}
		for _, p := range sortedPorts(v.in.byGroup[g.ID]) {
			for _, ip := range p.IPs {
				a := ip.Addr.String()
				if !ip.Addr.Is4() || slices.ContainsFunc(sets[name], func(s string) bool { return rawRange(s).IsValid() && rawRange(s).Contains(ip.Addr) }) {
					continue
				}
				line := "add " + name + " " + a
				out = append(out, trace.Finding{
					ID: "firewall-member-missing", Where: name + " " + a, Params: map[string]string{"ip": a, "group": cmpOr(g.Name, g.ID), "set": name},
					Proof: append(v.none("host ipset", line, sets[name]...), intentPort(p)), Fix: []trace.Fix{v.run("none", "ipset add -exist %s %s", name, a), v.restart(agentL2)},
					Repair: v.editSpace("", func(s *facts.Namespace) { s.IPSets = strings.TrimRight(s.IPSets, "\n") + "\n" + line + "\n" }),
				})
			}
		}
	}
	return out
}

// groupOfSet finds the group that a set is named after: "NIPv4" and the id's beginning.
func (v *view) groupOfSet(name string) *intent.Group {
	id, ok := strings.CutPrefix(name, "NIPv4")
	if !ok || len(id) < 8 {
		return nil
	}
	for i := range v.in.cloud.Groups {
		if g := &v.in.cloud.Groups[i]; strings.HasPrefix(g.ID, id) {
			return g
		}
	}
	return nil
}

// senders checks that the bridge lets a port's own addresses in, where it looks at them at
// all: with iptables it is the bridge that stops forged ARP.
func (v *view) senders(p *intent.Port) []trace.Finding {
	o := v.byIface[p.ID]
	if !p.Secured || len(v.brFlows) < 2 || o.OFPort <= 0 || v.h.Lacks(facts.Flows, "", v.br.Name) != "" {
		return nil
	}
	in := fmt.Sprintf("in_port=%d", o.OFPort)
	checks, next := false, 60
	spa := map[string]bool{}
	var macOK bool
	for i := range v.brFlows {
		f := &v.brFlows[i]
		if f.number("in_port") != o.OFPort {
			continue
		}
		if f.has("arp") && !f.has("arp_spa") && f.resubmits() >= 0 {
			checks = true
		}
		if s, ok := f.get("arp_spa"); ok && !f.drops() {
			spa[s] = true
		}
		macOK = macOK || f.hasMAC("dl_src", p.MAC.String()) && !f.drops()
	}
	if !checks {
		return nil
	}
	var list []*want
	add := func(table int, match, action string) {
		list = append(list, &want{role: match, table: table, match: match, action: action, proof: []trace.Proof{intentPort(p)}})
	}
	for _, ip := range p.IPs {
		if a := ip.Addr.String(); ip.Addr.Is4() && !spa[a] {
			add(24, fmt.Sprintf("priority=2,arp,%s,arp_spa=%s", in, a), "resubmit(,25)")
		}
	}
	if !macOK && slices.ContainsFunc(v.brFlows, func(f flow) bool { return f.table == 25 }) || !macOK && v.table25() {
		add(25, fmt.Sprintf("priority=2,%s,dl_src=%s", in, p.MAC), fmt.Sprintf("resubmit(,%d)", next))
	}
	if len(list) == 0 {
		return nil
	}
	return []trace.Finding{v.lost(v.br, "spoof-missing", o.Name, v.portParams(p, o.Name), list, nil)}
}

// table25 reports whether packets of ports are sent to where their hardware addresses are
// looked at.
func (v *view) table25() bool {
	return slices.ContainsFunc(v.brFlows, func(f flow) bool { return f.resubmits() == 25 })
}
