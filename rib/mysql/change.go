package mysql

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/controller"
	"kaname.dev/kaname/rib/mysql/exchange"
	"kaname.dev/kaname/rib/mysql/topology"
	"kaname.dev/kaname/rib/office"
)

// said is what becomes of a word.
type said struct {
	Topology string `json:"topology"`
	Result   string `json:"result"`
}

// say tells the controller what a person wants, and waits until it is done.
func (r *service) say(ctx context.Context, run *action.Run, w controller.Word, result string) (said, error) {
	out := said{Topology: w.Topology, Result: result}
	w.By = run.Actor.Name
	key, err := controller.Say(ctx, r.node.Plane, w)
	if err != nil {
		return out, err
	}
	told, unknown := 0, time.Time{}
	for {
		v, err := office.Do[controller.View](ctx, r.patient, exchange.PathView, controller.Query{Word: key})
		switch {
		case err != nil && !fault.Is(err, fault.KindUnavailable):
			return out, err
		case err != nil || v.Word == nil: // the controller has not heard of it yet, or changed meanwhile
			if unknown.IsZero() {
				unknown = time.Now()
			}
			if time.Since(unknown) > 30*time.Second {
				return out, fault.Timeout("no controller tells what became of it").Try("see: kaname mysql status " + w.Topology + "; kaname mysql history " + w.Topology)
			}
		default:
			unknown = time.Time{}
			for ; told < len(v.Word.Said); told++ {
				run.Note(v.Word.Said[told])
			}
			if v.Word.Done {
				if v.Word.Fault != nil {
					return out, v.Word.Fault
				}
				return out, nil
			}
		}
		pause(ctx, 100*time.Millisecond)
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
	}
}

type topologyIn struct {
	Topology string `name:"topology" arg:"" required:"" help:"name of the topology" ja:"トポロジー名" complete:"topologies"`
}

type adoptIn struct {
	topologyIn
	Primary  string   `name:"primary" required:"" help:"server that takes the writes now" ja:"現在のプライマリ" complete:"databases"`
	Replicas []string `name:"replicas" help:"servers that replicate from it" ja:"レプリカ" complete:"databases"`
	Prefer   []string `name:"prefer" help:"of these, those that become primary before the others" ja:"優先的にプライマリにするサーバー" complete:"databases"`
	Never    []string `name:"never" help:"of these, those that never become primary" ja:"プライマリにしないサーバー" complete:"databases"`
	Observer []string `name:"observers" help:"further servers that neither acknowledge nor become primary: delayed ones, those of another data centre" ja:"観測のみのサーバー" complete:"databases"`
	Anyway   bool     `name:"anyway" help:"also when something stands against it" ja:"問題があっても実行する"`
	policyIn
}

// word is what the controller is told.
func (in *adoptIn) word() (controller.Word, error) {
	p, err := in.apply(topology.DefaultPolicy())
	if err != nil {
		return controller.Word{}, err
	}
	if !wellNamed.MatchString(in.Topology) {
		return controller.Word{}, fault.Invalid(fmt.Sprintf("topology %q: not 1 to 63 letters, digits, '.', '_' and '-'", in.Topology))
	}
	w := controller.Word{Topology: in.Topology, Verb: controller.Adopt, Policy: &p, Force: in.Anyway}
	roles := map[string]topology.Role{}
	for role, list := range map[topology.Role][]string{topology.Preferred: in.Prefer, topology.Never: in.Never, topology.Observer: in.Observer} {
		for _, name := range list {
			if roles[name] != "" {
				return w, fault.Invalid("server " + name + " has two roles").Try("name it once among --prefer, --never, --observers")
			}
			roles[name] = role
		}
	}
	seen := map[string]bool{}
	for _, name := range append(append([]string{in.Primary}, in.Replicas...), in.Observer...) {
		if seen[name] {
			return w, fault.Invalid("server " + name + " is named twice")
		}
		seen[name] = true
		m := topology.Member{Name: name, Role: topology.Candidate}
		if role := roles[name]; role != "" {
			m.Role = role
		}
		w.Members = append(w.Members, m)
	}
	for name := range roles {
		if !seen[name] {
			return w, fault.Invalid("server " + name + " has a role, but is not among --primary and --replicas")
		}
	}
	return w, nil
}

func (r *service) adopt(ctx context.Context, run *action.Run, in adoptIn) (said, error) {
	w, err := in.word()
	if err == nil {
		err = r.checkEndpoints(w.Topology, w.Policy)
	}
	if err != nil {
		return said{}, err
	}
	return r.say(ctx, run, w, "adopted; see: kaname mysql topology "+in.Topology)
}

