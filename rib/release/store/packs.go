package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/pack"
)

// PackInfo is a pack in the store, for lists.
type PackInfo struct {
	ID      manifest.Digest  `json:"id"`
	Release manifest.Digest  `json:"release"`
	Base    *manifest.Digest `json:"base,omitempty"` // nil for a full pack
	Size    int64            `json:"size"`           // bytes on the wire
	Raw     int64            `json:"raw"`            // bytes before compression
	Chunks  int              `json:"chunks"`
	Have    int              `json:"have"` // chunks here
}

// loadPacks opens the packs that are there. One whose index is damaged is removed: it
// can only be fetched again.
func (s *Store) loadPacks(ctx context.Context) error {
	names, err := s.names(dirPacks)
	if err != nil {
		return err
	}
	for _, name := range names {
		p, err := s.openPack(ctx, path.Join(dirPacks, name))
		if err == nil && p.ID() != name {
			err = errors.Join(errors.New("the directory has another name than the pack"), p.close())
		}
		if fault.Is(err, fault.KindCanceled) || errors.Is(err, unix.EMFILE) {
			return err
		}
		if err != nil {
			s.options.Log.Warn("a damaged pack is removed", "pack", name, "cause", err)
			if err := s.root.RemoveAll(path.Join(dirPacks, name)); err != nil {
				return fmt.Errorf("remove pack: %w", err)
			}
			continue
		}
		s.packs[p.id] = p
		s.used += p.space()
	}
	return nil
}

// space returns the bytes that the pack takes on disk.
func (p *Pack) space() int64 { return p.index.Wire() + int64(len(p.text)) }

