package expect

import (
	"compress/gzip"
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/packet"
)

// healthy reads a recording of the real cloud, in which everything works.
func healthy(t testing.TB) (*intent.Cloud, map[string]*facts.Host) {
	t.Helper()
	read := func(name string, into any) {
		f, err := os.Open("testdata/" + name + ".json.gz")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.NewDecoder(z).Decode(into); err != nil {
			t.Fatal(name, err)
		}
	}
	c := &intent.Cloud{}
	read("intent", c)
	hosts := map[string]*facts.Host{}
	for _, name := range []string{"c1", "c2", "n1"} {
		h := &facts.Host{}
		read(name, h)
		hosts[name] = h
	}
	return c, hosts
}

func TestHealthyCloudHasNoFindings(t *testing.T) {
	c, hosts := healthy(t)
	check := New(c, hosts)
	for name := range hosts {
		for _, f := range check.Host(name) {
			t.Errorf("%s: %s %s %v %v", name, f.ID, f.Where, f.Params, f.Proof)
		}
	}
	for _, f := range check.Cloud() {
		t.Errorf("cloud: %s %s %v", f.ID, f.Where, f.Proof)
	}
}

// bench is the cloud in which a fault is made.
type bench struct {
	t     *testing.T
	c     *intent.Cloud
	hosts map[string]*facts.Host
}

func (b *bench) vm(name string) *intent.Port {
	for i := range b.c.Ports {
		if p := &b.c.Ports[i]; isVM(p) && (p.VM == name || p.Name == name) {
			return p
		}
	}
	b.t.Fatal("no VM", name)
	return nil
}

func (b *bench) space(host, prefix string) *facts.Namespace {
	for i := range b.hosts[host].Namespaces {
		n := &b.hosts[host].Namespaces[i]
		if strings.HasPrefix(n.Name, prefix) && (prefix != "qrouter-" || n.Name == "qrouter-"+b.router().ID) {
			return n
		}
	}
	b.t.Fatal("no namespace", prefix)
	return nil
}

func (b *bench) router() *intent.Router {
	for i := range b.c.Routers {
		if b.c.Routers[i].Distributed {
			return &b.c.Routers[i]
		}
	}
	b.t.Fatal("no distributed router")
	return nil
}

// drop takes lines that hold all of the words out of a bridge's flows.
func (b *bench) drop(host, bridge string, words ...string) {
	br := b.hosts[host].Bridge(bridge)
	var out strings.Builder
	n := 0
	for line := range strings.Lines(br.Flows) {
		if slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			out.WriteString(line)
			continue
		}
		n++
	}
	if n == 0 {
		b.t.Fatal("no flows with", words)
	}
	br.Flows = out.String()
}

func (b *bench) port(host, device string) *facts.Port {
	_, p := b.hosts[host].PortOn(device)
	if p == nil {
		b.t.Fatal("no port", device)
	}
	return p
}

func del[T any](list *[]T, is func(T) bool) { *list = slices.DeleteFunc(*list, is) }

func (b *bench) link(host, space, name string) *facts.Link {
	l := b.hosts[host].Space(space).Link(name)
	if l == nil {
		b.t.Fatal("no link", name)
	}
	return l
}

func (b *bench) noRule(host, space string, words ...string) {
	n := b.hosts[host].Space(space)
	var out strings.Builder
	hit := 0
	for line := range strings.Lines(n.IPTables4) {
		if slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			out.WriteString(line)
			continue
		}
		hit++
	}
	if hit == 0 {
		b.t.Fatal("no rule with", words)
	}
	n.IPTables4 = out.String()
}

