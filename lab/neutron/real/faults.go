package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// fault is one entry of faults.yaml; the file's head says what its fields mean.
type fault struct {
	ID, Title, Cite, Host string
	Inject, Heal          string
	FixReal               string `yaml:"fix_real"`
	Only                  string
	Agents                string
	Latent                bool
	Broken                []string
	Expect                string
	Note                  string
}

type catalogue struct {
	Faults []fault
	Pairs  []struct {
		ID, First, Second, Question, Note string
	}
}

// changed are the hosts that are another after the fault.
func (f fault) changed() []string {
	if f.Host == "ctl" {
		return hosts
	}
	return []string{f.Host}
}

// result is what became of one fault.
type result struct {
	ID          string
	Broken      []string          // what the injection broke
	Said        map[string]string // by broken probes
	AfterHeal   []string          // what was broken once it was mended
	InjectError string            `json:",omitempty"`
	HealError   string            `json:",omitempty"`
	Seconds     float64           // the whole round
}

func (c *cloud) faults(ctx context.Context, dir string, ids []string) error {
	b, err := os.ReadFile(filepath.Join(c.here, "faults.yaml"))
	if err != nil {
		return err
	}
	var cat catalogue
	if err := yaml.UnmarshalWithOptions(b, &cat, yaml.Strict()); err != nil {
		return fmt.Errorf("faults.yaml: %w", err)
	}
	// Neutron's agents stand still all the time, for they would mend some faults in the
	// middle of things; stopped and continued again and again they lose their messages.
	c.signal(ctx, "STOP")
	defer c.signal(context.WithoutCancel(ctx), "CONT")
	var bad []error
	for _, f := range cat.Faults {
		if len(ids) > 0 && !slices.Contains(ids, f.ID) || ctx.Err() != nil {
			continue
		}
		if f.Agents == "run" {
			c.signal(ctx, "CONT")
			pause(ctx, time.Minute)
		}
		r := c.round(ctx, filepath.Join(dir, f.ID), f)
		switch {
		case r.InjectError != "" || r.HealError != "":
			bad = append(bad, fmt.Errorf("%s: inject %q, heal %q", f.ID, r.InjectError, r.HealError))
		case f.Broken != nil && !slices.Equal(r.Broken, f.Broken):
			bad = append(bad, fmt.Errorf("%s: broke %q, the catalogue says %q", f.ID, r.Broken, f.Broken))
		}
		fmt.Printf("%-4s %5.1f s broken: %s; after healing: %s\n", f.ID, r.Seconds, or(r.Broken), or(r.AfterHeal))
		if len(r.AfterHeal) > 0 {
			return errors.Join(append(bad, fmt.Errorf("%s is not mended: %s", f.ID, strings.Join(r.AfterHeal, " ")))...)
		}
	}
	return errors.Join(bad...)
}

func or(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, " ")
}

// round injects, probes, records and heals one fault.
func (c *cloud) round(ctx context.Context, dir string, f fault) result {
	start := time.Now()
	r := result{ID: f.ID, Said: map[string]string{}}
	text := func(err error) string {
		if err != nil {
			return err.Error()
		}
		return ""
	}
	vars, err := c.context(ctx, f.Host)
	if err == nil {
		err = c.shell(ctx, f.Host, vars+keep+f.Inject)
	}
	r.InjectError = text(err)
	if f.Agents == "run" {
		pause(ctx, 15*time.Second) // until the agents have done what the API told them
	}
	results := c.probe(ctx)
	r.Broken = brokenOf(results)
	for _, p := range results {
		if !p.OK {
			r.Said[p.String()] = p.Out
		}
	}
	if err := c.recordHosts(ctx, dir, f.changed()); err != nil && r.InjectError == "" {
		r.InjectError = err.Error()
	}
	if f.Host == "ctl" {
		r.InjectError += text(c.recordAPI(ctx, filepath.Join(dir, "api")))
	}
	r.HealError = text(c.shell(ctx, f.Host, vars+f.Heal))
	for range 8 {
		if r.AfterHeal = brokenOf(c.probe(ctx)); len(r.AfterHeal) == 0 {
			break
		}
		pause(ctx, 2*time.Second)
	}
	r.Seconds = time.Since(start).Seconds()
	if b, err := json.MarshalIndent(r, "", " "); err == nil {
		_ = os.WriteFile(filepath.Join(dir, "result.json"), b, 0o600) // it is printed as well
	}
	return r
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// keep saves what healing may put back: every bridge's flows as $KEEP/BRIDGE.flows,
// but not those that expire or were learned from traffic.
const keep = `
for b in $(ovs-vsctl list-br 2>/dev/null); do
	ovs-ofctl -O OpenFlow13 --no-names --no-stats dump-flows $b | grep 'actions=' | grep -v 'table=20,.*hard_timeout=' >$KEEP/$b.flows
done
`

// context is what a fault's commands find set on a host.
func (c *cloud) context(ctx context.Context, host string) (string, error) {
	const dir = "mkdir -p /run/keep\nKEEP=/run/keep\n"
	if host != "ctl" {
		v, err := c.vars(ctx, host)
		return dir + v, err
	}
	vars := dir + "API=" + strings.TrimSuffix(endpoint, "/") + "\n"
	var groups strings.Builder
	for name, g := range c.Groups {
		groups.WriteString("GROUP_" + name + "=" + g.id() + "\n")
	}
	vars += groups.String()
	return vars, nil
}

// signal stops or continues Neutron's agents on all hosts.
func (c *cloud) signal(ctx context.Context, name string) {
	for _, h := range hosts {
		for _, a := range []string{"ovsagent", "l3agent", "metadata", "dhcp"} {
			pid, err := os.ReadFile(filepath.Join(c.dir, h, a+".pid"))
			if err == nil && a != "metadata" {
				_ = c.on(ctx, h, "kill", "-"+name, strings.TrimSpace(string(pid))).Run() // it may be gone
			}
		}
	}
}
