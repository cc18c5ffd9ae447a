package mysql

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/controller"
	"kaname.dev/kaname/rib/mysql/gtid"
	"kaname.dev/kaname/rib/mysql/move"
	"kaname.dev/kaname/rib/mysql/order"
	"kaname.dev/kaname/rib/mysql/topology"
)

type failoverIn struct {
	topologyIn
	Force bool   `name:"force" help:"open the best candidate even when it may lack acknowledged writes" ja:"完全性を証明できなくても昇格させる"`
	Why   string `name:"why" help:"why, for those who read it later" ja:"理由"`
}

func (r *service) failover(ctx context.Context, run *action.Run, in failoverIn) (said, error) {
	return r.moveBy(ctx, run, controller.Word{Topology: in.Topology, Verb: controller.Failover, Force: in.Force, Why: in.Why})
}

func (r *service) drill(ctx context.Context, run *action.Run, in failoverIn) (said, error) {
	return r.moveBy(ctx, run, controller.Word{Topology: in.Topology, Verb: controller.Drill, Force: in.Force, Why: in.Why})
}

type switchoverIn struct {
	topologyIn
	To  string `name:"to" help:"server that becomes primary; empty means the best" ja:"新しいプライマリ" complete:"databases"`
	Why string `name:"why" help:"why, for those who read it later" ja:"理由"`
}

func (r *service) switchover(ctx context.Context, run *action.Run, in switchoverIn) (said, error) {
	return r.moveBy(ctx, run, controller.Word{Topology: in.Topology, Verb: controller.Switchover, Member: in.To, Why: in.Why})
}

// moveBy has the controller move a primary, and tells how it ended.
func (r *service) moveBy(ctx context.Context, run *action.Run, w controller.Word) (said, error) {
	out, err := r.say(ctx, run, w, "")
	if err != nil {
		return out, err
	}
	t, err := r.one(ctx, w.Topology, false)
	if err != nil || t.Record.Last == nil {
		return out, err
	}
	out.Result = outcome(t.Record.Last)
	return out, nil
}

func (r *service) planFailover(ctx context.Context, in failoverIn) (action.Plan, error) {
	return r.planMove(ctx, in.Topology, "", in.Force)
}

func (r *service) planSwitchover(ctx context.Context, in switchoverIn) (action.Plan, error) {
	return r.planMove(ctx, in.Topology, in.To, false)
}

// planMove says who would become primary if it moved now, by what the servers have now: a
// switchover when to is given.
func (r *service) planMove(ctx context.Context, name, to string, force bool) (action.Plan, error) {
	t, err := r.one(ctx, name, true)
	if err != nil {
		return action.Plan{}, err
	}
	rec := t.Record
	if rec.Primary == "" {
		return action.Plan{}, fault.Conflict("topology " + name + " has no primary now: " + t.Doing).Try("kaname mysql status " + name)
	}
	if to != "" && rec.Member(to) == nil {
		return action.Plan{}, unknownServer(&rec, to)
	}
	from := rec.Primary
	rec.Move, rec.Primary = &topology.Move{Kind: topology.Failover, From: from, Asked: to, Forced: force}, ""
	frozen := map[string]topology.Frozen{}
	for _, m := range rec.Replicas(from) {
		if d, ok := t.Details[m.Name]; ok {
			frozen[m.Name] = asFrozen(rec.Flavour, d)
		}
	}
	var others []string
	if to != "" {
		for _, m := range rec.Members {
			if m.Name != to {
				others = append(others, m.Name)
			}
		}
	}
	c, err := move.Choose(&rec, frozen, factsOf(&t), others...)
	if err != nil && !errors.Is(err, move.ErrNobody) {
		return action.Plan{}, err
	}
	plan := action.Plan{Summary: fmt.Sprintf("Move the primary of %s from %s to %s", name, from, c.To), Ground: fmt.Sprintf("%s epoch %d primary %s to %s", name, rec.Epoch, from, c.To)}
	if c.To == "" {
		plan.Summary = "Nobody can become primary of " + name
		plan.Warnings = c.Reasons
		return plan, nil
	}
	plan.Warnings = c.Missing
	for _, why := range c.Reasons {
		if to != "" && !strings.HasPrefix(why, to+":") {
			continue // the others were not asked for
		}
		plan.Steps = append(plan.Steps, action.Step{What: why})
	}
	for _, m := range rec.Ackers(from) {
		plan.Steps = append(plan.Steps, action.Step{Host: m.Name, What: "stops receiving from " + from})
	}
	plan.Steps = append(plan.Steps, action.Step{Host: from, What: "is closed for writes"})
	for _, f := range c.From {
		plan.Steps = append(plan.Steps, action.Step{Host: c.To, What: "fetches what " + f + " has and it lacks"})
	}
	plan.Steps = append(plan.Steps,
		action.Step{Host: c.To, What: "applies all up to " + c.Need + ", and is opened"},
		action.Step{What: "clients are led to " + c.To + " by " + strings.Join(waysOf(&rec), ", ")})
	for _, m := range rec.Replicas(c.To) {
		plan.Steps = append(plan.Steps, action.Step{Host: m.Name, What: "follows " + c.To})
	}
	return plan, nil
}

func waysOf(rec *topology.Record) []string {
	ways := []string{"routers"}
	for _, e := range rec.Policy.Endpoints {
		ways = append(ways, e.Kind)
	}
	return ways
}

// asFrozen is what a replica would say if it were frozen now.
func asFrozen(flavour string, d order.Details) topology.Frozen {
	f := topology.Frozen{Executed: d.Executed, Received: d.Executed, Version: d.Self.Version}
	executed, err := gtid.Parse(flavour, d.Executed)
	received, err2 := gtid.Parse(flavour, d.Received)
	if err == nil && err2 == nil {
		f.Received = executed.Union(received).String()
	}
	if s := d.Self.Replica; s != nil {
		f.Applies, f.Trouble, f.Behind = s.Applying, s.ApplyErr, max(s.Lag, 0)
	}
	return f
}

// factsOf is what is known of members besides.
func factsOf(t *controller.TopologyView) func(string) move.Fact {
	return func(member string) move.Fact {
		d, ok := t.Details[member]
		if !ok {
			return move.Fact{}
		}
		f := move.Fact{Executed: d.Executed, Version: d.Self.Version, Self: d.Self.Origins(t.Record.Flavour)}
		if d.Self.Replica != nil {
			f.Delay = d.Self.Replica.Delay
		}
		return f
	}
}
