package linux

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/rib/netpath/collect"
	"kaname.dev/kaname/rib/netpath/facts"
)

// kernel is a network namespace of the test's own.
type kernel struct {
	t    *testing.T
	dir  string // holds the file of the namespace alone
	name string
}

// newKernel makes a namespace with the given number of devices e0, e1, ..., whose other ends f0,
// f1, ... lie in a second one.
func newKernel(t *testing.T, devices int) (k, far *kernel) {
	t.Helper()
	lab.NeedRoot(t)
	lab.Need(t, "ip")
	make1 := func(suffix string) *kernel {
		k := &kernel{t: t, dir: t.TempDir(), name: fmt.Sprintf("kl%d%s", os.Getpid(), suffix)}
		k.host("ip", "netns", "add", k.name)
		t.Cleanup(func() { k.host("ip", "netns", "del", k.name) })
		if err := os.Symlink("/run/netns/"+k.name, filepath.Join(k.dir, k.name)); err != nil {
			t.Fatal(err)
		}
		k.host("ip", "-n", k.name, "link", "set", "lo", "up")
		return k
	}
	k, far = make1("a"), make1("b")
	var b strings.Builder
	for i := range devices {
		fmt.Fprintf(&b, "link add e%d type veth peer name f%d netns %s\nlink set e%d up\n", i, i, far.name, i)
	}
	k.batch(b.String())
	b.Reset()
	for i := range devices {
		fmt.Fprintf(&b, "link set f%d up\n", i)
	}
	far.batch(b.String())
	return k, far
}

func (k *kernel) host(args ...string) {
	k.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil { //nolint:noctx // ends by itself
		k.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// batch runs lines of ip in the namespace; those that the kernel refuses are left out.
func (k *kernel) batch(lines string) {
	cmd := exec.Command("ip", "-n", k.name, "-force", "-batch", "-") //nolint:noctx // ends by itself
	cmd.Stdin = strings.NewReader(lines)
	_ = cmd.Run()
}

// do calls f in the namespace, on a thread that stays in it only as long.
func (k *kernel) do(f func()) {
	k.t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		k.t.Fatal(err)
	}
	defer home.Close()
	there, err := os.Open("/run/netns/" + k.name)
	if err != nil {
		k.t.Fatal(err)
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		k.t.Fatal(err)
	}
	defer func() {
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(err) // the thread would do other goroutines' work in the wrong network
		}
	}()
	f()
}

// sysctl sets "net/ipv4/ip_forward" and its like in the namespace.
func (k *kernel) sysctl(name, value string) {
	k.t.Helper()
	k.do(func() {
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0); err != nil {
			k.t.Errorf("%s: %v", name, err)
		}
	})
}

// facts collects the namespace.
func (k *kernel) facts() (*facts.Host, *facts.Namespace) {
	k.t.Helper()
	h, err := collect.Host(k.t.Context(), collect.Options{Name: "kernel", Spaces: k.dir, OVS: k.t.TempDir()})
	if err != nil {
		k.t.Fatal(err)
	}
	n := h.Space(k.name)
	if n == nil {
		k.t.Fatalf("the namespace was not collected: %+v", h.Missing)
	}
	return h, n
}

// TestRoutesAsTheKernel asks the kernel and the model for the same routes: random rules, tables,
// rp_filter and forwarding.
func TestRoutesAsTheKernel(t *testing.T) {
	rounds, queries := 8, 120
	if lab.Soak() {
		rounds, queries = 60, 2000
	}
	k, _ := newKernel(t, 4)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // no secret
	tally := map[string]int{}
	for range rounds {
		k.randomRouting(r)
		h, n := k.facts()
		s := New(h, n)
		k.do(func() {
			nl, err := netlink.NewHandle()
			if err != nil {
				t.Error(err)
				return
			}
			defer nl.Close()
			for range queries {
				compareRoute(t, s, nl, r, tally)
			}
		})
		if t.Failed() {
			var b strings.Builder
			for i := range n.Rules {
				if !n.Rules[i].V6 {
					b.WriteString(RuleLine(n.Rules[i]) + "\n")
				}
			}
			for i := range n.Routes {
				if n.Routes[i].Dst.Addr().Is4() {
					b.WriteString(RouteLine(n.Routes[i]) + "\n")
				}
			}
			t.Logf("%s%v", b.String(), n.Sysctls)
			return
		}
	}
	t.Log(tally)
	kinds := []string{"unicast", "local", "broadcast", WhyReverse, WhyMartian, WhyNoRoute}
	if lab.Soak() {
		kinds = append(kinds, WhyForwarding, WhyBlackhole, WhyUnreachable, WhyProhibit)
	}
	for _, kind := range kinds {
		if tally[kind] == 0 {
			t.Errorf("no question was answered %s; the routes are not random enough", kind)
		}
	}
}

