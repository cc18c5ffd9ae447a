package release

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/rollout"
)

// deployment is a deploy that this core does, under the lease of its app.
type deployment struct {
	r     *service
	lease *plane.Lease
	hub   *hub
	actor action.Actor
	done  chan struct{} // closed at the end, after err is set
	err   error         // what the asker is told
	// transient says that it has no document: hosts catch up.
	transient bool

	mu  sync.Mutex // guards the fields below
	doc deployDoc

	packs *packPlan
	stop  context.CancelCauseFunc // of the order under way; for abort
}

// errLetGo ends a deployment whose core stops or has lost the lease: whoever has it
// next goes on.
var errLetGo = errors.New("another core goes on with this deploy")

// leaseOf is the name of the lease that a change of an app is made under.
func leaseOf(app string) string { return "release/" + app }

// begin starts a deployment that the rib owns; the lease is given back at its end.
func (r *service) begin(lease *plane.Lease, doc deployDoc, actor action.Actor) (*deployment, error) {
	d := &deployment{r: r, lease: lease, hub: newHub(), actor: actor, done: make(chan struct{}), doc: doc}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.life == nil || r.life.Err() != nil {
		return nil, fault.Unavailable("the agent is stopping").At(r.node.Host)
	}
	r.deps[doc.App] = d
	life := r.life
	r.work.Go(func() {
		ctx, cancel := context.WithCancelCause(life)
		unhook := context.AfterFunc(lease.Context(), func() { cancel(context.Cause(lease.Context())) })
		d.err = d.run(ctx)
		unhook()
		cancel(nil)
		d.hub.end()
		r.mu.Lock()
		if r.deps[doc.App] == d {
			delete(r.deps, doc.App)
		}
		r.mu.Unlock()
		back, stop := context.WithTimeout(context.WithoutCancel(life), 5*time.Second)
		if err := lease.Release(back); err != nil {
			r.node.Log.Debug("lease is not given back", "lease", lease.Name(), "err", err)
		}
		stop()
		close(d.done)
	})
	return d, nil
}

// running returns the deployment of the app on this core, nil if there is none.
func (r *service) running(app string) *deployment {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.deps[app]
}

