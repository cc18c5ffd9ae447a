package release

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/oklog/ulid/v2"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/activate"
	"kaname.dev/kaname/rib/release/fleet"
	"kaname.dev/kaname/rib/release/rollout"
	"kaname.dev/kaname/rib/release/site"
)

// rollbackIn says where to go back to.
type rollbackIn struct {
	App string `name:"app" arg:"" required:"" help:"app to roll back" ja:"アプリ名" complete:"apps"`
	To  string `name:"to-version" help:"release to go back to; by default the one before" ja:"戻す先のリリース" complete:"releases"`
}

// rollbackTo finds the target of a rollback.
func (r *service) rollbackTo(ctx context.Context, in rollbackIn) (app plane.Doc[appDoc], to target, err error) {
	if err := r.ready(ctx); err != nil {
		return app, to, err
	}
	if app, err = r.apps().Get(ctx, in.App); err != nil {
		return app, to, err
	}
	a := &app.Value
	switch n := len(a.Earlier); {
	case in.To != "" && a.Wanted != nil && a.Wanted.Version == in.To:
		return app, *a.Wanted, nil // hosts that are elsewhere go there
	case in.To != "":
		for _, t := range slices.Backward(a.Earlier) {
			if t.Version == in.To {
				return app, t, nil
			}
		}
		return app, to, fault.NotFound("release " + in.To + " is not among those that app " + in.App + " had before").Try("deploy it: kaname release deploy " + in.App + " " + in.To)
	case n == 0:
		return app, to, fault.NotFound("app " + in.App + " has no earlier release to go back to").Try("see its deploys: kaname release history " + in.App)
	default:
		return app, a.Earlier[n-1], nil
	}
}

// planRollback says what a rollback would do.
func (r *service) planRollback(ctx context.Context, in rollbackIn) (action.Plan, error) {
	app, to, err := r.rollbackTo(ctx, in)
	if err != nil {
		return action.Plan{}, err
	}
	f, err := r.fleetOf(ctx, app.Value.To)
	if err != nil {
		return action.Plan{}, err
	}
	from := "what is live"
	if w := app.Value.Wanted; w != nil {
		from = w.Version
	}
	p := action.Plan{
		Summary: fmt.Sprintf("take %s back from %s to %s on %s, all at once", in.App, from, to.Version, count(len(f.There), "host")),
		Steps:   []action.Step{{What: "switch current to " + to.Version + " on " + someOf(fleet.Names(f.There), 12)}},
		Ground:  strconv.FormatUint(app.Revision, 10),
	}
	p.Steps = append(p.Steps, describe(&settings{Hooks: app.Value.Settings.Hooks})...)
	lacking := 0
	for _, inv := range r.inventories(ctx, fleet.Names(f.There), in.App, 3*time.Second) {
		v := inv.View(in.App)
		if !slices.ContainsFunc(v.Releases, func(x activate.Release) bool { return x.Version == to.Version }) {
			lacking++
		}
	}
	if lacking > 0 {
		p.Warnings = append(p.Warnings, count(lacking, "host")+" lack it and have to fetch it first")
	}
	if n := len(f.Off); n > 0 {
		p.Warnings = append(p.Warnings, count(n, "host")+" off or drained, to follow on return")
	}
	return p, nil
}

func (r *service) fleetOf(ctx context.Context, terms []string) (fleet.Fleet, error) {
	sel, err := fleet.Parse(terms)
	if err != nil {
		return fleet.Fleet{}, err
	}
	members, err := r.node.Plane.Members(ctx)
	if err != nil {
		return fleet.Fleet{}, err
	}
	return sel.Pick(members, site.CommandStage, time.Now()), nil
}

