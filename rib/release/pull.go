package release

import (
	"context"
	"fmt"
	"slices"

	"github.com/dustin/go-humanize"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/fleet"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/pack"
	"kaname.dev/kaname/rib/release/site"
	"kaname.dev/kaname/rib/release/store"
	"kaname.dev/kaname/rib/release/swarm"
)

// pull gets a release that this core lacks from whoever has it: the cores on record,
// else any host with the whole pack.
func (r *service) pull(ctx context.Context, rel *releaseDoc) (*store.Pack, error) {
	members, err := r.node.Plane.Members(ctx)
	if err != nil {
		return nil, err
	}
	var alive []string
	at := map[string]plane.Member{}
	for _, m := range members {
		if m.Alive && m.Host != r.node.Host && m.Commands[site.CommandSeed] > 0 {
			alive = append(alive, m.Host)
			at[m.Host] = m
		}
	}
	spec := plane.CallSpec{Command: site.CommandSeed, Hosts: alive, In: site.SeedIn{Packs: []manifest.Digest{rel.Pack}, Hosts: []string{r.node.Host}}, Timeout: silence}
	var peers []swarm.Peer
	for f := range r.node.Plane.Call(ctx, spec) {
		if a := answer[site.Seeded](f.Result, f.Fault); f.Last() && a.err == nil && len(a.out.Packs) > 0 {
			m := at[f.Host]
			peers = append(peers, swarm.Peer{Host: m.Host, Address: m.Address, Place: fleet.Place(m.Labels), Origin: true})
		}
	}
	if len(peers) == 0 {
		return nil, fault.NotFound("release " + rel.String() + " is on no host that is alive").At(r.node.Host).
			Because(fmt.Errorf("it was pushed to %v", rel.Holders)).Try("start one of them, or push the release again under another version")
	}
	p, err := r.site.Pull(ctx, site.Pack{ID: rel.Pack, Size: rel.Wire, Peers: peers})
	if err != nil {
		return nil, err
	}
	rd, err := pack.NewReader(ctx, p.Describe(), p, nil, pack.ReaderOptions{})
	if err != nil {
		return nil, err
	}
	defer rd.Close()
	m, err := rd.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	if m.ID() != rel.Manifest {
		return nil, fault.Corrupt("pack " + rel.Pack.Short() + " is of another release than " + rel.String())
	}
	got, err := r.store.Register(m)
	if err != nil {
		return nil, err
	}
	if got.State == store.Receiving {
		if err := r.store.Mark(rel.Manifest, store.Stored, ""); err != nil {
			return nil, err
		}
	}
	_, err = r.releases().Update(ctx, releaseKey(rel.App, rel.Version), func(d *releaseDoc) error {
		d.Holders = addOnce(d.Holders, r.node.Host)
		return nil
	})
	return p, err
}

func addOnce(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

func bytesText(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }
