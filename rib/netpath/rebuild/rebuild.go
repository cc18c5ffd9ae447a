// Package rebuild makes hosts out of their facts, for tests: namespaces, links, addresses,
// routes, rules, neighbours and filters, and a real Open vSwitch with the recorded ports and
// flows. No Neutron is needed: what its agents wrote is there. Each host is a network, a
// mount and a UTS namespace, so that tools and kaname's agent run in it with their usual
// paths; cables between hosts, the control network and what is outside are namespaces too.
// It needs root, touches nothing else, and removes all of it at the end of the test.
package rebuild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
)

// Programs that are needed.
var Programs = []string{"ovs-vswitchd", "ovsdb-server", "ovs-vsctl", "ovs-ofctl", "ip", "nsenter", "unshare", "iptables-restore", "ipset", "ethtool", "dnsmasq", "socat"}

// Elsewhere is an address that the outside has and no network of the cloud.
const Elsewhere = "198.51.100.1"

// made numbers the clouds of this process, so that their names differ.
var made atomic.Int64

// Cloud is hosts with the cables between them.
type Cloud struct {
	Intent *intent.Cloud
	Hosts  map[string]*Host
	// Control is a host on the control network that the cloud did not have: for a core.
	Control *Host
	// Outside is what is beyond the external network: its gateway, and Elsewhere.
	Outside *Host

	t      testing.TB
	prefix string
	dir    string
	cables map[string]bool // names of links that lead from host to host
}

// Host is a rebuilt host.
type Host struct {
	Name  string
	Facts *facts.Host // of which it was made
	Space string      // its network namespace, as this machine calls it

	cloud *Cloud
	pid   int // of the process that holds its namespaces
	dir   string
}

// New rebuilds hosts. The test fails if one cannot be.
func New(t testing.TB, c *intent.Cloud, hosts map[string]*facts.Host) *Cloud {
	t.Helper()
	k := &Cloud{Intent: c, Hosts: map[string]*Host{}, t: t, prefix: fmt.Sprintf("kc%x-%d", os.Getpid(), made.Add(1)), cables: map[string]bool{}}
	dir, err := os.MkdirTemp("", "kc") //nolint:usetesting // short, as a socket's name must be
	if err != nil {
		t.Fatal(err)
	}
	k.dir = dir
	t.Cleanup(k.remove)
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		for l := range cablesOf(hosts[name]) {
			k.cables[l] = true
		}
	}
	k.fabric()
	k.Outside = k.outside()
	k.Control = k.control(hosts)
	var all sync.WaitGroup
	var mu sync.Mutex
	var failed []error
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		h := &Host{Name: name, Facts: hosts[name], Space: k.prefix + "-" + name, cloud: k, dir: filepath.Join(dir, name)}
		k.Hosts[name] = h
		all.Go(func() {
			if err := h.build(t.Context()); err != nil {
				mu.Lock()
				failed = append(failed, fmt.Errorf("host %s: %w", name, err))
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	return k
}

// cablesOf finds the links of a host that end elsewhere.
func cablesOf(h *facts.Host) map[string]*facts.Link {
	found := map[string]*facts.Link{}
	own := h.Space("")
	for i := range own.Links {
		l := &own.Links[i]
		if l.Kind != "veth" {
			continue
		}
		if s, _ := other(h, own, l); s == nil {
			found[l.Name] = l
		}
	}
	return found
}

// other finds the other end of a veth on the same host.
func other(h *facts.Host, n *facts.Namespace, l *facts.Link) (*facts.Namespace, *facts.Link) {
	s := h.SpaceOf(l.PeerSpace)
	if s == nil {
		return nil, nil
	}
	for i := range s.Links {
		if p := &s.Links[i]; p.Index == l.PeerIndex && p.Kind == "veth" && p.PeerIndex == l.Index && p.PeerSpace == n.ID {
			return s, p
		}
	}
	return nil, nil
}

// fabric is the namespace with a bridge for each cable.
func (k *Cloud) fabric() {
	k.must("ip", "netns", "add", k.prefix)
	for name := range k.cables {
		k.must("ip", "-n", k.prefix, "link", "add", "br-"+name, "type", "bridge")
		k.must("ip", "-n", k.prefix, "link", "set", "br-"+name, "mtu", "9000", "up")
	}
}

// plug connects a namespace to the cable of that name; device is what it is called there.
func (k *Cloud) plug(ctx context.Context, space, who, cable, device string) error {
	end := cable + "." + who
	return k.run(ctx, fmt.Sprintf(`
ip -n %[1]s link add %[2]s type veth peer name %[3]s netns %[4]s
ip -n %[4]s link set %[3]s mtu 9000 master br-%[5]s up
ip -n %[1]s link set %[2]s up`, space, device, end, k.prefix, cable))
}

// uplink is the cable that leads out, as recorded hosts call it.
const uplink = "ext0"

// gateway is the address that the external networks' subnets have for the router outside.
func (k *Cloud) gateway() (gateway netip.Prefix) {
	nets := map[string]bool{}
	for _, n := range k.Intent.Networks {
		nets[n.ID] = n.External
	}
	for _, s := range k.Intent.Subnets {
		if nets[s.Network] && s.Gateway.Is4() {
			gateway = netip.PrefixFrom(s.Gateway, s.CIDR.Bits())
		}
	}
	return gateway
}

func (k *Cloud) outside() *Host {
	k.t.Helper()
	h := &Host{Name: "outside", Space: k.prefix + "-out", cloud: k}
	k.must("ip", "netns", "add", h.Space)
	gateway := k.gateway()
	if !k.cables[uplink] || !gateway.IsValid() {
		return h
	}
	if err := k.plug(k.t.Context(), h.Space, "out", uplink, "eth0"); err != nil {
		k.t.Fatal(err)
	}
	k.must("ip", "-n", h.Space, "link", "set", "lo", "up")
	k.must("ip", "-n", h.Space, "addr", "add", gateway.String(), "dev", "eth0")
	k.must("ip", "-n", h.Space, "addr", "add", Elsewhere+"/32", "dev", "lo")
	k.must("ip", "netns", "exec", h.Space, "ethtool", "-K", "eth0", "tx", "off")
	return h
}

// control is a further host on the network by which hosts are managed.
func (k *Cloud) control(hosts map[string]*facts.Host) *Host {
	k.t.Helper()
	h := &Host{Name: "control", Space: k.prefix + "-ctl", cloud: k}
	k.must("ip", "netns", "add", h.Space)
	k.must("ip", "-n", h.Space, "link", "set", "lo", "up")
	for _, f := range hosts {
		l := f.Space("").Link("mgmt0")
		if l == nil || len(l.Addrs) == 0 {
			continue
		}
		if err := k.plug(k.t.Context(), h.Space, "ctl", "mgmt0", "mgmt0"); err != nil {
			k.t.Fatal(err)
		}
		i := slices.IndexFunc(l.Addrs, func(a netip.Prefix) bool { return a.Addr().Is4() })
		k.must("ip", "-n", h.Space, "addr", "add", netip.PrefixFrom(netip.MustParseAddr("10.250.0.10"), l.Addrs[i].Bits()).String(), "dev", "mgmt0")
		break
	}
	return h
}

func (k *Cloud) must(argv ...string) {
	k.t.Helper()
	if out, err := exec.CommandContext(k.t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
		k.t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
}

func (k *Cloud) run(ctx context.Context, script string) error {
	if out, err := exec.CommandContext(ctx, "bash", "-euc", script).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s: in %s", err, bytes.TrimSpace(out), script)
	}
	return nil
}

// Command makes a command that runs on the host. Control and Outside have this machine's
// files.
func (h *Host) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	if h.pid == 0 {
		return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.Space, program}, args...)...)
	}
	return exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(h.pid), "-m", "-u", "-n", "--", program}, args...)...)
}

