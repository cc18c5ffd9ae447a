package netpath

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/netpath/expect"
	"kaname.dev/kaname/rib/netpath/facts"
	"kaname.dev/kaname/rib/netpath/intent"
	"kaname.dev/kaname/rib/netpath/show"
	"kaname.dev/kaname/rib/netpath/trace"
	"kaname.dev/kaname/rib/netpath/words"
)

type checkIn struct {
	Hosts []string `name:"hosts" help:"only these hosts, as Neutron calls them; empty means all" ja:"対象ホスト（Neutron での名前）。空ならすべて" complete:"netpath-hosts"`
	Why   bool     `name:"why" help:"show the lines on which each finding rests" ja:"根拠となる行も表示する"`
	From  string   `name:"from" help:"read this bundle instead of asking hosts and Neutron" ja:"ホストと Neutron の代わりにこのバンドルを読む" complete:"files"`
	Lang  string   `name:"lang" enum:"en,ja" help:"language of the text: en or ja" ja:"文章の言語: en または ja"`
}

// Checked is what check gives.
type Checked struct {
	Hosts    int             `json:"hosts"` // that were looked at
	Findings []trace.Finding `json:"findings"`
	Missing  []string        `json:"missing,omitempty"` // what could not be looked at
	Lang     string          `json:"lang,omitempty"`
	Why      bool            `json:"why,omitempty"`
	Text     string          `json:"text,omitempty"` // for doors that show no text of their own
}

// String is the result for people.
func (c Checked) String() string {
	return show.Findings(c.Hosts, c.Findings, c.Missing, show.Options{Lang: c.Lang, Why: c.Why})
}

func (r *service) check(ctx context.Context, run *action.Run, in checkIn) (Checked, error) {
	src, err := r.source(in.From, run)
	if err != nil {
		return Checked{}, err
	}
	c, err := src.cloud(ctx)
	if err != nil {
		return Checked{}, err
	}
	names, missing, err := wanted(ctx, src, c, in.Hosts)
	if err != nil {
		return Checked{}, err
	}
	out := Checked{Lang: in.Lang, Why: in.Why, Missing: missing}
	if err := out.sweep(ctx, src, c, names, run); err != nil {
		return Checked{}, err
	}
	if run.Actor.Door == "console" {
		out.Text = out.String()
	}
	return out, nil
}

// wanted returns the hosts to look at, and says which Neutron knows and nobody can look at.
func wanted(ctx context.Context, src source, c *intent.Cloud, asked []string) (names, missing []string, err error) {
	all, err := src.all(ctx)
	if err != nil {
		return nil, nil, err
	}
	if len(asked) > 0 {
		for _, n := range asked {
			if !slices.Contains(all, n) {
				return nil, nil, fault.NotFound("host " + n + " cannot be looked at").Try("those that can: " + strings.Join(all, ", "))
			}
		}
		return asked, nil, nil
	}
	known := map[string]bool{}
	for i := range c.Agents {
		known[c.Agents[i].Host] = true
	}
	for _, n := range slices.Sorted(maps.Keys(known)) {
		if !slices.Contains(all, n) {
			missing = append(missing, trace.HostPrefix+n+": no agent of kaname looks after it")
		}
	}
	return all, missing, nil
}

// sweep looks at hosts and compares each with what Neutron wants.
func (c *Checked) sweep(ctx context.Context, src source, cloud *intent.Cloud, names []string, run *action.Run) error {
	hosts := map[string]*facts.Host{}
	for batch := range slices.Chunk(names, atOnce) {
		found, failed := src.hosts(ctx, batch)
		maps.Copy(hosts, found)
		for _, n := range slices.Sorted(maps.Keys(failed)) {
			c.Missing = append(c.Missing, trace.HostPrefix+n+": "+failed[n].Error())
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		run.Say(action.Event{Step: "look", State: action.StateRunning, Done: int64(len(hosts)), Total: int64(len(names)), Unit: "hosts"})
	}
	c.Hosts = len(hosts)
	for _, h := range hosts {
		for _, m := range h.Missing {
			c.Missing = append(c.Missing, fmt.Sprintf("%s of host %s%s%s: %s", m.What, h.Name, of(" in ", m.Namespace), of(" of ", m.Bridge), m.Why))
		}
	}
	slices.Sort(c.Missing)
	checker := expect.New(cloud, hosts)
	found := make([][]trace.Finding, len(names))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, n := range names {
		g.Go(func() error {
			found[i] = checker.Host(n)
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	c.Findings = append(slices.Concat(found...), checker.Cloud()...)
	slices.SortStableFunc(c.Findings, func(a, b trace.Finding) int {
		return cmp.Or(cmp.Compare(words.Severity(a.ID), words.Severity(b.ID)), cmp.Compare(a.Host, b.Host), cmp.Compare(a.ID, b.ID))
	})
	return nil
}

func of(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}
