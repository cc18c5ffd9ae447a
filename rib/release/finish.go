package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/rollout"
	"kaname.dev/kaname/rib/release/site"
	"kaname.dev/kaname/rib/release/store"
)

// deployOut is what a deploy came to.
type deployOut struct {
	App        string        `json:"app"`
	Version    string        `json:"version"`
	From       string        `json:"from,omitempty"`
	Deploy     string        `json:"deploy"`
	State      deployState   `json:"state"`
	Hosts      int           `json:"hosts"` // that were there
	Live       int           `json:"live"`
	Failed     int           `json:"failed"`
	RolledBack int           `json:"rolled_back"`
	Absent     int           `json:"absent"` // off or drained; they catch up
	Lost       int           `json:"lost,omitempty"`
	Reason     string        `json:"reason,omitempty"`
	By         string        `json:"by"`
	Began      time.Time     `json:"began"`
	Took       time.Duration `json:"took"`
	Origin     action.Bytes  `json:"bytes_origin"` // that the core gave
	Fetched    action.Bytes  `json:"bytes_fetched"`
	Reused     action.Bytes  `json:"bytes_reused"`
	Full       action.Bytes  `json:"bytes_full"`            // of the full pack
	Delta      action.Bytes  `json:"bytes_delta,omitempty"` // of the largest delta pack
}

// summary counts what a deploy came to.
func (d *deployDoc) summary(full int64) deployOut {
	s := &d.Rollout
	out := deployOut{
		App: d.App, Version: d.Version, From: d.From, Deploy: d.ID, State: d.State, Failed: s.Failures(),
		RolledBack: s.Count(rollout.RolledBack), Absent: s.Count(rollout.Absent), Lost: s.Count(rollout.Lost),
		Live: s.Count(rollout.Healthy) + s.Count(rollout.Live), Reason: s.Reason, By: d.By, Began: d.Began, Origin: action.Bytes(d.Origin), Full: action.Bytes(full),
	}
	out.Hosts = len(s.Hosts) - out.Absent
	if !d.Ended.IsZero() {
		out.Took = d.Ended.Sub(d.Began)
	}
	for _, h := range d.Hosts {
		out.Fetched += action.Bytes(h.Fetched)
		out.Reused += action.Bytes(h.Reused)
	}
	for _, p := range d.Packs {
		if !p.Base.IsZero() {
			out.Delta = max(out.Delta, action.Bytes(p.Size))
		}
	}
	return out
}

// finish writes down how the deploy ended, and returns what the asker is told.
func (d *deployment) finish(ctx context.Context, why error) error {
	d.mu.Lock()
	doc := &d.doc
	doc.Ended = time.Now().UTC()
	switch {
	case doc.Rollout.Phase != rollout.Done:
		doc.State = deployFailed
	case doc.Rollout.Failures() > 0:
		doc.State = deployPartial
	default:
		doc.State = deployDone
	}
	end := *doc
	end.Hosts = nil
	d.mu.Unlock()
	out := end.summary(0)
	err := d.save(ctx)
	done := end.State != deployFailed
	_, wrong := d.r.apps().Update(ctx, end.App, func(a *appDoc) error {
		if a.Deploy == end.key() {
			a.Deploy = ""
		}
		if done {
			a.To, a.Settings = end.To, end.Settings
			a.want(target{Version: end.Version, Manifest: end.Manifest, Deploy: end.ID, By: end.By, Time: end.Ended}, false)
		}
		return nil
	})
	d.r.meters.deploy(end.State, end.Ended.Sub(end.Began))
	if err = errors.Join(err, wrong); err != nil {
		return fmt.Errorf("write down the end of deploy %s: %w", end.key(), err)
	}
	if done {
		d.prune(ctx)
	}
	d.note("", "deploy", stateOf(end.State), sentence(&out))
	return verdict(&out, why)
}

func stateOf(s deployState) action.State {
	if s == deployFailed {
		return action.StateFailed
	}
	return action.StateDone
}

