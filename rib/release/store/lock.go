package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/host"
)

// lock takes the store's lock file, which the kernel frees when the process ends.
func lock(root *os.Root, dir string) (*os.File, error) {
	f, err := root.OpenFile("lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of release store: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) //nolint:gosec // a descriptor fits
	if errors.Is(err, unix.EWOULDBLOCK) {
		pid, _ := io.ReadAll(io.LimitReader(f, 20))
		who := "another process"
		if text := strings.TrimSpace(string(pid)); text != "" {
			who = "process " + text
		}
		return nil, errors.Join(fault.Conflict("release store "+dir+" is in use by "+who).Try("stop it first; one agent serves one store"), f.Close())
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock release store: %w", err), f.Close())
	}
	return f, nil
}

// bootFile is how Linux tells one run of the kernel from another: random(4).
const bootFile = "/proc/sys/kernel/random/boot_id"

// loadBoot notes whether the kernel was started anew since the last Open: only then
// can writes be lost that were not synced.
func (s *Store) loadBoot(context.Context) error {
	now, err := os.ReadFile(bootFile)
	if err != nil {
		s.reboot = true
		return nil //nolint:nilerr // without it, everything unsynced is looked at again
	}
	was, err := s.root.ReadFile("boot")
	if err == nil && bytes.Equal(was, now) {
		return nil
	}
	s.reboot = true
	return host.WriteBytes(s.root, "boot", 0o600, now)
}
