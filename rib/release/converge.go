package release

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/fleet"
	"kaname.dev/kaname/rib/release/rollout"
	"kaname.dev/kaname/rib/release/site"
)

// catchingUp begins the reason of a lease taken for hosts that catch up; a person's
// deploy need not be refused because of it, it waits for the end.
const catchingUp = "hosts catch up"

// How hosts catch up: how often all of them are asked what they have, and how long one
// that failed is left alone, doubled each time.
const (
	lookEvery  = 5 * time.Minute
	restFirst  = 30 * time.Second
	restLonger = time.Hour
)

// converger brings hosts to what is wanted, outside deploys: those that were off, that
// are new, that failed. One core does it at a time.
type converger struct {
	r      *service
	looked map[string]time.Time // by app: when all hosts were asked
	seen   map[string]string    // by app and host: what it was when it was found in order
	rest   map[string]rest      // by app and host
}

// rest is for how long a host that failed is left alone.
type rest struct {
	until time.Time
	next  time.Duration
}

// nudge makes the converger look at once.
func (r *service) nudge() {
	select {
	case r.look <- struct{}{}:
	default:
	}
}

// converge runs until ctx ends, as long as this core has the lease.
func (r *service) converge(ctx context.Context) {
	for ctx.Err() == nil {
		lease, err := r.node.Plane.Lease(ctx, "release/converge", plane.LeaseOptions{Why: "bringing hosts to what is wanted"})
		if err != nil {
			if ctx.Err() == nil {
				r.node.Log.Warn("no lease for converging", "err", err)
				sleep(ctx, 5*time.Second)
			}
			continue
		}
		c := &converger{r: r, looked: map[string]time.Time{}, seen: map[string]string{}, rest: map[string]rest{}}
		c.loop(ctx, lease)
		back, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		if err := lease.Release(back); err != nil {
			r.node.Log.Debug("lease is not given back", "lease", lease.Name(), "err", err)
		}
		cancel()
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (c *converger) loop(ctx context.Context, lease *plane.Lease) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(lease.Context(), cancel)()
	t := time.NewTicker(c.r.pace)
	defer t.Stop()
	for {
		if err := c.pass(ctx); err != nil && ctx.Err() == nil {
			c.r.node.Log.Warn("converging", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-c.r.look:
			clear(c.looked)
		}
	}
}

// pass looks at every app once.
func (c *converger) pass(ctx context.Context) error {
	apps, err := c.r.apps().List(ctx, "")
	if err != nil {
		return err
	}
	members, err := c.r.node.Plane.Members(ctx)
	if err != nil {
		return err
	}
	for _, a := range apps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if a.Value.Deploy != "" {
			err = c.resume(ctx, a)
		} else if a.Value.Wanted != nil {
			err = c.app(ctx, &a.Value, members)
		}
		if err != nil && !fault.Is(err, fault.KindConflict) {
			c.r.node.Log.Warn("app is not brought to what is wanted", "app", a.Key, "err", err)
		}
	}
	return nil
}

// resume goes on with a deploy whose core is gone.
func (c *converger) resume(ctx context.Context, a plane.Doc[appDoc]) error {
	if c.r.running(a.Key) != nil {
		return nil
	}
	doc, err := c.r.deploys().Get(ctx, a.Value.Deploy)
	if err != nil && !fault.Is(err, fault.KindNotFound) {
		return err
	}
	lease, err := c.r.node.Plane.Lease(ctx, leaseOf(a.Key), plane.LeaseOptions{Why: fmt.Sprintf("deploy of %s %s by %s, resumed", a.Key, doc.Value.Version, doc.Value.By), Try: true, TTL: c.r.ttl})
	if err != nil {
		return err
	}
	now, err := c.r.apps().Get(ctx, a.Key)
	if err == nil && now.Value.Deploy != a.Value.Deploy {
		return lease.Release(ctx) // it ended meanwhile
	}
	if err == nil {
		doc, err = c.r.deploys().Get(ctx, a.Value.Deploy)
	}
	switch {
	case fault.Is(err, fault.KindNotFound), err == nil && doc.Value.State != deployRunning:
		_, err := c.r.apps().Update(ctx, a.Key, func(v *appDoc) error { v.Deploy = ""; return nil })
		return releaseAfterAny(ctx, lease, err)
	case err != nil:
		return releaseAfter(ctx, lease, err)
	}
	c.r.node.Log.Warn("a deploy is resumed", "app", a.Key, "version", doc.Value.Version, "was_on", doc.Value.Core)
	doc.Value.Core, doc.Value.Packs = c.r.node.Host, nil
	d, err := c.r.begin(lease, doc.Value, action.Actor{Name: doc.Value.By, Door: doc.Value.Door})
	if err != nil {
		return releaseAfter(ctx, lease, err)
	}
	d.note("", "deploy", action.StateRunning, "resumed on core "+c.r.node.Host)
	return nil
}

// app finds the hosts that are not where they should be, and brings them there.
func (c *converger) app(ctx context.Context, a *appDoc, members []plane.Member) error {
	sel, err := fleet.Parse(a.To)
	if err != nil {
		return err
	}
	f := sel.Pick(members, site.CommandStage, time.Now())
	ask := c.suspects(a, f.There)
	if len(ask) == 0 {
		return nil
	}
	var behind []string
	for host, inv := range c.r.inventories(ctx, ask, a.App, 3*time.Second) {
		v := inv.View(a.App)
		key := a.App + "/" + host
		if ok := v.Live == a.Wanted.Version; ok || v.Problem != "" {
			c.seen[key] = c.mark(a, f.There, host)
			if ok {
				delete(c.rest, key)
			}
			continue
		}
		behind = append(behind, host)
	}
	if len(behind) == 0 {
		return nil
	}
	slices.Sort(behind)
	return c.catchUp(ctx, a, behind)
}

// suspects returns the hosts that may not be where they should be: never seen in order
// since they or the wish changed, or not asked for long.
func (c *converger) suspects(a *appDoc, there []plane.Member) (hosts []string) {
	now := time.Now()
	all := now.Sub(c.looked[a.App]) > lookEvery
	if all {
		c.looked[a.App] = now
	}
	for _, m := range there {
		key := a.App + "/" + m.Host
		if now.Before(c.rest[key].until) {
			continue
		}
		if all || c.seen[key] != c.mark(a, there, m.Host) {
			hosts = append(hosts, m.Host)
		}
	}
	return hosts
}

// mark names what a host was found in order as: this process of its agent, this wish.
func (c *converger) mark(a *appDoc, there []plane.Member, host string) string {
	for _, m := range there {
		if m.Host == host {
			return m.Started.String() + " " + a.Wanted.Deploy + " " + a.Wanted.Version
		}
	}
	return ""
}

// catchUp brings hosts to the wanted release: as one deploy in a single wave that may
// fail anywhere without touching the others.
func (c *converger) catchUp(ctx context.Context, a *appDoc, hosts []string) error {
	w := a.Wanted
	lease, err := c.r.node.Plane.Lease(ctx, leaseOf(a.App), plane.LeaseOptions{Why: catchingUp + ": " + a.App + " " + w.Version + " on " + someOf(hosts, 4), Try: true, TTL: c.r.ttl})
	if err != nil {
		return err
	}
	now, err := c.r.apps().Get(ctx, a.App)
	if err != nil || now.Value.Deploy != "" || now.Value.Wanted == nil || now.Value.Wanted.Version != w.Version {
		return releaseAfterAny(ctx, lease, err) // the wish changed
	}
	c.r.node.Log.Info("hosts catch up", "app", a.App, "version", w.Version, "hosts", strings.Join(hosts, " "))
	doc := deployDoc{
		ID: ulid.Make().String(), App: a.App, Version: w.Version, Manifest: w.Manifest, By: "kaname", Core: c.r.node.Host, To: a.To,
		Settings: a.Settings, Began: time.Now().UTC(), State: deployRunning,
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := &deployment{r: c.r, lease: lease, hub: newHub(), actor: action.Actor{Name: "kaname", Door: "agent"}, doc: doc, transient: true}
	defer context.AfterFunc(lease.Context(), cancel)()
	c.r.yielding(a.App, cancel)
	defer c.r.yielding(a.App, nil)
	err = d.catchUp(ctx, hosts)
	for _, h := range hosts {
		host := d.doc.Rollout.Host(h)
		failed := err
		if host.Failure != "" {
			failed = fmt.Errorf("%s: %s", host.Failure, host.Why)
		}
		if ctx.Err() == nil {
			c.settle(a.App, h, failed)
		}
	}
	return releaseAfterAny(ctx, lease, err)
}

// settle notes how a host came out; one that failed is left alone for a while.
func (c *converger) settle(app, host string, err error) {
	key := app + "/" + host
	c.r.meters.catchUp(err)
	if err == nil {
		delete(c.rest, key)
		return
	}
	q := c.rest[key]
	q.next = min(max(2*q.next, restFirst), restLonger)
	q.until = time.Now().Add(q.next)
	c.rest[key] = q
	c.r.node.Log.Warn("host does not catch up", "app", app, "on", host, "again_in", q.next, "err", err)
}

// catchUp is a deploy without waves: each host goes as far as it gets.
func (d *deployment) catchUp(ctx context.Context, hosts []string) error {
	s := &d.doc.Rollout
	*s = rollout.New([][]string{hosts}, nil, rollout.Options{MaxFailures: len(hosts), Scope: rollout.None, Gate: d.doc.Settings.Health.Given()})
	for _, h := range hosts {
		d.note(h, "catch up", action.StateRunning, "catching up with "+d.doc.Version)
	}
	for {
		d.mu.Lock()
		o := s.Next()
		d.mu.Unlock()
		if o.Do == rollout.NothingYet {
			break
		}
		if err := d.give(ctx, o); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	for i := range s.Hosts {
		h := &s.Hosts[i]
		if h.Failure != "" {
			d.note(h.Name, "catch up", action.StateFailed, string(h.Failure)+": "+h.Why)
			continue
		}
		d.note(h.Name, "catch up", action.StateDone, d.doc.Version+" is live")
	}
	return nil
}

// yielding notes how hosts that catch up are interrupted when a person wants the app.
func (r *service) yielding(app string, cancel context.CancelFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cancel == nil {
		delete(r.yields, app)
		return
	}
	r.yields[app] = cancel
}

// giveWay interrupts hosts that catch up; they go on with whatever is wanted then.
func (r *service) giveWay(app string) {
	r.mu.Lock()
	cancel := r.yields[app]
	r.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}
