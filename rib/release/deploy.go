package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/activate"
	"kaname.dev/kaname/rib/release/fleet"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/rollout"
	"kaname.dev/kaname/rib/release/site"
)

// deployIn is what a deploy is asked with. What is left empty is as in the app's last
// deploy.
type deployIn struct {
	App     string      `name:"app" arg:"" help:"app to deploy; by default from the archive's name" ja:"アプリ名" complete:"apps"`
	Version string      `name:"version" arg:"" help:"release to make live; by default the one pushed last" ja:"公開するリリース" complete:"releases"`
	Archive action.File `name:"archive" help:"archive to push first: a file or an address" ja:"先に登録するアーカイブ" complete:"files"`

	Manifest action.File `name:"manifest" help:"stretcher manifest to deploy by: a file or an address; app and version come from it" ja:"stretcher のマニフェスト" complete:"files"`

	To          []string      `name:"to" help:"hosts: label=value, label!=value, names, or all" ja:"対象ホスト" complete:"labels"`
	Waves       string        `name:"waves" help:"how many hosts are live after each wave, such as 1,10%,100%" ja:"段階ごとの公開台数"`
	MaxFailures string        `name:"max-failures" help:"how many hosts may fail before all is taken back" ja:"許容する失敗台数"`
	Rollback    string        `name:"rollback" enum:"all,wave,none" help:"what is taken back on failure: all that was made live, the failed wave, or only failed hosts" ja:"失敗時に戻す範囲"`
	Pause       time.Duration `name:"pause" help:"wait between waves" ja:"段階の間隔"`

	HealthURL    string        `name:"health-url" help:"URL that must answer 2xx on each host, as the host reaches itself" ja:"正常性確認 URL"`
	HealthCmd    string        `name:"health-cmd" help:"command that must succeed on each host" ja:"正常性確認コマンド"`
	HealthWithin time.Duration `name:"health-within" help:"how long it may take to become healthy" ja:"正常になるまでの猶予"`

	Pre         string        `name:"pre" help:"command line before the switch; its failure prevents it" ja:"切替前コマンド"`
	Post        string        `name:"post" help:"command line after the switch, such as a reload; its failure undoes it" ja:"切替後コマンド"`
	Success     string        `name:"success" help:"command line when all went well" ja:"成功時コマンド"`
	Failure     string        `name:"failure" help:"command line when it did not" ja:"失敗時コマンド"`
	HookTimeout time.Duration `name:"hook-timeout" help:"how long each command may take" ja:"コマンドの制限時間"`

	Shared []string `name:"shared" help:"paths kept between releases: log/ for directories, config/db.yml for files" ja:"リリース間で共有するパス"`
	Keep   int      `name:"keep" help:"releases to keep on each host, the live one among them" ja:"各ホストに残すリリース数"`
	Root   string   `name:"root" help:"directory that holds the app's directory" ja:"配置先"`
	Owners string   `name:"owners" enum:"archive,numeric,mine" help:"whose files: owners by name or by number as in the archive, or the agent's" ja:"ファイルの所有者"`
	Fresh  bool     `name:"fresh" help:"forget what earlier deploys of the app were given" ja:"以前の設定を引き継がない"`
}

// intent is everything that a deploy stands on.
type intent struct {
	app      plane.Doc[appDoc]
	release  plane.Doc[releaseDoc]
	to       []string
	settings settings
	fleet    fleet.Fleet
	waves    [][]string
}

// latest fills in the version that was pushed last.
func (r *service) latest(ctx context.Context, in *deployIn) error {
	if in.App == "" {
		return fault.Invalid("no app is named").Try("write: kaname release deploy APP VERSION")
	}
	if in.Version != "" {
		return nil
	}
	docs, err := r.releases().List(ctx, in.App+"/")
	if err != nil {
		return err
	}
	if len(docs) == 0 {
		return fault.NotFound("app " + in.App + " has no release").Try("push one: kaname release push FILE --app " + in.App)
	}
	last := slices.MaxFunc(docs, func(a, b plane.Doc[releaseDoc]) int { return a.Value.Created.Compare(b.Value.Created) })
	in.Version = last.Value.Version
	return nil
}

