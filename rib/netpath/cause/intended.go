package cause

import (
	"cmp"

	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/trace"
)

// intended lists what Neutron itself says that keeps the packet from its way, whatever the
// hosts do: something that is switched off, a router or a gateway that nobody has made.
func (x *explainer) intended() []trace.Finding {
	var list []trace.Finding
	c := x.w.Cloud()
	var ends [2]*intent.Port
	for i := range c.Ports {
		p := &c.Ports[i]
		switch p.ID {
		case x.was.Source.Port:
			ends[0] = p
		case x.was.Target.Port:
			ends[1] = p
		}
	}
	for _, p := range ends {
		if p != nil {
			list = append(list, portOff(p, c)...)
		}
	}
	if ends[0] != nil {
		list = append(list, x.wayOut(ends[0], ends[1])...)
	}
	return list
}

func portOff(p *intent.Port, c *intent.Cloud) []trace.Finding {
	var list []trace.Finding
	name := cmp.Or(p.VM, p.Name, p.ID)
	params := map[string]string{"port": p.ID, "vm": name, "host": p.Host}
	add := func(id, line, fix string) {
		f := trace.Finding{ID: id, Host: p.Host, Where: p.ID, Params: params, Proof: []trace.Proof{{Where: "Neutron", Line: line}}}
		if fix != "" {
			f.Fix = []trace.Fix{{Command: fix, Lasting: true, Risk: "port"}}
		}
		list = append(list, f)
	}
	if !p.Up {
		add("intent-port-off", "port "+p.ID+" admin_state_up=False", "openstack port set --enable "+p.ID)
	}
	if p.VIFType == "binding_failed" || p.VIFType == "unbound" || p.Host == "" && p.Owner != intent.OwnerDistributed {
		add("intent-port-unbound", "port "+p.ID+" binding:vif_type="+cmp.Or(p.VIFType, "unbound")+" binding:host_id="+p.Host, "")
	}
	for i := range c.Networks {
		if n := &c.Networks[i]; n.ID == p.Network && !n.Up {
			add("intent-network-off", "network "+n.ID+" admin_state_up=False", "openstack network set --enable "+n.ID)
		}
	}
	return list
}

// wayOut says whether Neutron has a router between the two networks, or one that leads out.
func (x *explainer) wayOut(from, to *intent.Port) []trace.Finding {
	if to != nil && from.Network == to.Network {
		return nil
	}
	outward := x.was.Target.Kind == "outside"
	if to == nil && !outward {
		return nil
	}
	c := x.w.Cloud()
	near := routersOn(c, from.Network)
	params := map[string]string{"network": from.Network, "vm": x.was.Source.Name}
	one := func(id, line, fix string) []trace.Finding {
		f := trace.Finding{ID: id, Where: from.Network, Params: params, Proof: []trace.Proof{{Where: "Neutron", Line: line}}}
		if fix != "" {
			f.Fix = []trace.Fix{{Command: fix, Lasting: true, Risk: "tenant"}}
		}
		return []trace.Finding{f}
	}
	if len(near) == 0 {
		if outward && isProvider(c, from.Network) {
			return nil
		}
		return one("intent-no-router", "network "+from.Network+" has no router interface", "openstack router add subnet ROUTER "+subnetOf(from))
	}
	for _, r := range near {
		switch {
		case !r.Up:
			return one("intent-router-off", "router "+r.ID+" admin_state_up=False", "openstack router set --enable "+r.ID)
		case outward && r.External == "":
			return one("intent-no-gateway", "router "+r.ID+" external_gateway_info=None", "openstack router set --external-gateway NETWORK "+r.ID)
		case outward && !r.SNAT && !x.was.Source.Float.IsValid():
			return one("intent-no-snat", "router "+r.ID+" enable_snat=False, no floating address at "+x.was.Source.Addr.String(), "openstack floating ip create --port "+from.ID+" "+r.External)
		}
	}
	if outward || x.was.Target.Float.IsValid() {
		return nil
	}
	for _, a := range near {
		for _, b := range routersOn(c, to.Network) {
			if a.ID == b.ID {
				return nil
			}
		}
	}
	params["other"] = to.Network
	return one("intent-no-router", "no router has an interface on both "+from.Network+" and "+to.Network, "openstack router add subnet "+near[0].ID+" "+subnetOf(to))
}

func subnetOf(p *intent.Port) string {
	if len(p.IPs) == 0 {
		return "SUBNET"
	}
	return p.IPs[0].Subnet
}

func isProvider(c *intent.Cloud, network string) bool {
	for i := range c.Networks {
		if n := &c.Networks[i]; n.ID == network {
			return n.External || n.Kind == "flat" || n.Kind == "vlan"
		}
	}
	return false
}

// routersOn lists the routers that have an interface on a network.
func routersOn(c *intent.Cloud, network string) []*intent.Router {
	on := map[string]bool{}
	for i := range c.Ports {
		switch p := &c.Ports[i]; p.Owner {
		case intent.OwnerRouter, intent.OwnerDistributed, intent.OwnerHA:
			if p.Network == network {
				on[p.Device] = true
			}
		}
	}
	var list []*intent.Router
	for i := range c.Routers {
		if on[c.Routers[i].ID] {
			list = append(list, &c.Routers[i])
		}
	}
	return list
}
