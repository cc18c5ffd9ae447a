package site

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sync/errgroup"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib/release/activate"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/pack"
	"kaname.dev/kaname/rib/release/store"
	"kaname.dev/kaname/rib/release/swarm"
	"kaname.dev/kaname/rib/release/unpack"
)

// stage is the command.
func (s *Site) stage(ctx context.Context, c *plane.Call, in StageIn) (Staged, error) {
	return s.bring(ctx, in, func(p Progress) { c.Progress(p) })
}

// bring fetches, verifies and unpacks a release, unless it is here. The packs are
// tried in their order; a later one is the way out when a delta cannot be applied
// because its base is damaged here. What is interrupted goes on where it was.
func (s *Site) bring(ctx context.Context, in StageIn, tell func(Progress)) (out Staged, err error) {
	root, err := s.root(in.Root)
	if err != nil {
		return out, err
	}
	in.Root = root
	a, err := s.at(root, in.App)
	if err != nil {
		return out, err
	}
	done, err := s.wait(ctx, a.stage, in.App)
	if err != nil {
		return out, err
	}
	defer done()
	start := time.Now()
	r, here, err := s.here(root, in.App, in.Version)
	if err != nil {
		return out, err
	}
	if here && r.Manifest == in.Manifest {
		return Staged{Already: true, Files: r.Files, Size: r.Size}, s.settle(in)
	}
	if err := s.pend(in); err != nil {
		return out, err
	}
	for i, p := range in.Packs {
		t := s.transfer(in, p)
		out, err = s.by(ctx, in, p, t, tell)
		out.Took = time.Since(start)
		t.end(err)
		last := i == len(in.Packs)-1
		if err == nil || last || !fault.Is(err, fault.KindCorrupt) && !fault.Is(err, fault.KindNotFound) && !fault.Is(err, fault.KindConflict) {
			break
		}
		s.o.Log.Warn("the delta cannot be used; the full pack is fetched", "release", in.App+" "+in.Version, "base", p.BaseVersion, "cause", err)
		out.Fallback = err.Error()
		tell(Progress{Step: "fetch", Text: "the delta cannot be used: " + err.Error()})
		if err := s.o.Store.RemovePack(p.ID); err != nil {
			return out, err
		}
	}
	if err == nil || ctx.Err() == nil {
		if err := s.settle(in); err != nil {
			return out, err
		}
	}
	if err == nil {
		s.o.Tell("release.staged", map[string]any{"app": in.App, "version": in.Version, "fetched": out.Fetched, "reused": out.Reused, "delta": out.Delta, "took": out.Took})
	}
	return out, err
}

// by stages a release by one pack.
func (s *Site) by(ctx context.Context, in StageIn, p Pack, t *moving, tell func(Progress)) (out Staged, err error) {
	reuse, err := s.reuse(in)
	if err != nil {
		return out, err
	}
	basis, err := reuse.basis(p.Base)
	if err != nil {
		return out, err
	}
	held, err := s.receive(ctx, in, p)
	if err != nil {
		return out, err
	}
	if x := held.Describe(); x.Release != in.Manifest || x.Base != p.Base {
		return out, fault.Corrupt("pack " + p.ID.Short() + " is of another release than " + in.App + " " + in.Version)
	}
	keep, err := s.share(held, hostsOf(p.Peers), false)
	if err != nil {
		return out, err
	}
	defer keep()
	before := s.o.Stats.Peers()
	g, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	g.Go(func() error { return s.fetch(ctx, in, p, held, t, tell) })
	g.Go(func() error {
		err := s.unpack(ctx, in, held, basis, reuse, &out, t, tell)
		if err == nil {
			err = held.WaitComplete(ctx)
		}
		stop(errUnpacked) // fetch waits for chunks that are found damaged until now
		return err
	})
	err = g.Wait()
	out.Delta = basis != nil
	out.From, out.Fetched = received(before, s.o.Stats.Peers())
	return out, err
}

var errUnpacked = fault.Of(context.Canceled)

// received returns what came from each peer between two counts of the traffic.
func received(before, after map[string]swarm.Traffic) (from map[string]int64, sum int64) {
	from = map[string]int64{}
	for host, t := range after {
		if n := t.Received - before[host].Received; n > 0 {
			from[host] = n
			sum += n
		}
	}
	return from, sum
}

