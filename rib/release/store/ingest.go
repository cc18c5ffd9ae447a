package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/archive"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/pack"
)

// Source gives the entries of a new release one after another, as *archive.Reader does.
type Source interface {
	// Next returns the next entry and its contents, io.EOF after the last. The contents
	// may be left unread.
	Next() (manifest.Entry, io.Reader, error)
	// Digest returns the digest of the contents that Next returned last, once read.
	Digest() manifest.Digest
	// Manifest completes the header once Next has returned io.EOF.
	Manifest(h manifest.Header) (*manifest.Manifest, error)
}

var _ Source = (*archive.Reader)(nil)

// Ingest reads a release from src, once and as a stream, and keeps its manifest and a
// full pack of it in state Stored. It holds a few blocks in memory, whatever the size.
// A version that is here with other contents gives an Exists fault, too little room a
// Full one; on any error nothing stays behind.
func (s *Store) Ingest(ctx context.Context, src Source, h manifest.Header) (Release, error) {
	s.mu.Lock()
	r, ok := s.named(h.App, h.Version)
	s.mu.Unlock()
	if ok {
		return Release{}, taken(&r)
	}
	m, p, err := s.ingest(ctx, src, h)
	if err != nil {
		return Release{}, err
	}
	rel, err := s.register(m, Stored)
	if err != nil {
		return Release{}, errors.Join(err, s.RemovePack(p.id))
	}
	return rel, nil
}

// ingest makes the manifest and the pack.
func (s *Store) ingest(ctx context.Context, src Source, h manifest.Header) (*manifest.Manifest, *Pack, error) {
	w, err := s.newWork()
	if err != nil {
		return nil, nil, err
	}
	defer w.close()
	b, err := pack.NewBuilder(ctx, w, s.options.Pack)
	if err != nil {
		return nil, nil, err
	}
	defer b.Close()
	if err := fill(ctx, b, src); err != nil {
		return nil, nil, s.full(err)
	}
	m, err := src.Manifest(h)
	if err != nil {
		return nil, nil, err
	}
	if !b.Fits(m) {
		p, err := s.again(ctx, b, m)
		return m, p, err
	}
	x, err := b.Finish(m)
	if err != nil {
		return nil, nil, s.full(err)
	}
	p, err := w.admit(ctx, x)
	return m, p, err
}

// fill adds the contents of all files.
func fill(ctx context.Context, b *pack.Builder, src Source) error {
	for {
		e, r, err := src.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.Type != manifest.File {
			continue
		}
		if _, err := b.Add(r, e.Size, src.Digest); err != nil {
			if _, ok := errors.AsType[*fault.Fault](err); ok {
				return err
			}
			return fmt.Errorf("file %q: %w", e.Path, err)
		}
	}
}

// again makes the pack a second time from the first, where the archive replaced a file
// by a later entry.
func (s *Store) again(ctx context.Context, b *pack.Builder, m *manifest.Manifest) (*Pack, error) {
	was, err := b.Contents()
	if err != nil {
		return nil, err
	}
	defer was.Close()
	w, err := s.newWork()
	if err != nil {
		return nil, err
	}
	defer w.close()
	second, err := pack.NewBuilder(ctx, w, s.options.Pack)
	if err != nil {
		return nil, err
	}
	defer second.Close()
	for _, o := range pack.Objects(m, nil) {
		f, err := was.OpenFile(o.Digest)
		if err != nil {
			return nil, err
		}
		if _, err := second.Add(f, o.Size, nil); err != nil {
			return nil, s.full(err)
		}
	}
	x, err := second.Finish(m)
	if err != nil {
		return nil, s.full(err)
	}
	return w.admit(ctx, x)
}

// work is a pack being made in a temporary directory: a pack.File that takes room in
// the store as it grows.
type work struct {
	*os.File
	s    *Store
	dir  string
	room *Reservation
	size int64 // bytes of the file

	spent int64 // the most that the file ever had
}

// workStep is how much room is taken at a time.
const workStep = 16 << 20

func (s *Store) newWork() (*work, error) {
	dir, err := s.temp()
	if err != nil {
		return nil, err
	}
	w := &work{s: s, dir: dir}
	w.File, err = s.root.OpenFile(path.Join(dir, "data"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		w.room, err = s.Reserve(0)
	}
	if err != nil {
		return nil, errors.Join(s.full(err), s.root.RemoveAll(dir))
	}
	return w, nil
}

// Write takes the room that it needs.
func (w *work) Write(b []byte) (int, error) {
	if need := w.size + int64(len(b)) - w.room.n; need > 0 {
		if err := w.room.Grow(max(need, workStep)); err != nil {
			// Near the end of the room less will do.
			if err := w.room.Grow(need); err != nil {
				return 0, err
			}
		}
	}
	n, err := w.File.Write(b)
	w.size += int64(n)
	w.room.Spend(w.size - w.spent)
	w.spent = max(w.spent, w.size)
	return n, err
}

// ReadFrom hides that of the file, which would not take room.
func (w *work) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{w}, r) }

// Truncate notes the new size.
func (w *work) Truncate(size int64) error {
	w.size = size
	return w.File.Truncate(size)
}

// admit makes the finished pack part of the store.
func (w *work) admit(ctx context.Context, x *pack.Index) (*Pack, error) {
	if err := w.Sync(); err != nil {
		return nil, w.s.full(fmt.Errorf("sync pack: %w", err))
	}
	index := x.Bytes()
	return w.s.admit(ctx, w.dir, index, appendRecord(nil, manifest.Sum(index), journalAll), w.room)
}

// close removes what was not admitted.
func (w *work) close() {
	w.room.Release()
	if err := errors.Join(w.File.Close(), w.s.root.RemoveAll(w.dir)); err != nil {
		w.s.options.Log.Warn("a temporary file of the release store remains until the next start", "dir", w.dir, "cause", err)
	}
}
