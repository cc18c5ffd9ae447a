package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// probe is one question that a real packet answers.
type probe struct {
	From string // a VM, or "inet"
	Kind string // ping; big: 1400 bytes unfragmented; dhcp; meta; or a TCP port
	To   string // a VM, fip:VM, inet, or an address
	Not  bool   // the answer must be no: security groups and isolation
}

// The first eleven are the ones that every change to Neutron's agents should face; the
// rest follows from what topo.go adds.
var probes = []probe{
	{From: "a1", Kind: "ping", To: "a2"},
	{From: "a2", Kind: "ping", To: "a1"},
	{From: "a1", Kind: "ping", To: "b1"},
	{From: "a1", Kind: "ping", To: "b2"},
	{From: "b2", Kind: "ping", To: "a1"},
	{From: "a2", Kind: "ping", To: "inet"},
	{From: "a1", Kind: "ping", To: "inet"},
	{From: "inet", Kind: "ping", To: "fip:a1"},
	{From: "inet", Kind: "ping", To: "fip:b2"},
	{From: "a1", Kind: "big", To: "a2"},
	{From: "a1", Kind: "443", To: "a2"},

	{From: "a2", Kind: "443", To: "a1"},
	{From: "a1", Kind: "443", To: "b2"},
	{From: "b1", Kind: "443", To: "inet", Not: true}, // nobody serves it there: a refusal, not a loss
	{From: "b1", Kind: "80", To: "inet"},
	{From: "inet", Kind: "443", To: "fip:a1"},
	{From: "a2", Kind: "ping", To: "fip:b2"},
	{From: "a1", Kind: "big", To: "b2"},
	{From: "a1", Kind: "8080", To: "a2", Not: true},
	{From: "a2", Kind: "8080", To: "a1", Not: true},
	{From: "inet", Kind: "8080", To: "fip:b2", Not: true},
	{From: "g1", Kind: "22", To: "g2"},
	{From: "g2", Kind: "22", To: "g1"},
	{From: "a1", Kind: "22", To: "g2", Not: true},
	{From: "b1", Kind: "22", To: "g1", Not: true},
	{From: "a1", Kind: "ping", To: "10.10.1.200"},
	{From: "b1", Kind: "ping", To: "10.10.1.200"},
	{From: "o1", Kind: "ping", To: "a2"},
	{From: "a2", Kind: "8080", To: "o1"}, // port security off: everything passes
	{From: "a1", Kind: "ping", To: "10.99.0.1"},
	{From: "a2", Kind: "ping", To: "10.99.0.1"},
	{From: "w1", Kind: "ping", To: "w2"},
	{From: "w1", Kind: "ping", To: "inet"},
	{From: "w2", Kind: "ping", To: "inet"},
	{From: "inet", Kind: "ping", To: "fip:w1"},
	{From: "v1", Kind: "ping", To: "v2"},
	{From: "v2", Kind: "ping", To: "a1"},
	{From: "a1", Kind: "ping", To: "v2"},
	{From: "v1", Kind: "ping", To: "inet"},
	{From: "e1", Kind: "ping", To: "inet"},
	{From: "a1", Kind: "ping", To: "e1"},
	{From: "a1", Kind: "ping", To: "w1", Not: true}, // routers that do not know each other
	{From: "a1", Kind: "dhcp", To: "net"},
	{From: "a2", Kind: "dhcp", To: "net"},
	{From: "b2", Kind: "dhcp", To: "net"},
	{From: "v1", Kind: "dhcp", To: "net"},
	{From: "a1", Kind: "meta", To: "net"},
	{From: "a2", Kind: "meta", To: "net"},
	{From: "w1", Kind: "meta", To: "net"},
}

func (p probe) String() string {
	if p.Not {
		return p.From + "-" + p.To + "-" + p.Kind + "!"
	}
	return p.From + "-" + p.To + "-" + p.Kind
}

// outcome is what a probe said.
type outcome struct {
	probe

	OK  bool
	Out string // what its program said, for the curious
}

// probe runs all probes, some at a time, after forgetting every VM's neighbours.
func (c *cloud) probe(ctx context.Context) []outcome {
	var wg sync.WaitGroup
	for _, v := range vms {
		wg.Go(func() { _ = c.on(ctx, v.Host, "ip", "-n", v.Name, "neigh", "flush", "all").Run() })
	}
	wg.Go(func() { _ = exec.CommandContext(ctx, "ip", "-n", "nt-inet", "neigh", "flush", "all").Run() })
	wg.Wait()
	results := make([]outcome, len(probes))
	room := make(chan struct{}, 12)
	for i, p := range probes {
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			results[i] = c.ask(ctx, p)
		})
	}
	wg.Wait()
	return results
}

func (c *cloud) ask(ctx context.Context, p probe) outcome {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	argv := c.argv(p)
	var cmd *exec.Cmd
	if p.From == "inet" {
		cmd = exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", "nt-inet"}, argv...)...)
	} else {
		v := machine(p.From)
		cmd = c.on(ctx, v.Host, append([]string{"ip", "netns", "exec", v.Name}, argv...)...)
	}
	out, err := cmd.CombinedOutput()
	return outcome{p, (err == nil) != p.Not, string(out)}
}

func (c *cloud) argv(p probe) []string {
	to := p.To
	fip, isFIP := strings.CutPrefix(to, "fip:")
	switch {
	case to == "inet":
		to = "198.51.100.1"
	case isFIP:
		to = c.FIPs[fip].str("floating_ip_address")
	case machine(to).Name != "":
		to = machine(to).address()
	}
	switch p.Kind {
	case "ping":
		return []string{"ping", "-nqc3", "-i0.2", "-W1", "-w3", to}
	case "big":
		return []string{"ping", "-nqc3", "-i0.2", "-W1", "-w3", "-Mdo", "-s1400", to}
	case "dhcp":
		return []string{c.dir + "/real", "discover", "eth0", c.Ports[p.From].str("mac_address")}
	case "meta":
		return []string{"curl", "-sS", "-f", "-m", "5", "http://169.254.169.254/latest/meta-data/"}
	}
	return []string{"timeout", "4", "bash", "-c", "read -r x </dev/tcp/" + to + "/" + p.Kind}
}

func machine(name string) vm {
	for _, v := range vms {
		if v.Name == name {
			return v
		}
	}
	return vm{}
}

// brokenOf names the probes that did not say what they should.
func brokenOf(results []outcome) []string {
	names := []string{}
	for _, r := range results {
		if !r.OK {
			names = append(names, r.String())
		}
	}
	return names
}

func printProbes(results []outcome) {
	broken := brokenOf(results)
	fmt.Printf("ok=%d broken=%d: %s\n", len(results)-len(broken), len(broken), strings.Join(broken, " "))
}

// settle probes until all is well.
func (c *cloud) settle(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	for {
		results := c.probe(ctx)
		broken := brokenOf(results)
		if len(broken) == 0 {
			fmt.Printf("%d probes well after %.0f s\n", len(probes), time.Since(start).Seconds())
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("after %s still broken: %s; see the logs below %s", limit, strings.Join(broken, " "), c.dir)
		}
		printProbes(results)
		select {
		case <-ctx.Done():
		case <-time.After(15 * time.Second): // probing costs the agents what they need themselves
		}
	}
}
