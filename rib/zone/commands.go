package zone

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/keeper"
	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/plan"
	"kaname.dev/kaname/rib/zone/site"
)

// The commands that hosts with name servers serve, all of version 1.
const (
	commandPlan     = "zone.plan"     // look, and say what would be done
	commandApply    = "zone.apply"    // do it
	commandSetup    = "zone.setup"    // say what the configuration needs, or write it
	commandContents = "zone.contents" // what is kept of a removed zone
)

// serverRef names a server of the host that is commanded.
type serverRef struct {
	Server string `json:"server"`
}

// planned is a plan on its way to those who asked.
type planned struct {
	Ops       []plan.Op   `json:"ops"` // the first of them
	More      int         `json:"more,omitempty"`
	Conflicts []name.Name `json:"conflicts,omitempty"`
	Held      int         `json:"held,omitempty"`
	Hash      string      `json:"hash,omitempty"`
}

// maxOps is how many operations of a plan travel.
const maxOps = 500

func shorten(p plan.Plan) planned {
	out := planned{Ops: p.Ops, Conflicts: p.Conflicts, Held: len(p.Held), Hash: p.Hash}
	if len(out.Ops) > maxOps {
		out.Ops, out.More = out.Ops[:maxOps], len(out.Ops)-maxOps
	}
	out.Conflicts = out.Conflicts[:min(len(out.Conflicts), maxOps)]
	return out
}

// kept is the text of a zone in quarantine.
type kept struct {
	Text  string    `json:"text"`
	Since time.Time `json:"since"`
}

// serveCommands serves what cores order this host to do.
func (r *service) serveCommands() error {
	p := r.node.Plane
	return cmp.Or(
		plane.ServeQuery(p, commandPlan, 1, func(ctx context.Context, _ *plane.Call, in serverRef) (planned, error) {
			s, err := r.site(in.Server)
			if err != nil {
				return planned{}, err
			}
			made, err := s.Plan(ctx)
			return shorten(made), err
		}),
		plane.Serve(p, commandApply, 1, func(ctx context.Context, _ *plane.Call, in serverRef) (planned, error) {
			s, err := r.site(in.Server)
			if err != nil {
				return planned{}, err
			}
			made, err := s.Apply(ctx)
			return shorten(made), err
		}),
		plane.Serve(p, commandSetup, 1, func(ctx context.Context, _ *plane.Call, in setupOrder) (setupResult, error) {
			return r.setUp(ctx, in)
		}),
		plane.ServeQuery(p, commandContents, 1, func(_ context.Context, _ *plane.Call, in name.Name) (kept, error) {
			return r.keptHere(in)
		}),
	)
}

func (r *service) site(server string) (*site.Site, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sites[server]; s != nil {
		return s, nil
	}
	return nil, fault.NotFound("server " + server + " is not among zone.servers of this host").At(r.node.Host).Try("see: kaname zone servers")
}

func (r *service) keptHere(n name.Name) (kept, error) {
	r.mu.Lock()
	store := r.kept
	r.mu.Unlock()
	since, ok := store.Kept(n)
	if !ok {
		return kept{}, fault.NotFound("nothing is kept of zone " + n.Unicode()).At(r.node.Host)
	}
	text, err := store.Text(n)
	if err == nil && len(text) > 400<<10 {
		return kept{}, fault.Unsupported(fmt.Sprintf("zone %s has %d bytes, too many for this way", n.Unicode(), len(text))).At(r.node.Host).Try("copy it from " + r.node.Dir + "/quarantine/" + n.File() + ".zone on host " + r.node.Host)
	}
	return kept{string(text), since.UTC()}, err
}

// serversIn says which servers to look at.
type serversIn struct {
	Server string `name:"nameserver" arg:"" help:"host/server; by default all" ja:"ホスト/サーバー" complete:"servers"`
}

// opOut is one operation of a plan.
type opOut struct {
	Server string `json:"server"`
	Op     string `json:"op"`
	Zone   string `json:"zone,omitempty"`
	Why    string `json:"why"`
}

// targets returns the servers that are meant.
func (r *service) targets(ctx context.Context, in serversIn) ([]exchange.ServerView, error) {
	v, err := r.view(ctx, exchange.Query{})
	if err != nil {
		return nil, err
	}
	if in.Server == "" {
		return v.Servers, nil
	}
	i := slices.IndexFunc(v.Servers, func(s exchange.ServerView) bool { return s.Host+"/"+s.Name == in.Server })
	if i < 0 {
		return nil, fault.NotFound("server " + in.Server + " is not known").Try("see: kaname zone servers")
	}
	return v.Servers[i : i+1], nil
}