// pushed pushes the archive that a deploy was given, and fills in what it is called.
func (r *service) pushed(ctx context.Context, run *action.Run, in *deployIn) error {
	if !in.Archive.Given() {
		return r.latest(ctx, in)
	}
	out, err := r.push(ctx, run, pushIn{Archive: in.Archive, naming: naming{App: in.App, Version: in.Version}})
	in.App, in.Version = out.App, out.Version
	return err
}

// intend looks at the ground and refuses what cannot be done.
func (r *service) intend(ctx context.Context, in deployIn) (t intent, err error) {
	if err := r.ready(ctx); err != nil {
		return t, err
	}
	t.app, err = r.apps().Get(ctx, in.App)
	if err != nil && !fault.Is(err, fault.KindNotFound) {
		return t, err
	}
	t.app.Key = in.App
	if t.release, err = r.releases().Get(ctx, releaseKey(in.App, in.Version)); err != nil {
		if fault.Is(err, fault.KindNotFound) {
			err = fault.NotFound("release " + in.App + " " + in.Version + " does not exist").Try("see what there is: kaname release list " + in.App + "; or push it: kaname release push FILE --app " + in.App + " --version " + in.Version)
		}
		return t, err
	}
	if t.settings, err = in.merge(t.app.Value.Settings); err != nil {
		return t, err
	}
	if t.to = in.To; len(t.to) == 0 {
		t.to = t.app.Value.To
	}
	sel, err := fleet.Parse(t.to)
	if err != nil {
		return t, err
	}
	members, err := r.node.Plane.Members(ctx)
	if err != nil {
		return t, err
	}
	t.fleet = sel.Pick(members, site.CommandStage, time.Now())
	if len(t.fleet.There) == 0 {
		what := "no host matches " + strings.Join(t.to, ",")
		if n := len(t.fleet.Off); n > 0 {
			what = fmt.Sprintf("%s matched by %s, none of them is there", count(n, "host"), strings.Join(t.to, ","))
		}
		return t, fault.NotFound(what).Try("see the hosts and their labels: kaname host list")
	}
	w, err := rollout.ParseWaves(t.settings.Waves)
	t.waves = w.Split(fleet.Places(t.fleet.There))
	return t, err
}

// planDeploy says what a deploy would do.
func (r *service) planDeploy(ctx context.Context, in deployIn) (action.Plan, error) {
	if in.Manifest.Given() {
		return planStretch(in), nil
	}
	if in.Archive.Given() {
		return r.planArchive(ctx, in)
	}
	if err := r.latest(ctx, &in); err != nil {
		return action.Plan{}, err
	}
	t, err := r.intend(ctx, in)
	if err != nil {
		return action.Plan{}, err
	}
	rel := &t.release.Value
	invs := r.inventories(ctx, fleet.Names(t.fleet.There), in.App, 3*time.Second)
	p := action.Plan{Summary: fmt.Sprintf("make %s %s live on %s in %s", in.App, in.Version, count(len(t.fleet.There), "host"), count(len(t.waves), "wave"))}
	if w := t.app.Value.Wanted; w != nil {
		p.Summary += ", in place of " + w.Version
	}
	staged, live := 0, map[string]int{}
	for _, inv := range invs {
		v := inv.View(in.App)
		live[v.Live]++
		if slices.ContainsFunc(v.Releases, func(x activate.Release) bool { return x.Manifest == rel.Manifest }) {
			staged++
		}
	}
	p.Steps = append(p.Steps, action.Step{What: fmt.Sprintf("stage on %s: %s unpacked in %s; at most %s travel to each, a delta where an earlier release is there; %d have it",
		count(len(t.fleet.There), "host"), bytesText(rel.Size), count(rel.Files, "file"), bytesText(rel.Wire), staged)})
	for i, wave := range t.waves {
		p.Steps = append(p.Steps, action.Step{What: fmt.Sprintf("wave %d of %d: %s", i+1, len(t.waves), someOf(wave, 8))})
	}
	p.Steps = append(p.Steps, describe(&t.settings)...)
	p.Warnings = t.warnings(invs)
	hash := manifest.Sum(mustJSON(map[string]any{"app": t.app.Revision, "release": rel.Manifest, "waves": t.waves, "settings": t.settings, "live": live}))
	p.Ground = hash.Short()
	return p, nil
}

