package neutron

import (
	"context"
	"net/netip"
	"strings"

	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/packet"
)

// owned is the project of an object, in both words for it.
type owned struct {
	Project string `json:"project_id"`
	Tenant  string `json:"tenant_id"`
}

func (o owned) project() string { return first1(o.Project, o.Tenant) }

// or is a value that may be missing or null.
func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// addr reads an address; what is none is the zero one.
func addr(s string) netip.Addr {
	a, _ := netip.ParseAddr(s)
	return a
}

// prefix reads a range, or an address as the range of it alone.
func prefix(s string) netip.Prefix {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked()
	}
	if a := addr(s); a.IsValid() {
		return netip.PrefixFrom(a, a.BitLen())
	}
	return netip.Prefix{}
}

func mac(s string) packet.MAC {
	m, _ := packet.ParseMAC(s)
	return m
}

type route struct {
	Destination string `json:"destination"`
	Nexthop     string `json:"nexthop"`
}

func routes(all []route) (out []intent.Route) {
	for _, r := range all {
		out = append(out, intent.Route{Dst: prefix(r.Destination), Via: addr(r.Nexthop)})
	}
	return out
}

func (r *reading) networks(ctx context.Context) error {
	type network struct {
		owned
		ID       string  `json:"id"`
		Name     string  `json:"name"`
		Up       *bool   `json:"admin_state_up"`
		External bool    `json:"router:external"`
		Shared   bool    `json:"shared"`
		MTU      *int    `json:"mtu"`
		Kind     *string `json:"provider:network_type"`
		Physical *string `json:"provider:physical_network"`
		Segment  *int    `json:"provider:segmentation_id"`
	}
	r.cloud.Networks = []intent.Network{}
	return list(ctx, r.client, r.neutron, "networks", "networks", nil, func(n *network) error {
		r.cloud.Networks = append(r.cloud.Networks, intent.Network{
			ID: n.ID, Name: n.Name, Project: n.project(), Up: or(n.Up, true), External: n.External, Shared: n.Shared,
			MTU: or(n.MTU, 0), Kind: or(n.Kind, ""), Physical: or(n.Physical, ""), Segment: or(n.Segment, 0),
		})
		return nil
	})
}

func (r *reading) subnets(ctx context.Context) error {
	type subnet struct {
		ID      string   `json:"id"`
		Name    string   `json:"name"`
		Network string   `json:"network_id"`
		CIDR    string   `json:"cidr"`
		Gateway *string  `json:"gateway_ip"`
		DHCP    bool     `json:"enable_dhcp"`
		DNS     []string `json:"dns_nameservers"`
		Routes  []route  `json:"host_routes"`
	}
	r.cloud.Subnets = []intent.Subnet{}
	return list(ctx, r.client, r.neutron, "subnets", "subnets", nil, func(s *subnet) error {
		out := intent.Subnet{
			ID: s.ID, Name: s.Name, Network: s.Network, CIDR: prefix(s.CIDR), Gateway: addr(or(s.Gateway, "")),
			DHCP: s.DHCP, Routes: routes(s.Routes),
		}
		for _, d := range s.DNS {
			if a := addr(d); a.IsValid() {
				out.DNS = append(out.DNS, a)
			}
		}
		r.cloud.Subnets = append(r.cloud.Subnets, out)
		return nil
	})
}

// fixed is an address of a port or a gateway.
type fixed struct {
	Subnet string `json:"subnet_id"`
	Addr   string `json:"ip_address"`
}

func fixedIPs(all []fixed) []intent.FixedIP {
	out := make([]intent.FixedIP, 0, len(all))
	for _, f := range all {
		out = append(out, intent.FixedIP{Subnet: f.Subnet, Addr: addr(f.Addr)})
	}
	return out
}

