package zone

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/zone/exchange"
	"kaname.dev/kaname/rib/zone/keeper"
	"kaname.dev/kaname/rib/zone/name"
)

// addIn says which zones to add.
type addIn struct {
	Zones   []string `name:"zones" arg:"" required:"" help:"zones" ja:"ゾーン名"`
	Primary []string `name:"primary" help:"address and port from which they are transferred; by default those of the group" ja:"転送元のアドレスとポート"`
	Group   string   `name:"group" help:"group that says how they are served" ja:"グループ"`
	View    string   `name:"view" help:"view, where servers have views" ja:"ビュー"`
}

// changedOut is what became of one zone's wish.
type changedOut struct {
	Zone   string `json:"zone"`
	Result string `json:"result"`
}

func (r *service) add(ctx context.Context, run *action.Run, in addIn) ([]changedOut, error) {
	var primaries []netip.AddrPort
	for _, p := range in.Primary {
		a, err := netip.ParseAddrPort(p)
		if err != nil {
			return nil, fault.Invalid(fmt.Sprintf("primary %q is not an IP address and port", p)).Try("write it as 192.0.2.1:53 or [2001:db8::1]:53")
		}
		primaries = append(primaries, a)
	}
	if len(primaries) == 0 && !r.hasPrimaries(in.Group) {
		return nil, fault.Invalid("the zones have no primary: group " + in.Group + " names none").Try("give --primary 192.0.2.1:53, or set zone.groups on the cores")
	}
	keys, err := keysOf(in.Zones, in.View)
	if err != nil {
		return nil, err
	}
	var out []changedOut
	for _, k := range keys {
		result := "added"
		_, err := keeper.Wishes(r.node.Plane).Update(ctx, k.String(), func(w *keeper.Wish) error {
			if w.By != "" {
				result = "changed"
			}
			*w = keeper.Wish{Group: in.Group, Primaries: primaries, By: run.Actor.Name, Time: time.Now().UTC().Truncate(time.Second)}
			return nil
		})
		if err != nil {
			return out, err
		}
		out = append(out, changedOut{k.Name.Unicode(), result})
	}
	return out, nil
}

// hasPrimaries reports whether a group, or the default one, names primaries.
func (r *service) hasPrimaries(group string) bool {
	groups := r.settings().Groups
	return len(groups[group].Primaries) > 0 || len(groups["default"].Primaries) > 0
}

// keysOf reads zones' names; one bad one refuses all.
func keysOf(zones []string, view string) ([]keeper.Key, error) {
	var keys []keeper.Key
	for _, z := range zones {
		n, err := keeper.ParseZone(z)
		if err != nil {
			return nil, err
		}
		if n == "." {
			return nil, fault.Unsupported("the root zone is not served").Try("a root zone is a resolver's matter: mirror it there")
		}
		keys = append(keys, keeper.Key{View: view, Name: n})
	}
	return keys, nil
}

// removeIn says which zones to take away.
type removeIn struct {
	Zones []string `name:"zones" arg:"" required:"" help:"zones" ja:"ゾーン名" complete:"zones"`
	View  string   `name:"view" help:"view, where servers have views" ja:"ビュー"`
	Force bool     `name:"force" help:"also when the contents cannot be kept" ja:"内容を保存できなくても取り除く"`
}

func (r *service) planRemove(ctx context.Context, in removeIn) (action.Plan, error) {
	keys, err := keysOf(in.Zones, in.View)
	if err != nil {
		return action.Plan{}, err
	}
	p := action.Plan{Summary: fmt.Sprintf("stop serving %d zones on all servers", len(keys))}
	var going []name.Name
	for _, k := range keys {
		v, err := r.view(ctx, exchange.Query{Zone: string(k.Name)})
		if err != nil {
			return p, err
		}
		what := "zone " + k.Name.Unicode() + " is served nowhere"
		for i := range v.States {
			z := &v.States[i]
			if z.View != k.View {
				continue
			}
			what = fmt.Sprintf("take zone %s from %d servers, keep its contents for %s", k.Name.Unicode(), len(z.Cells), r.settings().Quarantine)
			if z.State == "desired" && !keeper.OfPeople(z.Source) {
				what = fmt.Sprintf("zone %s belongs to source %s and stays while that has it", k.Name.Unicode(), z.Source)
			} else {
				going = append(going, k.Name)
			}
			for j := range z.Cells {
				if z.Cells[j].Note != "" && in.Force {
					p.Warnings = append(p.Warnings, z.Cells[j].Server+": "+z.Cells[j].Note)
				}
			}
		}
		p.Steps = append(p.Steps, action.Step{What: what})
	}
	p.Warnings = append(p.Warnings, r.warnDelegated(ctx, going)...)
	return p, nil
}