// Shell runs a script on the host and returns what it prints.
func (h *Host) Shell(ctx context.Context, script string) (string, error) {
	out, err := h.Command(ctx, "bash", "-euc", script).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("on %s: %w: %s", h.Name, err, bytes.TrimSpace(out))
	}
	return string(out), err
}

// remove ends what runs in the hosts, and deletes the namespaces.
func (k *Cloud) remove() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(k.t.Context()), 20*time.Second)
	defer cancel()
	for range 2 { // what is started meanwhile is found the second time
		for _, h := range k.Hosts {
			h.end()
		}
	}
	names := []string{k.prefix}
	for _, h := range append(slices.Collect(maps.Values(k.Hosts)), k.Outside, k.Control) {
		if h == nil {
			continue
		}
		names = append(names, h.Space)
		if h.pid != 0 {
			continue
		}
		pids, _ := exec.CommandContext(ctx, "ip", "netns", "pids", h.Space).Output()
		for pid := range strings.FieldsSeq(string(pids)) {
			_ = exec.CommandContext(ctx, "kill", "-9", pid).Run() // it may be gone
		}
	}
	for _, n := range names {
		if out, err := exec.CommandContext(ctx, "ip", "netns", "del", n).CombinedOutput(); err != nil {
			k.t.Logf("delete namespace %s: %v: %s", n, err, out)
		}
	}
	if err := os.RemoveAll(k.dir); err != nil {
		k.t.Log(err)
	}
}

// end kills what runs on the host: all that has its UTS namespace. What was started by ip
// netns exec has a mount namespace of its own.
func (h *Host) end() {
	if h.pid == 0 {
		return
	}
	uts, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/uts", h.pid))
	if err != nil {
		return
	}
	all, _ := filepath.Glob("/proc/[0-9]*/ns/uts")
	for _, p := range all {
		var pid int
		if its, err := os.Readlink(p); err != nil || its != uts {
			continue
		}
		if _, err := fmt.Sscanf(p, "/proc/%d/", &pid); err == nil && pid != h.pid {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone
		}
	}
	_ = syscall.Kill(h.pid, syscall.SIGKILL)
}