// ending waits for the end of a deployment that is over but for giving its lease back;
// it reports false, at once, while there is more to do.
func (d *deployment) ending(ctx context.Context) bool {
	d.mu.Lock()
	over := d.doc.State != deployRunning
	d.mu.Unlock()
	if !over {
		return false
	}
	select {
	case <-d.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// run goes from order to order until the deploy is over.
func (d *deployment) run(ctx context.Context) error {
	err := d.orders(ctx)
	if ctx.Err() != nil {
		d.note("", "", "", "this core lets go of the deploy: "+context.Cause(ctx).Error())
		return fault.Unavailable("deploy of " + d.doc.App + " " + d.doc.Version + " goes on without this core").
			Because(errLetGo).Try("follow it: kaname release watch " + d.doc.App)
	}
	if err != nil {
		// What cannot be stored or planned ends the deploy as a failure would.
		d.abandon(ctx, err)
	}
	return d.finish(ctx, err)
}

// orders does what rollout says until it has nothing more to say.
func (d *deployment) orders(ctx context.Context) error {
	stopWatching := d.watchAbort(ctx)
	defer stopWatching()
	for {
		d.mu.Lock()
		before := d.doc.Rollout.Phase
		order := d.doc.Rollout.Next()
		phase, reason := d.doc.Rollout.Phase, d.doc.Rollout.Reason
		d.mu.Unlock()
		if phase == rollout.RollingBack && before != phase {
			d.note("", "rollback", action.StateRunning, "rolling back: "+reason)
		}
		if err := d.save(ctx); err != nil { // before the order is given, see rollout.Next
			return err
		}
		if order.Do == rollout.NothingYet {
			return nil
		}
		if err := d.give(ctx, order); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// give does one order: each host gets it, and evidence comes back.
func (d *deployment) give(ctx context.Context, o rollout.Order) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	d.mu.Lock()
	d.stop = nil
	if o.Do != rollout.TakesBack { // an abort does not stop the way back
		d.stop = stop
		if a := d.doc.Abort; a != nil {
			d.doc.Rollout.Abort(abortReason(a))
			d.mu.Unlock()
			return nil
		}
	}
	waves := d.doc.Rollout.Waves
	d.mu.Unlock()
	switch o.Do {
	case rollout.Stages:
		d.note("", "stage", action.StateRunning, "staging on "+count(len(o.Hosts), "host"))
		return d.stageAll(ctx, o)
	case rollout.Activates:
		if err := d.pause(ctx, o); err != nil {
			return nil //nolint:nilerr // aborted or let go: the caller looks at both
		}
		d.note("", waveStep(o.Wave, waves), action.StateRunning, fmt.Sprintf("wave %d of %d: %s", o.Wave+1, waves, count(len(o.Hosts), "host")))
		d.activateAll(ctx, o)
	case rollout.Checks:
		d.healthAll(ctx, o)
	case rollout.TakesBack:
		d.rollbackAll(ctx, o)
	default: // nothing yet
	}
	return nil
}

// pause waits between waves, when that was asked for.
func (d *deployment) pause(ctx context.Context, o rollout.Order) error {
	d.mu.Lock()
	p := d.doc.Settings.Pause
	d.mu.Unlock()
	if o.Wave == 0 || p <= 0 {
		return ctx.Err()
	}
	d.note("", "pause", action.StateRunning, fmt.Sprintf("waiting %s before wave %d", p, o.Wave+1))
	t := time.NewTimer(p)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
	return ctx.Err()
}

func waveStep(wave, waves int) string { return fmt.Sprintf("wave %d/%d", wave+1, waves) }

// count renders "1 host", "3 hosts".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func abortReason(a *abort) string {
	if a.Why == "" {
		return "stopped by " + a.By
	}
	return "stopped by " + a.By + ": " + a.Why
}

// watchAbort looks out for somebody's wish to stop the deploy.
func (d *deployment) watchAbort(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for c, err := range d.r.deploys().Watch(ctx, d.doc.key()) {
			if err != nil || c.Value.Abort == nil {
				continue
			}
			d.mu.Lock()
			first := d.doc.Abort == nil
			d.doc.Abort = c.Value.Abort
			if first {
				d.doc.Rollout.Abort(abortReason(c.Value.Abort))
			}
			stop := d.stop
			d.mu.Unlock()
			if first && stop != nil {
				stop(errAborted)
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

var errAborted = errors.New("the deploy is stopped")

// save stores the document as it is now; somebody's wish to abort is kept.
func (d *deployment) save(ctx context.Context) error {
	d.mu.Lock()
	doc := d.doc
	doc.Rollout.Hosts = append([]rollout.Host(nil), doc.Rollout.Hosts...)
	doc.Hosts = map[string]hostResult{}
	maps.Copy(doc.Hosts, d.doc.Hosts)
	d.mu.Unlock()
	_, err := d.r.deploys().Update(ctx, doc.key(), func(was *deployDoc) error {
		if was.Abort != nil {
			doc.Abort = was.Abort
		}
		*was = doc
		return nil
	})
	if err != nil {
		return fmt.Errorf("store the state of deploy %s: %w", doc.key(), err)
	}
	return nil
}

// observe takes evidence and tells it.
func (d *deployment) observe(e rollout.Evidence) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.doc.Rollout.Observe(e)
}

// result changes what is noted of a host.
func (d *deployment) result(host string, change func(*hostResult)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.doc.Hosts == nil {
		d.doc.Hosts = map[string]hostResult{}
	}
	h := d.doc.Hosts[host]
	change(&h)
	d.doc.Hosts[host] = h
}

// note tells a step, and puts it on the record unless it is mere progress.
func (d *deployment) note(host, step string, state action.State, text string) {
	e := action.Event{Time: time.Now().UTC(), Host: host, Step: step, State: state, Text: text}
	d.hub.say(e)
	d.r.say("release.deploy", progressEvent{App: d.doc.App, Version: d.doc.Version, Deploy: d.doc.ID, Event: e})
}

// progressEvent is an event of a deploy on the record.
type progressEvent struct {
	App     string       `json:"app"`
	Version string       `json:"version"`
	Deploy  string       `json:"deploy"`
	Event   action.Event `json:"event"`
}

// abandon makes the deploy fail for a reason outside the hosts, and takes back what is
// live.
func (d *deployment) abandon(ctx context.Context, why error) {
	d.mu.Lock()
	d.doc.Rollout.Abort(why.Error())
	d.mu.Unlock()
	for {
		d.mu.Lock()
		o := d.doc.Rollout.Next()
		d.mu.Unlock()
		if o.Do != rollout.TakesBack || ctx.Err() != nil {
			return
		}
		d.rollbackAll(ctx, o)
	}
}