// planArchive says what pushing and deploying would do: of the release nothing is known
// yet.
func (r *service) planArchive(ctx context.Context, in deployIn) (action.Plan, error) {
	n := naming{App: in.App, Version: in.Version}
	p, err := r.planPush(ctx, pushIn{Archive: in.Archive, naming: n})
	if err != nil {
		return p, err
	}
	if err := n.name(in.Archive.Name, time.Now()); err != nil {
		return p, err
	}
	app, err := r.apps().Get(ctx, n.App)
	if err != nil && !fault.Is(err, fault.KindNotFound) {
		return p, err
	}
	s, err := in.merge(app.Value.Settings)
	if err != nil {
		return p, err
	}
	if len(in.To) == 0 {
		in.To = app.Value.To
	}
	f, err := r.fleetOf(ctx, in.To)
	if err != nil {
		return p, err
	}
	p.Steps = append(p.Steps, action.Step{What: "make it live in waves " + s.Waves + " on " + someOf(fleet.Names(f.There), 12)})
	p.Steps = append(p.Steps, describe(&s)...)
	return p, nil
}

// describe says with which settings.
func describe(s *settings) (steps []action.Step) {
	add := func(format string, args ...any) {
		steps = append(steps, action.Step{What: fmt.Sprintf(format, args...)})
	}
	for _, h := range []struct {
		name  string
		lines []string
	}{{"pre", s.Hooks.Pre}, {"post", s.Hooks.Post}, {"success", s.Hooks.Success}, {"failure", s.Hooks.Failure}} {
		for _, l := range h.lines {
			add("hook %s: %s", h.name, l)
		}
	}
	switch {
	case s.Health.URL != "":
		add("health after each wave: GET %s", s.Health.URL)
	case s.Health.Command != "":
		add("health after each wave: %s", s.Health.Command)
	}
	if len(s.Shared) > 0 {
		add("shared between releases: %s", strings.Join(s.Shared, ", "))
	}
	return steps
}

// warnings says what a careful person would want to know.
func (t *intent) warnings(invs map[string]site.Inventory) (list []string) {
	if n := len(t.fleet.Off); n > 0 {
		list = append(list, fmt.Sprintf("%s off or drained, to catch up on return: %s", count(n, "host"), someOf(fleet.Names(t.fleet.Off), 8)))
	}
	if len(t.fleet.Old) > 0 {
		list = append(list, "these run a kaname without releases and are left out: "+someOf(t.fleet.Old, 8))
	}
	if !t.settings.Health.Given() {
		list = append(list, "no health check: a wave counts as good when the switch and hook post succeed; see --health-url")
	}
	for _, m := range t.fleet.There {
		inv, ok := invs[m.Host]
		switch v := inv.View(t.release.Value.App); {
		case !ok:
			list = append(list, "host "+m.Host+" does not say what it has")
		case v.Problem != "":
			list = append(list, "host "+m.Host+": "+v.Problem)
		case inv.Free > 0 && inv.Free < t.release.Value.Size:
			list = append(list, fmt.Sprintf("host %s has %s free, the release unpacks to %s", m.Host, bytesText(inv.Free), bytesText(t.release.Value.Size)))
		}
	}
	return list
}

func someOf(list []string, n int) string {
	if len(list) <= n {
		return strings.Join(list, " ")
	}
	return strings.Join(list[:n], " ") + fmt.Sprintf(" and %d more", len(list)-n)
}

// mustJSON is for values that always can be written.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// deploy is the action. The deploy belongs to the rib, not to the call: when the asker
// goes away, it goes on.
func (r *service) deploy(ctx context.Context, run *action.Run, in deployIn) (deployOut, error) {
	if err := r.ready(ctx); err != nil {
		return deployOut{}, err
	}
	if in.Manifest.Given() {
		if only, err := r.stretch(ctx, run, &in); only != nil || err != nil {
			return deref(only), err
		}
	}
	if err := r.pushed(ctx, run, &in); err != nil {
		return deployOut{}, err
	}
	t, err := r.intend(ctx, in)
	if err != nil {
		return deployOut{}, err
	}
	why := fmt.Sprintf("deploy of %s %s by %s", in.App, in.Version, actorName(run))
	lease, err := r.take(ctx, in.App, why)
	if err != nil {
		return deployOut{}, err
	}
	rel := &t.release.Value
	doc := deployDoc{
		ID: ulid.Make().String(), App: in.App, Version: in.Version, Manifest: rel.Manifest, By: actorName(run), Core: r.node.Host,
		To: t.to, Settings: t.settings, Began: time.Now().UTC(), State: deployRunning,
		Rollout: rollout.New(t.waves, fleet.Names(t.fleet.Off), rollout.Options{MaxFailures: t.settings.MaxFailures, Scope: t.settings.Scope, Gate: t.settings.Health.Given()}),
	}
	if run != nil {
		doc.Door = run.Actor.Door
	}
	if w := t.app.Value.Wanted; w != nil {
		doc.From = w.Version
	}
	d, err := r.launch(ctx, lease, doc, actorOf(run))
	if err != nil {
		return deployOut{}, releaseAfter(ctx, lease, err)
	}
	return r.follow(ctx, run, d, rel.Wire)
}

