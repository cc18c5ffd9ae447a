// Package facts is what a host really has, as far as packets are concerned: links, routes,
// neighbours, filters, bridges and their flows, in each network namespace. Collectors fill
// it in, bundles carry it, and the engine reads it; nobody edits it but through Edit, in a
// copy.
package facts

import (
	"net/netip"
	"time"

	"kaname.dev/kaname/rib/netpath/packet"
)

// Version of the form in which hosts are written; a reader refuses a higher one.
const Version = 1

// Host is a snapshot of one host.
type Host struct {
	Version    int           `json:"version"`
	Name       string        `json:"name"` // as Neutron calls it: binding:host_id, agents' host
	Kernel     string        `json:"kernel,omitempty"`
	Taken      time.Time     `json:"taken"`
	Took       time.Duration `json:"took"`
	Namespaces []Namespace   `json:"namespaces"` // the host's own first, its name is ""
	OVS        *OVS          `json:"ovs,omitempty"`
	Processes  []Process     `json:"processes,omitempty"` // those that matter: agents, dnsmasq, haproxy, keepalived
	Missing    []Missing     `json:"missing,omitempty"`
}

// Missing is what could not be collected. What is missing is never taken for empty.
type Missing struct {
	What      string `json:"what"` // "iptables", "flows", "namespaces", "conntrack", ...: one of the words below
	Namespace string `json:"namespace,omitempty"`
	Bridge    string `json:"bridge,omitempty"`
	Why       string `json:"why"` // "permission denied; run it as root"
}

// What can be missing.
const (
	Links      = "links" // with addresses
	Routes     = "routes"
	Rules      = "rules"
	Neighbours = "neighbours"
	Filters    = "iptables"
	Sets       = "ipset"
	Tracked    = "conntrack"
	Sysctls    = "sysctl"
	Database   = "ovsdb"
	Flows      = "flows"
	Spaces     = "namespaces"
	Programs   = "processes"
)

// Namespace is a network namespace.
type Namespace struct {
	Name       string            `json:"name"` // "" is the host's own; "qrouter-...", "fip-...", "snat-...", "qdhcp-..."
	ID         uint64            `json:"id"`   // inode of the namespace
	Links      []Link            `json:"links"`
	Routes     []Route           `json:"routes"`
	Rules      []Rule            `json:"rules"`
	Neighbours []Neighbour       `json:"neighbours"`
	FDB        []FDB             `json:"fdb,omitempty"`       // of Linux bridges and VXLAN links
	Sysctls    map[string]string `json:"sysctls"`             // "net.ipv4.ip_forward": "1"; those in facts.Wanted
	IPTables4  string            `json:"iptables4,omitempty"` // as iptables-save -c writes it
	IPTables6  string            `json:"iptables6,omitempty"`
	IPSets     string            `json:"ipsets,omitempty"` // as ipset save writes it
	Conns      []Conn            `json:"conns,omitempty"`  // of the kernel's connection tracking; bounded, see Host.Missing
	Sockets    []Socket          `json:"sockets,omitempty"`
}

// Link is a network interface.
type Link struct {
	Name      string         `json:"name"`
	Index     int            `json:"index"`
	Kind      string         `json:"kind,omitempty"` // "veth", "bridge", "tun", "vxlan", "vlan", "dummy"; "" for hardware
	MAC       packet.MAC     `json:"mac"`
	MTU       int            `json:"mtu"`
	Up        bool           `json:"up"`      // IFF_UP: somebody has switched it on
	Running   bool           `json:"running"` // has a carrier
	Promisc   bool           `json:"promisc,omitempty"`
	Master    string         `json:"master,omitempty"` // bridge or bond it is a port of
	PeerIndex int            `json:"peer,omitempty"`   // of a veth: index of the other end
	PeerSpace uint64         `json:"peer_ns,omitempty"`
	VLAN      int            `json:"vlan,omitempty"` // of kind vlan
	Parent    string         `json:"parent,omitempty"`
	VNI       int            `json:"vni,omitempty"` // of kind vxlan
	Addrs     []netip.Prefix `json:"addrs,omitempty"`
}

// Route is a route of any table.
type Route struct {
	Table  uint32       `json:"table"` // 254 main, 255 local
	Dst    netip.Prefix `json:"dst"`   // 0.0.0.0/0 for the default
	Kind   string       `json:"kind"`  // "unicast", "local", "broadcast", "blackhole", "unreachable", "prohibit", "throw"
	Via    netip.Addr   `json:"via,omitzero"`
	Dev    string       `json:"dev,omitempty"`
	Src    netip.Addr   `json:"src,omitzero"` // preferred
	Metric int          `json:"metric,omitempty"`
	Onlink bool         `json:"onlink,omitempty"`
	Linked bool         `json:"linkdown,omitempty"` // the kernel says that its link is down
	MTU    int          `json:"mtu,omitempty"`
}