type port struct {
	owned
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Network  string   `json:"network_id"`
	MAC      string   `json:"mac_address"`
	Fixed    []fixed  `json:"fixed_ips"`
	Device   string   `json:"device_id"`
	Owner    string   `json:"device_owner"`
	Status   string   `json:"status"`
	Up       *bool    `json:"admin_state_up"`
	Secured  *bool    `json:"port_security_enabled"` // an extension; without it all are
	Groups   []string `json:"security_groups"`
	Host     *string  `json:"binding:host_id"`
	VIF      *string  `json:"binding:vif_type"`
	Details  details  `json:"binding:vif_details"`
	Revision *int     `json:"revision_number"`
	Pairs    []struct {
		Addr string `json:"ip_address"`
		MAC  string `json:"mac_address"`
	} `json:"allowed_address_pairs"`
}

// details is how a port is plugged; nothing where Neutron writes something else than an object.
type details struct{ Hybrid bool }

// UnmarshalJSON never fails: the form differs by driver.
func (d *details) UnmarshalJSON(b []byte) error {
	d.Hybrid = strings.Contains(strings.ReplaceAll(string(b), " ", ""), `"ovs_hybrid_plug":true`)
	return nil
}

func (r *reading) ports(ctx context.Context) error {
	r.cloud.Ports = []intent.Port{}
	return list(ctx, r.client, r.neutron, "ports", "ports", nil, func(p *port) error {
		out := intent.Port{
			ID: p.ID, Name: p.Name, Project: p.project(), Network: p.Network, MAC: mac(p.MAC), IPs: fixedIPs(p.Fixed),
			Device: p.Device, Owner: p.Owner, Status: p.Status, Up: or(p.Up, true), Secured: or(p.Secured, true), Groups: p.Groups,
			Host: or(p.Host, ""), VIFType: or(p.VIF, ""), Hybrid: p.Details.Hybrid, Revision: or(p.Revision, 0),
		}
		for _, pair := range p.Pairs {
			out.Pairs = append(out.Pairs, intent.Pair{Prefix: prefix(pair.Addr), MAC: mac(pair.MAC)})
		}
		r.cloud.Ports = append(r.cloud.Ports, out)
		return nil
	})
}

func (r *reading) routers(ctx context.Context) error {
	type router struct {
		owned
		ID          string  `json:"id"`
		Name        string  `json:"name"`
		Up          *bool   `json:"admin_state_up"`
		Distributed *bool   `json:"distributed"`
		HA          *bool   `json:"ha"`
		Routes      []route `json:"routes"`
		Gateway     *struct {
			Network string  `json:"network_id"`
			SNAT    *bool   `json:"enable_snat"`
			Fixed   []fixed `json:"external_fixed_ips"`
		} `json:"external_gateway_info"`
	}
	r.cloud.Routers = []intent.Router{}
	return list(ctx, r.client, r.neutron, "routers", "routers", nil, func(x *router) error {
		out := intent.Router{
			ID: x.ID, Name: x.Name, Project: x.project(), Up: or(x.Up, true), Distributed: or(x.Distributed, false), HA: or(x.HA, false),
			Routes: routes(x.Routes),
		}
		if g := x.Gateway; g != nil && g.Network != "" {
			out.External, out.SNAT, out.GatewayIPs = g.Network, or(g.SNAT, true), fixedIPs(g.Fixed)
		}
		r.cloud.Routers = append(r.cloud.Routers, out)
		return nil
	})
}

func (r *reading) floating(ctx context.Context) error {
	type float struct {
		ID      string  `json:"id"`
		Addr    string  `json:"floating_ip_address"`
		Fixed   *string `json:"fixed_ip_address"`
		Port    *string `json:"port_id"`
		Router  *string `json:"router_id"`
		Network string  `json:"floating_network_id"`
		Status  string  `json:"status"`
	}
	r.cloud.Floating = []intent.Float{}
	return list(ctx, r.client, r.neutron, "floatingips", "floatingips", nil, func(f *float) error {
		r.cloud.Floating = append(r.cloud.Floating, intent.Float{
			ID: f.ID, Addr: addr(f.Addr), Fixed: addr(or(f.Fixed, "")), Port: or(f.Port, ""), Router: or(f.Router, ""), Network: f.Network, Status: f.Status,
		})
		return nil
	})
}
