package cause_test

import (
	"net/netip"
	"slices"
	"strings"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/packet"
)

// Names of the recorded cloud (path/testdata).
const (
	r1   = "qrouter-66f0a2bd-de6c-425c-bc75-29ab8ddf0044"
	r2   = "qrouter-850123dc-de7b-415e-9ec1-45b00c9d07ce"
	fip  = "fip-f27c796b-f447-4f5d-a975-ca3ea5d9b80f"
	snat = "snat-66f0a2bd-de6c-425c-bc75-29ab8ddf0044"
	dhcp = "qdhcp-981d17c4-0245-4b7a-b32c-b4c58da54160"
)

type edit = func(*facts.Host)

func flowless(bridge string, with ...string) edit {
	return func(h *facts.Host) {
		b := h.Bridge(bridge)
		var keep []string
		for line := range strings.Lines(b.Flows) {
			gone := true
			for _, w := range with {
				gone = gone && strings.Contains(line, w)
			}
			if !gone {
				keep = append(keep, line)
			}
		}
		b.Flows = strings.Join(keep, "")
	}
}

func reflow(bridge, with, old, now string) edit {
	return func(h *facts.Host) {
		b := h.Bridge(bridge)
		var all []string
		for line := range strings.Lines(b.Flows) {
			if strings.Contains(line, with) {
				line = strings.ReplaceAll(line, old, now)
			}
			all = append(all, line)
		}
		b.Flows = strings.Join(all, "")
	}
}

func ruleless(space string, with ...string) edit {
	return func(h *facts.Host) {
		n := h.Space(space)
		var keep []string
		for line := range strings.Lines(n.IPTables4) {
			gone := strings.Contains(line, "-A ")
			for _, w := range with {
				gone = gone && strings.Contains(line, w)
			}
			if !gone {
				keep = append(keep, line)
			}
		}
		n.IPTables4 = strings.Join(keep, "")
	}
}

func tagged(device string, tag int) edit {
	return func(h *facts.Host) { _, p := h.PortOn(device); p.Tag = tag }
}

func portless(bridge, prefix string) edit {
	return func(h *facts.Host) {
		b := h.Bridge(bridge)
		b.Ports = slices.DeleteFunc(b.Ports, func(p facts.Port) bool { return strings.HasPrefix(p.Name, prefix) })
	}
}

func sysctl(space, key, value string) edit {
	return func(h *facts.Host) {
		n := h.Space(space)
		for k := range n.Sysctls {
			if strings.HasPrefix(k, strings.Split(key, "*")[0]) && strings.HasSuffix(k, key[strings.LastIndex(key, "*")+1:]) {
				n.Sysctls[k] = value
			}
		}
	}
}

func routeless(space string, gone func(facts.Route) bool) edit {
	return func(h *facts.Host) { n := h.Space(space); n.Routes = slices.DeleteFunc(n.Routes, gone) }
}

func to(s string) func(facts.Route) bool {
	return func(r facts.Route) bool { return r.Dst == netip.MustParsePrefix(s) }
}

func lookupless(space string, gone func(facts.Rule) bool) edit {
	return func(h *facts.Host) { n := h.Space(space); n.Rules = slices.DeleteFunc(n.Rules, gone) }
}

func linked(space, prefix string, do func(*facts.Link)) edit {
	return func(h *facts.Host) {
		n := h.Space(space)
		for i := range n.Links {
			if strings.HasPrefix(n.Links[i].Name, prefix) {
				do(&n.Links[i])
			}
		}
	}
}

func option(bridge, name, key, value string) edit {
	return func(h *facts.Host) { h.Bridge(bridge).Port(name).Options[key] = value }
}

func mac(s string) packet.MAC { m, _ := packet.ParseMAC(s); return m }

// A break is one of lab/neutron/faults.yaml, done in the model.
type fault struct {
	id, host string
	do       edit
	ask      string // a probe that it breaks
	want     string // first cause, or caution of a question that still passes: "*" is any, "?" any or none that is known, "" is none at all
}