// launch stores the deploy and starts it.
func (r *service) launch(ctx context.Context, lease *plane.Lease, doc deployDoc, actor action.Actor) (*deployment, error) {
	if _, err := r.deploys().Create(ctx, doc.key(), doc); err != nil {
		return nil, err
	}
	_, err := r.apps().Update(ctx, doc.App, func(a *appDoc) error {
		a.App, a.Deploy = doc.App, doc.key()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r.begin(lease, doc, actor)
}

// releaseAfter gives a lease back because of an error.
func releaseAfter(ctx context.Context, lease *plane.Lease, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if wrong := lease.Release(ctx); wrong != nil {
		return fmt.Errorf("%w (and the lease was not given back: %w)", err, wrong)
	}
	return err
}

// take takes the lease of an app, or says who has it. Hosts that catch up give way.
func (r *service) take(ctx context.Context, app, why string) (*plane.Lease, error) {
	if d := r.running(app); d != nil && !d.ending(ctx) {
		return nil, fault.Conflict(fmt.Sprintf("app %s is being changed: deploy of %s by %s", app, d.doc.Version, d.doc.By)).At(r.node.Host).
			Try("follow it: kaname release watch " + app + "; stop it: kaname release abort " + app)
	}
	r.giveWay(app)
	lease, err := r.node.Plane.Lease(ctx, leaseOf(app), plane.LeaseOptions{Why: why, Try: true, TTL: r.ttl})
	if fault.Is(err, fault.KindConflict) && strings.Contains(err.Error(), catchingUp) {
		wait, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		lease, err = r.node.Plane.Lease(wait, leaseOf(app), plane.LeaseOptions{Why: why, TTL: r.ttl})
	}
	if fault.Is(err, fault.KindConflict) {
		f := *fault.Of(err)
		f.What = "app " + app + " is being changed: " + f.What
		f.Remedy = "follow it: kaname release watch " + app + "; stop it: kaname release abort " + app
		return nil, &f
	}
	return lease, err
}

func actorName(run *action.Run) string {
	if run == nil || run.Actor.Name == "" {
		return "kaname"
	}
	return run.Actor.Name
}

func actorOf(run *action.Run) action.Actor {
	if run == nil {
		return action.Actor{Name: "kaname", Door: "agent"}
	}
	return run.Actor
}

// follow tells the asker what happens until the deploy is over.
func (r *service) follow(ctx context.Context, run *action.Run, d *deployment, full int64) (deployOut, error) {
	next := 0
	for {
		events, n, over, more := d.hub.since(next)
		next = n
		for _, e := range events {
			run.Say(e)
		}
		if over && len(events) == 0 {
			break
		}
		if over {
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return deployOut{}, fault.Of(context.Cause(ctx)).Try("the deploy goes on; follow it: kaname release watch " + d.doc.App + "; stop it: kaname release abort " + d.doc.App)
		}
	}
	<-d.done
	if errors.Is(d.err, errLetGo) && r.alive() {
		return r.followRecord(ctx, run, d)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.doc.summary(full), d.err
}

// followRecord waits for the end of a deploy that went on under another lease.
func (r *service) followRecord(ctx context.Context, run *action.Run, d *deployment) (deployOut, error) {
	run.Note("the lease was lost; whoever has it next goes on with the deploy: " + d.err.Error())
	for c, err := range r.deploys().Watch(ctx, d.doc.key()) {
		if err == nil && !c.Ready && c.Value.State != deployRunning {
			out := c.Value.summary(r.wireOf(ctx, &c.Value))
			return out, verdict(&out, nil)
		}
	}
	return deployOut{}, d.err
}

// alive reports whether the rib is not stopping.
func (r *service) alive() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.life != nil && r.life.Err() == nil
}