var faults = []struct {
	name, host, want string
	make             func(*bench)
}{
	{"D01", "c1", "port-dead-vlan", func(b *bench) { b.port("c1", "tap"+short(b.vm("a1").ID)).Tag = 4095 }},
	{"D02", "c1", "tunnel-missing", func(b *bench) {
		br := b.hosts["c1"].Bridge("br-tun")
		del(&br.Ports, func(p facts.Port) bool { return p.Options["remote_ip"] == "10.251.0.12" })
	}},
	{"D03", "c1", "tunnel-entries-lost", func(b *bench) { b.drop("c1", "br-tun", "table=20,"); b.drop("c1", "br-tun", "table=22,") }},
	{"D04", "c1", "bridge-flows-lost", func(b *bench) { b.drop("c1", "br-int", "cookie"); b.drop("c1", "br-tun", "cookie") }},
	{"D05", "c1", "floating-route-missing", func(b *bench) {
		del(&b.space("c1", "fip-").Routes, func(r facts.Route) bool {
			return r.Dst.Bits() == 32 && strings.HasPrefix(r.Dev, "fpr-") && r.Table == 254
		})
	}},
	{"D06", "c1", "floating-proxy-arp", func(b *bench) {
		n := b.space("c1", "fip-")
		for k := range n.Sysctls {
			if strings.Contains(k, ".fg-") && strings.HasSuffix(k, "proxy_arp") {
				n.Sysctls[k] = "0"
			}
		}
	}},
	{"D07", "c1", "floating-rule-missing", func(b *bench) {
		del(&b.space("c1", "qrouter-").Rules, func(r facts.Rule) bool { return r.From.IsSingleIP() })
	}},
	{"D08", "c2", "floating-rule-stale", func(b *bench) {
		n := b.space("c2", "qrouter-")
		n.Rules = append(n.Rules, facts.Rule{Priority: 40000, From: netip.MustParsePrefix("10.10.1.12/32"), Kind: "lookup", Table: 16})
	}},
	{"D09", "c2", "snat-redirect-missing", func(b *bench) {
		del(&b.space("c2", "qrouter-").Rules, func(r facts.Rule) bool { return r.Table == 168427777 })
	}},
	{"D10", "n1", "port-dead-vlan", func(b *bench) {
		for _, p := range b.hosts["n1"].Bridge("br-int").Ports {
			if strings.HasPrefix(p.Name, "sg-") {
				b.port("n1", p.Name).Tag = 4095
				return
			}
		}
	}},
	{"D11", "c1", "neighbour-wrong", func(b *bench) {
		n := b.space("c1", "qrouter-")
		for _, l := range n.Links {
			if slices.Contains(l.Addrs, netip.MustParsePrefix("10.10.2.1/24")) {
				del(&n.Neighbours, func(e facts.Neighbour) bool { return e.Addr.String() == "10.10.2.12" })
				n.Neighbours = append(n.Neighbours, facts.Neighbour{Addr: netip.MustParseAddr("10.10.2.12"), Dev: l.Name, MAC: packet.MAC{0xfa, 0x16, 0x3e, 0xde, 0xad, 2}, State: "permanent"})
			}
		}
	}},
	{"D12", "c2", "dvr-delivery-missing", func(b *bench) { b.drop("c2", "br-int", "table=1,", "dl_dst="+b.vm("b2").MAC.String()) }},
	{"D14 iptables", "c2", "firewall-rule-missing", func(b *bench) { b.noRule("c2", "", "-i"+b.vm("a2").ID[:10], "--dport 443") }},
	{"D14 flows", "c1", "firewall-port-incomplete", func(b *bench) {
		b.drop("c1", "br-int", "table=82,", ",reg5="+hex(b.port("c1", "tap"+short(b.vm("a1").ID)).OFPort))
	}},
	{"D14 one rule", "c1", "firewall-rule-missing", func(b *bench) {
		b.drop("c1", "br-int", "table=82,", "tp_dst=443 ", "reg5="+hex(b.port("c1", "tap"+short(b.vm("a1").ID)).OFPort))
		b.drop("c1", "br-int", "table=82,", "tp_dst=443 ")
	}},
	{"D15", "c2", "underlay-mtu", func(b *bench) { b.link("c2", "", "tun0").MTU = 1400 }},
	{"tap down", "c1", "device-down", func(b *bench) { b.link("c1", "", "tap"+short(b.vm("a1").ID)).Up = false }},
	{"qvb loose", "c2", "hybrid-member", func(b *bench) { b.link("c2", "", "qvb"+short(b.vm("a2").ID)).Master = "" }},
	{"tap mtu", "c1", "device-mtu", func(b *bench) { b.link("c1", "", "tap"+short(b.vm("a1").ID)).MTU = 1000 }},
	{"patch gone", "c1", "patch-missing", func(b *bench) {
		del(&b.hosts["c1"].Bridge("br-int").Ports, func(p facts.Port) bool { return p.Name == "patch-tun" })
	}},
	{"patch peer", "c1", "patch-wrong-peer", func(b *bench) { b.port("c1", "patch-tun").Options = map[string]string{"peer": "nowhere"} }},
	{"remote", "c1", "tunnel-wrong-remote", func(b *bench) {
		br := b.hosts["c1"].Bridge("br-tun")
		for i := range br.Ports {
			if br.Ports[i].Options["remote_ip"] == "10.251.0.12" {
				br.Ports[i].Options["remote_ip"] = "10.251.0.99"
			}
		}
	}},
	{"local", "c1", "tunnel-wrong-local", func(b *bench) {
		br := b.hosts["c1"].Bridge("br-tun")
		for i := range br.Ports {
			if br.Ports[i].Type == "vxlan" {
				br.Ports[i].Options["local_ip"] = "10.251.0.99"
			}
		}
	}},
	{"vni", "c1", "tunnel-vni-missing", func(b *bench) { b.drop("c1", "br-tun", "table=4,", "tun_id") }},
	{"unicast", "c1", "unicast-missing", func(b *bench) { b.drop("c1", "br-tun", "table=20,", "dl_dst="+b.vm("a2").MAC.String()) }},
	{"flood", "c1", "flood-missing", func(b *bench) { b.drop("c1", "br-tun", "table=22,", "priority=1,") }},
	{"dvr source", "c1", "dvr-source-missing", func(b *bench) { b.drop("c1", "br-tun", "table=1,", "dl_src") }},
	{"egress wiped", "c1", "firewall-stage-lost", func(b *bench) { b.drop("c1", "br-int", "table=71,") }},
	{"qrouter", "c1", "router-namespace-missing", func(b *bench) {
		del(&b.hosts["c1"].Namespaces, func(n facts.Namespace) bool { return n.Name == "qrouter-"+b.router().ID })
	}},
	{"forward", "c1", "forwarding-off", func(b *bench) { b.space("c1", "qrouter-").Sysctls["net.ipv4.ip_forward"] = "0" }},
	{"pair", "c1", "floating-pair-missing", func(b *bench) {
		del(&b.space("c1", "qrouter-").Links, func(l facts.Link) bool { return strings.HasPrefix(l.Name, "rfp-") })
	}},
	{"dnat", "c1", "floating-dnat-missing", func(b *bench) { b.noRule("c1", "qrouter-"+b.router().ID, "DNAT --to-destination 10.10.1.11") }},
	{"snat", "c1", "floating-snat-missing", func(b *bench) { b.noRule("c1", "qrouter-"+b.router().ID, "-s 10.10.1.11/32", "SNAT") }},
	{"snat ns", "n1", "snat-namespace-missing", func(b *bench) {
		del(&b.hosts["n1"].Namespaces, func(n facts.Namespace) bool { return strings.HasPrefix(n.Name, "snat-") })
	}},
	{"snat rule", "n1", "snat-rule-missing", func(b *bench) { b.noRule("n1", "snat-"+b.router().ID, "SNAT --to-source") }},
	{"dnsmasq", "n1", "dhcp-not-running", func(b *bench) {
		del(&b.hosts["n1"].Processes, func(p facts.Process) bool { return p.Name == "dnsmasq" })
		for i := range b.hosts["n1"].Namespaces {
			b.hosts["n1"].Namespaces[i].Sockets = nil
		}
	}},
	{"redirect", "c1", "metadata-redirect-missing", func(b *bench) { b.noRule("c1", "qrouter-"+b.router().ID, "REDIRECT") }},
	{"ipset", "c2", "firewall-member-missing", func(b *bench) {
		n := b.hosts["c2"].Space("")
		n.IPSets = strings.ReplaceAll(n.IPSets, "10.10.1.13\n", "\n")
	}},
	{"bridge-nf", "c2", "filter-bypassed", func(b *bench) { b.hosts["c2"].Space("").Sysctls["net.bridge.bridge-nf-call-iptables"] = "0" }},
	{"vtep", "c2", "tunnel-address-missing", func(b *bench) { b.link("c2", "", "br-phy").Addrs = nil }},
	{"arp forged", "c2", "spoof-missing", func(b *bench) { b.drop("c2", "br-int", "table=24,", "arp_spa=10.10.1.12") }},
}