// randomRouting replaces addresses, rules, routes and sysctls by random ones.
func (k *kernel) randomRouting(r *rand.Rand) {
	var b strings.Builder
	for i := range 4 {
		fmt.Fprintf(&b, "addr flush dev e%d\naddr add 10.%d.0.1/24 dev e%d\n", i, i, i)
		if r.IntN(3) == 0 {
			fmt.Fprintf(&b, "addr add 10.%d.1.%d/%d dev e%d\n", r.IntN(5), r.IntN(250)+1, []int{16, 24, 30, 32}[r.IntN(4)], i)
		}
	}
	if r.IntN(3) == 0 {
		b.WriteString("addr flush dev e3\n")
	}
	k.batch(b.String())
	b.Reset()
	b.WriteString("rule flush\nrule add pref 32766 lookup main\nrule add pref 32767 lookup default\n")
	for _, table := range []int{254, 10, 20, 30} {
		fmt.Fprintf(&b, "route flush table %d type blackhole\nroute flush table %d type unreachable\nroute flush table %d type prohibit\nroute flush table %d type throw\nroute flush table %d proto static\n", table, table, table, table, table)
		for range r.IntN(6) {
			b.WriteString("route add " + randomRoute(r) + fmt.Sprintf(" proto static table %d\n", table))
		}
	}
	// The kernel remembers that there have been rules of one's own, and looks closer from then on.
	b.WriteString("rule add pref 50 to 203.0.113.0/24 iif lo lookup 10\n")
	for range r.IntN(7) {
		b.WriteString("rule add " + randomRule(r) + "\n")
	}
	k.batch(b.String())
	for i := range 4 {
		dev := fmt.Sprintf("e%d", i)
		k.sysctl("net/ipv4/conf/"+dev+"/rp_filter", strconv.Itoa(r.IntN(3)))
		k.sysctl("net/ipv4/conf/"+dev+"/forwarding", strconv.Itoa(min(r.IntN(6), 1)))
		k.sysctl("net/ipv4/conf/"+dev+"/accept_local", strconv.Itoa(r.IntN(4)/3))
		k.sysctl("net/ipv4/conf/"+dev+"/send_redirects", strconv.Itoa(r.IntN(2)))
	}
	k.sysctl("net/ipv4/conf/all/rp_filter", strconv.Itoa(r.IntN(4)/3))
	k.sysctl("net/ipv4/conf/all/send_redirects", strconv.Itoa(r.IntN(2)))
}

func randomPrefix(r *rand.Rand) string {
	bits := []int{0, 8, 12, 16, 23, 24, 25, 30, 32}[r.IntN(9)]
	a := netip.AddrFrom4([4]byte{10, byte(r.IntN(6)), byte(r.IntN(3)), byte(r.IntN(256))})
	p, _ := a.Prefix(bits)
	return p.String()
}

func randomRoute(r *rand.Rand) string {
	p := randomPrefix(r)
	switch r.IntN(10) {
	case 0:
		return "blackhole " + p
	case 1:
		return "unreachable " + p
	case 2:
		return "prohibit " + p
	case 3:
		return "throw " + p
	}
	i := r.IntN(4)
	route := p + fmt.Sprintf(" dev e%d", i)
	if r.IntN(3) > 0 {
		route = p + fmt.Sprintf(" via 10.%d.0.%d dev e%d onlink", i, r.IntN(250)+2, i)
	}
	if r.IntN(3) == 0 {
		route += fmt.Sprintf(" metric %d", r.IntN(3)*100)
	}
	return route
}

func randomRule(r *rand.Rand) string {
	rule := ""
	if r.IntN(5) == 0 {
		rule = "not "
	}
	some := false
	for !some {
		if r.IntN(2) == 0 {
			rule, some = rule+"from "+randomPrefix(r)+" ", true
		}
		if r.IntN(4) == 0 {
			rule, some = rule+"to "+randomPrefix(r)+" ", true
		}
		if r.IntN(4) == 0 {
			rule, some = rule+[]string{"iif e0 ", "iif e1 ", "iif lo ", "oif e2 "}[r.IntN(4)], true
		}
		if r.IntN(4) == 0 {
			rule, some = rule+[]string{"fwmark 1 ", "fwmark 2/0x3 ", "fwmark 0/0x1 "}[r.IntN(3)], true
		}
	}
	rule += fmt.Sprintf("pref %d ", 100+r.IntN(1000))
	return rule + []string{"lookup 10", "lookup 20", "lookup 30", "lookup 10", "lookup 20", "lookup 30", "lookup 10", "lookup 20", "blackhole", "unreachable", "prohibit"}[r.IntN(11)]
}