// rollback is the action: every host at once, nothing travels. The wish is on record
// before the first host is told, so that whoever is missed follows.
func (r *service) rollback(ctx context.Context, run *action.Run, in rollbackIn) (deployOut, error) {
	if _, _, err := r.rollbackTo(ctx, in); err != nil {
		return deployOut{}, err
	}
	lease, err := r.take(ctx, in.App, "rollback of "+in.App+" by "+actorName(run))
	if err != nil {
		return deployOut{}, err
	}
	// From here on the asker's going away does not leave the fleet in the middle.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Minute)
	defer cancel()
	out, err := r.goBack(ctx, run, in, lease)
	if err != nil {
		return out, releaseAfter(ctx, lease, err)
	}
	return out, lease.Release(ctx)
}

func (r *service) goBack(ctx context.Context, run *action.Run, in rollbackIn, lease *plane.Lease) (deployOut, error) {
	app, to, err := r.rollbackTo(ctx, in)
	if err != nil {
		return deployOut{}, err
	}
	f, err := r.fleetOf(ctx, app.Value.To)
	if err != nil {
		return deployOut{}, err
	}
	d := deployDoc{
		ID: ulid.Make().String(), App: in.App, Version: to.Version, Manifest: to.Manifest, By: actorName(run), Door: actorOf(run).Door,
		Core: r.node.Host, To: app.Value.To, Settings: app.Value.Settings, Began: time.Now().UTC(), State: deployDone, Back: true,
		Rollout: rollout.State{Phase: rollout.Done, Waves: 1, Scope: rollout.None},
	}
	if w := app.Value.Wanted; w != nil {
		d.From = w.Version
	}
	to.Time, to.By, to.Deploy = d.Began, d.By, d.ID
	if _, err := r.apps().Update(ctx, in.App, func(a *appDoc) error { a.want(to, true); return nil }); err != nil {
		return deployOut{}, err
	}
	x := activate.Activation{ID: d.ID, Wave: 1, Waves: 1, Shared: d.Settings.Shared, Hooks: d.Settings.Hooks}
	spec := plane.CallSpec{
		Command: site.CommandRollback, Hosts: fleet.Names(f.There), Timeout: silence, Lease: lease, Actor: actorOf(run),
		In: site.RollbackIn{App: in.App, Root: d.Settings.Root, To: to.Version, Activation: x},
	}
	for fr := range r.node.Plane.Call(ctx, spec) {
		if !fr.Last() {
			continue
		}
		d.Rollout.Hosts = append(d.Rollout.Hosts, r.wentBack(run, &d, fr))
	}
	for _, h := range fleet.Names(f.Off) {
		d.Rollout.Hosts = append(d.Rollout.Hosts, rollout.Host{Name: h, Stage: rollout.Absent})
	}
	d.Ended = time.Now().UTC()
	if d.Rollout.Failures() > 0 {
		d.State = deployPartial
	}
	if _, err := r.deploys().Create(ctx, d.key(), d); err != nil {
		return deployOut{}, err
	}
	out := d.summary(0)
	r.say("release.deploy", progressEvent{App: in.App, Version: to.Version, Deploy: d.ID, Event: action.Event{Time: d.Ended, Step: "rollback", State: action.StateDone, Text: sentence(&out)}})
	r.nudge() // those that failed follow
	if out.Failed > 0 {
		return out, fault.Partial(sentence(&out) + fmt.Sprintf(", %d failed", out.Failed)).Try("they follow by themselves where they can; see: kaname release status " + in.App)
	}
	return out, nil
}

// wentBack notes what a host did.
func (r *service) wentBack(run *action.Run, d *deployDoc, f plane.Frame) rollout.Host {
	a := answer[activate.Outcome](f.Result, f.Fault)
	h := rollout.Host{Name: f.Host, Stage: rollout.Healthy, Flipped: true}
	e := action.Event{Host: f.Host, Step: "rollback", State: action.StateDone, Text: d.Version + " is live, switched in " + a.out.Switch.Round(10*time.Microsecond).String()}
	if a.out.Already {
		e.Text = d.Version + " was live"
	}
	for _, w := range a.out.Warnings {
		e.Text += "; " + w
	}
	if a.err != nil {
		h.Stage, h.Failure, h.Why = rollout.Failed, rollout.TakesBack, a.err.Error()
		e.State, e.Text = action.StateFailed, a.err.Error()
	}
	run.Say(e)
	return h
}
