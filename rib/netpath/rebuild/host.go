package rebuild

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/packet"
)

// build makes the host.
func (h *Host) build(ctx context.Context) error {
	if err := h.hold(ctx); err != nil {
		return err
	}
	for name := range cablesOf(h.Facts) {
		if err := h.cloud.plug(ctx, h.Space, h.Name, name, name); err != nil {
			return err
		}
		if _, err := h.Shell(ctx, "ethtool -K "+name+" tx off >/dev/null 2>&1 || true"); err != nil {
			return err
		}
	}
	for _, step := range []struct {
		what string
		of   func(*Host) string
	}{
		{"namespaces", (*Host).spaces},
		{"open vswitch", (*Host).ovs},
		{"addresses", (*Host).addresses},
		{"routes", (*Host).routing},
		{"filters", (*Host).filters},
		{"flows", (*Host).flows},
		{"servers", (*Host).servers},
	} {
		file := filepath.Join(h.dir, strings.ReplaceAll(step.what, " ", "-")+".sh")
		if err := os.WriteFile(file, []byte("set -eu\ntrap 'echo \"in: $BASH_COMMAND\"' ERR\n"+step.of(h)), 0o600); err != nil {
			return err
		}
		if out, err := h.Command(ctx, "bash", file).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", step.what, err, out)
		}
	}
	return nil
}

// hold starts the process that holds the host's namespaces.
func (h *Host) hold(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(h.dir, "log"), 0o755); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "ip", "netns", "add", h.Space).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	held := filepath.Join(h.dir, "held")
	text := fmt.Sprintf(`set -e
mount --make-rprivate /
mkdir -p /run/netns /run/openvswitch /etc/openvswitch /var/log/openvswitch /run/lock
for d in /run/netns /run/openvswitch /run/lock /etc/openvswitch /var/log/openvswitch; do mount -t tmpfs tmpfs $d; done
hostname %s
ip link set lo up
echo $$ >%s.new
mv %s.new %s
exec sleep infinity
`, h.Name, held, held, held)
	// Not bound to the test's context: it is ended with the namespaces.
	hold := exec.Command("ip", "netns", "exec", h.Space, "unshare", "-m", "-u", "bash", "-c", text) //nolint:noctx // see above
	if err := hold.Start(); err != nil {
		return err
	}
	go func() { _ = hold.Wait() }() // ends with it
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(10 * time.Millisecond) {
		b, err := os.ReadFile(held)
		if err == nil {
			_, err = fmt.Sscan(string(b), &h.pid)
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("its namespaces do not come up")
		}
	}
}

func (h *Host) script() *script { return &script{h: h.Facts} }

func (h *Host) spaces() string {
	s := h.script()
	s.spaces()
	return s.String()
}

func (h *Host) addresses() string {
	s := h.script()
	s.addresses()
	return s.String()
}

func (h *Host) routing() string {
	s := h.script()
	s.routing()
	return s.String()
}

// filters restores sets, which rules name, and then rules.
func (h *Host) filters() string {
	s := h.script()
	for i := range h.Facts.Namespaces {
		n := &h.Facts.Namespaces[i]
		for _, f := range []struct{ text, command string }{{n.IPSets, "ipset restore"}, {n.IPTables4, "iptables-restore -c"}, {n.IPTables6, "ip6tables-restore -c"}} {
			if strings.TrimSpace(f.text) != "" {
				s.line("%s%s <<'RULES'\n%s\nRULES", inside(n.Name), f.command, strings.TrimSpace(f.text))
			}
		}
	}
	return s.String()
}

// ovs starts Open vSwitch with the recorded bridges and ports, and moves those devices into
// namespaces that were there.
func (h *Host) ovs() string {
	s := h.script()
	o := h.Facts.OVS
	if o == nil {
		return ""
	}
	s.line(`ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server /etc/openvswitch/conf.db --remote=punix:/run/openvswitch/db.sock --pidfile --detach --log-file --no-chdir
ovs-vsctl --no-wait init
ovs-vswitchd --pidfile --detach --log-file --no-chdir --disable-system
ovs-vsctl --no-wait set open . external-ids:system-id=%s`, h.Name)
	for i := range o.Bridges {
		b := &o.Bridges[i]
		s.line("ovs-vsctl --no-wait add-br %s -- set bridge %s datapath_type=netdev%s%s%s", b.Name, b.Name, setting("fail_mode", b.FailMode), pairs("external_ids", b.Externals), pairs("other_config", b.Other))
	}
	for i := range o.Bridges {
		b := &o.Bridges[i]
		for j := range b.Ports {
			if p := &b.Ports[j]; p.Name != b.Name {
				s.port(b, p)
			}
		}
	}
	s.line("ovs-vsctl --timeout=20 set open . external-ids:rebuilt=yes") // waits until the switch has done all
	for i := range h.Facts.Namespaces {
		n := &h.Facts.Namespaces[i]
		for j := range n.Links {
			if _, p := h.Facts.PortOn(n.Links[j].Name); n.Name != "" && p != nil && p.Type == "internal" {
				s.line("ip link set %s netns %s", p.Name, n.Name)
			}
		}
	}
	return s.String()
}

