package vip_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/netns"
	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/endpoint/endpointtest"
	"kaname.dev/kaname/rib/mysql/endpoint/vip"
	"kaname.dev/kaname/rib/mysql/topology"
)

var addresses = []string{"10.7.0.100", "fd00:7::100"}

// rounds of moves in a test.
func rounds() int {
	if lab.Soak() {
		return 6
	}
	return 3
}

func TestAddressMovesAndTheNetworkKnows(t *testing.T) {
	for _, addr := range addresses {
		t.Run(addr, func(t *testing.T) {
			b := newBed(t, 2)
			d := b.driver(map[string]string{"address": addr})
			_, said := b.start(b.client, "play-client", addr)
			lines := bufio.NewScanner(said)
			next := func() (who string, at time.Time) {
				t.Helper()
				if !lines.Scan() {
					t.Fatal("the client ended")
				}
				var ns int64
				fmt.Sscan(lines.Text(), &who, &ns)
				return who, time.Unix(0, ns)
			}
			if who, _ := next(); who != "nobody" {
				t.Fatalf("before all %s answers", who)
			}
			epoch := uint64(0)
			var worst, gap time.Duration
			for round := range rounds() {
				epoch++
				began := time.Now()
				if err := d.Publish(t.Context(), target(epoch, round%2)); err != nil {
					t.Fatal(err)
				}
				published := time.Now()
				var who string
				var at time.Time
				for who != name(round%2) {
					who, at = next()
				}
				worst, gap = max(worst, at.Sub(published)), max(gap, at.Sub(began))
				// Without announcements the client's table keeps the old host for half a minute.
				if worst > 2*time.Second {
					t.Fatalf("round %d: the new host was reached %v after Publish", round, worst)
				}
				if got, want := b.neighbour(b.client, addr), b.mac(b.Hosts[round%2]); got != want {
					t.Errorf("round %d: the client's table has %s, want %s", round, got, want)
				}
				if b.has(b.Hosts[1-round%2], netip.MustParseAddr(addr)) {
					t.Errorf("round %d: the old host has the address still", round)
				}
			}
			t.Logf("worst times until the new host answered the first connection: %v after Publish began, %v after it returned", gap, worst)
		})
	}
}

// reaches says who has to answer the client at an address.
func (b *bed) reaches(addr, who string) {
	b.t.Helper()
	if got := strings.TrimSpace(run(b.t, b.client, os.Args[0]+" play-dial", addr, "2s")); got != who {
		b.t.Fatalf("at %s %s answers, want %s", addr, got, who)
	}
}

