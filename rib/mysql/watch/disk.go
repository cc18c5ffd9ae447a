package watch

import (
	"golang.org/x/sys/unix"

	"kaname.dev/kaname/rib/mysql/topology"
)

// leastFree is the space below which a server cannot be expected to write, in bytes.
const leastFree = 1 << 20

// Disk returns the state of the file system that a directory is on (statfs(2)).
func Disk(dir string) topology.Disk {
	var s unix.Statfs_t
	if dir == "" || unix.Statfs(dir, &s) != nil {
		return topology.Disk{Free: -1}
	}
	free := int64(s.Bavail) * s.Bsize //nolint:gosec,unconvert // types differ between architectures
	return topology.Disk{Free: free, Full: free < leastFree, ReadOnly: s.Flags&unix.ST_RDONLY != 0}
}
