package activate

import (
	"context"
	"fmt"
	"time"

	"kaname.dev/kaname/fault"
)

// Activation asks for a release to become live.
type Activation struct {
	ID      string   `json:"id"`      // of the deploy or rollback; the same one is done once
	Version string   `json:"version"` // to become live; empty (with Back): none any more
	Back    bool     `json:"back,omitempty"`
	Host    string   `json:"host,omitempty"` // this host's name, for hooks
	Wave    int      `json:"wave,omitempty"` // from 1, for hooks
	Waves   int      `json:"waves,omitempty"`
	Shared  []string `json:"shared,omitempty"` // paths linked to shared/<path>; a directory when it ends in "/"
	Hooks   Hooks    `json:"hooks"`
	// Say is told each command line before it runs; may be nil.
	Say func(hook, line string) `json:"-"`
}

// Outcome is what an activation left behind; it is good also beside an error.
type Outcome struct {
	Live     string        `json:"live"`                // what current names now
	Previous string        `json:"previous,omitempty"`  // what it named before
	Already  bool          `json:"already,omitempty"`   // nothing was to be done
	TookBack bool          `json:"took_back,omitempty"` // it was switched and switched back
	Switch   time.Duration `json:"switch,omitempty"`    // how long the switch itself took
	Ran      []Ran         `json:"ran,omitempty"`
	Warnings []string      `json:"warnings,omitempty"`
}

// Activate makes a release live as the package comment says. What an earlier crash
// left in the middle is settled first. When the release is live already, nothing
// is done.
//
// With Back it is a rollback: it goes through whatever its hooks say, and their
// failures are warnings, for the release that is live is the one to get away from.
func (a *App) Activate(ctx context.Context, x Activation) (Outcome, error) {
	if _, err := a.Recover(ctx, x.Hooks.User); err != nil {
		return Outcome{}, err
	}
	now, err := a.Live()
	if err != nil {
		return Outcome{}, err
	}
	out := Outcome{Live: now, Previous: now}
	if now == x.Version {
		out.Already, out.Previous = true, ""
		return out, nil
	}
	if err := a.check(&x); err != nil {
		return out, err
	}
	in := intent{Activation: x, From: now, Phase: phaseBegun, Began: time.Now()}
	if x.Version != "" {
		if err := a.share(x.Version, x.Shared); err != nil {
			return out, err
		}
	}
	if err := save(a.root, intentFile, in); err != nil {
		return out, err
	}
	a.at("intent recorded")
	err = a.hook(ctx, &x, &out, "pre", x.Hooks.Pre, x.Version, now)
	if err != nil && !x.Back {
		return out, a.fail(ctx, &in, &out, err)
	}
	out.warn(err)
	if err := a.flip(&in, &out); err != nil {
		return out, a.fail(ctx, &in, &out, err)
	}
	return out, a.finish(ctx, &in, &out)
}

// check refuses to make live what is not here.
func (a *App) check(x *Activation) error {
	if x.Version == "" && x.Back {
		return nil
	}
	if _, ok, err := a.Staged(x.Version); err != nil || !ok {
		if err != nil {
			return err
		}
		return fault.NotFound("release " + a.name + " " + x.Version + " is not staged here").At(a.Path(x.Version)).
			Try("deploy it: kaname release deploy " + a.name + " " + x.Version)
	}
	return nil
}

// flip switches current to the new release.
func (a *App) flip(in *intent, out *Outcome) error {
	a.at("before the switch")
	start := time.Now()
	if err := a.point(in.Version); err != nil {
		return fmt.Errorf("switch current of %s: %w", a.name, err)
	}
	out.Live, out.Switch = in.Version, time.Since(start)
	a.at("switched")
	return nil
}

