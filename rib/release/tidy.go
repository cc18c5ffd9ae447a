package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/fleet"
	"kaname.dev/kaname/rib/release/site"
)

// verifyIn says what to compare.
type verifyIn struct {
	App     string   `name:"app" arg:"" required:"" help:"app" ja:"アプリ名" complete:"apps"`
	Version string   `name:"version" help:"release; by default the one that is live on each host" ja:"リリース" complete:"releases"`
	To      []string `name:"to" help:"hosts; by default those of the app" ja:"対象ホスト" complete:"labels"`
}

// verifyOut is how a host's tree compares.
type verifyOut struct {
	Host    string   `json:"host"`
	Version string   `json:"version"`
	Files   int      `json:"files"`
	Drifts  int      `json:"drifts"` // differences
	First   []string `json:"first,omitempty"`
	Error   string   `json:"error,omitempty"`
}

// verify is the action: compare trees with their manifests, on the hosts.
func (r *service) verify(ctx context.Context, run *action.Run, in verifyIn) ([]verifyOut, error) {
	if err := r.ready(ctx); err != nil {
		return nil, err
	}
	app, err := r.apps().Get(ctx, in.App)
	if err != nil {
		return nil, err
	}
	if len(in.To) == 0 {
		in.To = app.Value.To
	}
	f, err := r.fleetOf(ctx, in.To)
	if err != nil {
		return nil, err
	}
	s := &app.Value.Settings
	spec := plane.CallSpec{Command: site.CommandVerify, Hosts: fleet.Names(f.There), Timeout: silence, Actor: actorOf(run), In: site.VerifyIn{App: in.App, Root: s.Root, Version: in.Version, Shared: s.Shared, Owners: s.Owners}}
	var out []verifyOut
	bad := 0
	for fr := range r.node.Plane.Call(ctx, spec) {
		if !fr.Last() {
			continue
		}
		a := answer[site.Verified](fr.Result, fr.Fault)
		v := verifyOut{Host: fr.Host, Version: a.out.Version, Files: a.out.Files, Drifts: a.out.Drifts, First: a.out.First}
		if a.err != nil {
			v.Error = a.err.Error()
		}
		if a.err != nil || v.Drifts > 0 {
			bad++
			run.Say(action.Event{Host: fr.Host, Step: "verify", State: action.StateFailed, Text: strings.Join(append(v.First, v.Error), "; ")})
		} else {
			run.Say(action.Event{Host: fr.Host, Step: "verify", State: action.StateDone, Text: fmt.Sprintf("%s: %s as in the manifest", v.Version, count(v.Files, "file"))})
		}
		out = append(out, v)
	}
	if bad > 0 {
		return out, fault.Corrupt(fmt.Sprintf("%s: %d of %s are not as released", in.App, bad, count(len(out), "host"))).
			Try("see what differs above; deploy a new version, or remove the release there and deploy it again")
	}
	return out, nil
}

// pruneIn says how much to keep.
type pruneIn struct {
	App  string `name:"app" arg:"" required:"" help:"app" ja:"アプリ名" complete:"apps"`
	Keep int    `name:"keep" required:"" help:"releases to keep, the live one among them" ja:"残すリリース数"`
}

// pruneOut is what was, or would be, removed on a host.
type pruneOut struct {
	Host     string       `json:"host"`
	Versions []string     `json:"versions"`
	Bytes    action.Bytes `json:"bytes"`
	Error    string       `json:"error,omitempty"`
}

// planPrune says what would go.
func (r *service) planPrune(ctx context.Context, in pruneIn) (action.Plan, error) {
	out, err := r.pruneAll(ctx, nil, in, true)
	p := action.Plan{Summary: fmt.Sprintf("remove all but the newest %d releases of %s", in.Keep, in.App)}
	for _, o := range out {
		switch {
		case o.Error != "":
			p.Warnings = append(p.Warnings, "host "+o.Host+": "+o.Error)
		case len(o.Versions) > 0:
			p.Steps = append(p.Steps, action.Step{Host: o.Host, What: "remove " + strings.Join(o.Versions, ", ")})
		}
	}
	return p, err
}

// prune is the action.
func (r *service) prune(ctx context.Context, run *action.Run, in pruneIn) ([]pruneOut, error) {
	if err := r.ready(ctx); err != nil {
		return nil, err
	}
	lease, err := r.take(ctx, in.App, "prune of "+in.App+" by "+actorName(run))
	if err != nil {
		return nil, err
	}
	out, err := r.pruneAll(ctx, run, in, false)
	return out, releaseAfterAny(ctx, lease, err)
}

