package zone

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/zone/graduate/flow"
)

const cutoverLong = `kaname does not move clients: a person moves an address, or changes records, and says so here. The plan (--dry-run) lists what is to be switched.

It is refused until the comparisons were without a difference as often and as long as "zone graduate" was told, the last one is fresh, and no blocker is open; --force with --why overrides that and is recorded. --rollback says that clients ask the old server again, and comparisons start anew. --release gives the old server up; there is no way back. --abandon ends a move before the switch.`

// cutoverIn says what has happened.
type cutoverIn struct {
	Name     string `name:"name" arg:"" required:"" help:"name of the graduation" ja:"移行の名前"`
	Rollback bool   `name:"rollback" help:"clients ask the old server again" ja:"移行元へ戻した"`
	Release  bool   `name:"release" help:"the old server is given up" ja:"移行元を廃止する"`
	Accept   bool   `name:"accept" help:"the blockers of the import are dealt with" ja:"ブロッカーに対処した"`
	Abandon  bool   `name:"abandon" help:"the move is given up" ja:"移行を中止する"`
	Force    bool   `name:"force" help:"though the comparisons are not enough" ja:"比較が不十分でも切り替える"`
	Why      string `name:"why" help:"what others should know; needed for --force, --accept and --abandon" ja:"理由"`
}

// cutoverOut is where the move is now.
type cutoverOut struct {
	Name  string   `json:"name"`
	State string   `json:"state"`
	Next  []string `json:"next"`
}

// step is one thing that cutover does.
type step struct {
	what  string // for the plan
	why   bool   // it must be given
	do    func(g flow.Graduation, at time.Time, actor, why string) (flow.Graduation, error)
	steps func(g flow.Graduation) []string
}

// step reads which one is meant.
func (in *cutoverIn) step() (step, error) {
	cutover := step{
		"record that clients ask the new server", in.Force,
		func(g flow.Graduation, at time.Time, actor, why string) (flow.Graduation, error) {
			return g.Switched(at, actor, in.Force, why)
		},
		flow.Graduation.Switch,
	}
	var chosen []step
	for _, c := range []struct {
		on bool
		s  step
	}{
		{in.Rollback, step{"record that clients ask the old server again", false, flow.Graduation.RolledBack, func(g flow.Graduation) []string {
			return []string{"undo the switch, so that clients ask " + g.Old}
		}}},
		{in.Release, step{"give the old server up; there is no way back", false, func(g flow.Graduation, at time.Time, actor, _ string) (flow.Graduation, error) {
			return g.Released(at, actor)
		}, nil}},
		{in.Accept, step{"record that the blockers are dealt with", true, flow.Graduation.Accepted, nil}},
		{in.Abandon, step{"give the move up", true, flow.Graduation.Abandoned, nil}},
	} {
		if c.on {
			chosen = append(chosen, c.s)
		}
	}
	switch {
	case len(chosen) > 1:
		return step{}, fault.Invalid("--rollback, --release, --accept and --abandon exclude each other").Try("give one of them")
	case len(chosen) == 1 && in.Force:
		return step{}, fault.Invalid("--force is for the cutover itself").Try("leave it out")
	case len(chosen) == 1:
		cutover = chosen[0]
	}
	if cutover.why && strings.TrimSpace(in.Why) == "" {
		return step{}, fault.Invalid("no reason is given").Try("say why, for those who look later: --why TEXT")
	}
	return cutover, nil
}

func (r *service) planCutover(ctx context.Context, in cutoverIn) (action.Plan, error) {
	s, err := in.step()
	if err != nil {
		return action.Plan{}, err
	}
	g, err := r.graduationNamed(ctx, in.Name)
	if err != nil {
		return action.Plan{}, err
	}
	p := action.Plan{
		Summary: "graduation " + g.ID + ": " + s.what,
		Ground:  fmt.Sprintf("%s %d %d", g.State, g.Since.Unix(), len(g.Steps)),
	}
	if s.steps != nil {
		for _, what := range s.steps(g.Graduation) {
			p.Steps = append(p.Steps, action.Step{What: what})
		}
	}
	p.Steps = append(p.Steps, action.Step{Host: r.node.Host, What: s.what})
	if in.Accept {
		for _, f := range g.Open {
			p.Warnings = append(p.Warnings, fmt.Sprintf("%s: %s; %s", f.Where, f.What, f.Remedy))
		}
	}
	if _, err := s.do(g.Graduation, time.Now().UTC(), "", in.Why); err != nil {
		p.Warnings = append(p.Warnings, "this would be refused now: "+err.Error())
	}
	if n := len(g.Runs); n > 0 && len(g.Runs[n-1].Without) > 0 && s.steps != nil && !in.Rollback {
		p.Warnings = append(p.Warnings, "the last comparison left out: "+strings.Join(g.Runs[n-1].Without, ", "))
	}
	return p, nil
}

func (r *service) cutover(ctx context.Context, run *action.Run, in cutoverIn) (cutoverOut, error) {
	s, err := in.step()
	if err != nil {
		return cutoverOut{}, err
	}
	if _, err := r.graduationNamed(ctx, in.Name); err != nil {
		return cutoverOut{}, err
	}
	doc, err := r.graduations().Update(ctx, in.Name, func(g *graduation) error {
		next, err := s.do(g.Graduation, time.Now().UTC().Truncate(time.Second), run.Actor.Name, in.Why)
		switch {
		case errors.Is(err, flow.ErrGate):
			return fault.Conflict("it is too early to send clients to the new server").Because(err).Try(remedyOf(g))
		case err != nil:
			return turn(g.ID, err)
		}
		g.Graduation = next
		return nil
	})
	if err != nil {
		return cutoverOut{}, err
	}
	g := &doc.Value
	return cutoverOut{g.ID, string(g.State), g.Plan()}, nil
}

// remedyOf says what brings a move nearer to its cutover.
func remedyOf(g *graduation) string {
	plan := g.Plan()
	i := slices.IndexFunc(plan, func(s string) bool { return strings.Contains(s, "kaname zone ") })
	return plan[max(i, 0)] + "; or, at your own risk: --force --why TEXT"
}
