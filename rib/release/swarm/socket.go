package swarm

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unsent is how many bytes the kernel keeps for a peer beyond those that are on their way.
// Without the bound the kernel takes megabytes: a chunk would count as sent long before it
// is, and offers would wait behind it.
const unsent = 2 * piece

// lowWater bounds what the kernel buffers for a connection (tcp(7), TCP_NOTSENT_LOWAT).
func lowWater(c net.Conn) {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok { // *tls.Conn
		c = t.NetConn()
	}
	s, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return
	}
	// An old kernel that refuses it only makes the transfer less even.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
	})
}