// fetch brings all chunks here, and those again that are found damaged, until ctx ends.
func (s *Site) fetch(ctx context.Context, in StageIn, p Pack, held *store.Pack, t *moving, tell func(Progress)) error {
	spec := swarm.FetchSpec{
		Self: s.o.Host, Place: s.o.Place, Peers: p.Peers, Client: s.o.Client, Limits: s.o.Limits, Stats: s.o.Stats, Log: s.o.Log,
		Dropped: func(host string, why error) {
			s.o.Tell("release.peer.dropped", map[string]any{"peer": host, "pack": p.ID, "why": why.Error()})
		},
		Progress: func(swarm.Progress) {
			if p, ok := t.fetched(held); ok {
				tell(p)
			}
		},
	}
	for {
		changed := held.Changed()
		if !held.Complete() {
			if err := swarm.Fetch(ctx, held, spec); err != nil {
				if context.Cause(ctx) == error(errUnpacked) { //nolint:errorlint // the very one
					return nil
				}
				return fmt.Errorf("fetch %s %s: %w", in.App, in.Version, err)
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// unpack makes the tree while the chunks arrive, and puts it in place.
func (s *Site) unpack(ctx context.Context, in StageIn, held *store.Pack, basis *pack.Basis, reuse *reuse, out *Staged, t *moving, tell func(Progress)) error {
	need := map[manifest.Digest]bool{}
	r, err := pack.NewReader(ctx, held.Describe(), held, basis, pack.ReaderOptions{Want: func(d manifest.Digest) bool { return need[d] }})
	if err != nil {
		return err
	}
	defer r.Close()
	m, err := r.Manifest(ctx)
	if err != nil {
		return err
	}
	if err := s.accept(in, m); err != nil {
		return err
	}
	o := unpack.Options{Owners: unpack.Owners(in.Owners), Log: s.o.Log}
	split, err := o.Missing(ctx, m, reuse)
	if err != nil {
		return err
	}
	if err := enough(m, basis, split); err != nil {
		return err
	}
	for _, d := range split.Need {
		need[d] = true
	}
	out.Reused, out.Files, out.Size = split.HaveBytes, m.Files, m.Header.Size
	if err := room(in.Root, split.NeedBytes); err != nil {
		return err
	}
	var dir *os.Root
	var where string
	err = s.with(ctx, in.Root, in.App, func(a *activate.App) error {
		dir, where, err = a.Stage(in.Version)
		return err
	})
	if err != nil {
		return err
	}
	err = o.Tree(ctx, dir, m, split, r, func(_ int, bytes int64) {
		if p, ok := t.unpacked(bytes); ok {
			tell(p)
		}
	})
	if closing := dir.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = s.commit(ctx, in, m, where)
	}
	if err != nil {
		_ = os.Remove(where) // empty after a failure; Sweep removes what is not
	}
	return err
}

// accept refuses a release that is not the one asked for, or not signed as it must be.
func (s *Site) accept(in StageIn, m *manifest.Manifest) error {
	if m.App != in.App || m.Version != in.Version || m.Kind != manifest.Tree {
		return fault.Corrupt("the manifest is of " + m.String() + " (" + string(m.Kind) + "), not of " + in.App + " " + in.Version).At(s.o.Host)
	}
	set := s.o.Settings()
	if !set.RequireSignature {
		return nil
	}
	if len(in.Signature) == 0 {
		return fault.Denied("release " + m.String() + " is not signed, and this host takes signed ones only").At(s.o.Host).
			Try("push it with --sign KEYFILE, or sign it afterwards: kaname release sign")
	}
	keys, err := ParseKeys(set.TrustedKeys)
	if err != nil {
		return err
	}
	_, err = m.Verify(in.Signature, keys)
	return err
}

// ParseKeys reads public keys, each given as itself or as the path of its file.
func ParseKeys(keys []string) (out []manifest.PublicKey, err error) {
	for _, k := range keys {
		text := []byte(k)
		if len(k) > 0 && k[0] == '/' {
			if text, err = os.ReadFile(k); err != nil {
				return nil, fmt.Errorf("trusted key: %w", err)
			}
		}
		key, err := manifest.ParsePublicKey(text)
		if err != nil {
			return nil, fmt.Errorf("trusted key: %w", err)
		}
		out = append(out, key)
	}
	return out, nil
}

// enough checks that a delta pack brings all that is missing: it does not when files
// of the base are damaged here.
func enough(m *manifest.Manifest, basis *pack.Basis, split *unpack.Split) error {
	if basis == nil {
		return nil
	}
	brings := map[manifest.Digest]bool{}
	for _, o := range pack.Objects(m, basis.Manifest) {
		brings[o.Digest] = true
	}
	lacking := 0
	for _, d := range split.Need {
		if !brings[d] {
			lacking++
		}
	}
	if lacking > 0 {
		return fault.Corrupt(fmt.Sprintf("%d files of release %s, the base of the delta, are missing or changed on this host", lacking, basis.Manifest.String()))
	}
	return nil
}

// room refuses a tree that would fill the disk.
func room(root string, need int64) error {
	sp, err := free(root)
	if err != nil {
		return err
	}
	if floor := min(sp.Total/20, 1<<30); need > sp.Free-floor {
		return fault.Full(fmt.Sprintf("%s has %s free, of which %s stay free, and the release needs %s", root,
			humanize.IBytes(uint64(sp.Free)), humanize.IBytes(uint64(floor)), humanize.IBytes(uint64(need)))).
			Try("remove old releases: kaname release prune APP --keep N; or make the file system larger")
	}
	return nil
}

// commit puts a complete tree in place and registers it.
func (s *Site) commit(ctx context.Context, in StageIn, m *manifest.Manifest, where string) error {
	if _, err := s.o.Store.Register(m); err != nil {
		return err
	}
	if len(in.Signature) > 0 {
		if err := s.o.Store.PutSignature(in.Manifest, in.Signature); err != nil {
			return err
		}
	}
	return s.with(ctx, in.Root, in.App, func(a *activate.App) error {
		err := a.Commit(where, activate.Release{Version: in.Version, Manifest: in.Manifest, Files: m.Files, Size: m.Header.Size})
		if err != nil {
			return err
		}
		return s.o.Store.Mark(in.Manifest, store.Staged, a.Path(in.Version))
	})
}

// forget removes what the store has of a release whose tree is gone. A core keeps what
// others may ask it for.
func (s *Site) forget(r activate.Release) {
	if s.o.Core {
		return
	}
	if err := s.o.Store.Mark(r.Manifest, store.Stored, ""); err == nil {
		err = s.o.Store.Remove(r.Manifest)
		if err != nil {
			s.o.Log.Warn("packs of a removed release are still there", "release", r.Version, "err", err)
		}
	}
}
