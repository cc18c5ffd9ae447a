package host

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Space is the room on a file system.
type Space struct {
	Free       int64  // bytes that this process may still use (statfs f_bavail)
	Total      int64  // bytes
	FreeFiles  int64  // inodes left; -1 where the file system does not count them
	FileSystem string // "ext4", "tmpfs", … or the magic number in hex
}

// fileSystems names the magic numbers of statfs(2) that servers have.
var fileSystems = map[int64]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
	unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.NFS_SUPER_MAGIC: "nfs",
	0x2fc12fc1: "zfs", unix.F2FS_SUPER_MAGIC: "f2fs",
}

// DiskSpace returns the room on the file system that holds path.
func DiskSpace(path string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Space{}, fmt.Errorf("statfs %s: %w", path, err)
	}
	s := Space{
		Free: int64(st.Bavail) * st.Bsize, Total: int64(st.Blocks) * st.Bsize,
		FreeFiles: int64(st.Ffree), FileSystem: fileSystems[st.Type],
	}
	if st.Files == 0 {
		s.FreeFiles = -1
	}
	if s.FileSystem == "" {
		s.FileSystem = fmt.Sprintf("%#x", st.Type)
	}
	return s, nil
}

// Network reports whether the file system is one on which locks, fsync and
// rename may not mean what they mean on a local disk.
func (s Space) Network() bool { return s.FileSystem == "nfs" }
