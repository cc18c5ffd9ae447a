package expect

import (
	"fmt"
	"net/netip"
	"time"

	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/packet"
	"kaname.dev/kaname/rib/netpath/trace"
)

// Cloud lists what is wrong by Neutron's own account, without looking at any host, in a
// stable order.
func (c *Checker) Cloud() []trace.Finding {
	var out []trace.Finding
	out = append(out, c.in.deadAgents()...)
	out = append(out, c.in.disabled()...)
	out = append(out, c.in.badPorts()...)
	out = append(out, c.in.duplicates()...)
	out = append(out, c.in.unscheduled()...)
	for i := range out {
		if out[i].Params["host"] == "" {
			out[i].Params["host"] = out[i].Host
		}
	}
	order(out)
	return out
}

func client(format string, a ...any) trace.Fix {
	return trace.Fix{Command: fmt.Sprintf(format, a...), Lasting: true}
}

func (in *index) deadAgents() []trace.Finding {
	var out []trace.Finding
	vteps := map[netip.Addr]*intent.Agent{}
	for i := range in.cloud.Agents {
		a := &in.cloud.Agents[i]
		params := map[string]string{"kind": a.Kind, "agent": a.Host}
		said := []trace.Proof{neutron("agent %s %s on %s alive=%t admin_state_up=%t heartbeat=%s", a.ID, a.Kind, a.Host, a.Alive, a.Up, a.Seen.Format(time.RFC3339))}
		switch {
		case !a.Up:
			out = append(out, trace.Finding{ID: "agent-disabled", Host: a.Host, Where: a.Kind + " " + a.Host, Params: params, Proof: said, Fix: []trace.Fix{client("openstack network agent set --enable %s", a.ID)}})
		case !a.Alive:
			params["seen"] = a.Seen.Format(time.RFC3339)
			unit := map[string]string{agentL2: "neutron-openvswitch-agent", agentL3: "neutron-l3-agent", agentDHCP: "neutron-dhcp-agent", "Metadata agent": "neutron-metadata-agent"}[a.Kind]
			out = append(out, trace.Finding{ID: "agent-dead", Host: a.Host, Where: a.Kind + " " + a.Host, Params: params, Proof: said, Fix: []trace.Fix{{Host: a.Host, Command: "systemctl restart " + cmpOr(unit, "neutron"), Lasting: true, Risk: "host"}}})
		}
		if a.Kind != agentL2 || !a.TunnelIP.IsValid() {
			continue
		}
		if b := vteps[a.TunnelIP]; b != nil {
			out = append(out, trace.Finding{
				ID: "tunnel-address-duplicate", Host: a.Host, Where: a.TunnelIP.String(), Params: map[string]string{"remote": a.TunnelIP.String(), "one": b.Host, "other": a.Host},
				Proof: []trace.Proof{neutron("agent on %s tunnel_ip=%s", b.Host, b.TunnelIP), neutron("agent on %s tunnel_ip=%s", a.Host, a.TunnelIP)},
				Fix:   []trace.Fix{{Host: a.Host, Command: "systemctl restart neutron-openvswitch-agent", Lasting: true, Risk: "host"}},
			})
		}
		vteps[a.TunnelIP] = a
	}
	return out
}

// disabled lists what somebody has switched off.
func (in *index) disabled() []trace.Finding {
	var out []trace.Finding
	for i := range in.cloud.Networks {
		if n := &in.cloud.Networks[i]; !n.Up {
			out = append(out, trace.Finding{ID: "network-disabled", Where: n.ID, Params: map[string]string{"network": in.netName(n.ID)}, Proof: []trace.Proof{neutron("network %s admin_state_up=false", n.ID)}, Fix: []trace.Fix{client("openstack network set --enable %s", n.ID)}})
		}
	}
	for i := range in.cloud.Routers {
		if r := &in.cloud.Routers[i]; !r.Up {
			out = append(out, trace.Finding{ID: "router-disabled", Where: r.ID, Params: map[string]string{"router": routerName(r)}, Proof: []trace.Proof{neutron("router %s admin_state_up=false", r.ID)}, Fix: []trace.Fix{client("openstack router set --enable %s", r.ID)}})
		}
	}
	return out
}

