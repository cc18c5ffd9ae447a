package store

import (
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
)

// floorMax bounds the room left free by default.
const floorMax = 1 << 30

// Reservation is room that nobody else gets until it is released. It is safe for
// concurrent use.
type Reservation struct {
	s     *Store
	n     int64 // bytes set aside; guarded by s.mu
	spent int64 // of them, those that are on the disk by now; guarded by s.mu
}

// Reserve sets room for so many bytes aside, on the store's file system. A Full fault
// says how much is wanted, how much there is, and what to do. Release must be called.
func (s *Store) Reserve(bytes int64) (*Reservation, error) {
	if err := s.take(bytes); err != nil {
		return nil, err
	}
	return &Reservation{s: s, n: bytes}, nil
}

// Grow adds room.
func (r *Reservation) Grow(bytes int64) error {
	if err := r.s.take(bytes); err != nil {
		return err
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.n += bytes
	return nil
}

// Release gives the room back.
func (r *Reservation) Release() {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.release()
}

// release is Release with s.mu held.
func (r *Reservation) release() {
	r.s.reserved -= r.n
	r.s.unspent -= r.n - r.spent
	r.n, r.spent = 0, 0
}

// Spend notes that so many of the bytes were written, so that they do not count twice:
// as set aside, and as no longer free on the disk.
func (r *Reservation) Spend(bytes int64) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	bytes = min(bytes, r.n-r.spent)
	r.spent += bytes
	r.s.unspent -= bytes
}

func (s *Store) take(bytes int64) error {
	space, err := host.DiskSpace(s.options.Dir)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	quota := s.quota(space)
	if held := s.used + s.reserved; quota > 0 && held+bytes > quota {
		return fault.Full(fmt.Sprintf("release store %s: %s more do not fit: it holds %s of its quota of %s",
			s.options.Dir, size(bytes), size(held), size(quota))).
			Try("remove old releases with: kaname release prune; or raise release.quota")
	}
	floor := s.options.Floor
	if floor == 0 {
		floor = min(space.Total/20, floorMax)
	}
	if free := space.Free - s.unspent - max(floor, 0); bytes > free {
		return fault.Full(fmt.Sprintf("release store %s: %s more do not fit: the disk has %s free, of which %s stay free",
			s.options.Dir, size(bytes), size(space.Free), size(s.unspent+max(floor, 0)))).
			Try("remove old releases with: kaname release prune; or free some disk space")
	}
	s.reserved += bytes
	s.unspent += bytes
	return nil
}

func (s *Store) quota(space host.Space) int64 {
	if s.options.Quota == 0 {
		return space.Total / 4
	}
	return s.options.Quota
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// Usage is what the store takes.
type Usage struct {
	Used     int64 `json:"used"`     // bytes held
	Reserved int64 `json:"reserved"` // bytes set aside for what is being made or received elsewhere
	Quota    int64 `json:"quota"`    // bytes; 0 or less means none
	Free     int64 `json:"free"`     // bytes free on the file system
	Total    int64 `json:"total"`    // bytes of the file system
}

// Usage returns what the store takes.
func (s *Store) Usage() (Usage, error) {
	space, err := host.DiskSpace(s.options.Dir)
	if err != nil {
		return Usage{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return Usage{Used: s.used, Reserved: s.reserved, Quota: s.quota(space), Free: space.Free, Total: space.Total}, nil
}

// full makes a Full fault of a write error that says so.
func (s *Store) full(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fault.Full("release store " + s.options.Dir).Because(err).
			Try("remove old releases with: kaname release prune; or free some disk space")
	}
	return err
}