// sentence says in words what a deploy came to.
func sentence(o *deployOut) string {
	text := fmt.Sprintf("%s %s is live on %d of %s", o.App, o.Version, o.Live, count(o.Hosts, "host"))
	if o.State == deployFailed {
		text = fmt.Sprintf("deploy of %s %s failed: %s", o.App, o.Version, o.Reason)
	}
	parts := []string{text}
	for _, c := range []struct {
		n    int
		what string
	}{{o.RolledBack, "rolled back"}, {o.Absent, "off, to catch up"}, {o.Lost, "lost"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	return strings.Join(parts, ", ")
}

// verdict makes the fault that the asker gets; nil when all is well.
func verdict(o *deployOut, why error) error {
	remedy := "see what each host said: kaname release show " + o.App + " " + o.Deploy
	switch {
	case o.State == deployFailed && why != nil:
		f := fault.Of(why)
		return &fault.Fault{Kind: f.Kind, What: sentence(o), Remedy: f.Remedy}
	case o.State == deployFailed:
		return fault.Internal(sentence(o)).Try(remedy)
	case o.State == deployPartial:
		return fault.Partial(sentence(o) + fmt.Sprintf(", %d failed", o.Failed)).Try(remedy)
	}
	return nil
}

// prune removes old releases after a success, on the hosts and in the store.
func (d *deployment) prune(ctx context.Context) {
	d.mu.Lock()
	var hosts []string
	for _, h := range d.doc.Rollout.Hosts {
		if h.Stage == rollout.Healthy {
			hosts = append(hosts, h.Name)
		}
	}
	in := site.PruneIn{App: d.doc.App, Root: d.doc.Settings.Root, Keep: d.doc.Settings.Keep}
	d.mu.Unlock()
	d.call(ctx, site.CommandPrune, hosts, in, 0, func(host string, _ json.RawMessage, f *fault.Fault) {
		if f != nil {
			d.r.node.Log.Warn("old releases are not removed", "on", host, "app", in.App, "err", f)
		}
	})
	if _, err := d.r.pruneStore(ctx, d.doc.App, d.r.settings().History, false); err != nil {
		d.r.node.Log.Warn("old releases are not removed from the store", "app", d.doc.App, "err", err)
	}
}

// pruneStore removes old releases of an app from this core's store and from the record,
// but for what is wanted, was wanted before, and what a running deploy needs.
func (r *service) pruneStore(ctx context.Context, app string, keep int, dry bool) ([]store.Release, error) {
	a, err := r.apps().Get(ctx, app)
	if err != nil && !fault.Is(err, fault.KindNotFound) {
		return nil, err
	}
	var protect []manifest.Digest
	if t := a.Value.Wanted; t != nil {
		protect = append(protect, t.Manifest)
	}
	if n := len(a.Value.Earlier); n > 0 {
		protect = append(protect, a.Value.Earlier[n-1].Manifest)
	}
	if a.Value.Deploy != "" {
		if dep, err := r.deploys().Get(ctx, a.Value.Deploy); err == nil {
			protect = append(protect, dep.Value.Manifest)
		}
	}
	gone, err := r.store.Prune(ctx, app, store.PruneOptions{Keep: max(keep-len(protect), 0), KeepPrevious: true, Protect: protect, DryRun: dry})
	if dry {
		return gone, err
	}
	for _, g := range gone {
		doc, missing := r.releases().Get(ctx, releaseKey(g.App, g.Version))
		if missing != nil || doc.Value.Manifest != g.ID {
			continue
		}
		if len(doc.Value.Holders) > 1 { // another core still has it
			_, wrong := r.releases().Update(ctx, doc.Key, func(v *releaseDoc) error {
				v.Holders = without(v.Holders, r.node.Host)
				return nil
			})
			err = errors.Join(err, wrong)
			continue
		}
		err = errors.Join(err, r.releases().Delete(ctx, doc))
	}
	return gone, err
}

func without(list []string, s string) (out []string) {
	for _, x := range list {
		if x != s {
			out = append(out, x)
		}
	}
	return out
}