// badPorts lists ports that are not where they should be, or not ready.
func (in *index) badPorts() []trace.Finding {
	var out []trace.Finding
	for i := range in.cloud.Ports {
		p := &in.cloud.Ports[i]
		f := trace.Finding{Host: p.Host, Where: p.ID, Params: map[string]string{"name": in.nameOf(p), "port": p.ID, "agent": p.Host, "status": p.Status}, Proof: []trace.Proof{intentPort(p)}}
		switch {
		case p.VIFType == "binding_failed":
			f.ID = "port-binding-failed"
			f.Proof = []trace.Proof{neutron("port %s binding:host_id=%s binding:vif_type=binding_failed", p.ID, p.Host)}
			f.Fix = []trace.Fix{{Host: p.Host, Command: "systemctl restart neutron-openvswitch-agent", Risk: "host"}, client("openstack port set --host %s %s", p.Host, p.ID)}
		case !p.Up:
			f.ID, f.Fix = "port-disabled", []trace.Fix{client("openstack port set --enable %s", p.ID)}
		case p.Host != "" && p.Device != "" && (isVM(p) || p.Owner == intent.OwnerDHCP || p.Owner == intent.OwnerSNAT || p.Owner == intent.OwnerGateway) && (p.Status == "DOWN" || p.Status == "BUILD"):
			f.ID = "port-not-active"
			f.Fix = []trace.Fix{{Host: p.Host, Command: "systemctl restart neutron-openvswitch-agent", Lasting: true, Risk: "host"}}
		default:
			continue
		}
		out = append(out, f)
	}
	for i := range in.cloud.Floating {
		f := &in.cloud.Floating[i]
		p := in.ports[f.Port]
		if p == nil || p.Host == "" || f.Status == "ACTIVE" || f.Status == "" {
			continue
		}
		out = append(out, trace.Finding{
			ID: "floating-not-active", Host: p.Host, Where: f.Addr.String(), Params: map[string]string{"float": f.Addr.String(), "status": f.Status, "name": in.nameOf(p)}, Proof: []trace.Proof{intentFloat(f)},
			Fix: []trace.Fix{{Host: p.Host, Command: "systemctl restart neutron-l3-agent", Lasting: true, Risk: "host"}},
		})
	}
	return out
}

// duplicates lists addresses that two ports of a network have.
func (in *index) duplicates() []trace.Finding {
	var out []trace.Finding
	for i := range in.cloud.Networks {
		n := &in.cloud.Networks[i]
		ips, macs := map[netip.Addr]*intent.Port{}, map[packet.MAC]*intent.Port{}
		for _, p := range in.byNet[n.ID] {
			if isDistributed(p) {
				continue
			}
			say := func(id, what string, q *intent.Port) {
				out = append(out, trace.Finding{
					ID: id, Host: p.Host, Where: n.ID + " " + what, Params: map[string]string{"ip": what, "mac": what, "network": in.netName(n.ID), "name": in.nameOf(q), "other": in.nameOf(p)},
					Proof: []trace.Proof{intentPort(q), intentPort(p)}, Fix: []trace.Fix{client("openstack port delete %s", p.ID)},
				})
			}
			for _, ip := range p.IPs {
				if q := ips[ip.Addr]; q != nil && q != p {
					say("address-duplicate", ip.Addr.String(), q)
				}
				ips[ip.Addr] = p
			}
			if q := macs[p.MAC]; q != nil {
				say("mac-duplicate", p.MAC.String(), q)
			}
			macs[p.MAC] = p
		}
	}
	return out
}

// unscheduled lists routers and networks that no agent is in charge of.
func (in *index) unscheduled() []trace.Finding {
	var out []trace.Finding
	l3, dhcp := false, false
	for i := range in.cloud.Agents {
		l3 = l3 || in.cloud.Agents[i].Kind == agentL3
		dhcp = dhcp || in.cloud.Agents[i].Kind == agentDHCP
	}
	for i := range in.cloud.Routers {
		if r := &in.cloud.Routers[i]; l3 && r.Up && r.External != "" && r.SNAT && len(r.Hosts) == 0 {
			out = append(out, trace.Finding{ID: "router-unscheduled", Where: r.ID, Params: map[string]string{"router": routerName(r)}, Proof: []trace.Proof{neutron("router %s external=%s, no L3 agent", r.ID, r.External)}, Fix: []trace.Fix{client("openstack network agent add router --l3 AGENT %s", r.ID)}})
		}
	}
	for i := range in.cloud.Networks {
		n := &in.cloud.Networks[i]
		for _, s := range in.subnetsI[n.ID] {
			if dhcp && s.DHCP && n.Up && len(n.DHCP) == 0 && len(in.byNet[n.ID]) > 0 {
				out = append(out, trace.Finding{ID: "dhcp-unscheduled", Where: n.ID, Params: map[string]string{"network": in.netName(n.ID)}, Proof: []trace.Proof{neutron("network %s, subnet %s enable_dhcp=true, no DHCP agent", n.ID, s.CIDR)}, Fix: []trace.Fix{client("openstack network agent add network --dhcp AGENT %s", n.ID)}})
				break
			}
		}
	}
	return out
}
