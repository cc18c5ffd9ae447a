package collect

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/rib/netpath/facts"
)

// room makes a host's namespaces: one with rules, routes and a bridge, and one that nobody
// has touched.
func room(t *testing.T) (busy, idle string) {
	t.Helper()
	lab.NeedRoot(t)
	lab.Need(t, "iptables-save")
	base := fmt.Sprintf("kc%x", os.Getpid())
	busy, idle = base+"-busy", base+"-idle"
	for _, n := range []string{busy, idle} {
		sh(t, "ip netns add "+n)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", n).Run() })
	}
	sh(t, `N=`+busy+` O=`+idle+`
ip -n $N link set lo up
ip -n $N link add br0 type bridge
ip -n $N link add v0 type veth peer name v1 netns $O
ip -n $N link set v0 master br0 up
ip -n $N link set br0 up
ip -n $O link set v1 up
ip -n $N addr add 10.1.0.1/24 dev br0
ip -n $N route add default via 10.1.0.254
ip -n $N route add 10.9.0.0/16 via 10.1.0.253 dev br0 table 168427777
ip -n $N route add blackhole 10.8.0.0/16
ip -n $N rule add from 10.1.0.1/24 lookup 168427777 pref 168427777
ip -n $N rule add not fwmark 0x10/0xff iif br0 prohibit pref 100
ip -n $N neigh add 10.1.0.7 lladdr fa:16:3e:00:00:07 dev br0 nud permanent
ip -n $N neigh add proxy 10.1.0.8 dev br0
ip netns exec $N iptables -A INPUT -p tcp --dport 443 -m comment --comment a -j ACCEPT
ip netns exec $N sysctl -qw net.ipv4.conf.br0.proxy_arp=1`)
	lab.Eventually(t, "addresses are there to stay", func() bool {
		return !strings.Contains(sh(t, "ip -n "+busy+" addr; ip -n "+idle+" addr"), "tentative")
	})
	return busy, idle
}

func sh(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return string(out)
}

