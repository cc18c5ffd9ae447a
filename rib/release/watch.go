package release

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
)

// watchIn names the app to follow.
type watchIn struct {
	App  string `name:"app" arg:"" required:"" help:"app to follow" ja:"アプリ名" complete:"apps"`
	Once bool   `name:"once" help:"end when no deploy is under way" ja:"デプロイがなければ終了"`
}

// watch is the action: it tells what happens to an app. While a deploy runs on this
// core that is everything, with progress; otherwise what is put on record. It ends with
// the deploy that it found under way.
func (r *service) watch(ctx context.Context, run *action.Run, in watchIn) (deployOut, error) {
	if err := r.ready(ctx); err != nil {
		return deployOut{}, err
	}
	if d := r.running(in.App); d != nil {
		return r.follow(ctx, run, d, r.wireOf(ctx, &deployDoc{App: d.doc.App, Version: d.doc.Version, Manifest: d.doc.Manifest}))
	}
	app, err := r.apps().Get(ctx, in.App)
	if err != nil {
		return deployOut{}, err
	}
	if app.Value.Deploy == "" && in.Once {
		run.Note("no deploy of " + in.App + " is under way")
		return r.last(ctx, in.App)
	}
	if app.Value.Deploy == "" {
		run.Note("no deploy of " + in.App + " is under way; waiting for one")
	}
	for e, err := range r.node.Plane.Follow(ctx, "release.deploy", 0) {
		if err != nil {
			return deployOut{}, err
		}
		var p progressEvent
		if json.Unmarshal(e.Data, &p) != nil || p.App != in.App {
			continue
		}
		run.Say(p.Event)
		if p.Event.Step == "deploy" && p.Event.State != action.StateRunning {
			return r.last(ctx, in.App)
		}
	}
	return deployOut{}, fault.Of(context.Cause(ctx))
}

// last returns what the last deploy of an app came to.
func (r *service) last(ctx context.Context, app string) (deployOut, error) {
	doc, err := r.findDeploy(ctx, showIn{App: app})
	if err != nil {
		return deployOut{}, err
	}
	out := doc.summary(r.wireOf(ctx, &doc))
	return out, verdictOf(&out)
}

// verdictOf is verdict for a deploy that is read from the record.
func verdictOf(o *deployOut) error {
	if o.State == deployRunning {
		return nil
	}
	return verdict(o, nil)
}

// findDeploy finds a deploy by its id or the end of it; the last one when none is given.
func (r *service) findDeploy(ctx context.Context, in showIn) (deployDoc, error) {
	docs, err := r.deploys().List(ctx, in.App+"/")
	if err != nil {
		return deployDoc{}, err
	}
	for _, d := range slices.Backward(docs) {
		if strings.HasSuffix(d.Value.ID, strings.ToUpper(in.Deploy)) {
			return d.Value, nil
		}
	}
	if in.Deploy != "" {
		return deployDoc{}, fault.NotFound("app " + in.App + " has no deploy " + in.Deploy).Try("see them: kaname release history " + in.App)
	}
	return deployDoc{}, fault.NotFound("app " + in.App + " was never deployed").Try("deploy it: kaname release deploy " + in.App + " VERSION --to role=web")
}

// abortIn names the app whose deploy is to stop.
type abortIn struct {
	App string `name:"app" arg:"" required:"" help:"app whose deploy is to stop" ja:"アプリ名" complete:"apps"`
	Why string `name:"why" help:"reason, for the record" ja:"理由"`
}

// planAbort says what would stop.
func (r *service) planAbort(ctx context.Context, in abortIn) (action.Plan, error) {
	app, err := r.apps().Get(ctx, in.App)
	if err != nil {
		return action.Plan{}, err
	}
	if app.Value.Deploy == "" {
		return action.Plan{}, fault.NotFound("no deploy of " + in.App + " is under way").Try("see its deploys: kaname release history " + in.App)
	}
	doc, err := r.deploys().Get(ctx, app.Value.Deploy)
	if err != nil {
		return action.Plan{}, err
	}
	return action.Plan{
		Summary: "stop the deploy of " + in.App + " " + doc.Value.Version + " by " + doc.Value.By,
		Steps:   []action.Step{{What: "take back what it has made live, as after a failure"}},
		Ground:  doc.Value.ID,
	}, nil
}

// stop is the action "release abort": it puts the wish on record; whichever core does
// the deploy takes back what is live, and this tells the end of it.
func (r *service) stop(ctx context.Context, run *action.Run, in abortIn) (deployOut, error) {
	if err := r.ready(ctx); err != nil {
		return deployOut{}, err
	}
	app, err := r.apps().Get(ctx, in.App)
	if err != nil {
		return deployOut{}, err
	}
	if app.Value.Deploy == "" {
		return deployOut{}, fault.NotFound("no deploy of " + in.App + " is under way").Try("see its deploys: kaname release history " + in.App)
	}
	key := app.Value.Deploy
	_, err = r.deploys().Update(ctx, key, func(d *deployDoc) error {
		if d.ID == "" {
			return fault.NotFound("deploy " + key + " is not on record")
		}
		d.Abort = &abort{By: actorName(run), Why: in.Why}
		return nil
	})
	if err != nil {
		return deployOut{}, err
	}
	run.Note("the deploy is told to stop")
	r.nudge() // its core may be gone
	for c, err := range r.deploys().Watch(ctx, key) {
		if err == nil && !c.Ready && c.Value.State != deployRunning {
			return c.Value.summary(r.wireOf(ctx, &c.Value)), nil
		}
	}
	return deployOut{}, fault.Of(context.Cause(ctx)).Try("see how it ends: kaname release watch " + in.App)
}
