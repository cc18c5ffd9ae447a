package endpointtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"kaname.dev/kaname/rib/mysql/router/wire"
	"kaname.dev/kaname/rib/mysql/topology"
)

// Servers starts tiny servers on free ports of 127.0.0.1, one for each name, until the
// test ends. A client is greeted as a MySQL server would, with the server's name as its
// version: Greeting reads it. Connections stay open until the client or the test ends them.
func Servers(t testing.TB, names ...string) []topology.Member {
	t.Helper()
	list := make([]topology.Member, 0, len(names))
	for _, n := range names {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		Serve(t, l, n)
		list = append(list, topology.Member{Name: n, Host: n, Address: l.Addr().String()})
	}
	return list
}

// Serve greets with a name on a listener until the test ends.
func Serve(t testing.TB, l net.Listener, name string) {
	t.Helper()
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				defer context.AfterFunc(t.Context(), func() { c.Close() })()
				if wire.NewSide(c).Send(0, []byte("\n"+name+"\x00")) != nil {
					return
				}
				var b [256]byte
				for {
					if _, err := c.Read(b[:]); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
}

// Greeting reads the version with which a server greets: the name of a tiny one. It ends
// when ctx does.
func Greeting(ctx context.Context, c net.Conn) (string, error) {
	defer context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })()
	b, _, err := wire.NewSide(c).Read(1 << 16)
	if err != nil {
		return "", err
	}
	if code := wire.ErrorCode(b); code != 0 {
		return "", fmt.Errorf("greeted with error %d: %q", code, b[3:])
	}
	name, _, ok := strings.Cut(string(b), "\x00")
	if !ok || name == "" || name[0] != '\n' {
		return "", errors.New("this is no greeting of MySQL")
	}
	return name[1:], nil
}

// At returns a Bench.Dial for clients that connect to an address.
func At(address string) func(ctx context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "tcp", address)
	}
}
