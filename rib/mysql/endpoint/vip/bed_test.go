package vip_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/lab"
	"kaname.dev/kaname/lab/netns"
	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/endpoint/vip"
	"kaname.dev/kaname/rib/mysql/topology"
)

// TestMain plays the programs that run on the hosts of a test: an agent's Holder that takes
// orders as lines, a server that says its name, a client that dials again and again.
func TestMain(m *testing.M) {
	play := map[string]func([]string){"play-agent": agent, "play-server": server, "play-client": client, "play-dial": dial}
	if len(os.Args) > 1 && play[os.Args[1]] != nil {
		play[os.Args[1]](os.Args[2:])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type question struct {
	Want bool
	vip.Assignment
}

type answer struct {
	Text  string
	Fault *fault.Fault
}

func agent([]string) {
	h := vip.NewHolder(slog.New(slog.DiscardHandler))
	defer h.Close()
	out := json.NewEncoder(os.Stdout)
	for in := json.NewDecoder(os.Stdin); ; {
		var q question
		if err := in.Decode(&q); err != nil {
			return
		}
		text, err := h.Do(context.Background(), q.Want, q.Assignment)
		a := answer{Text: text}
		if err != nil && !errors.As(err, &a.Fault) {
			a.Fault = fault.Internal(err.Error())
		}
		if err := out.Encode(a); err != nil {
			return
		}
	}
}

func server(args []string) {
	l, err := net.Listen("tcp", "[::]:3306")
	if err != nil {
		panic(err)
	}
	fmt.Println("listening")
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprintln(c, args[0])
		c.Close()
	}
}

// client prints each change of who answers, and when: nanoseconds of the machine's clock.
func client(args []string) {
	last := ""
	for {
		who := answering(args[0], 50*time.Millisecond)
		if who != last {
			fmt.Println(who, time.Now().UnixNano())
			last = who
		}
		<-time.After(2 * time.Millisecond)
	}
}

func dial(args []string) {
	within, err := time.ParseDuration(args[1])
	if err != nil {
		panic(err)
	}
	fmt.Println(answering(args[0], within))
}

// answering returns the name of the server at an address.
func answering(addr string, within time.Duration) string {
	c, err := net.DialTimeout("tcp", net.JoinHostPort(addr, "3306"), within)
	if err != nil {
		return "nobody"
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(within))
	b, err := io.ReadAll(c)
	if err != nil {
		return "nobody"
	}
	return strings.TrimSpace(string(b))
}

// bed is a bridge with database hosts and a client's host, the last.
type bed struct {
	*netns.Bridge
	t      testing.TB
	agents []*orders
	client *netns.Host
}

type orders struct {
	lock sync.Mutex
	in   *json.Encoder
	out  *json.Decoder
	cut  bool // nobody reaches the agent
}

func newBed(t testing.TB, hosts int) *bed {
	lab.Need(t, "ip")
	b := &bed{Bridge: netns.New(t, hosts+1, 0), t: t}
	b.client = b.Hosts[hosts]
	for i, h := range b.Hosts {
		// The beds' own addresses are nobody else's; asking would take the kernel seconds.
		run(t, h, "ip link set eth0 down")
		run(t, h, "sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad")
		run(t, h, "ip link set eth0 up")
		run(t, h, "ip addr add "+six(i)+" dev eth0")
		if h == b.client {
			continue
		}
		b.agents = append(b.agents, b.agentOn(h))
		_, said := b.start(h, "play-server", name(i))
		if line, err := bufio.NewReader(said).ReadString('\n'); err != nil {
			t.Fatalf("server on %s: %q, %v", h.Name, line, err)
		}
	}
	return b
}

func six(i int) string             { return fmt.Sprintf("fd00:7::%d/64", i+1) }
func name(i int) string            { return fmt.Sprintf("db%d", i+1) }
func member(i int) topology.Member { return topology.Member{Name: name(i), Host: name(i)} }

// agentOn starts an agent, below the given program if there is one.
func (b *bed) agentOn(h *netns.Host, below ...string) *orders {
	b.t.Helper()
	words := append(below, os.Args[0], "play-agent")
	in, out := b.command(h, words[0], words[1:]...)
	return &orders{in: json.NewEncoder(in), out: json.NewDecoder(out)}
}

func (b *bed) start(h *netns.Host, args ...string) (io.Writer, io.Reader) {
	b.t.Helper()
	return b.command(h, os.Args[0], args...)
}

func (b *bed) command(h *netns.Host, program string, args ...string) (io.Writer, io.Reader) {
	b.t.Helper()
	c := h.Command(context.Background(), program, args...)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { end(c, in) })
	return in, out
}

func end(c *exec.Cmd, in io.Closer) {
	in.Close()
	c.Process.Kill()
	c.Wait()
}

// Members and VIP make the bed a Remote.
func (b *bed) Members(context.Context) ([]topology.Member, error) {
	var all []topology.Member
	for i := range b.agents {
		all = append(all, member(i))
	}
	return all, nil
}

func (b *bed) VIP(ctx context.Context, m topology.Member, want bool, a vip.Assignment) (string, error) {
	var i int
	fmt.Sscanf(m.Name, "db%d", &i)
	o := b.agents[i-1]
	if o.cut {
		<-ctx.Done()
		return "", fault.Timeout("host " + m.Host).Because(ctx.Err())
	}
	o.lock.Lock()
	defer o.lock.Unlock()
	if err := o.in.Encode(question{want, a}); err != nil {
		return "", fault.Unavailable("host " + m.Host).Because(err)
	}
	var got answer
	if err := o.out.Decode(&got); err != nil {
		return "", fault.Unavailable("host " + m.Host).Because(err)
	}
	if got.Fault != nil {
		return got.Text, got.Fault
	}
	return got.Text, nil
}

func (b *bed) driver(settings map[string]string) endpoint.Driver {
	b.t.Helper()
	d, err := vip.New(endpoint.Options{Topology: "shop", Settings: settings, Log: slog.New(slog.NewTextHandler(b.t.Output(), nil))}, b)
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

func target(epoch uint64, i int) endpoint.Target {
	m := member(i)
	return endpoint.Target{Topology: "shop", Epoch: epoch, Primary: &m}
}

// mac returns the hardware address of a host, and neighbour what another host has in its table.
func (b *bed) mac(h *netns.Host) string {
	b.t.Helper()
	var links []struct{ Address string }
	out, err := h.Command(b.t.Context(), "ip", "-j", "link", "show", "dev", "eth0").Output()
	if err != nil || json.Unmarshal(out, &links) != nil || len(links) != 1 {
		b.t.Fatalf("link of %s: %v: %s", h.Name, err, out)
	}
	return links[0].Address
}

func (b *bed) neighbour(h *netns.Host, addr string) string {
	b.t.Helper()
	out, err := h.Command(b.t.Context(), "ip", "-j", "neigh", "show", "to", addr, "dev", "eth0").Output()
	var table []struct{ LLAddr string }
	if err != nil || json.Unmarshal(out, &table) != nil || len(table) != 1 {
		return fmt.Sprintf("%s %v", out, err)
	}
	return table[0].LLAddr
}

func (b *bed) has(h *netns.Host, addr netip.Addr) bool {
	out, err := h.Command(b.t.Context(), "ip", "-o", "addr", "show", "dev", "eth0").Output()
	if err != nil {
		b.t.Fatal(err)
	}
	return strings.Contains(string(out), " "+addr.String()+"/")
}
