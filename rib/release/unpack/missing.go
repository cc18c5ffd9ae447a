package unpack

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"kaname.dev/kaname/rib/release/manifest"
)

// Split is what a host has of a release, verified, and what it must fetch. It is
// itself a Reuse, of what was verified.
type Split struct {
	Need      []manifest.Digest // contents to fetch, in the order of first appearance in the manifest
	NeedBytes int64             // their size before compression
	HaveFiles int               // entries that are made from files of this host
	HaveBytes int64             // distinct bytes that need no transfer

	byEntry  map[string]source
	byDigest map[manifest.Digest]source
}

// source is a file whose contents were verified. Its change time is no part of it,
// since hard links change that.
type source struct {
	path     string
	dev, ino uint64
	size     int64
	mtime    unix.Timespec
}

func (s *source) same(st *unix.Stat_t) bool {
	return s.dev == st.Dev && s.ino == st.Ino && s.size == st.Size && s.mtime == st.Mtim
}

// Find implements Reuse.
func (s *Split) Find(e manifest.Entry) (string, bool) {
	if !s.has(&e) {
		return "", false
	}
	return s.source(&e).path, true
}

func (s *Split) has(e *manifest.Entry) bool {
	if s == nil || e.Digest == nil {
		return false
	}
	_, ok := s.byDigest[*e.Digest]
	return ok
}

func (s *Split) source(e *manifest.Entry) source {
	if src, ok := s.byEntry[e.Path]; ok {
		return src
	}
	return s.byDigest[*e.Digest]
}

// Missing verifies what reuse offers and splits the release into what the host has
// and what it needs, with the default Options.
func Missing(ctx context.Context, m *manifest.Manifest, reuse Reuse) (*Split, error) {
	return Options{}.Missing(ctx, m, reuse)
}

// candidate is a file that may have the contents of some entries.
type candidate struct {
	path   string
	size   int64
	digest manifest.Digest
}

// Missing verifies what reuse, which may be nil, offers, by hashing it with several
// workers. Files that cannot be read, or are not what was believed, count as
// missing.
func (o Options) Missing(ctx context.Context, m *manifest.Manifest, reuse Reuse) (*Split, error) {
	o = o.withDefaults()
	s := &Split{byEntry: map[string]source{}, byDigest: map[manifest.Digest]source{}}
	offers := map[candidate][]string{} // -> paths of entries
	for i := range m.Entries {
		e := &m.Entries[i]
		if reuse == nil || e.Type != manifest.File || e.Digest == nil {
			continue
		}
		if p, ok := reuse.Find(*e); ok {
			c := candidate{p, e.Size, *e.Digest}
			offers[c] = append(offers[c], e.Path)
		}
	}
	var mu sync.Mutex // guards s
	var g errgroup.Group
	g.SetLimit(o.Workers)
	for c, entries := range offers {
		g.Go(func() error {
			src, err := verify(ctx, c)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				o.Log.Debug("file is not reused", "path", c.path, "err", err)
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			if had, ok := s.byDigest[c.digest]; !ok || src.path < had.path {
				s.byDigest[c.digest] = src
			}
			for _, p := range entries {
				s.byEntry[p] = src
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("verify the files that this host has of release %s: %w", m.String(), err)
	}
	s.count(m)
	return s, nil
}

func (s *Split) count(m *manifest.Manifest) {
	seen := map[manifest.Digest]bool{}
	for i := range m.Entries {
		e := &m.Entries[i]
		if e.Digest == nil {
			continue
		}
		has, first := s.has(e), !seen[*e.Digest]
		seen[*e.Digest] = true
		if has {
			s.HaveFiles++
		}
		switch {
		case first && has:
			s.HaveBytes += e.Size
		case first:
			s.Need = append(s.Need, *e.Digest)
			s.NeedBytes += e.Size
		}
	}
}

// verify hashes a candidate.
func verify(ctx context.Context, c candidate) (source, error) {
	f, st, err := openRegular(c.path)
	if err != nil {
		return source{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	if st.Size != c.size {
		return source{}, fmt.Errorf("%d bytes instead of %d", st.Size, c.size)
	}
	h := sha256.New()
	if _, err := io.Copy(h, &untilDone{ctx, f}); err != nil {
		return source{}, err
	}
	if d := manifest.Digest(h.Sum(nil)); d != c.digest {
		return source{}, fmt.Errorf("digest %s instead of %s", d.Short(), c.digest.Short())
	}
	src := source{path: c.path, dev: st.Dev, ino: st.Ino, size: st.Size, mtime: st.Mtim}
	var now unix.Stat_t
	if err := again(func() error { return unix.Fstat(int(f.Fd()), &now) }); err != nil { //nolint:gosec // descriptors are small
		return source{}, err
	}
	if !src.same(&now) {
		return source{}, errors.New("changed while it was read")
	}
	return src, nil
}

// untilDone is a reader that ends with the context.
type untilDone struct {
	ctx context.Context //nolint:containedctx // lives for one call of verify
	r   io.Reader
}

func (u *untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

// openRegular opens a regular file, not a link, without waiting for a pipe's writer.
func openRegular(p string) (*os.File, *unix.Stat_t, error) {
	f, err := os.OpenFile(p, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	var st unix.Stat_t
	err = again(func() error { return unix.Fstat(int(f.Fd()), &st) }) //nolint:gosec // descriptors are small
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("not a regular file")
	}
	if err != nil {
		_ = f.Close() // only looked at
		return nil, nil, err
	}
	return f, &st, nil
}