// Rule is a rule that says which table is looked up.
type Rule struct {
	Priority int          `json:"priority"`
	V6       bool         `json:"v6,omitempty"`
	From     netip.Prefix `json:"from,omitzero"`
	To       netip.Prefix `json:"to,omitzero"`
	In       string       `json:"in,omitempty"` // iif
	Out      string       `json:"out,omitempty"`
	Mark     uint32       `json:"mark,omitempty"`
	Mask     uint32       `json:"mask,omitempty"`
	Not      bool         `json:"not,omitempty"`
	Kind     string       `json:"kind"` // "lookup", "blackhole", "unreachable", "prohibit"
	Table    uint32       `json:"table,omitempty"`
}

// Neighbour is an entry of ARP or neighbour discovery.
type Neighbour struct {
	Addr  netip.Addr `json:"addr"`
	Dev   string     `json:"dev"`
	MAC   packet.MAC `json:"mac"`
	State string     `json:"state"` // "permanent", "reachable", "stale", "delay", "probe", "failed", "incomplete", "noarp"
	Proxy bool       `json:"proxy,omitempty"`
}

// FDB is an entry of a bridge's table of stations.
type FDB struct {
	MAC    packet.MAC `json:"mac"`
	Dev    string     `json:"dev"` // port behind which it is
	VLAN   int        `json:"vlan,omitempty"`
	Static bool       `json:"static,omitempty"`
	Remote netip.Addr `json:"remote,omitzero"` // of a VXLAN link
}

// Conn is a tracked connection: the tuple of each direction.
type Conn struct {
	Zone   int        `json:"zone,omitempty"`
	Proto  uint8      `json:"proto"`
	Src    netip.Addr `json:"src"`
	Dst    netip.Addr `json:"dst"`
	Sport  uint16     `json:"sport,omitempty"`
	Dport  uint16     `json:"dport,omitempty"`
	RSrc   netip.Addr `json:"rsrc"`
	RDst   netip.Addr `json:"rdst"`
	RSport uint16     `json:"rsport,omitempty"`
	RDport uint16     `json:"rdport,omitempty"`
	Mark   uint32     `json:"mark,omitempty"`
	State  string     `json:"state,omitempty"` // of TCP: "ESTABLISHED"
}

// Socket is a socket that waits for clients.
type Socket struct {
	Proto   uint8          `json:"proto"` // packet.TCP or packet.UDP
	Addr    netip.AddrPort `json:"addr"`
	Program string         `json:"program,omitempty"`
}

// Process is a process that matters to networks.
type Process struct {
	PID     int      `json:"pid"`
	Name    string   `json:"name"`
	Args    []string `json:"args,omitempty"` // secrets removed
	Network uint64   `json:"netns"`          // inode of its network namespace
}

// OVS is Open vSwitch on a host.
type OVS struct {
	Version   string            `json:"version"`
	Externals map[string]string `json:"external_ids,omitempty"`
	Bridges   []Bridge          `json:"bridges"`
	Conns     []Conn            `json:"conns,omitempty"` // of the user-space data path
}

// Bridge is a bridge of Open vSwitch.
type Bridge struct {
	Name       string            `json:"name"`
	DatapathID string            `json:"datapath_id"`
	Datapath   string            `json:"datapath_type"`       // "system", "netdev"
	FailMode   string            `json:"fail_mode,omitempty"` // "secure", "standalone"; "" is standalone
	Externals  map[string]string `json:"external_ids,omitempty"`
	Other      map[string]string `json:"other_config,omitempty"`
	Ports      []Port            `json:"ports"`
	Flows      string            `json:"flows"` // as ovs-ofctl dump-flows writes them, a flow a line, ports as numbers
	Groups     string            `json:"groups,omitempty"`
	FDB        []FDB             `json:"fdb,omitempty"` // learned by NORMAL: Dev is a port's name
}

// Port is a port of an OVS bridge with its interface. Bonds have several; the first counts.
type Port struct {
	Name      string            `json:"name"`
	OFPort    int               `json:"ofport"`        // -1: it could not be opened; 65534 is LOCAL
	Tag       int               `json:"tag,omitempty"` // access VLAN; 0: none
	Trunks    []int             `json:"trunks,omitempty"`
	Mode      string            `json:"vlan_mode,omitempty"`
	Type      string            `json:"type,omitempty"` // "internal", "patch", "vxlan", "gre"; "" is a system device
	Options   map[string]string `json:"options,omitempty"`
	Externals map[string]string `json:"external_ids,omitempty"` // "iface-id", "attached-mac", "iface-status"
	Other     map[string]string `json:"other_config,omitempty"` // of the port: Neutron keeps "tag", "net_uuid", "segmentation_id" there
	MAC       packet.MAC        `json:"mac,omitzero"`
	MTU       int               `json:"mtu,omitempty"`
	Admin     string            `json:"admin_state,omitempty"` // "up", "down"
	Link      string            `json:"link_state,omitempty"`
	Error     string            `json:"error,omitempty"`
}
