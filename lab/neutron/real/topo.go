package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The cloud that the lab makes. MAC and IP addresses are chosen here, so that two
// recordings differ in little more than UUIDs.

type network struct {
	Name, CIDR string
	Router     string // whose interface stands on it
	VLAN       int    // 0 for VXLAN
}

var networks = []network{
	{Name: "net-a", CIDR: "10.10.1", Router: "r1"},
	{Name: "net-b", CIDR: "10.10.2", Router: "r1"},
	{Name: "net-v", CIDR: "10.10.4", Router: "r1", VLAN: 101},
	{Name: "net-w", CIDR: "10.10.3", Router: "r2"},
}

// r1 is distributed; r2 is a legacy router and lives on n1.
var routers = []struct {
	Name, Gateway string
	Distributed   bool
}{
	{"r1", "203.0.113.51", true},
	{"r2", "203.0.113.52", false},
}

// groups name their ingress rules "protocol", "protocol:port", or "protocol:port<group".
// Egress is open, as Neutron makes it.
var groups = []struct {
	Name  string
	Rules []string
}{
	{"web", []string{"icmp", "tcp:22", "tcp:443", "udp:33000-34000"}},
	{"grp", []string{"icmp", "tcp:22<grp"}},
}

type vm struct {
	Name, Net, Host string
	IP              string // last octet
	Group           string // "" for a port without port security
	FIP             string // last octet of its floating IP
	Pair            string // allowed address pair that it carries
	Also            string // address on its loopback, see extra route
}

var vms = []vm{
	{Name: "a1", Net: "net-a", Host: "c1", IP: "11", Group: "web", FIP: "61"},
	{Name: "a2", Net: "net-a", Host: "c2", IP: "12", Group: "web"},
	{Name: "b1", Net: "net-b", Host: "c1", IP: "11", Group: "web"},
	{Name: "b2", Net: "net-b", Host: "c2", IP: "12", Group: "web", FIP: "62"},
	{Name: "g1", Net: "net-a", Host: "c1", IP: "13", Group: "grp"},
	{Name: "g2", Net: "net-b", Host: "c2", IP: "13", Group: "grp"},
	{Name: "k1", Net: "net-a", Host: "c2", IP: "14", Group: "web", Pair: "10.10.1.200"},
	{Name: "o1", Net: "net-b", Host: "c1", IP: "14", Also: "10.99.0.1"},
	{Name: "w1", Net: "net-w", Host: "c1", IP: "11", Group: "web", FIP: "63"},
	{Name: "w2", Net: "net-w", Host: "c2", IP: "12", Group: "web"},
	{Name: "v1", Net: "net-v", Host: "c1", IP: "11", Group: "web"},
	{Name: "v2", Net: "net-v", Host: "c2", IP: "12", Group: "web"},
	{Name: "e1", Net: "ext", Host: "c1", IP: "81", Group: "web"},
}

// cloud is the lab and what the API said of it.
type cloud struct {
	dir, here string

	Nets    map[string]object `json:"nets"`
	Subnets map[string]object `json:"subnets"`
	Routers map[string]object `json:"routers"`
	Groups  map[string]object `json:"groups"`
	Ports   map[string]object `json:"ports"` // by VM
	FIPs    map[string]object `json:"fips"`  // by VM
}

func (c *cloud) file() string { return filepath.Join(c.dir, "topo.json") }

func (c *cloud) load() error {
	b, err := os.ReadFile(c.file())
	if err != nil {
		return fmt.Errorf("topology: %w; run topo first", err)
	}
	return json.Unmarshal(b, c)
}

func (c *cloud) save() error {
	b, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(c.file(), b, 0o600)
}

// make creates everything, plugs the VMs in and waits until all probes say what they
// should.
func (c *cloud) make(ctx context.Context) error {
	c.Nets, c.Subnets, c.Routers = map[string]object{}, map[string]object{}, map[string]object{}
	c.Groups, c.Ports, c.FIPs = map[string]object{}, map[string]object{}, map[string]object{}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"networks", c.makeNetworks},
		{"routers", c.makeRouters},
		{"groups", c.makeGroups},
		{"ports", c.makePorts},
		{"plug", c.plug},
		{"addresses", c.makeFIPs},
		{"routes", c.makeRoutes},
	} {
		start := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Printf("%-10s %3.0f s\n", step.name, time.Since(start).Seconds())
		if err := c.save(); err != nil {
			return err
		}
	}
	return c.settle(ctx, 10*time.Minute)
}

