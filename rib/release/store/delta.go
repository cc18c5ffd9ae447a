package store

import (
	"context"
	"errors"

	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/pack"
)

// deltaKey names a delta.
type deltaKey struct{ from, to manifest.Digest }

// building is a delta being made, so that those who want it wait for one another.
type building struct{ done chan struct{} }

// Delta returns the pack by which a host that has the release from gets the release to:
// a delta pack, made at the first call and kept, or the full pack where that is not
// larger. Both releases must be here, each as a full pack or a tree.
func (s *Store) Delta(ctx context.Context, from, to manifest.Digest) (*Pack, error) {
	full, err := s.Full(to)
	if err != nil && (from.IsZero() || from == to) {
		return nil, err
	}
	if from.IsZero() || from == to {
		return full, nil
	}
	key := deltaKey{from, to}
	for {
		if p, err := s.find(to, from); err == nil && p.Complete() {
			return smaller(p, full), nil
		}
		s.mu.Lock()
		other := s.building[key]
		mine := &building{done: make(chan struct{})}
		if other == nil {
			s.building[key] = mine
		}
		s.mu.Unlock()
		if other == nil {
			p, err := s.buildDelta(ctx, from, to)
			s.mu.Lock()
			delete(s.building, key)
			close(mine.done)
			s.mu.Unlock()
			if err != nil {
				return nil, err
			}
			return smaller(p, full), nil
		}
		select {
		case <-other.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// smaller returns the delta unless the full pack is complete and not larger.
func smaller(delta, full *Pack) *Pack {
	if full != nil && full.Complete() && full.index.Wire() <= delta.index.Wire() {
		return full
	}
	return delta
}

func (s *Store) buildDelta(ctx context.Context, from, to manifest.Digest) (p *Pack, err error) {
	old, err := s.contents(ctx, from)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	next, err := s.contents(ctx, to)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, next.Close()) }()
	w, err := s.newWork()
	if err != nil {
		return nil, err
	}
	defer w.close()
	x, err := pack.BuildDelta(ctx, w, &old.Basis, &next.Basis, s.options.Pack)
	if err != nil {
		return nil, s.full(err)
	}
	return w.admit(ctx, x)
}