func (r *service) remove(ctx context.Context, run *action.Run, in removeIn) ([]changedOut, error) {
	keys, err := keysOf(in.Zones, in.View)
	if err != nil {
		return nil, err
	}
	var out []changedOut
	wishes := keeper.Wishes(r.node.Plane)
	for _, k := range keys {
		if in.Force {
			if err := r.mark(ctx, k, func(m *keeper.Mark) { m.Forced, m.By = true, run.Actor.Name }); err != nil {
				return out, err
			}
		}
		result := "was not added here; it stays while its source has it"
		if in.Force {
			result = "may go though its contents cannot be kept"
		}
		if err := r.mark(ctx, k, func(m *keeper.Mark) { m.Restored = time.Time{} }); err != nil {
			return out, err
		}
		doc, err := wishes.Get(ctx, k.String())
		switch {
		case err == nil:
			if err := wishes.Delete(ctx, doc); err != nil {
				return out, err
			}
			result = "removed"
		case !fault.Is(err, fault.KindNotFound):
			return out, err
		}
		out = append(out, changedOut{k.Name.Unicode(), result})
	}
	return out, nil
}

// mark changes what is said of a zone; a mark that says nothing is removed.
func (r *service) mark(ctx context.Context, k keeper.Key, change func(*keeper.Mark)) error {
	marks := keeper.Marks(r.node.Plane)
	doc, err := marks.Get(ctx, k.String())
	if err != nil && !fault.Is(err, fault.KindNotFound) {
		return err
	}
	next := doc.Value
	change(&next)
	if next == doc.Value {
		return nil
	}
	if !next.Pin && !next.Adopt && !next.Forced && next.Restored.IsZero() {
		return marks.Delete(ctx, doc)
	}
	_, err = marks.Update(ctx, k.String(), func(m *keeper.Mark) error {
		change(m)
		return nil
	})
	return err
}

func (r *service) restore(ctx context.Context, run *action.Run, in zoneIn) (changedOut, error) {
	z, err := r.show(ctx, run, in)
	if err != nil {
		return changedOut{}, err
	}
	if z.State != "quarantined" {
		return changedOut{}, fault.Conflict("zone " + in.Zone + " is " + z.State + ", not in quarantine").Try("see it: kaname zone show " + in.Zone)
	}
	err = r.mark(ctx, keeper.Key{View: in.View, Name: z.Name}, func(m *keeper.Mark) {
		m.Restored, m.By = time.Now().UTC(), run.Actor.Name
	})
	return changedOut{z.Name.Unicode(), "restored until its source has it again"}, err
}

// pinIn says which zone to pin.
type pinIn struct {
	zoneIn
	Why string `name:"why" help:"what others should know" ja:"理由"`
}

func (r *service) pin(ctx context.Context, run *action.Run, in pinIn) (changedOut, error) {
	n, err := keeper.ParseZone(in.Zone)
	if err != nil {
		return changedOut{}, err
	}
	err = r.mark(ctx, keeper.Key{View: in.View, Name: n}, func(m *keeper.Mark) { m.Pin, m.By, m.Why = true, run.Actor.Name, in.Why })
	return changedOut{n.Unicode(), "pinned"}, err
}

func (r *service) unpin(ctx context.Context, _ *action.Run, in zoneIn) (changedOut, error) {
	n, err := keeper.ParseZone(in.Zone)
	if err != nil {
		return changedOut{}, err
	}
	err = r.mark(ctx, keeper.Key{View: in.View, Name: n}, func(m *keeper.Mark) { m.Pin, m.Why = false, "" })
	return changedOut{n.Unicode(), "follows its source"}, err
}