func (c *cloud) makeNetworks(ctx context.Context) error {
	add := func(name string, o, subnet object) (err error) {
		o["name"], subnet["name"], subnet["ip_version"] = name, name, 4
		if c.Nets[name], err = create(ctx, "networks", "network", o); err != nil {
			return err
		}
		subnet["network_id"] = c.Nets[name].id()
		c.Subnets[name], err = create(ctx, "subnets", "subnet", subnet)
		return err
	}
	err := add("ext", object{"router:external": true, "provider:network_type": "flat", "provider:physical_network": "physext"},
		object{
			"cidr": "203.0.113.0/24", "gateway_ip": "203.0.113.1", "enable_dhcp": false,
			"allocation_pools": []object{{"start": "203.0.113.50", "end": "203.0.113.99"}},
		})
	for _, n := range networks {
		o := object{}
		if n.VLAN != 0 {
			o = object{"provider:network_type": "vlan", "provider:physical_network": "physext", "provider:segmentation_id": n.VLAN}
		}
		if err == nil {
			err = add(n.Name, o, object{"cidr": n.CIDR + ".0/24"})
		}
	}
	return err
}

func (c *cloud) makeRouters(ctx context.Context) (err error) {
	for _, r := range routers {
		c.Routers[r.Name], err = create(ctx, "routers", "router", object{
			"name": r.Name, "distributed": r.Distributed,
			"external_gateway_info": object{
				"network_id":         c.Nets["ext"].id(),
				"external_fixed_ips": []object{{"subnet_id": c.Subnets["ext"].id(), "ip_address": r.Gateway}},
			},
		})
		if err != nil {
			return err
		}
	}
	for _, n := range networks {
		_, err := api(ctx, http.MethodPut, "routers/"+c.Routers[n.Router].id()+"/add_router_interface",
			object{"subnet_id": c.Subnets[n.Name].id()})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *cloud) makeGroups(ctx context.Context) (err error) {
	for _, g := range groups {
		if c.Groups[g.Name], err = create(ctx, "security-groups", "security_group", object{"name": g.Name}); err != nil {
			return err
		}
		for _, r := range g.Rules {
			if _, err := create(ctx, "security-group-rules", "security_group_rule", c.rule(g.Name, r)); err != nil {
				return err
			}
		}
	}
	return nil
}

// rule is the API's form of a rule as groups writes it.
func (c *cloud) rule(group, text string) object {
	o := object{"security_group_id": c.Groups[group].id(), "direction": "ingress", "ethertype": "IPv4"}
	text, remote, ok := strings.Cut(text, "<")
	if ok {
		o["remote_group_id"] = c.Groups[remote].id()
	}
	protocol, ports, ok := strings.Cut(text, ":")
	o["protocol"] = protocol
	if ok {
		low, high, two := strings.Cut(ports, "-")
		if !two {
			high = low
		}
		o["port_range_min"], o["port_range_max"] = low, high
	}
	return o
}

func (c *cloud) makePorts(ctx context.Context) (err error) {
	for i, v := range vms {
		o := object{
			"network_id": c.Nets[v.Net].id(), "name": v.Name, "device_owner": "compute:nova", "device_id": "vm-" + v.Name,
			"binding:host_id": v.Host, "mac_address": fmt.Sprintf("fa:16:3e:00:00:%02x", i+1),
			"fixed_ips": []object{{"subnet_id": c.Subnets[v.Net].id(), "ip_address": v.address()}},
		}
		if v.Group == "" {
			o["port_security_enabled"] = false
		} else {
			o["security_groups"] = []string{c.Groups[v.Group].id()}
		}
		if v.Pair != "" {
			o["allowed_address_pairs"] = []object{{"ip_address": v.Pair}}
		}
		if c.Ports[v.Name], err = create(ctx, "ports", "port", o); err != nil {
			return err
		}
	}
	return nil
}

func (v vm) address() string {
	for _, n := range networks {
		if n.Name == v.Net {
			return n.CIDR + "." + v.IP
		}
	}
	return "203.0.113." + v.IP
}

func (c *cloud) makeFIPs(ctx context.Context) (err error) {
	for _, v := range vms {
		if v.FIP == "" {
			continue
		}
		c.FIPs[v.Name], err = create(ctx, "floatingips", "floatingip", object{
			"floating_network_id": c.Nets["ext"].id(), "port_id": c.Ports[v.Name].id(), "floating_ip_address": "203.0.113." + v.FIP,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// makeRoutes sends 10.99.0.0/24 to o1, which forwards for others.
func (c *cloud) makeRoutes(ctx context.Context) error {
	_, err := api(ctx, http.MethodPut, "routers/"+c.Routers["r1"].id(), object{"router": object{
		"routes": []object{{"destination": "10.99.0.0/24", "nexthop": "10.10.2.14"}},
	}})
	return err
}