func (s *script) port(b *facts.Bridge, p *facts.Port) {
	of := setting("vlan_mode", p.Mode) + pairs("other_config", p.Other)
	if of != "" {
		of = " -- set port " + p.Name + of
	}
	s.line("ovs-vsctl --no-wait add-port %[1]s %[2]s%[3]s%[4]s%[5]s -- set interface %[2]s%[6]s%[7]s%[8]s%[9]s", b.Name, p.Name,
		number(" tag=%d", p.Tag), trunks(p.Trunks), of, setting("type", p.Type), pairs("options", p.Options), pairs("external_ids", p.Externals), number(" ofport_request=%d", p.OFPort))
}

func number(format string, n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(format, n)
}

func trunks(list []int) string {
	if len(list) == 0 {
		return ""
	}
	return " trunks=" + strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]")
}

func setting(key, value string) string {
	if value == "" {
		return ""
	}
	return fmt.Sprintf(" %s=%s", key, value)
}

// pairs sets the entries of a map column.
func pairs(column string, m map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, ` %s:%s='"%s"'`, column, k, m[k])
	}
	return b.String()
}

// flows writes the recorded flows, but those that the switch has learned and would forget.
func (h *Host) flows() string {
	s := h.script()
	if h.Facts.OVS == nil {
		return ""
	}
	for i := range h.Facts.OVS.Bridges {
		b := &h.Facts.OVS.Bridges[i]
		var kept []string
		for line := range strings.Lines(b.Flows) {
			match, _, _ := strings.Cut(line, "actions=")
			if strings.Contains(match, "priority=") && !strings.Contains(match, "_timeout=") || strings.Contains(line, "actions=") && !strings.Contains(match, "_timeout=") {
				kept = append(kept, strings.TrimSpace(line))
			}
		}
		if strings.TrimSpace(b.Groups) != "" {
			s.line("ovs-ofctl -O OpenFlow13 add-groups %s - <<'GROUPS'\n%s\nGROUPS", b.Name, strings.TrimSpace(b.Groups))
		}
		if len(kept) > 0 {
			s.line("ovs-ofctl -O OpenFlow13 replace-flows %s - <<'FLOWS'\n%s\nFLOWS", b.Name, strings.Join(kept, "\n"))
		}
	}
	return s.String()
}

// servers answer where something answered: DHCP with what Neutron has given to ports, and a
// word on each TCP socket.
func (h *Host) servers() string {
	s := h.script()
	for i := range h.Facts.Namespaces {
		n := &h.Facts.Namespaces[i]
		if n.Name == "" {
			continue
		}
		if slices.ContainsFunc(n.Sockets, func(x facts.Socket) bool { return x.Proto == packet.UDP && x.Addr.Port() == 67 }) {
			s.line("%s", h.dhcp(n))
		}
		heard := map[uint16]bool{}
		for _, x := range n.Sockets {
			if x.Proto == packet.TCP && x.Addr.Port() != 53 && !heard[x.Addr.Port()] {
				heard[x.Addr.Port()] = true
				s.line("setsid ip netns exec %s socat TCP-LISTEN:%d,reuseaddr,fork SYSTEM:'echo hi' >/dev/null 2>&1 </dev/null &", n.Name, x.Addr.Port())
			}
		}
	}
	return s.String()
}

func (h *Host) dhcp(n *facts.Namespace) string {
	network := strings.TrimPrefix(n.Name, "qdhcp-")
	var args []string
	for _, s := range h.cloud.Intent.Subnets {
		if s.Network == network && s.CIDR.Addr().Is4() {
			args = append(args, fmt.Sprintf("--dhcp-range=%s,static,%s,600s", s.CIDR.Addr(), mask(s.CIDR.Bits())))
		}
	}
	for i := range h.cloud.Intent.Ports {
		p := &h.cloud.Intent.Ports[i]
		if p.Network == network && p.Owner != intent.OwnerDHCP && len(p.IPs) > 0 {
			args = append(args, fmt.Sprintf("--dhcp-host=%s,%s", p.MAC, p.IPs[0].Addr))
		}
	}
	return fmt.Sprintf("ip netns exec %s dnsmasq --conf-file=/dev/null --port=0 --no-hosts --no-resolv --no-ping --bind-interfaces --except-interface=lo --pid-file= --dhcp-leasefile=/run/lock/leases-%s --user=root %s",
		n.Name, network, strings.Join(args, " "))
}

func mask(bits int) string {
	m := uint32(0xffffffff) << (32 - bits)
	return fmt.Sprintf("%d.%d.%d.%d", m>>24, m>>16&255, m>>8&255, m&255)
}