// openPack opens the pack in a directory.
func (s *Store) openPack(ctx context.Context, dir string) (*Pack, error) {
	text, err := s.root.ReadFile(path.Join(dir, "index"))
	if err != nil {
		return nil, err
	}
	x, err := pack.Decode(text)
	if err != nil {
		return nil, err
	}
	p := &Pack{s: s, dir: dir, id: manifest.Sum(text), index: x, text: text, offsets: offsets(x), changed: make(chan struct{})}
	st, err := p.replay()
	if err != nil {
		return nil, err
	}
	p.have, p.written, p.count = st.have, st.size, int(st.have.Count()) //nolint:gosec // below MaxChunks
	if st.sealed || !s.reboot {
		return p, nil
	}
	damaged, err := p.Verify(ctx)
	if err == nil && damaged == 0 && p.count == len(x.Chunks) {
		err = p.seal()
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// replay reads the journal, and makes sure that the data are there.
func (p *Pack) replay() (st state, err error) {
	if _, err := p.s.root.Stat(path.Join(p.dir, "data")); err != nil {
		return st, err
	}
	f, err := p.s.root.OpenFile(path.Join(p.dir, "have"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return st, err
	}
	st, err = replay(f, p.id, len(p.index.Chunks))
	return st, errors.Join(err, f.Close())
}

// offsets returns where each chunk is in the data file.
func offsets(x *pack.Index) []int64 {
	at := make([]int64, len(x.Chunks))
	next := int64(0)
	for k := range x.Chunks {
		i := (k + x.Head) % len(x.Chunks)
		at[i] = next
		next += int64(x.Chunks[i].Size)
	}
	return at
}

// Receive returns the pack with that index to put chunks in: the one that is here,
// perhaps with some chunks already, or a new one, for which all its room is taken now
// (a Full fault if there is not enough). An index that is none gives a Corrupt fault.
func (s *Store) Receive(ctx context.Context, index []byte) (*Pack, error) {
	id := manifest.Sum(index)
	if p, err := s.Pack(id); err == nil {
		return p, nil
	}
	x, err := pack.Decode(index)
	if err != nil {
		return nil, err
	}
	room, err := s.Reserve(x.Wire() + int64(len(index)))
	if err != nil {
		return nil, err
	}
	defer room.Release()
	dir, err := s.temp()
	if err != nil {
		return nil, err
	}
	defer s.root.RemoveAll(dir) //nolint:errcheck // gone when it was renamed; else Open removes it
	f, err := s.root.OpenFile(path.Join(dir, "data"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, s.full(err)
	}
	if err := errors.Join(allocate(f, x.Wire()), f.Close()); err != nil {
		return nil, s.full(fmt.Errorf("allocate pack %s: %w", id.Short(), err))
	}
	room.Spend(x.Wire())
	return s.admit(ctx, dir, index, nil, room)
}

// allocate gives the file its size and its blocks, where the file system can.
func allocate(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size) //nolint:gosec // a descriptor fits
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return f.Truncate(size)
	}
	return err
}

// admit moves a pack from a temporary directory, where its data is, to its place. The
// journal tells what is there. When another did the same meanwhile, theirs is
// returned.
func (s *Store) admit(ctx context.Context, dir string, index, journal []byte, room *Reservation) (*Pack, error) {
	for name, contents := range map[string][]byte{"index": index, "have": journal} {
		if err := host.WriteBytes(s.root, path.Join(dir, name), 0o600, contents); err != nil {
			return nil, s.full(fmt.Errorf("write pack: %w", err))
		}
	}
	if err := host.SyncDir(s.root, dir); err != nil {
		return nil, fmt.Errorf("sync pack: %w", err)
	}
	id := manifest.Sum(index)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.packs[id]; p != nil {
		return p, nil
	}
	if s.closed {
		return nil, errClosed
	}
	to := path.Join(dirPacks, id.String())
	if err := s.root.Rename(dir, to); err != nil {
		return nil, fmt.Errorf("place pack: %w", err)
	}
	if err := host.SyncDir(s.root, dirPacks); err != nil {
		return nil, fmt.Errorf("sync packs: %w", err)
	}
	p, err := s.openPack(ctx, to)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open pack: %w", err), s.root.RemoveAll(to))
	}
	s.packs[id] = p
	s.used += p.space()
	room.release()
	return p, nil
}

var errClosed = errors.New("the release store is closed")

var tempCounter atomic.Uint64

// temp makes a directory for work in progress.
func (s *Store) temp() (string, error) {
	dir := path.Join(dirTemp, strconv.FormatUint(tempCounter.Add(1), 10))
	if err := s.root.Mkdir(dir, 0o700); err != nil {
		return "", s.full(fmt.Errorf("make directory: %w", err))
	}
	return dir, nil
}

// Pack returns a pack that is here, whole or arriving, or a NotFound fault.
func (s *Store) Pack(id manifest.Digest) (*Pack, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.packs[id]; p != nil {
		return p, nil
	}
	return nil, fault.NotFound("pack " + id.Short() + " is not in the release store")
}

// Full returns the full pack of a release, whole or arriving, or a NotFound fault.
func (s *Store) Full(release manifest.Digest) (*Pack, error) {
	return s.find(release, manifest.Digest{})
}

// find returns the pack of a release against a base; the one that has most of it.
func (s *Store) find(release, base manifest.Digest) (*Pack, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var best *Pack
	for _, p := range s.packs {
		if p.index.Release == release && p.index.Base == base && (best == nil || p.here() > best.here()) {
			best = p
		}
	}
	if best == nil {
		return nil, fault.NotFound("release " + release.Short() + " has no such pack in the release store")
	}
	return best, nil
}

// here returns how many chunks are here.
func (p *Pack) here() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// Packs lists the packs, those of one release or, for a zero digest, all of them.
func (s *Store) Packs(release manifest.Digest) []PackInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.packsOf(release)
}

func (s *Store) packsOf(release manifest.Digest) []PackInfo {
	var list []PackInfo
	for _, p := range s.packs {
		if !release.IsZero() && p.index.Release != release {
			continue
		}
		info := PackInfo{ID: p.id, Release: p.index.Release, Size: p.index.Wire(), Raw: p.index.Raw(), Chunks: len(p.index.Chunks), Have: p.here()}
		if p.index.IsDelta() {
			info.Base = &p.index.Base
		}
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b PackInfo) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return list
}

// RemovePack removes a pack; removing what is not here does nothing.
func (s *Store) RemovePack(id manifest.Digest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.removePack(id)
}

func (s *Store) removePack(id manifest.Digest) error {
	p := s.packs[id]
	if p == nil {
		return nil
	}
	// Out of sight in one step, so that a crash leaves nothing half removed.
	gone := path.Join(dirTemp, "gone-"+id.String())
	if err := s.root.Rename(path.Join(dirPacks, id.String()), gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove pack: %w", err)
	}
	delete(s.packs, id)
	s.used -= p.space()
	return errors.Join(p.close(), s.root.RemoveAll(gone), host.SyncDir(s.root, dirPacks))
}