// finish goes on from the switch to the end.
func (a *App) finish(ctx context.Context, in *intent, out *Outcome) error {
	if in.Phase == phaseBegun {
		err := a.hook(ctx, &in.Activation, out, "post", in.Hooks.Post, in.Version, in.From)
		if err != nil && !in.Back {
			return a.takeBack(ctx, in, out, err)
		}
		out.warn(err)
		in.Phase = phasePosted
		if err := save(a.root, intentFile, in); err != nil {
			return err
		}
		a.at("post recorded")
	}
	// The release is live for good: from here on the asker's patience does not matter.
	ctx = context.WithoutCancel(ctx)
	out.warn(a.hook(ctx, &in.Activation, out, "success", in.Hooks.Success, in.Version, in.From))
	h, _, err := load[history](a.root, historyFile)
	if err != nil {
		return err
	}
	if h.Last != in.ID || len(h.Steps) == 0 || h.Steps[len(h.Steps)-1].Version != in.Version {
		h.push(Step{Version: in.Version, Activation: in.ID, Time: time.Now().UTC()}, in.Back)
		if err := save(a.root, historyFile, h); err != nil {
			return err
		}
	}
	a.at("history recorded")
	return a.drop(intentFile)
}

// takeBack undoes the switch after post failed.
func (a *App) takeBack(ctx context.Context, in *intent, out *Outcome, why error) error {
	in.Phase = phaseUndoing
	if err := save(a.root, intentFile, in); err != nil {
		return err
	}
	a.at("undoing recorded")
	if err := a.point(in.From); err != nil {
		return fmt.Errorf("switch current of %s back: %w", a.name, err)
	}
	out.Live, out.TookBack = in.From, true
	a.at("switched back")
	return a.undone(ctx, in, out, why)
}

// undone tells the world that the former release is live again after it was not.
func (a *App) undone(ctx context.Context, in *intent, out *Outcome, why error) error {
	back := in.Activation
	back.Back = true
	if in.From != "" {
		out.warn(a.hook(context.WithoutCancel(ctx), &back, out, "post", in.Hooks.Post, in.From, in.Version))
	}
	return a.fail(ctx, in, out, why)
}

// fail ends an activation that has changed nothing, or nothing any more.
func (a *App) fail(ctx context.Context, in *intent, out *Outcome, why error) error {
	out.warn(a.hook(context.WithoutCancel(ctx), &in.Activation, out, "failure", in.Hooks.Failure, in.Version, in.From))
	a.at("failure told")
	if err := a.drop(intentFile); err != nil {
		return fmt.Errorf("forget the intent of %s after %w: %w", a.name, why, err)
	}
	return why
}

func (o *Outcome) warn(err error) {
	if err != nil {
		o.Warnings = append(o.Warnings, err.Error())
	}
}

// Recovered is what Recover found and did.
type Recovered struct {
	Activation string `json:"activation"`
	Version    string `json:"version"`
	Finished   bool   `json:"finished"` // it had been switched and is live now; otherwise it was undone
	Outcome
}

// Recover settles an activation that a crash left in the middle: switched means it
// is finished, not switched means it is undone. It returns nil when there was none.
// Hooks may run a second time.
func (a *App) Recover(ctx context.Context, user string) (*Recovered, error) {
	in, ok, err := load[intent](a.root, intentFile)
	if err != nil || !ok {
		return nil, err
	}
	in.Hooks.User = user
	now, err := a.Live()
	if err != nil {
		return nil, err
	}
	r := &Recovered{Activation: in.ID, Version: in.Version, Outcome: Outcome{Live: now, Previous: in.From}}
	interrupted := fault.Internal("activation of " + a.name + " " + in.Version + " was interrupted")
	switch {
	case now != in.Version && now != in.From:
		r.warn(fmt.Errorf("current of %s names %s, neither what was live nor what was to be: somebody else has changed it", a.name, now))
		return r, a.drop(intentFile)
	case in.Phase == phaseUndoing:
		if now == in.Version {
			if err := a.point(in.From); err != nil {
				return r, err
			}
			r.Live = in.From
		}
		r.TookBack = true
		r.settled(a.undone(ctx, &in, &r.Outcome, interrupted), interrupted)
	case now == in.Version:
		r.Finished = true
		err := a.finish(ctx, &in, &r.Outcome)
		r.warn(err)
		r.Finished = err == nil
	case in.Back: // a rollback that was asked for is done
		if err := a.flip(&in, &r.Outcome); err != nil {
			return r, err
		}
		r.Finished = true
		return r, a.finish(ctx, &in, &r.Outcome)
	default:
		r.settled(a.fail(ctx, &in, &r.Outcome, interrupted), interrupted)
	}
	return r, nil
}

// settled keeps an error that is not the expected one as a warning.
func (r *Recovered) settled(err, expected error) {
	if err != expected { //nolint:errorlint // the very one
		r.warn(err)
	}
}