func run(t testing.TB, h *netns.Host, words string, more ...string) string {
	t.Helper()
	f := append(strings.Fields(words), more...)
	out, err := h.Command(t.Context(), f[0], f[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s on %s: %v: %s", words, h.Name, err, out)
	}
	return string(out)
}

func wantKind(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	var f *fault.Fault
	if !errors.As(err, &f) || f.Kind != kind {
		t.Errorf("got %v, want a fault of kind %s", err, kind)
	}
}

func TestAnAddressInUseIsNotTakenButByForce(t *testing.T) {
	for _, addr := range addresses {
		t.Run(addr, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, 1)
			a := netip.MustParseAddr(addr)
			other := netip.PrefixFrom(a, a.BitLen()).String()
			flag := map[bool]string{false: "", true: " nodad"}[a.Is6()]
			run(t, b.client, "ip addr add "+other+" dev eth0"+flag)
			wantKind(t, b.driver(map[string]string{"address": addr}).Publish(t.Context(), target(1, 0)), fault.KindExists)
			if b.has(b.Hosts[0], a) {
				t.Fatal("the address was taken")
			}
			if err := b.driver(map[string]string{"address": addr, "force": "yes"}).Publish(t.Context(), target(1, 0)); err != nil {
				t.Fatal(err)
			}
			if !b.has(b.Hosts[0], a) {
				t.Fatal("the address was not taken by force")
			}
			// The other is there still: that is said, each time.
			wantKind(t, b.driver(map[string]string{"address": addr}).Publish(t.Context(), target(1, 0)), fault.KindExists)
			run(t, b.client, "ip addr del "+other+" dev eth0")
			if err := b.driver(map[string]string{"address": addr}).Publish(t.Context(), target(1, 0)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestASilentHostKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2)
	addr := netip.MustParseAddr(addresses[0])
	settings := map[string]string{"address": addr.String(), "wait": "200ms"}
	if err := b.driver(settings).Publish(t.Context(), target(1, 0)); err != nil {
		t.Fatal(err)
	}
	b.reaches(addr.String(), "db1")

	// Its agent is gone, but the host answers for the address: two would be wrong.
	b.agents[0].cut = true
	wantKind(t, b.driver(settings).Publish(t.Context(), target(2, 1)), fault.KindExists)

	// The host is cut off.
	b.Hosts[0].Cut()
	began := time.Now()
	if err := b.driver(settings).Publish(t.Context(), target(2, 1)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 3*time.Second { // 200 ms, and what a busy machine adds
		t.Errorf("publishing without the silent host took %v", took)
	}
	b.reaches(addr.String(), "db2")
	if got, want := b.neighbour(b.client, addr.String()), b.mac(b.Hosts[1]); got != want {
		t.Errorf("the client's table has %s, want %s", got, want)
	}

	// It comes back with the address; the next Publish takes it away and tells again.
	b.Hosts[0].Restore()
	b.agents[0].cut = false
	if !b.has(b.Hosts[0], addr) {
		t.Fatal("the test has lost its point: the old host lost the address by itself")
	}
	if _, err := b.driver(settings).Current(t.Context()); err == nil || !strings.Contains(err.Error(), "both") {
		t.Errorf("two hosts hold the address: Current says %v", err)
	}
	if err := b.driver(settings).Publish(t.Context(), target(2, 1)); err != nil {
		t.Fatal(err)
	}
	if b.has(b.Hosts[0], addr) {
		t.Error("the old host has the address still")
	}
}

func TestEpochsOnlyRise(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2)
	settings := map[string]string{"address": addresses[0], "probe": "0"}
	if err := b.driver(settings).Publish(t.Context(), target(7, 0)); err != nil {
		t.Fatal(err)
	}
	// Another controller, which has slept.
	late := b.driver(settings)
	if err := late.Publish(t.Context(), target(6, 1)); !errors.Is(err, endpoint.ErrOld) {
		t.Errorf("epoch 6 after 7: %v", err)
	}
	if err := late.Withdraw(t.Context(), target(6, 1)); !errors.Is(err, endpoint.ErrOld) {
		t.Errorf("withdrawn with epoch 6 after 7: %v", err)
	}
	got, err := late.Current(t.Context())
	if err != nil || got.Primary == nil || got.Primary.Name != "db1" || got.Epoch != 7 {
		t.Errorf("current is %+v, %v; want db1 of epoch 7", got, err)
	}
	for range 2 {
		if err := late.Withdraw(t.Context(), target(8, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := late.Current(t.Context()); err != nil || got.Primary != nil {
		t.Errorf("current is %+v, %v; want nowhere", got, err)
	}
}

func TestWhatIsTakenOnceIsThereOnce(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2)
	addr := netip.MustParsePrefix("10.7.0.100/32")
	do := func(i int, want bool) string {
		t.Helper()
		said, err := b.VIP(t.Context(), member(i), want, vip.Assignment{Epoch: 1, Address: addr})
		if err != nil {
			t.Fatal(err)
		}
		return said
	}
	for i, want := range []string{"added to eth0", "is on eth0", "is on eth0"} {
		if got := do(0, true); got != want {
			t.Errorf("taken %d times: %q, want %q", i+1, got, want)
		}
	}
	if n := strings.Count(run(t, b.Hosts[0], "ip -4 -o addr show dev eth0"), "10.7.0.100/32"); n != 1 {
		t.Errorf("the address is there %d times", n)
	}
	b.reaches("10.7.0.100", "db1")
	for i, want := range []string{"removed from eth0", "was not here"} {
		if got := do(0, false); got != want {
			t.Errorf("dropped %d times: %q, want %q", i+1, got, want)
		}
	}
	do(1, true)
	// What the first had still to announce must not lead the client back.
	deadline := time.Now().Add(2500 * time.Millisecond)
	lab.Eventually(t, "the announcements are over", func() bool {
		if got := b.neighbour(b.client, "10.7.0.100"); got != b.mac(b.Hosts[1]) {
			t.Fatalf("the client's table has %s, want the second host's", got)
		}
		return time.Now().After(deadline)
	})
}

func TestWhatCannotBeDoneIsExplained(t *testing.T) {
	t.Parallel()
	b := newBed(t, 1)
	ask := func(a vip.Assignment) error {
		_, err := b.VIP(t.Context(), member(0), true, a)
		return err
	}
	wantKind(t, ask(vip.Assignment{}), fault.KindInvalid)
	wantKind(t, ask(vip.Assignment{Address: netip.MustParsePrefix("192.0.2.1/32")}), fault.KindNotFound)
	wantKind(t, ask(vip.Assignment{Address: netip.MustParsePrefix("10.7.0.9/32"), Device: "eth7"}), fault.KindNotFound)

	// A device that is down: the address is there, but nobody hears of it.
	run(t, b.Hosts[0], "ip link add idle type veth peer name idler")
	wantKind(t, ask(vip.Assignment{Address: netip.MustParsePrefix("10.9.0.9/32"), Device: "idle", Probe: 30 * time.Millisecond}), fault.KindInternal)

	// An address on two devices goes from both, and a device without neighbours is silent.
	run(t, b.Hosts[0], "ip addr add 10.7.0.9/32 dev lo")
	run(t, b.Hosts[0], "ip addr add 10.7.0.9/32 dev eth0")
	if _, err := b.VIP(t.Context(), member(0), false, vip.Assignment{Address: netip.MustParsePrefix("10.7.0.9/32")}); err != nil || b.has(b.Hosts[0], netip.MustParseAddr("10.7.0.9")) {
		t.Errorf("dropped from two devices: %v", err)
	}
	if err := ask(vip.Assignment{Address: netip.MustParsePrefix("10.7.0.10/32"), Device: "lo", Probe: time.Second}); err != nil {
		t.Error(err)
	}

	// An agent without the capabilities.
	lab.Need(t, "setpriv")
	b.agents[0] = b.agentOn(b.Hosts[0], "setpriv", "--bounding-set", "-net_admin,-net_raw")
	err := ask(vip.Assignment{Address: netip.MustParsePrefix("10.7.0.9/32")})
	wantKind(t, err, fault.KindDenied)
	if !strings.Contains(fmt.Sprint(err), "CAP_NET_ADMIN") {
		t.Errorf("no remedy in %v", err)
	}
}

func TestConform(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2)
	endpointtest.Conform(t, endpointtest.Bench{
		New:      func(o endpoint.Options) (endpoint.Driver, error) { return vip.New(o, b) },
		Settings: map[string]string{"address": addresses[0], "device": "eth0", "probe": "30ms", "wait": "500ms", "force": "no"},
		Members:  []topology.Member{member(0), member(1)},
		Epochs:   endpointtest.Kept, // by the hosts' agents
		Where:    addresses[0],
		Stays:    true, // the kernel resets no connection when an address goes
		Reach: func(ctx context.Context) (string, error) {
			out, err := b.client.Command(ctx, os.Args[0], "play-dial", addresses[0], "300ms").Output()
			if who := strings.TrimSpace(string(out)); err != nil || who != "nobody" {
				return who, err
			}
			return "", errors.New("nobody answers")
		},
		Break: func(*testing.T) func() { // somebody else has the address
			run(t, b.client, "ip addr add 10.7.0.100/32 dev eth0")
			return func() { run(t, b.client, "ip addr del 10.7.0.100/32 dev eth0") }
		},
	})
}

func TestSettings(t *testing.T) {
	for _, c := range []struct {
		settings map[string]string
		want     string // in the error; empty: none
	}{
		{map[string]string{"address": "192.0.2.10"}, ""},
		{map[string]string{"address": "192.0.2.10/24", "device": "eth0", "probe": "0", "wait": "1s", "force": "no"}, ""},
		{map[string]string{"address": "2001:db8::1", "force": "yes"}, ""},
		{map[string]string{}, "no setting address"},
		{map[string]string{"address": "db.example"}, "db.example"},
		{map[string]string{"address": "fe80::1%eth0"}, "device"},
		{map[string]string{"address": "192.0.2.10", "dev": "eth0"}, "known are address, device"},
		{map[string]string{"address": "192.0.2.10", "force": "maybe"}, "neither yes nor no"},
		{map[string]string{"address": "192.0.2.10", "wait": "0"}, "wait must be"},
		{map[string]string{"address": "192.0.2.10", "probe": "1"}, "probe"},
		{map[string]string{"address": "192.0.2.10", "probe": "2s"}, "probe from 0 to 1s"},
	} {
		d, err := vip.New(endpoint.Options{Topology: "shop", Settings: c.settings}, nil)
		if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.settings, err, c.want)
		}
		if err == nil {
			d.Close()
		}
	}
}