func look(t *testing.T, o Options) *facts.Host {
	t.Helper()
	h, err := Host(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestWhatANamespaceHas(t *testing.T) {
	busy, idle := room(t)
	h := look(t, Options{Name: "c1", OVS: t.TempDir()})
	n := h.Space(busy)
	if n == nil || h.Space(idle) == nil || h.Space("") == nil || h.Namespaces[0].Name != "" {
		t.Fatalf("namespaces are missing; %+v", h.Missing)
	}
	for _, m := range h.Missing {
		if m.Namespace == busy || m.Namespace == idle {
			t.Errorf("missing %+v", m)
		}
	}
	if b := n.Link("br0"); b == nil || b.Kind != "bridge" || !b.Up || !slices.Contains(b.Addrs, netip.MustParsePrefix("10.1.0.1/24")) {
		t.Errorf("bridge %+v", b)
	}
	if v := n.Link("v0"); v == nil || v.Kind != "veth" || v.Master != "br0" || v.PeerSpace != h.Space(idle).ID || v.PeerIndex != h.Space(idle).Link("v1").Index {
		t.Errorf("veth %+v", v)
	}
	for _, want := range []facts.Route{
		{Table: 254, Dst: netip.MustParsePrefix("0.0.0.0/0"), Kind: "unicast", Via: netip.MustParseAddr("10.1.0.254"), Dev: "br0"},
		{Table: 168427777, Dst: netip.MustParsePrefix("10.9.0.0/16"), Kind: "unicast", Via: netip.MustParseAddr("10.1.0.253"), Dev: "br0"},
		{Table: 254, Dst: netip.MustParsePrefix("10.8.0.0/16"), Kind: "blackhole"},
	} {
		if !slices.Contains(n.Routes, want) {
			t.Errorf("no route %+v in %+v", want, n.Routes)
		}
	}
	for _, want := range []facts.Rule{
		{Priority: 168427777, From: netip.MustParsePrefix("10.1.0.1/24"), Kind: "lookup", Table: 168427777},
		{Priority: 100, Not: true, Mark: 0x10, Mask: 0xff, In: "br0", Kind: "prohibit"},
	} {
		if !slices.Contains(n.Rules, want) {
			t.Errorf("no rule %+v in %+v", want, n.Rules)
		}
	}
	if !slices.ContainsFunc(n.Neighbours, func(x facts.Neighbour) bool {
		return x.State == "permanent" && x.MAC.String() == "fa:16:3e:00:00:07"
	}) || !slices.ContainsFunc(n.Neighbours, func(x facts.Neighbour) bool { return x.Proxy && x.Addr.String() == "10.1.0.8" }) {
		t.Errorf("neighbours %+v", n.Neighbours)
	}
	if !strings.Contains(n.IPTables4, `--dport 443 -m comment --comment a -j ACCEPT`) || !strings.HasPrefix(n.IPTables4, "*filter\n") {
		t.Errorf("filters %q", n.IPTables4)
	}
	if n.Sysctls["net.ipv4.conf.br0.proxy_arp"] != "1" || n.Sysctls["net.ipv4.conf.all.rp_filter"] == "" {
		t.Errorf("sysctls %v", n.Sysctls)
	}
	if _, err := json.Marshal(h); err != nil {
		t.Error(err)
	}
}

// counters, and times that pass by themselves.
var passing = regexp.MustCompile(`\[\d+:\d+\]|counter packets \d+ bytes \d+|gc_timer +[\d.]+|(hello|tcn|topology_change|hold|message_age|forward_delay)_timer +[\d.]+|# (Generated|Completed).*|(used|updated|ref|probes|age) \S+|valid_lft \S+ preferred_lft \S+`)

// state is everything of a namespace that a collector could disturb.
func state(t *testing.T, n string) string {
	t.Helper()
	return passing.ReplaceAllString(sh(t, `N=`+n+`
ip -n $N -d addr; ip -n $N route show table all; ip -n $N rule; ip -n $N -6 rule; ip -n $N neigh; ip -n $N neigh show proxy
cat /proc/modules 2>/dev/null || true
ip netns exec $N sh -c '
cat /proc/net/ip_tables_names /proc/net/ip6_tables_names 2>/dev/null
nft list ruleset 2>/dev/null
conntrack -L 2>/dev/null | cut -d" " -f1-4
ip netns list-id 2>/dev/null
sysctl -a 2>/dev/null | grep -E "^net.(ipv4|ipv6|bridge|netfilter)" | grep -vE "random|uuid|secret"'`), "")
}

func TestNothingIsOtherThanBefore(t *testing.T) {
	busy, idle := room(t)
	before := map[string]string{busy: state(t, busy), idle: state(t, idle)}
	for range 3 {
		look(t, Options{OVS: t.TempDir()})
	}
	for n, was := range before {
		now := state(t, n)
		if was == now {
			continue
		}
		had := strings.Split(was, "\n")
		for line := range strings.SplitSeq(now, "\n") {
			if !slices.Contains(had, line) {
				t.Errorf("%s has new: %s", n, line)
			}
		}
		if len(had) > strings.Count(now, "\n")+1 {
			t.Errorf("%s has lost lines", n)
		}
	}
	// The idle one has no tables: a listing of them would have made some.
	if out := sh(t, "ip netns exec "+idle+" nft list tables 2>/dev/null || true"); strings.TrimSpace(out) != "" {
		t.Errorf("tables were made: %s", out)
	}
}

func TestLeftOverNamesAreNamed(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "qrouter-x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := look(t, Options{Spaces: dir, OVS: dir})
	if why := h.Lacks(facts.Spaces, "qrouter-x", ""); !strings.Contains(why, "ip netns delete qrouter-x") {
		t.Errorf("missing %+v", h.Missing)
	}
}

// TestHelperUnprivileged is the collection that TestUnprivileged starts as another user.
func TestHelperUnprivileged(t *testing.T) {
	path, ok := os.LookupEnv("KANAME_COLLECT_TO")
	if !ok {
		t.Skip("started by another test")
	}
	b, err := json.Marshal(look(t, Options{Name: "c1"}))
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestUnprivileged(t *testing.T) {
	busy, _ := room(t)
	dir, err := os.MkdirTemp("", "kc") //nolint:usetesting // short, and for another user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err = os.Chmod(dir, 0o777); err != nil { //nolint:gosec // another user writes into it
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	binary, out := filepath.Join(dir, "test"), filepath.Join(dir, "host.json")
	if err = os.WriteFile(binary, self, 0o755); err != nil { //nolint:gosec // another user runs it
		t.Fatal(err)
	}
	cmd := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", binary, "-test.run=^TestHelperUnprivileged$")
	cmd.Env, cmd.Dir = append(os.Environ(), "KANAME_COLLECT_TO="+out), dir
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var h facts.Host
	if err := json.Unmarshal(b, &h); err != nil {
		t.Fatal(err)
	}
	for _, what := range []struct{ what, namespace string }{{facts.Spaces, busy}, {facts.Filters, ""}} {
		if why := h.Lacks(what.what, what.namespace, ""); !strings.Contains(why, "run it as root") {
			t.Errorf("%s of %q: %q; missing %+v", what.what, what.namespace, why, h.Missing)
		}
	}
	if h.Space("").Link("lo") == nil {
		t.Error("what everybody may see is not there")
	}
}