func (r *service) pruneAll(ctx context.Context, run *action.Run, in pruneIn, dry bool) ([]pruneOut, error) {
	if err := r.ready(ctx); err != nil {
		return nil, err
	}
	if in.Keep < 1 {
		return nil, fault.Invalid("keep: at least one release is kept")
	}
	app, err := r.apps().Get(ctx, in.App)
	if err != nil {
		return nil, err
	}
	f, err := r.fleetOf(ctx, app.Value.To)
	if err != nil {
		return nil, err
	}
	var except []string
	if w := app.Value.Wanted; w != nil {
		except = append(except, w.Version)
	}
	spec := plane.CallSpec{
		Command: site.CommandPrune, Hosts: fleet.Names(f.There), Timeout: silence, Actor: actorOf(run),
		In: site.PruneIn{App: in.App, Root: app.Value.Settings.Root, Keep: in.Keep, Except: except, Dry: dry},
	}
	var out []pruneOut
	for fr := range r.node.Plane.Call(ctx, spec) {
		if !fr.Last() {
			continue
		}
		a := answer[site.Pruned](fr.Result, fr.Fault)
		o := pruneOut{Host: fr.Host, Versions: a.out.Versions, Bytes: action.Bytes(a.out.Bytes)}
		if a.err != nil {
			o.Error = a.err.Error()
		}
		out = append(out, o)
	}
	gone, err := r.pruneStore(ctx, in.App, in.Keep, dry)
	o := pruneOut{Host: r.node.Host + " (store)"}
	for _, g := range gone {
		o.Versions = append(o.Versions, g.Version)
		for _, p := range g.Packs {
			o.Bytes += action.Bytes(p.Size)
		}
	}
	return append(out, o), err
}

// releaseAfterAny gives a lease back, whatever came of it.
func releaseAfterAny(ctx context.Context, lease *plane.Lease, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, lease.Release(ctx))
}

// planRemove says what a deletion would do.
func (r *service) planRemove(ctx context.Context, in which) (action.Plan, error) {
	doc, err := r.removable(ctx, in)
	if err != nil {
		return action.Plan{}, err
	}
	return action.Plan{
		Summary: "delete release " + in.App + " " + in.Version + " everywhere", Ground: doc.Manifest.Short(),
		Steps: []action.Step{{What: "remove its tree and packs on every host that is there, and " + bytesText(doc.Wire) + " from the store"}},
	}, nil
}

// removable refuses to delete what is wanted.
func (r *service) removable(ctx context.Context, in which) (releaseDoc, error) {
	if err := r.ready(ctx); err != nil {
		return releaseDoc{}, err
	}
	doc, err := r.releases().Get(ctx, releaseKey(in.App, in.Version))
	if err != nil {
		return releaseDoc{}, err
	}
	app, err := r.apps().Get(ctx, in.App)
	if err != nil && !fault.Is(err, fault.KindNotFound) {
		return releaseDoc{}, err
	}
	if w := app.Value.Wanted; w != nil && w.Version == in.Version {
		return releaseDoc{}, fault.Conflict("release " + in.App + " " + in.Version + " is the one that should be live").Try("deploy another first, or go back: kaname release rollback " + in.App)
	}
	return doc.Value, nil
}

// remove is the action "release delete".
func (r *service) remove(ctx context.Context, run *action.Run, in which) ([]pruneOut, error) {
	doc, err := r.removable(ctx, in)
	if err != nil {
		return nil, err
	}
	lease, err := r.take(ctx, in.App, "deletion of "+in.App+" "+in.Version+" by "+actorName(run))
	if err != nil {
		return nil, err
	}
	out, err := r.removeAll(ctx, run, in, doc)
	return out, releaseAfterAny(ctx, lease, err)
}

func (r *service) removeAll(ctx context.Context, run *action.Run, in which, doc releaseDoc) ([]pruneOut, error) {
	app, err := r.apps().Get(ctx, in.App)
	if err != nil && !fault.Is(err, fault.KindNotFound) {
		return nil, err
	}
	f, err := r.fleetOf(ctx, []string{"all"})
	if err != nil {
		return nil, err
	}
	spec := plane.CallSpec{
		Command: site.CommandRemove, Hosts: fleet.Names(f.There), Timeout: silence, Actor: actorOf(run),
		In: site.RemoveIn{App: in.App, Root: app.Value.Settings.Root, Version: in.Version},
	}
	var out []pruneOut
	failed := 0
	for fr := range r.node.Plane.Call(ctx, spec) {
		if !fr.Last() {
			continue
		}
		a := answer[site.Pruned](fr.Result, fr.Fault)
		o := pruneOut{Host: fr.Host, Versions: a.out.Versions, Bytes: action.Bytes(a.out.Bytes)}
		if a.err != nil {
			o.Error = a.err.Error()
			failed++
		}
		if a.err != nil || len(o.Versions) > 0 {
			out = append(out, o)
		}
	}
	if failed > 0 {
		return out, fault.Partial(fmt.Sprintf("release %s: not deleted on %s", doc.String(), count(failed, "host"))).Try("see why above, and delete it again")
	}
	if err := r.store.Remove(doc.Manifest); err != nil && !fault.Is(err, fault.KindNotFound) {
		return out, err
	}
	rec, err := r.releases().Get(ctx, releaseKey(in.App, in.Version))
	if err != nil {
		return out, err
	}
	_, err = r.apps().Update(ctx, in.App, func(a *appDoc) error {
		a.App = in.App
		for i, v := range slices.Backward(a.Earlier) {
			if v.Version == in.Version {
				a.Earlier = append(a.Earlier[:i], a.Earlier[i+1:]...)
			}
		}
		return nil
	})
	return out, errors.Join(err, r.releases().Delete(ctx, rec))
}
