package cause

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// denied lists the security groups that do not admit the packet: of the sender's port, and
// of the addressee's.
func (x *explainer) denied() []trace.Finding {
	var list []trace.Finding
	p, ok := x.sent()
	if !ok {
		return nil
	}
	if x.was.Source.Kind == "vm" {
		if _, ok := x.w.Admits(x.was.Source.Port, false, p); !ok {
			list = append(list, x.noRule(x.was.Source, false, p))
		}
	}
	if x.was.Target.Kind == "vm" {
		in := x.arriving(p)
		if _, ok := x.w.Admits(x.was.Target.Port, true, in); !ok {
			list = append(list, x.noRule(x.was.Target, true, in))
		}
	}
	return list
}

// sent is the packet as its sender sent it.
func (x *explainer) sent() (packet.Packet, bool) {
	for i := range x.was.Forward.Hops {
		if p := x.was.Forward.Hops[i].Out; p.IsIP() && p.IPSrc == x.was.Source.Addr {
			return p, true
		}
	}
	p, err := x.w.First(x.q)
	return p, err == nil
}

// arriving is the packet as it comes, or would, to the addressee: after the translation of
// floating addresses.
func (x *explainer) arriving(p packet.Packet) packet.Packet {
	hops := x.was.Forward.Hops
	if n := len(hops); n > 0 && x.was.Forward.Verdict == trace.Delivered && hops[n-1].In.IsIP() {
		return hops[n-1].In
	}
	for _, hop := range slices.Backward(hops) {
		if in := hop.In; in.IsIP() && in.Proto == p.Proto && in.IPDst == x.was.Target.Addr {
			return in
		}
	}
	p.IPDst = x.was.Target.Addr
	if x.was.Source.Float.IsValid() && x.was.Target.Float.IsValid() && p.IPDst != x.was.Target.Addr {
		p.IPSrc = x.was.Source.Float
	}
	return p
}

// noRule is the finding that no rule of a port's groups admits a packet.
func (x *explainer) noRule(end trace.End, ingress bool, p packet.Packet) trace.Finding {
	c := x.w.Cloud()
	var port *intent.Port
	for i := range c.Ports {
		if c.Ports[i].ID == end.Port {
			port = &c.Ports[i]
		}
	}
	other, direction := p.IPDst, "egress"
	if ingress {
		other, direction = p.IPSrc, "ingress"
	}
	f := trace.Finding{
		ID: "sg-no-rule", Host: end.Host, Where: end.Port, Repair: trace.Repair{Admit: end.Port},
		Params: map[string]string{
			"vm": end.Name, "port": end.Port, "direction": direction, "proto": protoName(p.Proto), "other": other.String(), "host": end.Host,
		},
	}
	if p.DstPort != 0 {
		f.Params["dport"] = strconv.Itoa(int(p.DstPort))
	}
	var group *intent.Group
	for _, id := range port.Groups {
		for i := range c.Groups {
			if g := &c.Groups[i]; g.ID == id {
				group = cmp.Or(group, g)
				f.Proof = append(f.Proof, ruleLines(g, ingress)...)
			}
		}
	}
	if group == nil {
		f.Params["group"] = ""
		f.Proof = []trace.Proof{{Where: "Neutron", Line: "port " + port.ID + " has port security and no security group"}}
		f.Fix = []trace.Fix{{Command: "openstack port set --security-group GROUP " + port.ID, Lasting: true, Risk: "tenant"}}
		return f
	}
	f.Params["group"], f.Params["group_id"] = cmp.Or(group.Name, group.ID), group.ID
	f.Fix = []trace.Fix{{Command: create(group.ID, ingress, other, p), Lasting: true, Risk: "tenant"}}
	return f
}

func protoName(n uint8) string {
	switch n {
	case packet.ICMP:
		return "icmp"
	case packet.ICMPv6:
		return "ipv6-icmp"
	case packet.TCP:
		return "tcp"
	case packet.UDP:
		return "udp"
	}
	return strconv.Itoa(int(n))
}

// create is the command that makes the rule that lacks, no wider than for this packet.
func create(group string, ingress bool, other netip.Addr, p packet.Packet) string {
	s := "openstack security group rule create"
	if ingress {
		s += " --ingress"
	} else {
		s += " --egress"
	}
	if p.Type == packet.IPv6 {
		s += " --ethertype IPv6"
	}
	s += " --protocol " + protoName(p.Proto)
	if p.DstPort != 0 {
		s += fmt.Sprintf(" --dst-port %d", p.DstPort)
	}
	return s + " --remote-ip " + netip.PrefixFrom(other, other.BitLen()).String() + " " + group
}

// ruleLines shows a group's rules of one direction.
func ruleLines(g *intent.Group, ingress bool) []trace.Proof {
	var list []trace.Proof
	where := "Neutron security group " + cmp.Or(g.Name, g.ID)
	for i := range g.Rules {
		r := &g.Rules[i]
		if r.Ingress != ingress {
			continue
		}
		list = append(list, trace.Proof{Where: where, Line: ruleLine(r)})
	}
	if len(list) == 0 {
		word := "egress"
		if ingress {
			word = "ingress"
		}
		list = append(list, trace.Proof{Where: where, Line: "no " + word + " rule"})
	}
	return list
}

func ruleLine(r *intent.Rule) string {
	s, from := "egress", " to "
	if r.Ingress {
		s, from = "ingress", " from "
	}
	if r.V6 {
		s += " IPv6"
	} else {
		s += " IPv4"
	}
	s += " " + cmp.Or(r.Proto, "any")
	if r.Ranged {
		s += fmt.Sprintf(" %d:%d", r.Low, r.High)
	}
	switch {
	case r.Group != "":
		s += from + "group " + r.Group
	case r.Prefix.IsValid():
		s += from + r.Prefix.String()
	}
	return s
}
