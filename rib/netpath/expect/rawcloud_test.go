package expect

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"kaname.dev/kaname/rib/netpath/intent"
)

type rawObject = map[string]any

func rawObjects(t testing.TB, dir, collection string) []rawObject {
	var all map[string][]rawObject
	rawJSON(t, filepath.Join(dir, collection+".json"), &all)
	for _, list := range all {
		return list
	}
	return nil
}

func rawFixed(v any) []intent.FixedIP {
	var out []intent.FixedIP
	list, _ := v.([]any)
	for _, e := range list {
		m := e.(rawObject)
		a, _ := netip.ParseAddr(rawString(m["ip_address"]))
		out = append(out, intent.FixedIP{Subnet: rawString(m["subnet_id"]), Addr: a})
	}
	return out
}

func rawRoute(v any) []intent.Route {
	var out []intent.Route
	list, _ := v.([]any)
	for _, e := range list {
		m := e.(rawObject)
		via, _ := netip.ParseAddr(rawString(m["nexthop"]))
		out = append(out, intent.Route{Dst: rawPrefix(rawString(m["destination"]), false), Via: via})
	}
	return out
}

func rawAddr(v any) netip.Addr {
	a, _ := netip.ParseAddr(rawString(v))
	return a
}

// rawCloud reads what the API said below dir. Routers and DHCP are all on n1, as the lab
// has them.
func rawCloud(t testing.TB, dir string) *intent.Cloud {
	t.Helper()
	c := &intent.Cloud{Version: intent.Version}
	yes := func(v any) bool { b, _ := v.(bool); return b }
	for _, o := range rawObjects(t, dir, "networks") {
		n := intent.Network{
			ID: rawString(o["id"]), Name: rawString(o["name"]), Up: yes(o["admin_state_up"]), External: yes(o["router:external"]), MTU: rawInt(o["mtu"]),
			Kind: rawString(o["provider:network_type"]), Physical: rawString(o["provider:physical_network"]), Segment: rawInt(o["provider:segmentation_id"]),
		}
		if !n.External {
			n.DHCP = []string{"n1"}
		}
		c.Networks = append(c.Networks, n)
	}
	for _, o := range rawObjects(t, dir, "subnets") {
		c.Subnets = append(c.Subnets, intent.Subnet{ID: rawString(o["id"]), Name: rawString(o["name"]), Network: rawString(o["network_id"]), CIDR: rawPrefix(rawString(o["cidr"]), false), Gateway: rawAddr(o["gateway_ip"]), DHCP: yes(o["enable_dhcp"])})
	}
	for _, o := range rawObjects(t, dir, "ports") {
		p := intent.Port{
			ID: rawString(o["id"]), Name: rawString(o["name"]), Network: rawString(o["network_id"]), MAC: rawMAC(rawString(o["mac_address"])), IPs: rawFixed(o["fixed_ips"]), Device: rawString(o["device_id"]),
			Owner: rawString(o["device_owner"]), Status: rawString(o["status"]), Up: yes(o["admin_state_up"]), Secured: yes(o["port_security_enabled"]), Groups: rawList(o["security_groups"]), Host: rawString(o["binding:host_id"]), VIFType: rawString(o["binding:vif_type"]),
		}
		if d, ok := o["binding:vif_details"].(rawObject); ok {
			p.Hybrid = yes(d["ovs_hybrid_plug"])
		}
		pairs, _ := o["allowed_address_pairs"].([]any)
		for _, e := range pairs {
			m := e.(rawObject)
			p.Pairs = append(p.Pairs, intent.Pair{Prefix: rawPrefix(rawString(m["ip_address"]), false), MAC: rawMAC(rawString(m["mac_address"]))})
		}
		if strings.HasPrefix(p.Owner, intent.OwnerCompute) {
			p.VM = p.Name
		}
		c.Ports = append(c.Ports, p)
	}
	for _, o := range rawObjects(t, dir, "routers") {
		r := intent.Router{ID: rawString(o["id"]), Name: rawString(o["name"]), Up: yes(o["admin_state_up"]), Distributed: yes(o["distributed"]), HA: yes(o["ha"]), Routes: rawRoute(o["routes"]), Hosts: []string{"n1"}}
		if g, ok := o["external_gateway_info"].(rawObject); ok {
			r.External, r.SNAT, r.GatewayIPs = rawString(g["network_id"]), yes(g["enable_snat"]), rawFixed(g["external_fixed_ips"])
		}
		c.Routers = append(c.Routers, r)
	}
	for _, o := range rawObjects(t, dir, "floatingips") {
		c.Floating = append(c.Floating, intent.Float{ID: rawString(o["id"]), Addr: rawAddr(o["floating_ip_address"]), Fixed: rawAddr(o["fixed_ip_address"]), Port: rawString(o["port_id"]), Router: rawString(o["router_id"]), Network: rawString(o["floating_network_id"]), Status: rawString(o["status"])})
	}
	for _, o := range rawObjects(t, dir, "security-groups") {
		g := intent.Group{ID: rawString(o["id"]), Name: rawString(o["name"])}
		rules, _ := o["security_group_rules"].([]any)
		for _, e := range rules {
			g.Rules = append(g.Rules, rawRule(e.(rawObject)))
		}
		c.Groups = append(c.Groups, g)
	}
	for _, o := range rawObjects(t, dir, "agents") {
		a := intent.Agent{ID: rawString(o["id"]), Kind: rawString(o["agent_type"]), Host: rawString(o["host"]), Alive: yes(o["alive"]), Up: yes(o["admin_state_up"]), Mappings: map[string]string{}}
		conf, _ := o["configurations"].(rawObject)
		a.Mode, a.TunnelIP, a.L2Pop, a.DVR = rawString(conf["agent_mode"]), rawAddr(conf["tunneling_ip"]), yes(conf["l2_population"]), yes(conf["enable_distributed_routing"])
		a.Tunnels = rawList(conf["tunnel_types"])
		maps, _ := conf["bridge_mappings"].(rawObject)
		for k, v := range maps {
			a.Mappings[k] = rawString(v)
		}
		c.Agents = append(c.Agents, a)
	}
	return c
}

func rawRule(o rawObject) intent.Rule {
	r := intent.Rule{ID: rawString(o["id"]), Ingress: o["direction"] == "ingress", V6: o["ethertype"] == "IPv6", Proto: rawString(o["protocol"]), Group: rawString(o["remote_group_id"])}
	if o["port_range_min"] != nil {
		r.Low, r.High, r.Ranged = rawInt(o["port_range_min"]), rawInt(o["port_range_max"]), true
	}
	if s := rawString(o["remote_ip_prefix"]); s != "" {
		r.Prefix = rawPrefix(s, r.V6)
	}
	return r
}
