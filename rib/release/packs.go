package release

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/fleet"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/site"
	"kaname.dev/kaname/rib/release/store"
	"kaname.dev/kaname/rib/release/swarm"
)

// packPlan says by which pack each host gets a release.
type packPlan struct {
	groups []packGroup
	hosts  []string // all
	ids    []manifest.Digest
}

// packGroup is the hosts that get the same order.
type packGroup struct {
	hosts []string
	in    site.StageIn
}

// inventories asks hosts what they have; those that do not answer are left out.
func (r *service) inventories(ctx context.Context, hosts []string, app string, within time.Duration) map[string]site.Inventory {
	out := map[string]site.Inventory{}
	spec := plane.CallSpec{Command: site.CommandInventory, Hosts: hosts, In: site.InventoryIn{App: app}, Timeout: within}
	for f := range r.node.Plane.Call(ctx, spec) {
		var inv site.Inventory
		if f.Result != nil && json.Unmarshal(f.Result, &inv) == nil {
			out[f.Host] = inv
		}
	}
	return out
}

// planPacks makes the packs that the hosts need, and decides who gets which: the delta
// against the best base that a host has, the full pack where there is none.
func (r *service) planPacks(ctx context.Context, d *deployment, hosts []string) (*packPlan, error) {
	rel, err := r.releases().Get(ctx, releaseKey(d.doc.App, d.doc.Version))
	if err != nil {
		return nil, err
	}
	full, next, err := r.hold(ctx, &rel.Value)
	if err != nil {
		return nil, err
	}
	members, err := r.node.Plane.Members(ctx)
	if err != nil {
		return nil, err
	}
	peers := map[string]swarm.Peer{}
	for _, m := range members {
		peers[m.Host] = swarm.Peer{Host: m.Host, Address: m.Address, Place: fleet.Place(m.Labels), Origin: m.Host == r.node.Host}
	}
	invs := r.inventories(ctx, hosts, d.doc.App, 10*time.Second)
	bases := r.bases(ctx, invs, d.doc.App, full, next)
	byBase := map[manifest.Digest][]string{}
	for _, h := range slices.Sorted(slices.Values(hosts)) {
		byBase[bases[h]] = append(byBase[bases[h]], h)
	}
	p := &packPlan{hosts: hosts}
	var seeds []string // have the full pack already
	for h, inv := range invs {
		if slices.Contains(inv.Packs, full.ID()) && h != r.node.Host {
			seeds = append(seeds, h)
		}
	}
	in := site.StageIn{
		App: rel.Value.App, Version: rel.Value.Version, Root: d.doc.Settings.Root, Manifest: rel.Value.Manifest,
		Signature: rel.Value.Signature, Size: rel.Value.Size, Files: rel.Value.Files, Owners: d.doc.Settings.Owners,
	}
	whole := site.Pack{ID: full.Digest(), Size: full.Describe().Wire(), Peers: takePart(peers, r.node.Host, byBase[manifest.Digest{}], seeds)}
	for base, group := range byBase {
		g := packGroup{hosts: group, in: in}
		if !base.IsZero() {
			delta, version, err := r.delta(ctx, d, base, &rel.Value)
			if err != nil {
				return nil, err
			}
			if delta.Digest() != full.Digest() {
				g.in.Packs = []site.Pack{{ID: delta.Digest(), Base: base, BaseVersion: version, Size: delta.Describe().Wire(), Peers: takePart(peers, r.node.Host, group, nil)}}
				p.ids = append(p.ids, delta.Digest())
				d.uses(packUse{ID: delta.Digest(), Base: base, BaseVersion: version, Size: delta.Describe().Wire(), Hosts: len(group)})
			}
		}
		if len(g.in.Packs) == 0 {
			d.uses(packUse{ID: full.Digest(), Size: whole.Size, Hosts: len(group)})
		}
		g.in.Packs = append(g.in.Packs, whole)
		p.groups = append(p.groups, g)
	}
	p.ids = append(p.ids, full.Digest())
	r.seed(ctx, d, seeds, []manifest.Digest{full.Digest()}, hosts)
	return p, nil
}

// uses notes a pack in the document.
func (d *deployment) uses(u packUse) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.doc.Packs, func(p packUse) bool { return p.ID == u.ID })
	if i < 0 {
		d.doc.Packs = append(d.doc.Packs, u)
		return
	}
	d.doc.Packs[i].Hosts += u.Hosts
}