func (r *service) planAdopt(ctx context.Context, in adoptIn) (action.Plan, error) {
	w, err := in.word()
	if err == nil {
		err = r.checkEndpoints(w.Topology, w.Policy)
	}
	if err != nil {
		return action.Plan{}, err
	}
	s, err := controller.Survey(ctx, r.node.Plane, w.Topology, w.Members, *w.Policy)
	if err != nil {
		return action.Plan{}, err
	}
	if len(s.Errors) > 0 && !in.Anyway {
		f := fault.Invalid("these servers cannot be adopted as " + in.Topology)
		for _, e := range s.Errors {
			f.What += "; " + e
		}
		return action.Plan{}, f.Try("mend that, and look again with --dry-run")
	}
	plan := action.Plan{Summary: fmt.Sprintf("Take charge of %s: %s with %d other servers, %s", in.Topology, in.Primary, len(w.Members)-1, w.Policy.Durability), Warnings: append(s.Errors, s.Warnings...)}
	for _, m := range s.Record.Members {
		what := "replica, " + string(m.Role)
		if m.Name == in.Primary {
			what = "primary: schema kaname is made, semi-synchronous replication is set to wait for " + strconv.Itoa(w.Policy.Acks)
			if w.Policy.Durability == topology.Async {
				what = "primary: schema kaname is made"
			}
		} else if w.Policy.Durability == topology.Lossless && m.Acker() {
			what += ": is set to acknowledge"
		}
		plan.Steps = append(plan.Steps, action.Step{Host: m.Host, What: m.Name + ": " + what})
	}
	return plan, nil
}

type memberIn struct {
	topologyIn
	Server string `name:"server-name" arg:"" required:"" help:"name of the server" ja:"サーバー名" complete:"databases"`
}

type addIn struct {
	memberIn
	Role   string `name:"role" default:"candidate" enum:"candidate,preferred,never,observer" help:"whether it may become primary" ja:"役割"`
	Source string `name:"below" help:"replica from which it replicates; empty means the primary" ja:"レプリケーション元" complete:"databases"`
}

func (r *service) add(ctx context.Context, run *action.Run, in addIn) (said, error) {
	m := topology.Member{Name: in.Server, Role: topology.Role(in.Role), Source: in.Source}
	return r.say(ctx, run, controller.Word{Topology: in.Topology, Verb: controller.Add, Members: []topology.Member{m}}, in.Server+" added")
}

func (r *service) remove(ctx context.Context, run *action.Run, in memberIn) (said, error) {
	return r.say(ctx, run, controller.Word{Topology: in.Topology, Verb: controller.Remove, Member: in.Server}, in.Server+" removed")
}

type roleIn struct {
	memberIn
	Role string `name:"role" arg:"" required:"" enum:"candidate,preferred,never,observer" help:"candidate, preferred: may become primary; never: acknowledges only; observer: neither" ja:"役割"`
}

func (r *service) role(ctx context.Context, run *action.Run, in roleIn) (said, error) {
	return r.say(ctx, run, controller.Word{Topology: in.Topology, Verb: controller.Role, Member: in.Server, Role: topology.Role(in.Role)}, in.Server+" is "+in.Role)
}

type changePolicyIn struct {
	topologyIn
	policyIn
}

func (r *service) policy(ctx context.Context, run *action.Run, in changePolicyIn) (topology.Policy, error) {
	t, err := r.one(ctx, in.Topology, false)
	if err != nil {
		return topology.Policy{}, err
	}
	p, err := in.apply(t.Record.Policy)
	if err == nil {
		err = r.checkEndpoints(in.Topology, &p)
	}
	if err != nil {
		return p, err
	}
	_, err = r.say(ctx, run, controller.Word{Topology: in.Topology, Verb: controller.Policy, Policy: &p}, "")
	return p, err
}

type pauseIn struct {
	topologyIn
	For time.Duration `name:"for" default:"1h" help:"how long" ja:"停止する時間"`
	Why string        `name:"why" help:"why, for those who look" ja:"理由"`
}

func (r *service) pause(ctx context.Context, run *action.Run, in pauseIn) (said, error) {
	return r.say(ctx, run, controller.Word{Topology: in.Topology, Verb: controller.Pause, For: in.For, Why: in.Why}, "paused for "+in.For.String())
}

func (r *service) resume(ctx context.Context, run *action.Run, in topologyIn) (said, error) {
	return r.say(ctx, run, controller.Word{Topology: in.Topology, Verb: controller.Resume}, "kaname acts again")
}

func (r *service) acknowledge(ctx context.Context, run *action.Run, in topologyIn) (said, error) {
	return r.say(ctx, run, controller.Word{Topology: in.Topology, Verb: controller.Acknowledge}, "acknowledged")
}

func (r *service) forget(ctx context.Context, run *action.Run, in topologyIn) (said, error) {
	return r.say(ctx, run, controller.Word{Topology: in.Topology, Verb: controller.Forget}, "forgotten; its servers stay as they are")
}

func (r *service) reclone(ctx context.Context, run *action.Run, in memberIn) (said, error) {
	return r.say(ctx, run, controller.Word{Topology: in.Topology, Verb: controller.Reclone, Member: in.Server}, in.Server+" has a fresh copy")
}
