package facts

import (
	"maps"
	"slices"
)

// Wanted lists the sysctls that collectors read in each namespace; "*" stands for "all",
// "default" and each link.
var Wanted = []string{
	"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv6.conf.all.disable_ipv6",
	"net.ipv4.conf.*.forwarding", "net.ipv4.conf.*.rp_filter", "net.ipv4.conf.*.proxy_arp", "net.ipv4.conf.*.arp_ignore", "net.ipv4.conf.*.arp_filter",
	"net.ipv4.conf.*.accept_local", "net.ipv4.conf.*.send_redirects",
	"net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables", "net.bridge.bridge-nf-call-arptables",
	"net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_count", "net.ipv4.neigh.default.gc_thresh3",
}

// Space returns the namespace of that name, nil if the host has none; "" is its own.
func (h *Host) Space(name string) *Namespace {
	for i := range h.Namespaces {
		if h.Namespaces[i].Name == name {
			return &h.Namespaces[i]
		}
	}
	return nil
}

// SpaceOf returns the namespace with that inode, nil if there is none.
func (h *Host) SpaceOf(id uint64) *Namespace {
	for i := range h.Namespaces {
		if h.Namespaces[i].ID == id {
			return &h.Namespaces[i]
		}
	}
	return nil
}

// Lacks returns why something could not be collected, "" if it was. namespace or bridge is
// "" for what belongs to none, and for the host's own namespace.
func (h *Host) Lacks(what, namespace, bridge string) string {
	for _, m := range h.Missing {
		if m.What == what && m.Namespace == namespace && m.Bridge == bridge {
			return m.Why
		}
	}
	return ""
}

// Link returns the link of that name, nil if there is none.
func (n *Namespace) Link(name string) *Link {
	for i := range n.Links {
		if n.Links[i].Name == name {
			return &n.Links[i]
		}
	}
	return nil
}

// Bridge returns the OVS bridge of that name, nil if there is none.
func (h *Host) Bridge(name string) *Bridge {
	if h.OVS == nil {
		return nil
	}
	for i := range h.OVS.Bridges {
		if h.OVS.Bridges[i].Name == name {
			return &h.OVS.Bridges[i]
		}
	}
	return nil
}

// PortOn returns the bridge and the port of a device, nil if it is on none.
func (h *Host) PortOn(device string) (*Bridge, *Port) {
	if h.OVS == nil {
		return nil, nil
	}
	for i := range h.OVS.Bridges {
		if p := h.OVS.Bridges[i].Port(device); p != nil {
			return &h.OVS.Bridges[i], p
		}
	}
	return nil, nil
}

// Port returns the port of that name, nil if there is none.
func (b *Bridge) Port(name string) *Port {
	for i := range b.Ports {
		if b.Ports[i].Name == name {
			return &b.Ports[i]
		}
	}
	return nil
}

// PortAt returns the port with that OpenFlow number, nil if there is none.
func (b *Bridge) PortAt(ofport int) *Port {
	for i := range b.Ports {
		if b.Ports[i].OFPort == ofport {
			return &b.Ports[i]
		}
	}
	return nil
}

// Edit is a change of a host in the model: what a repair would make of it. Nothing real is
// touched.
type Edit struct {
	Host string
	Do   func(*Host) // gets a copy of its own
}

// Clone returns a copy that can be edited: slices and maps are copied, texts are shared.
func (h *Host) Clone() *Host {
	c := *h
	c.Namespaces = slices.Clone(h.Namespaces)
	for i := range c.Namespaces {
		n := &c.Namespaces[i]
		n.Links, n.Routes, n.Rules = slices.Clone(n.Links), slices.Clone(n.Routes), slices.Clone(n.Rules)
		n.Neighbours, n.FDB = slices.Clone(n.Neighbours), slices.Clone(n.FDB)
		n.Conns, n.Sockets = slices.Clone(n.Conns), slices.Clone(n.Sockets)
		n.Sysctls = maps.Clone(n.Sysctls)
	}
	c.Processes = slices.Clone(h.Processes)
	if h.OVS == nil {
		return &c
	}
	o := *h.OVS
	o.Bridges, o.Conns = slices.Clone(o.Bridges), slices.Clone(o.Conns)
	for i := range o.Bridges {
		b := &o.Bridges[i]
		b.Ports, b.FDB = slices.Clone(b.Ports), slices.Clone(b.FDB)
		for j := range b.Ports {
			b.Ports[j].Options, b.Ports[j].Externals = maps.Clone(b.Ports[j].Options), maps.Clone(b.Ports[j].Externals)
		}
	}
	c.OVS = &o
	return &c
}
