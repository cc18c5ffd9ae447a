package netns

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Do calls f as on the host: sockets that f itself opens, and not a goroutine of its, are
// the host's, and stay so after it has returned.
func (h *Host) Do(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("namespace of this thread: %w", err)
	}
	defer home.Close()
	there, err := os.Open("/run/netns/" + h.Name)
	if err != nil {
		return fmt.Errorf("namespace of %s: %w", h.Name, err)
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the namespace of %s: %w", h.Name, err)
	}
	defer func() {
		// A thread that stays there would do other goroutines' work in the wrong network.
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(fmt.Sprintf("leave the namespace of %s: %v", h.Name, err))
		}
	}()
	return f()
}

// Dial connects from the host to an IP address and port, as net.Dialer.DialContext does.
func (h *Host) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = h.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens on the host at an IP address and port, as net.Listen does.
func (h *Host) Listen(network, address string) (l net.Listener, err error) {
	err = h.Do(func() (err error) {
		l, err = new(net.ListenConfig).Listen(context.Background(), network, address)
		return err
	})
	return l, err
}