func hex(n int) string { return "0x" + string("0123456789abcdef"[n&15]) }

// Each fault must be named, and its repair in the model must take the finding away again.
func TestFaultsAreNamedAndMended(t *testing.T) {
	c, all := healthy(t)
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			hosts := map[string]*facts.Host{}
			for name, h := range all {
				hosts[name] = h.Clone()
			}
			fault.make(&bench{t, c, hosts})
			found := Differences(c, hosts, fault.host)
			named := 0
			for i := range found {
				f := &found[i]
				if f.ID != fault.want {
					t.Logf("also %s %s", f.ID, f.Where)
					continue
				}
				named++
				if len(f.Proof) == 0 || len(f.Fix) == 0 {
					t.Errorf("no proof or no fix: %+v", f)
				}
				mended := map[string]*facts.Host{}
				for name, h := range hosts {
					mended[name] = h.Clone()
				}
				for _, e := range f.Repair.Hosts {
					e.Do(mended[e.Host])
				}
				for _, g := range Differences(c, mended, fault.host) {
					if g.ID == f.ID && g.Where == f.Where {
						t.Errorf("repaired, and still %s %s: %v", g.ID, g.Where, g.Proof)
					}
				}
			}
			if named == 0 {
				t.Errorf("want %s", fault.want)
			}
		})
	}
}
