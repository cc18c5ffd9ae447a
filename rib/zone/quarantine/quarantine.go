// Package quarantine keeps the contents of zones that were removed from this host's
// servers, for as long as they can be restored: one zone file each, whole or not there.
package quarantine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"kaname.dev/kaname/rib/zone/name"
)

// Store is the directory with the contents.
type Store struct {
	root *os.Root
}

// suffix of a zone's file; a file that is being written has another.
const suffix = ".zone"

// ErrFull says that the disk has no room for a zone's contents.
var ErrFull = errors.New("the disk with the quarantine is full")

// Open opens the store in a directory that exists. What an earlier process left half
// written is removed.
func Open(dir string) (*Store, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		_ = root.Close()
		return nil, err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".part") {
			_ = root.Remove(e.Name())
		}
	}
	return &Store{root}, nil
}

// Close closes the store.
func (s *Store) Close() error { return s.root.Close() }

// Save keeps the contents that transfer yields: all or nothing. Contents of the zone
// that were kept earlier are replaced.
func (s *Store) Save(ctx context.Context, n name.Name, transfer func(ctx context.Context, record func(dns.RR) error) error) error {
	part := fmt.Sprintf("%s.%016x.part", n.File(), rand.Uint64()) // servers of one host may save it at the same time
	f, err := s.root.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return full(err)
	}
	defer s.root.Remove(part)
	defer f.Close()
	w := bufio.NewWriter(f)
	fmt.Fprintf(w, "; %s\n; removed by kaname; load it on the primary to have the zone again\n", n)
	soas := 0
	err = transfer(ctx, func(rr dns.RR) error {
		if rr.Header().Rrtype == dns.TypeSOA {
			if soas++; soas > 1 {
				return nil // the one that ends a transfer
			}
		}
		_, err := w.WriteString(rr.String() + "\n")
		return err
	})
	if err != nil {
		return full(err)
	}
	if soas == 0 {
		return errors.New("the transfer had no SOA record")
	}
	if err := w.Flush(); err != nil {
		return full(err)
	}
	if err := f.Sync(); err != nil {
		return full(err)
	}
	return full(s.root.Rename(part, n.File()+suffix))
}

func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// Kept returns since when the zone's contents are kept, if they are.
func (s *Store) Kept(n name.Name) (time.Time, bool) {
	st, err := s.root.Stat(n.File() + suffix)
	if err != nil {
		return time.Time{}, false
	}
	return st.ModTime(), true
}

// Read returns the zone's records, the SOA first.
func (s *Store) Read(n name.Name) ([]dns.RR, error) {
	f, err := s.root.Open(n.File() + suffix)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := dns.NewZoneParser(f, string(n), "")
	var list []dns.RR
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		list = append(list, rr)
	}
	if err := p.Err(); err != nil {
		return nil, fmt.Errorf("contents of %s in quarantine: %w", n, err)
	}
	if len(list) == 0 || list[0].Header().Rrtype != dns.TypeSOA {
		return nil, fmt.Errorf("contents of %s in quarantine: the first record is no SOA", n)
	}
	return list, nil
}

// Text returns the zone's file.
func (s *Store) Text(n name.Name) ([]byte, error) {
	f, err := s.root.Open(n.File() + suffix)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// Sweep forgets contents that were kept before a time.
func (s *Store) Sweep(before time.Time) error {
	entries, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), suffix) || !info.ModTime().Before(before) {
			continue
		}
		if err := s.root.Remove(e.Name()); err != nil {
			return err
		}
	}
	return nil
}