func (r *service) planAdopt(ctx context.Context, in zoneIn) (action.Plan, error) {
	z, err := r.show(ctx, nil, in)
	if err != nil {
		return action.Plan{}, err
	}
	p := action.Plan{Summary: "take over zone " + z.Name.Unicode()}
	for i := range z.Cells {
		c := &z.Cells[i]
		if c.State == "conflict" {
			p.Steps = append(p.Steps, action.Step{Host: c.Server, What: "replace the zone that stands there by a secondary zone of kaname"})
		}
	}
	if len(p.Steps) == 0 {
		p.Steps = []action.Step{{What: "nothing: no server has a zone of this name that kaname did not make"}}
	}
	return p, nil
}

func (r *service) adopt(ctx context.Context, run *action.Run, in zoneIn) (changedOut, error) {
	n, err := keeper.ParseZone(in.Zone)
	if err != nil {
		return changedOut{}, err
	}
	err = r.mark(ctx, keeper.Key{View: in.View, Name: n}, func(m *keeper.Mark) { m.Adopt, m.By = true, run.Actor.Name })
	return changedOut{n.Unicode(), "adopted"}, err
}

// acceptIn names a held change.
type acceptIn struct {
	Hash string `name:"hash" arg:"" required:"" help:"the hash that is shown with the held change" ja:"保留された変更のハッシュ"`
}

// heldBy finds the source or server with a held change.
func (r *service) heldBy(ctx context.Context, hash string) (key, text string, h *exchange.Held, err error) {
	v, err := r.view(ctx, exchange.Query{})
	if err != nil {
		return "", "", nil, err
	}
	for i := range v.Sources {
		if s := &v.Sources[i]; s.Held != nil && s.Held.Hash == hash {
			return s.Name, "source " + s.Name, s.Held, nil
		}
	}
	for i := range v.Servers {
		if s := &v.Servers[i]; s.Head.Held != nil && s.Head.Held.Hash == hash {
			return s.Host + "/" + s.Name, "server " + s.Host + "/" + s.Name, s.Head.Held, nil
		}
	}
	return "", "", nil, fault.NotFound("no change with the hash " + hash + " is held now").Try("see: kaname zone sources; kaname zone servers")
}

func (r *service) planAccept(ctx context.Context, in acceptIn) (action.Plan, error) {
	_, text, h, err := r.heldBy(ctx, in.Hash)
	if err != nil {
		return action.Plan{}, err
	}
	p := action.Plan{Summary: fmt.Sprintf("let %s lose %d zones", text, h.Count), Ground: h.Hash}
	for _, n := range h.Names {
		p.Steps = append(p.Steps, action.Step{What: "remove zone " + n.Unicode()})
	}
	if more := h.Count - len(h.Names); more > 0 {
		p.Steps = append(p.Steps, action.Step{What: fmt.Sprintf("and %d more", more)})
	}
	return p, nil
}

func (r *service) accept(ctx context.Context, run *action.Run, in acceptIn) (changedOut, error) {
	key, text, h, err := r.heldBy(ctx, in.Hash)
	if err != nil {
		return changedOut{}, err
	}
	_, err = keeper.Words(r.node.Plane).Update(ctx, key, func(w *keeper.Word) error {
		w.Accepted, w.AcceptBy, w.At = in.Hash, run.Actor.Name, time.Now().UTC()
		return nil
	})
	return changedOut{text, fmt.Sprintf("%d zones may go", h.Count)}, err
}

// admitIn names a source and a host.
type admitIn struct {
	Source string `name:"source" arg:"" required:"" help:"source, as the host's zone.sources names it" ja:"ソース名"`
	Host   string `name:"host" required:"" help:"host that may report it" ja:"報告を許可するホスト" complete:"hosts"`
}

func (r *service) admit(ctx context.Context, run *action.Run, in admitIn) (changedOut, error) {
	members, err := r.node.Plane.Members(ctx)
	if err != nil {
		return changedOut{}, err
	}
	known := false
	for i := range members {
		known = known || members[i].Host == in.Host
	}
	if !known {
		return changedOut{}, fault.NotFound("host " + in.Host + " is not in the plane").Try("see: kaname host list")
	}
	_, err = keeper.Words(r.node.Plane).Update(ctx, in.Source, func(w *keeper.Word) error {
		w.Host, w.By = in.Host, run.Actor.Name
		return nil
	})
	return changedOut{in.Source, "reported by host " + in.Host}, err
}
