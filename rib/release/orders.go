package release

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/activate"
	"kaname.dev/kaname/rib/release/rollout"
	"kaname.dev/kaname/rib/release/site"
)

// silence is how long a host may be silent before it counts as lost, and patience how
// long a lost one may take to come back while a release is staged; a third of that in
// the other steps, in which others wait for it.
const (
	silence  = 15 * time.Second
	patience = time.Minute
)

// call sends a command to hosts under the lease; each host ends with exactly one call
// of last, and these do not overlap. A host that is lost meanwhile may take so long to
// come back, and then is told again: commands are idempotent.
func (d *deployment) call(ctx context.Context, command string, hosts []string, in any, wait time.Duration, last func(host string, result json.RawMessage, f *fault.Fault)) {
	var mu sync.Mutex // held while last is called
	end := func(f plane.Frame) {
		if f.Fault != nil && ctx.Err() != nil { // it was told to stop, and may have done it all the same
			told := *f.Fault
			told.Kind = fault.KindCanceled
			f.Fault = &told
		}
		mu.Lock()
		defer mu.Unlock()
		last(f.Host, f.Result, f.Fault)
	}
	if d.transient {
		wait = 0 // the next look of the converger is soon enough
	}
	var lost sync.WaitGroup
	defer lost.Wait()
	for f := range d.send(ctx, command, hosts, in) {
		if f.Fault != nil && silent(f.Fault) && ctx.Err() == nil && wait > 0 {
			lost.Go(func() { end(d.again(ctx, command, in, wait, f)) })
			continue
		}
		end(f)
	}
}

// send sends a command once, and yields the last frames; progress is told.
func (d *deployment) send(ctx context.Context, command string, hosts []string, in any) iter.Seq[plane.Frame] {
	return func(yield func(plane.Frame) bool) {
		spec := plane.CallSpec{Command: command, Hosts: hosts, In: in, Timeout: silence, Lease: d.lease, Actor: d.actor}
		for f := range d.r.node.Plane.Call(ctx, spec) {
			if f.Last() {
				if !yield(f) {
					return
				}
				continue
			}
			p := site.Decode(f.Progress)
			d.hub.say(action.Event{Host: f.Host, Step: p.Step, State: action.StateRunning, Done: p.Done, Total: p.Total, Unit: p.Unit, Text: p.Text})
		}
	}
}

// again waits for a lost host to come back and tells it once more.
func (d *deployment) again(ctx context.Context, command string, in any, wait time.Duration, was plane.Frame) plane.Frame {
	d.note(was.Host, "wait", action.StateRunning, fmt.Sprintf("host %s is lost, waiting %s for it: %s", was.Host, wait, was.Fault))
	within, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for d.r.awaitAlive(within, was.Host) {
		for f := range d.send(ctx, command, []string{was.Host}, in) {
			was = f
		}
		if was.Fault == nil || !silent(was.Fault) {
			break
		}
	}
	return was
}

// silent reports whether a fault says that nothing is known of what the host did.
func silent(f *fault.Fault) bool {
	switch f.Kind {
	case fault.KindTimeout, fault.KindUnavailable, fault.KindCanceled:
		return true
	default:
		return false
	}
}

// stageAll stages the release on the hosts, by packs.
func (d *deployment) stageAll(ctx context.Context, o rollout.Order) error {
	if d.packs == nil {
		p, err := d.r.planPacks(ctx, d, o.Hosts)
		if err != nil {
			return err
		}
		d.packs = p
	}
	release, err := d.packs.offer(d.r)
	if err != nil {
		return err
	}
	defer release()
	before := d.r.stats.Total().Sent
	var wg sync.WaitGroup
	for _, g := range d.packs.groups {
		hosts := slices.DeleteFunc(slices.Clone(g.hosts), func(h string) bool { return !slices.Contains(o.Hosts, h) })
		if len(hosts) == 0 {
			continue
		}
		wg.Go(func() {
			d.call(ctx, site.CommandStage, hosts, g.in, d.r.patience, func(host string, result json.RawMessage, f *fault.Fault) {
				d.staged(host, answer[site.Staged](result, f))
			})
		})
	}
	wg.Wait()
	d.mu.Lock()
	d.doc.Origin += d.r.stats.Total().Sent - before
	d.mu.Unlock()
	return nil
}

// reply is what a host answered.
type reply[T any] struct {
	out T
	err *fault.Fault
}

func answer[T any](raw json.RawMessage, f *fault.Fault) (r reply[T]) {
	if r.err = f; f == nil {
		if err := json.Unmarshal(raw, &r.out); err != nil {
			r.err = fault.Unsupported("the host's answer cannot be read").Because(err).Try("upgrade kaname on this core")
		}
	}
	return r
}

