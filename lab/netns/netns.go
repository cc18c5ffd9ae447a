// Package netns makes a small network for a test: some hosts, each a network namespace, on one
// bridge in a namespace of its own, every link shaped in both directions. It needs root and
// iproute2, touches nothing outside the namespaces that it makes, and removes them at the
// end of the test.
package netns

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// made numbers the bridges of this process, so that their names differ.
var made atomic.Int64

// Bridge is a switch with hosts on it.
type Bridge struct {
	Hosts []*Host

	t    testing.TB
	name string // of the bridge's namespace, and the beginning of its hosts'
}

// Host is a machine as far as the network is concerned.
type Host struct {
	Name string // of its namespace
	IP   string // its address on the bridge

	bridge *Bridge
	port   string   // its link's other end, at the bridge
	cut    []string // addresses that it does not reach any more; see CutTo
}

// New makes a bridge with n hosts, 10.7.0.1 and on, whose links carry rate bits a second each way;
// 0 means unshaped. Without root it skips the test, or fails it where CI is set.
func New(t testing.TB, n int, rate int64) *Bridge {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("network namespaces need root")
		}
		t.Skip("network namespaces need root")
	}
	b := &Bridge{t: t, name: fmt.Sprintf("kn%x-%d", os.Getpid(), made.Add(1))}
	t.Cleanup(b.remove)
	b.ip("netns", "add", b.name)
	b.ip("-n", b.name, "link", "add", "br0", "type", "bridge")
	b.ip("-n", b.name, "link", "set", "br0", "up")
	for i := range n {
		h := &Host{
			Name: fmt.Sprintf("%s-%d", b.name, i), IP: fmt.Sprintf("10.7.%d.%d", i/250, i%250+1),
			bridge: b, port: fmt.Sprintf("p%d", i),
		}
		b.Hosts = append(b.Hosts, h)
		b.ip("netns", "add", h.Name)
		b.ip("-n", h.Name, "link", "set", "lo", "up")
		b.ip("-n", b.name, "link", "add", h.port, "type", "veth", "peer", "name", "eth0", "netns", h.Name)
		b.ip("-n", b.name, "link", "set", h.port, "master", "br0", "up")
		b.ip("-n", h.Name, "addr", "add", h.IP+"/16", "dev", "eth0")
		b.ip("-n", h.Name, "link", "set", "eth0", "up")
		h.Shape(rate)
	}
	return b
}

// Shape sets the rate of the host's link, in bits a second each way; 0 means unshaped.
func (h *Host) Shape(rate int64) {
	h.bridge.t.Helper()
	for _, end := range [][2]string{{h.Name, "eth0"}, {h.bridge.name, h.port}} {
		if rate == 0 {
			continue
		}
		// 50 ms of queue, as a switch has; tbf drops what is beyond.
		h.bridge.run("tc", "-n", end[0], "qdisc", "replace", "dev", end[1], "root",
			"tbf", "rate", fmt.Sprintf("%dbit", rate), "burst", "64k", "latency", "50ms")
	}
}

// Command makes a command that runs on the host. Its process is the program itself, so
// that a signal reaches it.
func (h *Host) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.Name, program}, args...)...)
}

// Bytes returns how many bytes the host has sent and received on its link, headers included.
func (h *Host) Bytes() (sent, received int64) {
	h.bridge.t.Helper()
	out := h.bridge.run("ip", "-n", h.Name, "-j", "-s", "link", "show", "dev", "eth0")
	var links []struct {
		Stats struct {
			RX, TX struct{ Bytes int64 }
		} `json:"stats64"`
	}
	if err := json.Unmarshal(out, &links); err != nil || len(links) != 1 {
		h.bridge.t.Fatalf("statistics of %s: %v in %s", h.Name, err, out)
	}
	return links[0].Stats.TX.Bytes, links[0].Stats.RX.Bytes
}

func (b *Bridge) ip(args ...string) {
	b.t.Helper()
	b.run("ip", args...)
}

func (b *Bridge) run(program string, args ...string) []byte {
	b.t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
	}
	return out
}

// remove ends what still runs on the hosts and deletes the namespaces; with them go the links.
func (b *Bridge) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, h := range b.Hosts {
		pids, err := exec.CommandContext(ctx, "ip", "netns", "pids", h.Name).Output()
		if err != nil {
			b.t.Logf("processes of %s: %v", h.Name, err)
		}
		for pid := range strings.FieldsSeq(string(pids)) {
			if out, err := exec.CommandContext(ctx, "kill", "-9", pid).CombinedOutput(); err != nil {
				b.t.Logf("kill %s: %v: %s", pid, err, out)
			}
		}
		b.delete(ctx, h.Name)
	}
	b.delete(ctx, b.name)
}

func (b *Bridge) delete(ctx context.Context, name string) {
	if out, err := exec.CommandContext(ctx, "ip", "netns", "del", name).CombinedOutput(); err != nil {
		b.t.Logf("delete namespace %s: %v: %s", name, err, out)
	}
}
