package expect

import (
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/trace"
)

// floatNAT checks that a router changes a floating IP into the VM's own address, and back.
func (v *view) floatNAT(f *intent.Float, r *intent.Router, qr *facts.Namespace) []trace.Finding {
	if v.h.Lacks(facts.Filters, qr.Name, "") != "" {
		return nil
	}
	fl := v.filters(qr)
	params := floatParams(f, r, qr.Name)
	params["name"] = v.in.nameOf(v.in.ports[f.Port])
	var out []trace.Finding
	float, fixed := f.Addr.String(), f.Fixed.String()
	dnat := fl.translation(func(q *filterRule) bool {
		return host(q.get("-d")) == float && q.get("-j") == "DNAT"
	})
	rfp, _ := pair(r.ID)
	switch {
	case dnat == nil:
		chain := cmpOr(fl.chainEnding("nat", "-PREROUTING"), "PREROUTING")
		rule := "-A " + chain + " -d " + float + "/32 -i " + rfp + " -j DNAT --to-destination " + fixed
		out = append(out, v.lostRule("floating-dnat-missing", qr, float, params, rule, []trace.Proof{intentFloat(f)}, fl["nat"][chain]))
	case host(dnat.get("--to-destination")) != fixed:
		out = append(out, v.wrongRule("floating-dnat-wrong", qr, float, params, dnat, strings.Replace(dnat.line, dnat.get("--to-destination"), fixed, 1), f))
	}
	snat := fl.translation(func(q *filterRule) bool {
		return host(q.get("-s")) == fixed && q.get("-j") == "SNAT"
	})
	switch {
	case snat == nil:
		chain := cmpOr(fl.chainEnding("nat", "-float-snat"), "POSTROUTING")
		rule := "-A " + chain + " -s " + fixed + "/32 -j SNAT --to-source " + float
		out = append(out, v.lostRule("floating-snat-missing", qr, float, params, rule, []trace.Proof{intentFloat(f)}, fl["nat"][chain]))
	case host(snat.get("--to-source")) != float:
		out = append(out, v.wrongRule("floating-snat-wrong", qr, float, params, snat, strings.Replace(snat.line, snat.get("--to-source"), float, 1), f))
	}
	return out
}

// host is an address without its /32.
func host(s string) string { return strings.TrimSuffix(s, "/32") }

// lostRule says that a rule of iptables is not there; its repair writes it at its chain's
// end.
func (v *view) lostRule(id string, n *facts.Namespace, what string, params map[string]string, rule string, said []trace.Proof, chain []filterRule) trace.Finding {
	var there []string
	for i := range chain {
		there = append(there, chain[i].line)
	}
	params["rule"] = rule
	return trace.Finding{
		ID: id, Where: n.Name + " " + what, Params: params, Proof: append(v.none(n.Name+" iptables nat", rule, there...), said...),
		Fix: []trace.Fix{v.run("none", "%s", inside(n.Name, "iptables -w -t nat "+rule)), v.restart(agentL3)},
		Repair: v.editSpace(n.Name, func(s *facts.Namespace) {
			s.IPTables4 = insertRule(s.IPTables4, "nat", rule, nil)
		}),
	}
}

func (v *view) wrongRule(id string, n *facts.Namespace, what string, params map[string]string, is *filterRule, want string, f *intent.Float) trace.Finding {
	params["rule"] = want
	old := is.line
	return trace.Finding{
		ID: id, Where: n.Name + " " + what, Params: params, Proof: []trace.Proof{v.see(n.Name+" iptables nat", old), intentFloat(f)},
		Fix: []trace.Fix{
			v.run("none", "%s", inside(n.Name, "iptables -w -t nat "+strings.Replace(old, "-A ", "-D ", 1))+" && "+inside(n.Name, "iptables -w -t nat "+want)),
			v.restart(agentL3),
		},
		Repair: v.editSpace(n.Name, func(s *facts.Namespace) { s.IPTables4 = strings.Replace(s.IPTables4, old, want, 1) }),
	}
}

// filters reads a namespace's filter once.
func (v *view) filters(n *facts.Namespace) filters {
	if f, ok := v.parsed[n.Name]; ok {
		return f
	}
	f := parseFilters(n.IPTables4)
	v.parsed[n.Name] = f
	return f
}
