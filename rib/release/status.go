package release

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/activate"
	"kaname.dev/kaname/rib/release/fleet"
	"kaname.dev/kaname/rib/release/site"
)

// appIn names an app, or none for all.
type appIn struct {
	App string `name:"app" arg:"" help:"app; by default all" ja:"アプリ名" complete:"apps"`
}

// statusOut is one app on one host.
type statusOut struct {
	App     string `json:"app"`
	Host    string `json:"host"`
	Wanted  string `json:"wanted,omitempty"`  // release that should be live
	Live    string `json:"live,omitempty"`    // release that is
	Fetched string `json:"fetched,omitempty"` // how much of the release under way is here: "43%"
	Staged  bool   `json:"staged"`            // whether the wanted one, or the one being deployed, is unpacked
	State   string `json:"state"`             // live, behind, staged, fetching, unpacking, off, drained, problem
	Note    string `json:"note,omitempty"`
}

// status is the action: one live query of all hosts, beside what is wanted.
func (r *service) status(ctx context.Context, _ *action.Run, in appIn) ([]statusOut, error) {
	if err := r.ready(ctx); err != nil {
		return nil, err
	}
	docs, err := r.apps().List(ctx, in.App)
	if err != nil {
		return nil, err
	}
	members, err := r.node.Plane.Members(ctx)
	if err != nil {
		return nil, err
	}
	var there []string
	for _, m := range members {
		if m.Alive && m.Commands[site.CommandInventory] > 0 {
			there = append(there, m.Host)
		}
	}
	invs := r.inventories(ctx, there, in.App, 3*time.Second)
	var out []statusOut
	for _, d := range docs {
		if in.App != "" && d.Key != in.App {
			continue
		}
		deploying, to := "", [][]string{d.Value.To}
		if d.Value.Deploy != "" {
			if dep, err := r.deploys().Get(ctx, d.Value.Deploy); err == nil {
				deploying, to = dep.Value.Version, append(to, dep.Value.To)
			}
		}
		for i := range members {
			m := &members[i]
			inv, answered := invs[m.Host]
			v := inv.View(d.Key)
			if !selected(m, to) && len(v.Releases) == 0 {
				continue
			}
			out = append(out, statusOf(&d.Value, m, answered, &inv, v, deploying))
		}
	}
	return out, nil
}

// selected reports whether one of the selections picks the host; one that was never
// given picks none.
func selected(m *plane.Member, to [][]string) bool {
	return slices.ContainsFunc(to, func(terms []string) bool {
		sel, err := fleet.Parse(terms)
		return err == nil && sel.Matches(m)
	})
}

// statusOf says how an app stands on a host.
func statusOf(a *appDoc, m *plane.Member, answered bool, inv *site.Inventory, v activate.View, deploying string) statusOut {
	s := statusOut{App: a.App, Host: m.Host, Live: v.Live, Note: v.Problem}
	if a.Wanted != nil {
		s.Wanted = a.Wanted.Version
	}
	coming := s.Wanted
	if deploying != "" {
		coming = deploying
	}
	s.Staged = slices.ContainsFunc(v.Releases, func(x activate.Release) bool { return x.Version == coming })
	switch {
	case !m.Alive:
		s.State, s.Note = "off", "last heard of "+m.Seen.UTC().Format(time.RFC3339)
	case !answered:
		s.State = "silent"
	case v.Problem != "":
		s.State = "problem"
	case v.Live != "" && v.Live == coming:
		s.State = "live"
	case s.Staged:
		s.State = "staged"
	default:
		s.State = "behind"
	}
	if fleet.Drained(m, time.Now()) {
		s.Note = strings.TrimPrefix(s.Note+", drained", ", ")
	}
	for _, t := range inv.Transfers {
		if t.App != a.App || t.Version != coming || s.Staged {
			continue
		}
		switch {
		case t.Error != "":
			s.State, s.Note = "failed", t.Error
		case t.Step == "fetch":
			s.State = "fetching"
		default:
			s.State = "unpacking"
		}
		if t.Size > 0 {
			s.Fetched = fmt.Sprintf("%d%%", t.Fetched*100/t.Size)
		}
	}
	if s.Staged {
		s.Fetched = "100%"
	}
	return s
}

// list is the action: the releases on record.
func (r *service) list(ctx context.Context, _ *action.Run, in appIn) ([]releaseOut, error) {
	prefix := ""
	if in.App != "" {
		prefix = in.App + "/"
	}
	docs, err := r.releases().List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	apps, err := r.apps().List(ctx, in.App)
	if err != nil {
		return nil, err
	}
	wanted := map[string]*appDoc{}
	for i := range apps {
		wanted[apps[i].Key] = &apps[i].Value
	}
	var out []releaseOut
	for i := range docs {
		a := wanted[docs[i].Value.App]
		if a == nil {
			a = &appDoc{}
		}
		out = append(out, docs[i].Value.out(a))
	}
	slices.SortStableFunc(out, func(a, b releaseOut) int {
		if a.App != b.App {
			return strings.Compare(a.App, b.App)
		}
		return b.Created.Compare(a.Created)
	})
	return out, nil
}

// history is the action: the deploys of an app, the newest first.
func (r *service) history(ctx context.Context, _ *action.Run, in appIn) ([]deployOut, error) {
	prefix := ""
	if in.App != "" {
		prefix = in.App + "/"
	}
	docs, err := r.deploys().List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	var out []deployOut
	for i := range slices.Backward(docs) {
		d := &docs[i].Value
		out = append(out, d.summary(r.wireOf(ctx, d)))
	}
	return out, nil
}

func (r *service) wireOf(ctx context.Context, d *deployDoc) int64 {
	rel, err := r.releases().Get(ctx, releaseKey(d.App, d.Version))
	if err != nil || rel.Value.Manifest != d.Manifest {
		return 0 // not on record any more
	}
	return rel.Value.Wire
}

// showIn names a deploy.
type showIn struct {
	App    string `name:"app" arg:"" required:"" help:"app" ja:"アプリ名" complete:"apps"`
	Deploy string `name:"deploy" arg:"" help:"deploy, or the end of its id; by default the last one" ja:"デプロイ ID"`
}

// hostOut is what a deploy came to on one host.
type hostOut struct {
	Host    string        `json:"host"`
	Wave    int           `json:"wave"` // from 1
	Stage   string        `json:"stage"`
	Failed  string        `json:"failed,omitempty"` // at which order
	Fetched action.Bytes  `json:"fetched"`
	Reused  action.Bytes  `json:"reused"`
	Delta   bool          `json:"delta"`
	Took    time.Duration `json:"took"`
	Why     string        `json:"why,omitempty"`
}

// showOut is a deploy with its hosts.
type showOut struct {
	deployOut
	To      []string  `json:"to"`
	PerHost []hostOut `json:"per_host"`
}

// show is the action: one deploy with what each host said.
func (r *service) show(ctx context.Context, _ *action.Run, in showIn) (showOut, error) {
	doc, err := r.findDeploy(ctx, in)
	if err != nil {
		return showOut{}, err
	}
	out := showOut{deployOut: doc.summary(r.wireOf(ctx, &doc)), To: doc.To}
	for _, h := range doc.Rollout.Hosts {
		res := doc.Hosts[h.Name]
		out.PerHost = append(out.PerHost, hostOut{
			Host: h.Name, Wave: h.Wave + 1, Stage: string(h.Stage), Failed: string(h.Failure), Why: h.Why,
			Fetched: action.Bytes(res.Fetched), Reused: action.Bytes(res.Reused), Delta: res.Delta, Took: res.Stage,
		})
	}
	return out, nil
}