func randomAddr(r *rand.Rand) netip.Addr {
	switch r.IntN(12) {
	case 0:
		return netip.AddrFrom4([4]byte{10, byte(r.IntN(4)), 0, 1})
	case 1:
		return netip.AddrFrom4([4]byte{10, byte(r.IntN(4)), 0, 255})
	case 2:
		return netip.AddrFrom4([4]byte{198, 51, 100, byte(r.IntN(256))})
	}
	return netip.AddrFrom4([4]byte{10, byte(r.IntN(6)), byte(r.IntN(3)), byte(r.IntN(256))})
}

// compareRoute asks one question.
func compareRoute(t *testing.T, s *Space, nl *netlink.Handle, r *rand.Rand, tally map[string]int) {
	t.Helper()
	src, dst, mark := randomAddr(r), randomAddr(r), uint32(r.IntN(4)) //nolint:gosec // below 4
	dev := fmt.Sprintf("e%d", r.IntN(4))
	incoming := r.IntN(4) > 0
	o := &netlink.RouteGetOptions{SrcAddr: net.IP(src.AsSlice()), Mark: mark}
	w := &walk{s: s, c: s.compiled()}
	v := &view{space: s, mark: mark, p: ping(src.String(), dst.String())}
	var got string
	if incoming {
		o.Iif = dev
		v.in = dev
		got = answerOf(w.input(v, dst, src), dst)
	} else {
		dev = "itself"
		if r.IntN(2) == 0 {
			v.p.IPSrc, o.SrcAddr = netip.Addr{}, nil
		} else if s.addrType(src) != "local" {
			return
		}
		out, ok := w.routeOut(v)
		got = answerOf(routed{found: out, local: ok && (out.route.Kind == "local" || out.route.Kind == "broadcast")}, dst)
		if out.fail != "" {
			got = answerOf(routed{found: out, why: out.fail}, dst)
		} else if ok {
			got += " from " + v.p.IPSrc.String()
		}
	}
	want, kind := askKernel(s, nl, dst, o, incoming)
	tally[kind]++
	if !agree(got, want, s, dev, incoming) {
		t.Errorf("%s > %s by %s mark %d: the kernel says %q, the model %q", src, dst, dev, mark, want, got)
	}
	for _, why := range []string{WhyReverse, WhyMartian, WhyNoRoute, WhyForwarding, WhyBlackhole, WhyUnreachable, WhyProhibit} {
		if got == why {
			tally[why]++
		}
	}
}

func answerOf(r routed, dst netip.Addr) string {
	switch {
	case r.why != "":
		return r.why
	case r.lacks != "":
		return r.lacks
	case r.local && r.route != nil:
		return r.route.Kind
	case r.local:
		return "broadcast"
	case r.route == nil:
		return WhyNoRoute
	}
	return fmt.Sprintf("by %s to %s", r.route.Dev, hop(r.route, dst))
}

// askKernel does as ip route get.
func askKernel(s *Space, nl *netlink.Handle, dst netip.Addr, o *netlink.RouteGetOptions, incoming bool) (answer, kind string) {
	routes, err := nl.RouteGetWithOptions(net.IP(dst.AsSlice()), o)
	if err != nil {
		if e, ok := errors.AsType[unix.Errno](err); ok {
			return unix.ErrnoName(e), "error"
		}
		return err.Error(), "error"
	}
	r := routes[0]
	from := ""
	if !incoming {
		if o.SrcAddr != nil {
			r.Src = o.SrcAddr
		}
		from = " from " + r.Src.String()
	}
	switch r.Type {
	case unix.RTN_LOCAL:
		return "local" + from, "local"
	case unix.RTN_BROADCAST:
		return "broadcast" + from, "broadcast"
	}
	dev := ""
	for i := range s.ns.Links {
		if s.ns.Links[i].Index == r.LinkIndex {
			dev = s.ns.Links[i].Name
		}
	}
	via := dst.String()
	if r.Gw != nil {
		via = r.Gw.String()
	}
	return fmt.Sprintf("by %s to %s", dev, via) + from, "unicast"
}

// agree compares an answer with the kernel's, whose errors say less.
func agree(got, want string, s *Space, dev string, incoming bool) bool {
	errs := map[string][]string{
		WhyReverse: {"EXDEV", "EINVAL"}, // the latter since Linux 6.14
		WhyMartian: {"EINVAL"}, WhyForwarding: {"EHOSTUNREACH"},
		WhyNoRoute: {"ENETUNREACH"}, WhyBlackhole: {"EINVAL"}, WhyUnreachable: {"EHOSTUNREACH", "ENETUNREACH"}, WhyProhibit: {"EACCES"},
	}[got]
	if errs == nil {
		return got == want
	}
	if on, _, _ := s.forwards(dev, false); incoming && !on && (got == WhyNoRoute || got == WhyBlackhole || got == WhyProhibit) {
		errs = []string{"EHOSTUNREACH"} // the kernel says that first
	}
	return slices.Contains(errs, want)
}