// order sends one command to each server's host, one after the other, and collects
// what is planned there.
func (r *service) order(ctx context.Context, run *action.Run, command string, in serversIn) ([]opOut, error) {
	servers, err := r.targets(ctx, in)
	if err != nil {
		return nil, err
	}
	var out []opOut
	var failed []string
	for i := range servers {
		s := &servers[i]
		at := s.Host + "/" + s.Name
		spec := plane.CallSpec{Command: command, In: serverRef{s.Name}, Timeout: 2 * time.Minute, Actor: run.Actor}
		p, err := plane.CallOne[planned](ctx, r.node.Plane, s.Host, spec, func(json.RawMessage) {})
		if err != nil {
			run.Note(at + ": " + err.Error())
			failed = append(failed, at)
			continue
		}
		out = append(out, opsOf(at, &p)...)
	}
	if len(failed) > 0 {
		return out, fault.Partial("servers that could not be looked at: " + strings.Join(failed, " ")).Try("see: kaname zone servers")
	}
	return out, nil
}

func opsOf(at string, p *planned) []opOut {
	var out []opOut
	for i := range p.Ops {
		out = append(out, opOut{at, string(p.Ops[i].Kind), p.Ops[i].Name.Unicode(), p.Ops[i].Why})
	}
	if p.More > 0 {
		out = append(out, opOut{Server: at, Op: "…", Why: fmt.Sprintf("and %d more", p.More)})
	}
	for _, n := range p.Conflicts {
		out = append(out, opOut{at, "conflict", n.Unicode(), "there, and not made by kaname: kaname zone adopt " + n.Bare()})
	}
	if p.Held > 0 {
		out = append(out, opOut{Server: at, Op: "held", Why: fmt.Sprintf("%d removals: kaname zone accept %s", p.Held, p.Hash)})
	}
	return out
}

func (r *service) diff(ctx context.Context, run *action.Run, in serversIn) ([]opOut, error) {
	out, err := r.order(ctx, run, commandPlan, in)
	if err == nil && len(out) == 0 {
		run.Note("nothing to do")
	}
	return out, err
}

func (r *service) apply(ctx context.Context, run *action.Run, in serversIn) ([]opOut, error) {
	return r.order(ctx, run, commandApply, in)
}

func (r *service) planApply(ctx context.Context, in serversIn) (action.Plan, error) {
	ops, err := r.order(ctx, &action.Run{}, commandPlan, in)
	if err != nil {
		return action.Plan{}, err
	}
	p := action.Plan{Summary: fmt.Sprintf("do %d operations on name servers", len(ops))}
	for _, o := range ops[:min(len(ops), 30)] {
		p.Steps = append(p.Steps, action.Step{Host: o.Server, What: o.Op + " " + o.Zone + ": " + o.Why})
	}
	if more := len(ops) - 30; more > 0 {
		p.Steps = append(p.Steps, action.Step{What: fmt.Sprintf("and %d more", more)})
	}
	return p, nil
}

// contents finds what is kept of a zone on any host.
func (r *service) contents(ctx context.Context, run *action.Run, in zoneIn) (kept, error) {
	n, err := keeper.ParseZone(in.Zone)
	if err != nil {
		return kept{}, err
	}
	v, err := r.view(ctx, exchange.Query{})
	if err != nil {
		return kept{}, err
	}
	var best kept
	asked := map[string]bool{}
	for i := range v.Servers {
		host := v.Servers[i].Host
		if asked[host] {
			continue
		}
		asked[host] = true
		k, err := plane.CallOne[kept](ctx, r.node.Plane, host, plane.CallSpec{Command: commandContents, In: n, Actor: run.Actor}, nil)
		if err != nil && !fault.Is(err, fault.KindNotFound) {
			run.Note(host + ": " + err.Error())
		}
		if err == nil && k.Since.After(best.Since) {
			best = k
		}
	}
	if best.Text == "" {
		return best, fault.NotFound("no host has kept contents of zone " + in.Zone).Try("see what is kept: kaname zone list --state quarantined")
	}
	return best, nil
}