var faults = []fault{
	{"D01", "c1", tagged("tap9daa7a80-04", 4095), "a1 a2", "port-dead-vlan"},
	{"D02", "c1", portless("br-tun", "vxlan-0afb000c"), "a1 a2", "tunnel-missing"},
	{"D03", "c1", func(h *facts.Host) { flowless("br-tun", " table=20,")(h); flowless("br-tun", " table=22,")(h) }, "a1 b2", "*"},
	{"D04", "c1", func(h *facts.Host) { flowless("br-int", "actions=")(h); flowless("br-tun", "actions=")(h) }, "a1 a2", "*"},
	{"D05", "c1", routeless(fip, to("203.0.113.61/32")), "internet a1", "floating-route-missing"},
	{"D06", "c1", sysctl(fip, "net.ipv4.conf.fg-*.proxy_arp", "0"), "internet a1", "floating-proxy-arp"},
	{"D07", "c1", lookupless(r1, func(r facts.Rule) bool { return r.Table == 16 }), "a1 internet", "floating-rule-missing"},
	{"D08", "c2", func(h *facts.Host) {
		n := h.Space(r1)
		n.Rules = append(n.Rules, facts.Rule{Priority: 40000, From: netip.MustParsePrefix("10.10.1.12/32"), Kind: "lookup", Table: 16})
	}, "a2 internet", "floating-rule-stale"},
	{"D09", "c2", lookupless(r1, func(r facts.Rule) bool { return r.Priority == 168427777 }), "a2 internet", "snat-redirect-missing"},
	{"D10", "n1", tagged("sg-4ba0cb70-09", 4095), "a2 internet", "port-dead-vlan"},
	{"D11", "c1", func(h *facts.Host) {
		n := h.Space(r1)
		for i := range n.Neighbours {
			if n.Neighbours[i].Addr.String() == "10.10.2.12" {
				n.Neighbours[i].MAC = mac("fa:16:3e:de:ad:02")
			}
		}
	}, "a1 b2", "neighbour-wrong"},
	{"D12", "c2", flowless("br-int", " table=1,", "dl_dst=fa:16:3e:00:00:04"), "a1 b2", "*"},
	{"D14", "c2", ruleless("", "icb204ba3-e ", "--dport 443"), "a1 a2 tcp 443", "*"},
	{"D15", "c2", linked("", "tun0", func(l *facts.Link) { l.MTU = 1400 }), "a1 a2 icmp big", "underlay-mtu"},
	{"D16", "c1", flowless("br-int", " table=82,", "tp_dst=443"), "a2 a1 tcp 443", "*"},
	{"D17", "c2", func(h *facts.Host) {
		n := h.Space("")
		n.IPSets = strings.ReplaceAll(n.IPSets, " 10.10.1.13\n", " 10.10.1.213\n")
	}, "g1 g2 tcp 22", "*"},
	{"D18", "c1", flowless("br-int", " table=82,", "nw_src=10.10.2.13"), "g2 g1 tcp 22", "?"},
	{"D19", "c2", linked("", "qvb2a4c46a4-2c", func(l *facts.Link) { l.Master = "" }), "a1 b2", "hybrid-member"},
	{"D20", "c2", tagged("qvocb204ba3-ec", 2), "a1 a2", "*"},
	{"D21", "c1", func(h *facts.Host) {
		n := h.Space(r1)
		n.Sockets = slices.DeleteFunc(n.Sockets, func(s facts.Socket) bool { return s.Addr.Port() == 9697 })
		h.Processes = slices.DeleteFunc(h.Processes, func(p facts.Process) bool { return p.Name == "haproxy" })
	}, "a1 metadata", "*"},
	{"D22", "c2", ruleless(r1, "--to-ports 9697"), "a2 metadata", "*"},
	{"D23", "n1", func(h *facts.Host) {
		n := h.Space(dhcp)
		n.Sockets = nil
		id := n.ID
		h.Processes = slices.DeleteFunc(h.Processes, func(p facts.Process) bool { return p.Name == "dnsmasq" && p.Network == id })
	}, "a2 dhcp", "*"},
	{"D25", "n1", tagged("tap5843319e-5e", 4095), "a2 dhcp", "port-dead-vlan"},
	{"D26", "c1", ruleless(r1, "-j DNAT", "203.0.113.61"), "internet a1", "*"},
	{"D27", "c1", ruleless(r1, "float-snat", "203.0.113.61"), "a1 internet", "*"},
	{"D28", "c1", func(h *facts.Host) {
		linked(r1, "rfp-", func(l *facts.Link) { l.Addrs = nil })(h)
		routeless(r1, func(r facts.Route) bool { return strings.HasPrefix(r.Dev, "rfp-") })(h)
	}, "a1 internet", "*"},
	{"D29", "c1", func(h *facts.Host) {
		sysctl(r1, "net.ipv4.ip_forward", "0")(h)
		sysctl(r1, "net.ipv4.conf.*.forwarding", "0")(h) // the kernel sets them with it
	}, "a1 b2", "forwarding-off"},
	{"D30", "c1", ruleless(r1, "scope", "qr-b5ad27b8-36", "MARK"), "b1 a1", "?"},
	{"D31", "c1", flowless("br-ex", "actions="), "internet a1", "*"},
	{"D32", "c2", portless("br-ex", "ext0"), "internet b2", "?"},
	{"D33", "c1", option("br-tun", "vxlan-0afb000c", "remote_ip", "10.251.0.99"), "a1 a2", "tunnel-wrong-remote"},
	{"D34", "c1", nil, "a1 a2", "*"},
	{"D35", "c1", linked(r1, "qr-b5ad27b8-36", func(l *facts.Link) { l.MTU = 1300 }), "a1 b2 icmp big", "*"},
	{"D36", "c2", routeless(r1, to("10.99.0.0/24")), "a2 10.99.0.1", "?"},
	{"D37", "n1", linked(r2, "qg-", func(l *facts.Link) {
		l.Addrs = slices.DeleteFunc(l.Addrs, func(p netip.Prefix) bool { return p.Addr().String() == "203.0.113.63" })
	}), "internet w1", "?"},
	{"D38", "c2", sysctl("", "net.bridge.bridge-nf-call-iptables*", "0"), "a1 a2 tcp 8080", "*"},
	{"D39", "n1", routeless(snat, to("0.0.0.0/0")), "a2 internet", "gateway-route-missing"},
	{"D40", "c2", flowless("br-tun", " table=4,", "tun_id=0xe7"), "a1 a2", "*"},
	{"D41", "c1", func(h *facts.Host) {
		reflow("br-tun", "arp_tpa=10.10.1.12 ", "fa:16:3e:00:00:02", "fa:16:3e:de:ad:03")(h)
		reflow("br-tun", "arp_tpa=10.10.1.12 ", "fa163e000002", "fa163edead03")(h)
	}, "a1 a2", "*"},
	{"D42", "c1", flowless("br-tun", " table=21,", "arp_tpa=10.10.1.12 "), "a1 a2", ""},
	{"D43", "c1", flowless("br-tun", " table=20,", "dl_dst=fa:16:3e:00:00:02"), "a1 a2", ""},
	{"D44", "c2", ruleless("", "10.10.1.200/32", "sf5acc19b-e"), "a1 10.10.1.200", "?"},
	{"D45", "c1", sysctl(fip, "net.ipv4.conf.fg-*.rp_filter", "1"), "internet a1", ""}, // the answer's way is looked up as from the device it goes out by: nothing is dropped
}
