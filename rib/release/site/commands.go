package site

import (
	"context"
	"encoding/json"
	"slices"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/activate"
)

// Serve offers the commands on the plane.
func (s *Site) Serve(p *plane.Plane) error {
	for _, err := range []error{
		plane.Serve(p, CommandInventory, 1, own(s.inventory)),
		plane.Serve(p, CommandStage, 1, own(s.stage)),
		plane.Serve(p, CommandSeed, 1, own(s.seed)),
		plane.Serve(p, CommandActivate, 1, own(s.activate)),
		plane.Serve(p, CommandHealth, 1, own(s.health)),
		plane.Serve(p, CommandRollback, 1, own(s.rollback)),
		plane.Serve(p, CommandPrune, 1, own(s.prune)),
		plane.Serve(p, CommandRemove, 1, own(s.remove)),
		plane.Serve(p, CommandVerify, 1, own(s.verify)),
		plane.Serve(p, CommandLines, 1, own(s.lines)),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// own marks the faults of a command as the host's own answer. The kinds by which a core
// knows that it has heard nothing, and asks again, are left to the plane: a hook that
// took too long must not run a second time because of its kind.
func own[In, Out any](do func(context.Context, *plane.Call, In) (Out, error)) func(context.Context, *plane.Call, In) (Out, error) {
	return func(ctx context.Context, c *plane.Call, in In) (Out, error) {
		out, err := do(ctx, c, in)
		if err == nil || ctx.Err() != nil {
			return out, err
		}
		f := *fault.Of(err)
		if f.Kind == fault.KindTimeout || f.Kind == fault.KindUnavailable {
			f.Kind = fault.KindInternal
		}
		return out, &f
	}
}

// prepare fills in what only the host decides about an activation, and refuses what it
// does not allow.
func (s *Site) prepare(c *plane.Call, x *activate.Activation, command string) error {
	set := s.o.Settings()
	if !set.Hooks && (x.Hooks.Any() || command != "") {
		return fault.Denied("commands of deploys are not allowed on this host").At(s.o.Host).
			Try("set release.hooks: true in the configuration there, or deploy without hooks and health command")
	}
	x.Host, x.Hooks.User = s.o.Host, set.HookUser
	x.Say = func(hook, line string) { c.Progress(Progress{Step: hook, Text: line}) }
	return activate.CheckShared(x.Shared)
}

// outcome puts an activation on the record; a fault carries the end of the output.
func (s *Site) outcome(name, topic string, out activate.Outcome, err error) (activate.Outcome, error) {
	e := struct {
		App string `json:"app"`
		activate.Outcome
		Fault *fault.Fault `json:"fault,omitempty"`
	}{name, out, fault.Of(err)}
	if !out.Already {
		s.o.Tell(topic, e)
	}
	if err == nil {
		return out, nil
	}
	f := *fault.Of(err)
	if out.TookBack {
		f.What += ", and " + former(out.Live) + " is live again"
	}
	return out, &f
}

func former(version string) string {
	if version == "" {
		return "no release"
	}
	return version
}

func (s *Site) activate(ctx context.Context, c *plane.Call, in ActivateIn) (out activate.Outcome, err error) {
	if err := s.prepare(c, &in.Activation, ""); err != nil {
		return out, err
	}
	err = s.with(ctx, in.Root, in.App, func(a *activate.App) error {
		out, err = a.Activate(ctx, in.Activation)
		return err
	})
	return s.outcome(in.App, "release.activate", out, err)
}

func (s *Site) rollback(ctx context.Context, c *plane.Call, in RollbackIn) (out activate.Outcome, err error) {
	x := in.Activation
	if err := s.prepare(c, &x, ""); err != nil {
		return out, err
	}
	err = s.with(ctx, in.Root, in.App, func(a *activate.App) error {
		if _, err := a.Recover(ctx, x.Hooks.User); err != nil {
			return err
		}
		v, err := a.Look()
		if err != nil {
			return err
		}
		if v.Problem != "" {
			return fault.Conflict(v.Problem)
		}
		if in.From != "" && v.Live != in.From {
			out = activate.Outcome{Live: v.Live, Already: true}
			return nil
		}
		x.Version, x.Back = in.To, true
		if in.To == "" {
			x.Version = v.Previous
		}
		if x.Version == "" && in.From == "" {
			return fault.NotFound("app " + in.App + " has no earlier release on this host").At(s.o.Host).Try("deploy the one that you want")
		}
		// Taking back what failed may mean that nothing is live, as it was before.
		out, err = a.Activate(ctx, x)
		return err
	})
	return s.outcome(in.App, "release.rollback", out, err)
}

func (s *Site) health(ctx context.Context, c *plane.Call, in HealthIn) (Well, error) {
	if err := s.prepare(c, &in.Activation, in.Health.Command); err != nil {
		return Well{}, err
	}
	if err := in.Health.Check(); err != nil {
		return Well{}, err
	}
	root, err := s.root(in.Root)
	if err != nil {
		return Well{}, err
	}
	v, err := activate.Look(root, in.App)
	if err != nil {
		return Well{}, err
	}
	if v.Live != in.Activation.Version {
		return Well{}, fault.Conflict("app " + in.App + ": " + former(v.Live) + " is live, not " + in.Activation.Version).At(s.o.Host)
	}
	tries, err := activate.Healthy(ctx, v, in.Health, in.Activation)
	return Well{Tries: tries}, err
}

func (s *Site) prune(ctx context.Context, _ *plane.Call, in PruneIn) (out Pruned, err error) {
	keep := in.Keep
	if keep <= 0 {
		keep = s.o.Settings().Keep
	}
	err = s.with(ctx, in.Root, in.App, func(a *activate.App) error {
		victims, err := a.Victims(keep, in.Except...)
		if err != nil {
			return err
		}
		for _, v := range victims {
			if !in.Dry {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := a.Remove(v.Version); err != nil {
					return err
				}
				s.forget(v)
			}
			out.Versions, out.Bytes = append(out.Versions, v.Version), out.Bytes+v.Size
		}
		return nil
	})
	if err == nil && !in.Dry && len(out.Versions) > 0 {
		s.o.Tell("release.prune", map[string]any{"app": in.App, "versions": out.Versions})
	}
	return out, err
}

func (s *Site) remove(ctx context.Context, _ *plane.Call, in RemoveIn) (out Pruned, err error) {
	err = s.with(ctx, in.Root, in.App, func(a *activate.App) error {
		r, ok, err := a.Staged(in.Version)
		if err != nil || !ok {
			return err
		}
		if err := a.Remove(in.Version); err != nil {
			return err
		}
		s.forget(r)
		out = Pruned{Versions: []string{in.Version}, Bytes: r.Size}
		return nil
	})
	return out, err
}

func (s *Site) inventory(_ context.Context, _ *plane.Call, in InventoryIn) (Inventory, error) {
	set := s.o.Settings()
	inv := Inventory{Host: s.o.Host, Root: set.Root, Transfers: s.moving(in.App)}
	for name, root := range s.known() {
		if in.App != "" && name != in.App {
			continue
		}
		v, err := activate.Look(root, name)
		if err != nil {
			v.Problem = err.Error()
		}
		s.mu.Lock()
		if err := s.failed[name]; err != nil && v.Problem == "" {
			v.Problem = err.Error()
		}
		s.mu.Unlock()
		v.History = v.History[max(0, len(v.History)-10):]
		inv.Apps = append(inv.Apps, v)
	}
	slices.SortFunc(inv.Apps, func(a, b activate.View) int {
		if a.App < b.App {
			return -1
		}
		return 1
	})
	if sp, err := free(set.Root); err == nil {
		inv.Free = sp.Free
	}
	s.stored(&inv)
	return inv, nil
}

// Decode reads a progress frame.
func Decode(raw json.RawMessage) (p Progress) {
	_ = json.Unmarshal(raw, &p) // of another version: shown as nothing
	return p
}