// takePart lists the peers of a pack, the same for all of them.
func takePart(peers map[string]swarm.Peer, origin string, groups ...[]string) (list []swarm.Peer) {
	seen := map[string]bool{}
	for _, group := range append([][]string{{origin}}, groups...) {
		for _, h := range group {
			if p := peers[h]; !seen[h] && p.Address != "" {
				seen[h] = true
				list = append(list, p)
			}
		}
	}
	slices.SortFunc(list, func(a, b swarm.Peer) int { return cmp.Compare(a.Host, b.Host) })
	return list
}

// bases chooses the base for each host. A host that has the whole pack needs none.
func (r *service) bases(ctx context.Context, invs map[string]site.Inventory, app string, full *store.Pack, next *manifest.Manifest) map[string]manifest.Digest {
	has := map[string][]fleet.Base{}
	known := map[manifest.Digest]*manifest.Manifest{}
	for host, inv := range invs {
		if slices.Contains(inv.Packs, full.ID()) {
			continue
		}
		for _, rel := range inv.View(app).Releases {
			has[host] = append(has[host], fleet.Base{ID: rel.Manifest, Live: rel.Live})
			if _, seen := known[rel.Manifest]; seen {
				continue
			}
			if m := r.contents(ctx, app, rel.Manifest); m != nil {
				known[rel.Manifest] = m
			}
		}
	}
	return fleet.ChooseBases(has, known, next)
}

// delta makes the delta pack, or finds it made.
func (r *service) delta(ctx context.Context, d *deployment, base manifest.Digest, rel *releaseDoc) (*store.Pack, string, error) {
	old, err := r.store.Release(base)
	if err != nil {
		return nil, "", err
	}
	start := time.Now()
	d.hub.say(action.Event{Step: "delta", State: action.StateRunning, Text: "making the delta against " + old.Version})
	p, err := r.store.Delta(ctx, base, rel.Manifest)
	if err != nil {
		return nil, "", fmt.Errorf("delta of %s against %s: %w", rel.String(), old.Version, err)
	}
	d.note("", "delta", action.StateDone, fmt.Sprintf("delta against %s: %s instead of %s, made in %s", old.Version, bytesText(p.Describe().Wire()), bytesText(rel.Wire), time.Since(start).Round(time.Millisecond)))
	return p, old.Version, nil
}

// seed asks hosts that have packs to give them to the hosts that need them.
func (r *service) seed(ctx context.Context, d *deployment, seeds []string, ids []manifest.Digest, hosts []string) {
	if len(seeds) == 0 {
		return
	}
	d.call(ctx, site.CommandSeed, seeds, site.SeedIn{Packs: ids, Hosts: hosts}, 0, func(host string, _ json.RawMessage, f *fault.Fault) {
		if f != nil { // others have it too
			r.node.Log.Warn("a host that has the pack does not give it", "peer", host, "err", f)
		}
	})
}

// offer gives the packs from this core.
func (p *packPlan) offer(r *service) (release func(), err error) {
	var done []func()
	release = func() {
		for _, f := range done {
			f()
		}
	}
	for _, id := range p.ids {
		f, err := r.site.Offer(id, p.hosts)
		if err != nil {
			release()
			return nil, err
		}
		done = append(done, f)
	}
	return release, nil
}

// contents returns the manifest of a release of which the store has the contents; nil
// when it has not.
func (r *service) contents(ctx context.Context, app string, id manifest.Digest) *manifest.Manifest {
	m, err := r.store.Manifest(id)
	if err != nil {
		return nil
	}
	b, err := r.store.Basis(ctx, id)
	if err != nil {
		r.node.Log.Debug("release is no base for a delta", "app", app, "release", id.Short(), "err", err)
		return nil
	}
	_ = b.Close() // only asked whether it is there
	return m
}

// hold makes sure that this core's store has the release, fetching it from another core
// if need be, and returns its full pack and manifest.
func (r *service) hold(ctx context.Context, rel *releaseDoc) (*store.Pack, *manifest.Manifest, error) {
	p, err := r.store.Pack(rel.Pack)
	if err != nil || !p.Complete() {
		if p, err = r.pull(ctx, rel); err != nil {
			return nil, nil, err
		}
	}
	m, err := r.store.Manifest(rel.Manifest)
	return p, m, err
}
