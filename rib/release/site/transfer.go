package site

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/store"
)

// tellEvery is the least time between two progress frames of one step.
const tellEvery = 300 * time.Millisecond

// moving is a Transfer that is told of from several goroutines.
type moving struct {
	mu       sync.Mutex // guards the fields below
	t        Transfer
	toldF    time.Time
	toldU    time.Time
	lastTold int64
	lastMade int64
}

// transfer puts a new transfer of the app on the list.
func (s *Site) transfer(in StageIn, p Pack) *moving {
	m := &moving{t: Transfer{App: in.App, Version: in.Version, Began: time.Now().UTC(), Step: "fetch", Size: p.Size, Total: in.Size}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.transfers[in.App] = m
	return m
}

// moving returns the transfers of an app, or of all.
func (s *Site) moving(app string) (list []Transfer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, m := range s.transfers {
		if app == "" || name == app {
			m.mu.Lock()
			list = append(list, m.t)
			m.mu.Unlock()
		}
	}
	slices.SortFunc(list, func(a, b Transfer) int { return strings.Compare(a.App, b.App) })
	return list
}

// fetched notes how much of a pack is here; ok says whether it is time to tell.
func (m *moving) fetched(p *store.Pack) (out Progress, ok bool) {
	have := p.Have()
	n := int64(0)
	for i := range p.Chunks() {
		if have.Test(uint(i)) { //nolint:gosec // a chunk's number
			n += int64(p.Size(i))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.t.Fetched = n
	complete := int(have.Count()) == p.Chunks() //nolint:gosec // a number of chunks
	if (!complete || m.lastTold == n) && time.Since(m.toldF) < tellEvery {
		return out, false
	}
	m.toldF, m.lastTold = time.Now(), n
	return Progress{Step: "fetch", Done: n, Total: m.t.Size, Unit: "bytes"}, true
}

// unpacked notes how much of the tree is made.
func (m *moving) unpacked(bytes int64) (out Progress, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.t.Unpacked, m.t.Step = bytes, "unpack"
	// The last byte is told at once, but not again with each empty file after it.
	if (bytes < m.t.Total || m.lastMade == bytes) && time.Since(m.toldU) < tellEvery {
		return out, false
	}
	m.toldU, m.lastMade = time.Now(), bytes
	return Progress{Step: "unpack", Done: bytes, Total: m.t.Total, Unit: "bytes"}, true
}

// end notes how it ended.
func (m *moving) end(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.t.Done = err == nil
	if err != nil {
		m.t.Error = err.Error()
	}
}

// pendingFile holds the orders that are under way, so that they go on after a restart,
// also while no core is there.
const pendingFile = "pending.json"

// pend notes that a release is wanted here; settle that it is not any more.
func (s *Site) pend(in StageIn) error {
	return s.pending(func(p map[string]StageIn) { p[in.App] = in })
}

func (s *Site) settle(in StageIn) error {
	return s.pending(func(p map[string]StageIn) {
		if p[in.App].Manifest == in.Manifest {
			delete(p, in.App)
		}
	})
}

func (s *Site) pending(change func(map[string]StageIn)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := map[string]StageIn{}
	if err := readJSON(s.o.Root, pendingFile, &p); err != nil {
		s.o.Log.Warn("pending orders cannot be read", "err", err)
		p = map[string]StageIn{}
	}
	n := len(p)
	change(p)
	if n == 0 && len(p) == 0 {
		return nil
	}
	return writeJSON(s.o.Root, pendingFile, p)
}

// Resume goes on with the orders that a restart interrupted, until all are done or ctx
// ends.
func (s *Site) Resume(ctx context.Context) {
	orders := map[string]StageIn{}
	if err := readJSON(s.o.Root, pendingFile, &orders); err != nil {
		s.o.Log.Warn("pending orders cannot be read", "err", err)
	}
	var wg sync.WaitGroup
	for _, in := range orders {
		wg.Go(func() {
			s.o.Log.Info("an interrupted transfer goes on", "app", in.App, "version", in.Version)
			if _, err := s.bring(ctx, in, func(Progress) {}); err != nil && ctx.Err() == nil {
				s.o.Log.Warn("an interrupted transfer came to nothing", "app", in.App, "version", in.Version, "err", err)
			}
		})
	}
	wg.Wait()
}

// stored adds what is in the store to an inventory.
func (s *Site) stored(inv *Inventory) {
	for _, p := range s.o.Store.Packs(manifest.Digest{}) {
		if p.Have == p.Chunks {
			inv.Packs = append(inv.Packs, p.ID.String())
		}
	}
	if u, err := s.o.Store.Usage(); err == nil {
		inv.Stored, inv.Quota = u.Used, u.Quota
	}
}