// awaitAlive waits until a host that was lost is heard of and serves the command.
func (r *service) awaitAlive(ctx context.Context, host string) bool {
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
		members, err := r.node.Plane.Members(ctx)
		if err != nil {
			continue
		}
		for _, m := range members {
			if m.Host == host && m.Alive && m.Commands[site.CommandStage] > 0 {
				return true
			}
		}
	}
}

// staged notes what staging came to on a host.
func (d *deployment) staged(host string, r reply[site.Staged]) {
	d.evidence(host, rollout.Stages, r.err, false)
	if r.err != nil {
		d.note(host, "unpack", action.StateFailed, r.err.Error())
		return
	}
	s := r.out
	d.result(host, func(h *hostResult) {
		h.Fetched, h.Reused, h.Delta, h.Stage = h.Fetched+s.Fetched, s.Reused, s.Delta, s.Took
	})
	d.hub.say(action.Event{Host: host, Step: "fetch", State: action.StateDone, Done: s.Fetched, Total: s.Fetched, Unit: "bytes"})
	text := fmt.Sprintf("staged: %s fetched, %s reused, %s", bytesText(s.Fetched), bytesText(s.Reused), s.Took.Round(time.Millisecond))
	if s.Already {
		text = "staged already"
	}
	d.note(host, "unpack", action.StateDone, text)
}

// evidence turns a host's answer into evidence.
func (d *deployment) evidence(host string, do rollout.Do, f *fault.Fault, flipped bool) {
	e := rollout.Evidence{Host: host, Do: do, OK: f == nil, Flipped: flipped}
	if f != nil {
		e.Silent, e.Why = silent(f), f.Error()
	}
	d.observe(e)
}

// activation returns what hosts are told about the activation.
func (d *deployment) activation(wave int) activate.Activation {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &d.doc.Settings
	return activate.Activation{ID: d.doc.ID, Version: d.doc.Version, Wave: wave + 1, Waves: d.doc.Rollout.Waves, Shared: s.Shared, Hooks: s.Hooks}
}

func (d *deployment) root() string { return d.doc.Settings.Root }

// activateAll makes the release live on the hosts of a wave.
func (d *deployment) activateAll(ctx context.Context, o rollout.Order) {
	in := site.ActivateIn{App: d.doc.App, Root: d.root(), Activation: d.activation(o.Wave)}
	d.call(ctx, site.CommandActivate, o.Hosts, in, d.r.patience/3, func(host string, raw json.RawMessage, f *fault.Fault) {
		a := answer[activate.Outcome](raw, f)
		d.evidence(host, rollout.Activates, a.err, false)
		if a.err != nil {
			d.note(host, "live", action.StateFailed, a.err.Error())
			return
		}
		d.result(host, func(h *hostResult) { h.Switch = a.out.Switch })
		d.note(host, "live", action.StateDone, strings.Join(append([]string{d.doc.Version + " is live"}, a.out.Warnings...), "; "))
	})
}

// healthAll asks the hosts of a wave whether they are well.
func (d *deployment) healthAll(ctx context.Context, o rollout.Order) {
	in := site.HealthIn{App: d.doc.App, Root: d.root(), Activation: d.activation(o.Wave), Health: d.doc.Settings.Health}
	d.call(ctx, site.CommandHealth, o.Hosts, in, d.r.patience/3, func(host string, raw json.RawMessage, f *fault.Fault) {
		a := answer[site.Well](raw, f)
		d.evidence(host, rollout.Checks, a.err, true)
		if a.err != nil {
			d.note(host, "health", action.StateFailed, a.err.Error())
			return
		}
		d.note(host, "health", action.StateDone, "healthy")
	})
}

// rollbackAll takes the release back on hosts.
func (d *deployment) rollbackAll(ctx context.Context, o rollout.Order) {
	x := d.activation(o.Wave)
	x.ID += ".back"
	in := site.RollbackIn{App: d.doc.App, Root: d.root(), From: d.doc.Version, Activation: x}
	d.call(ctx, site.CommandRollback, o.Hosts, in, d.r.patience/3, func(host string, raw json.RawMessage, f *fault.Fault) {
		a := answer[activate.Outcome](raw, f)
		d.evidence(host, rollout.TakesBack, a.err, false)
		if a.err != nil {
			d.note(host, "rollback", action.StateFailed, a.err.Error())
			return
		}
		live := a.out.Live
		if live == "" {
			live = "no release"
		}
		d.note(host, "rollback", action.StateDone, live+" is live again")
	})
}
