// Package intent is what Neutron says a cloud should be: networks, ports and where they are
// bound, routers, floating addresses, security groups, agents. It is read from Neutron's
// API (package intent/neutron) or from a bundle, and never written back.
package intent

import (
	"net/netip"
	"time"

	"kaname.dev/kaname/rib/netpath/packet"
)

// Version of the form in which it is written; a reader refuses a higher one.
const Version = 1

// Cloud is Neutron's view at one time. Identifiers are UUIDs.
type Cloud struct {
	Version  int       `json:"version"`
	Taken    time.Time `json:"taken"`
	Networks []Network `json:"networks"`
	Subnets  []Subnet  `json:"subnets"`
	Ports    []Port    `json:"ports"`
	Routers  []Router  `json:"routers"`
	Floating []Float   `json:"floating_ips"`
	Groups   []Group   `json:"security_groups"`
	Agents   []Agent   `json:"agents"`
	// Notes are what could not be read, and why: "names of servers: denied".
	Notes []string `json:"notes,omitempty"`
}

// Network is a segment of layer 2.
type Network struct {
	ID       string `json:"id"`
	Name     string `json:"name,omitempty"`
	Project  string `json:"project,omitempty"`
	Up       bool   `json:"up"`       // admin_state_up
	External bool   `json:"external"` // router:external
	Shared   bool   `json:"shared,omitempty"`
	MTU      int    `json:"mtu,omitempty"`
	Kind     string `json:"kind"`               // provider:network_type: "vxlan", "gre", "vlan", "flat", "local"
	Physical string `json:"physical,omitempty"` // provider:physical_network
	Segment  int    `json:"segment,omitempty"`  // provider:segmentation_id: VNI or VLAN
	// DHCP lists the hosts whose DHCP agents serve it.
	DHCP []string `json:"dhcp,omitempty"`
}

// Subnet is a range of addresses of a network.
type Subnet struct {
	ID      string       `json:"id"`
	Name    string       `json:"name,omitempty"`
	Network string       `json:"network"`
	CIDR    netip.Prefix `json:"cidr"`
	Gateway netip.Addr   `json:"gateway,omitzero"`
	DHCP    bool         `json:"dhcp"`
	DNS     []netip.Addr `json:"dns,omitempty"`
	Routes  []Route      `json:"routes,omitempty"` // host_routes
}

// Route is a static route of a subnet's hosts or of a router.
type Route struct {
	Dst netip.Prefix `json:"dst"`
	Via netip.Addr   `json:"via"`
}

// Owners of ports (device_owner) that matter.
const (
	OwnerCompute     = "compute:" // prefix; the rest is the zone: "compute:nova"
	OwnerRouter      = "network:router_interface"
	OwnerDistributed = "network:router_interface_distributed"
	OwnerHA          = "network:ha_router_replicated_interface"
	OwnerGateway     = "network:router_gateway"
	OwnerSNAT        = "network:router_centralized_snat"
	OwnerFloatingGW  = "network:floatingip_agent_gateway"
	OwnerFloating    = "network:floatingip"
	OwnerDHCP        = "network:dhcp"
)

// Port is a connection to a network.
type Port struct {
	ID       string     `json:"id"`
	Name     string     `json:"name,omitempty"`
	Project  string     `json:"project,omitempty"`
	Network  string     `json:"network"`
	MAC      packet.MAC `json:"mac"`
	IPs      []FixedIP  `json:"ips"`
	Device   string     `json:"device,omitempty"` // device_id: a VM's or a router's UUID, or "dhcp..."
	Owner    string     `json:"owner,omitempty"`
	Status   string     `json:"status"` // "ACTIVE", "DOWN", "BUILD"
	Up       bool       `json:"up"`     // admin_state_up
	Secured  bool       `json:"secured"`
	Groups   []string   `json:"groups,omitempty"`
	Pairs    []Pair     `json:"pairs,omitempty"`  // allowed_address_pairs
	Host     string     `json:"host,omitempty"`   // binding:host_id
	VIFType  string     `json:"vif,omitempty"`    // "ovs", "distributed", "binding_failed", "unbound"
	Hybrid   bool       `json:"hybrid,omitempty"` // plugged by a Linux bridge between (ovs_hybrid_plug)
	VM       string     `json:"vm,omitempty"`     // the server's name, where Nova or a file tells it
	Revision int        `json:"revision,omitempty"`
}

// FixedIP is an address of a port.
type FixedIP struct {
	Subnet string     `json:"subnet"`
	Addr   netip.Addr `json:"addr"`
}

// Pair is an address that a port may use besides its own.
type Pair struct {
	Prefix netip.Prefix `json:"prefix"`
	MAC    packet.MAC   `json:"mac,omitzero"` // zero: the port's
}

// Router is a router with its gateway.
type Router struct {
	ID          string    `json:"id"`
	Name        string    `json:"name,omitempty"`
	Project     string    `json:"project,omitempty"`
	Up          bool      `json:"up"`
	Distributed bool      `json:"distributed"`
	HA          bool      `json:"ha,omitempty"`
	External    string    `json:"external,omitempty"` // network of the gateway
	SNAT        bool      `json:"snat"`               // enable_snat
	GatewayIPs  []FixedIP `json:"gateway_ips,omitempty"`
	Routes      []Route   `json:"routes,omitempty"`
	Hosts       []string  `json:"hosts,omitempty"` // of the L3 agents that have it; of a distributed one those that do SNAT for it
}

// Float is a floating IP.
type Float struct {
	ID      string     `json:"id"`
	Addr    netip.Addr `json:"addr"`
	Fixed   netip.Addr `json:"fixed,omitzero"`
	Port    string     `json:"port,omitempty"` // "" while it is not associated
	Router  string     `json:"router,omitempty"`
	Network string     `json:"network"` // external one
	Status  string     `json:"status"`
}

// Group is a security group.
type Group struct {
	ID      string `json:"id"`
	Name    string `json:"name,omitempty"`
	Project string `json:"project,omitempty"`
	Rules   []Rule `json:"rules"`
}

// Rule lets packets pass.
type Rule struct {
	ID      string       `json:"id"`
	Ingress bool         `json:"ingress"`
	V6      bool         `json:"v6,omitempty"`
	Proto   string       `json:"proto,omitempty"` // "tcp", "udp", "icmp", a number; "" is any
	Low     int          `json:"low,omitempty"`   // first port, or the ICMP type
	High    int          `json:"high,omitempty"`  // last port, or the ICMP code
	Ranged  bool         `json:"ranged,omitempty"`
	Prefix  netip.Prefix `json:"prefix,omitzero"` // of the other side; zero: any
	Group   string       `json:"group,omitempty"` // members of which are the other side
}

// Agent is a Neutron agent.
type Agent struct {
	ID       string            `json:"id"`
	Kind     string            `json:"kind"` // "Open vSwitch agent", "L3 agent", "DHCP agent", "Metadata agent"
	Host     string            `json:"host"`
	Alive    bool              `json:"alive"`
	Up       bool              `json:"up"` // admin_state_up
	Mode     string            `json:"mode,omitempty"`
	TunnelIP netip.Addr        `json:"tunnel_ip,omitzero"`
	Tunnels  []string          `json:"tunnels,omitempty"`  // tunnel_types
	Mappings map[string]string `json:"mappings,omitempty"` // physical network to bridge
	Firewall string            `json:"firewall,omitempty"` // "openvswitch", "iptables_hybrid"; "" unknown
	L2Pop    bool              `json:"l2pop,omitempty"`
	DVR      bool              `json:"dvr,omitempty"`
	Seen     time.Time         `json:"seen,omitzero"`
}
