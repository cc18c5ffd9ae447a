package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/pack"
)

// Basis is a release as this host has it, for reading delta packs against it. Close
// must be called.
type Basis struct {
	pack.Basis
	close func() error
}

// Close frees the basis.
func (b *Basis) Close() error { return b.close() }

// Basis opens a release as the base of a delta pack: its tree, or its full pack where
// there is no tree. A NotFound fault says that there is neither.
func (s *Store) Basis(ctx context.Context, id manifest.Digest) (*Basis, error) {
	r, err := s.Release(id)
	if err != nil {
		return nil, err
	}
	m, err := s.Manifest(id)
	if err != nil {
		return nil, err
	}
	if r.Path != "" {
		b, err := treeBasis(m, r.Path)
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return b, err
		}
	}
	return s.packBasis(ctx, m, id)
}

// contents opens a release for making packs of it: its full pack, which is verified,
// or its tree.
func (s *Store) contents(ctx context.Context, id manifest.Digest) (*Basis, error) {
	m, err := s.Manifest(id)
	if err != nil {
		return nil, err
	}
	b, err := s.packBasis(ctx, m, id)
	if err == nil || !fault.Is(err, fault.KindNotFound) {
		return b, err
	}
	r, unregistered := s.Release(id)
	if unregistered != nil || r.Path == "" {
		return nil, err
	}
	return treeBasis(m, r.Path)
}

func (s *Store) packBasis(ctx context.Context, m *manifest.Manifest, id manifest.Digest) (*Basis, error) {
	p, err := s.Full(id)
	if err != nil {
		return nil, err
	}
	if !p.Complete() {
		return nil, fault.NotFound("the full pack of release " + m.Header.String() + " is not complete here")
	}
	c, err := pack.NewContents(ctx, p.index, m, here{p})
	if err != nil {
		return nil, err
	}
	return &Basis{Basis: pack.Basis{Manifest: m, Files: c}, close: func() error { c.Close(); return nil }}, nil
}

// here gives the chunks that are here and waits for none.
type here struct{ p *Pack }

func (h here) Chunk(_ context.Context, i int, buf []byte) ([]byte, error) {
	if !h.p.hasChunk(i) {
		return nil, fault.NotFound(fmt.Sprintf("pack %s: chunk %d is not here", h.p.id.Short(), i)).Try("fetch the full pack again")
	}
	return h.p.read(i, buf)
}

func (p *Pack) hasChunk(i int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.have.Test(uint(i)) //nolint:gosec // a chunk's number
}

// treeBasis reads contents from an unpacked tree.
func treeBasis(m *manifest.Manifest, dir string) (*Basis, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open release %s: %w", m.Header.String(), err)
	}
	t := &treeFiles{root: root, paths: make(map[manifest.Digest]string, len(m.Entries))}
	for i := range m.Entries {
		if e := &m.Entries[i]; e.Digest != nil && t.paths[*e.Digest] == "" {
			t.paths[*e.Digest] = e.Path
		}
	}
	return &Basis{Basis: pack.Basis{Manifest: m, Files: t}, close: root.Close}, nil
}

// treeFiles opens the files of a tree by digest.
type treeFiles struct {
	root  *os.Root
	paths map[manifest.Digest]string
}

func (t *treeFiles) Open(d manifest.Digest) (io.ReadCloser, error) {
	p, ok := t.paths[d]
	if !ok {
		return nil, fmt.Errorf("no file has the contents %s: %w", d.Short(), os.ErrNotExist)
	}
	f, err := t.root.Open(p)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%q is no regular file any more", p), err, f.Close())
	}
	return f, nil
}
