package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// on is a command that runs inside a host.
func (c *cloud) on(ctx context.Context, host string, argv ...string) *exec.Cmd {
	pid, err := os.ReadFile(filepath.Join(c.dir, host, "holder.pid"))
	if err != nil {
		pid = []byte("0") // nsenter says so
	}
	return exec.CommandContext(ctx, "nsenter", append([]string{"-t", strings.TrimSpace(string(pid)), "-m", "-u", "-n", "--"}, argv...)...)
}

// shell runs a script inside a host; its output is in the error.
func (c *cloud) shell(ctx context.Context, host, script string) error {
	if out, err := c.on(ctx, host, "bash", "-euc", script).CombinedOutput(); err != nil {
		return fmt.Errorf("on %s: %w: %s", host, err, out)
	}
	return nil
}

// plug does what Nova and libvirt do, with namespaces for VMs: eth0 inside, tap outside,
// and for the iptables firewall a bridge between that and Open vSwitch.
func (c *cloud) plug(ctx context.Context) error {
	for _, v := range vms {
		if err := c.shell(ctx, v.Host, c.plugScript(v)); err != nil {
			return fmt.Errorf("plug %s: %w", v.Name, err)
		}
		serve := c.on(ctx, v.Host, "setsid", "nice", "-n", "5", "ip", "netns", "exec", v.Name, filepath.Join(c.dir, "real"), "serve", "22", "443", "8080")
		serve.Cancel = func() error { return nil } // it outlives this program
		if err := serve.Start(); err != nil {
			return err
		}
	}
	internet := exec.CommandContext(ctx, "setsid", "nice", "-n", "5", "ip", "netns", "exec", "nt-inet", filepath.Join(c.dir, "real"), "serve", "80")
	internet.Cancel = func() error { return nil }
	return internet.Start()
}

func (c *cloud) plugScript(v vm) string {
	port := c.Ports[v.Name]
	mtu := int(c.Nets[v.Net]["mtu"].(float64))
	id, mac := port.id()[:11], port.str("mac_address")
	dev := "tap" + id
	var s strings.Builder
	fmt.Fprintf(&s, `
vm() { ip netns exec %[1]s "$@"; }
ip netns add %[1]s
ip link add tap%[2]s type veth peer name eth0 netns %[1]s
vm ip link set lo up
vm ip link set eth0 address %[3]s mtu %[4]d
vm ip addr add %[5]s/24 dev eth0
vm ip link set eth0 up
vm ip route add default via %[6]s
vm ethtool -K eth0 tx off >/dev/null
ip link set tap%[2]s mtu %[4]d up
`, v.Name, id, mac, mtu, v.address(), c.Subnets[v.Net].str("gateway_ip"))
	if v.Pair != "" {
		fmt.Fprintf(&s, "vm ip addr add %s/24 dev eth0\n", v.Pair)
	}
	if v.Also != "" {
		fmt.Fprintf(&s, "vm ip addr add %s/32 dev lo\nvm sysctl -qw net.ipv4.ip_forward=1\n", v.Also)
	}
	if details, _ := port["binding:vif_details"].(map[string]any); details["ovs_hybrid_plug"] == true {
		dev = "qvo" + id
		fmt.Fprintf(&s, `
ip link add qbr%[1]s type bridge
ip link add qvb%[1]s type veth peer name qvo%[1]s
ip link set qvb%[1]s mtu %[2]d up promisc on
ip link set qvo%[1]s mtu %[2]d up promisc on
ip link set qbr%[1]s up mtu %[2]d
ip link set qvb%[1]s master qbr%[1]s
ip link set tap%[1]s master qbr%[1]s
`, id, mtu)
	}
	fmt.Fprintf(&s, "ovs-vsctl --may-exist add-port br-int %[1]s -- set interface %[1]s external_ids:iface-id=%[2]s external_ids:iface-status=active external_ids:attached-mac=%[3]s external_ids:vm-uuid=vm-%[4]s\n",
		dev, port.id(), mac, v.Name)
	return s.String()
}
