package api

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/access"
)

// maxGroups is the most supplementary groups that Linux gives a process
// (NGROUPS_MAX, getgroups(2)).
const maxGroups = 65536

// peerOf asks the kernel who connected (unix(7), SO_PEERCRED and SO_PEERGROUPS).
func peerOf(c *net.UnixConn) (access.Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return access.Peer{}, fmt.Errorf("look at the socket: %w", err)
	}
	var p access.Peer
	var inner error
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			inner = fmt.Errorf("ask SO_PEERCRED: %w", err)
			return
		}
		p = access.Peer{UID: int(cred.Uid), GID: int(cred.Gid), PID: int(cred.Pid)}
		p.Groups, inner = peerGroups(fd)
	})
	if err != nil {
		return access.Peer{}, fmt.Errorf("look at the socket: %w", err)
	}
	return p, inner
}

// peerGroups returns the supplementary groups of the peer. x/sys has no wrapper
// for SO_PEERGROUPS (Linux 4.13).
func peerGroups(fd uintptr) ([]int, error) {
	for n := 64; n <= maxGroups; n *= 4 {
		buf := make([]uint32, n)
		size := uint32(len(buf) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0) //nolint:gosec // the kernel writes at most size bytes there
		runtime.KeepAlive(buf)
		switch errno {
		case 0:
			groups := make([]int, size/4)
			for i := range groups {
				groups[i] = int(buf[i])
			}
			return groups, nil
		case unix.ERANGE:
			continue
		case unix.ENOPROTOOPT: // an older kernel: the primary group must do
			return nil, nil
		default:
			return nil, os.NewSyscallError("getsockopt SO_PEERGROUPS", errno)
		}
	}
	return nil, nil
}
