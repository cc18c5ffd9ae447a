package api

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"kaname.dev/kaname/access"
	"kaname.dev/kaname/fault"
)

// Limits of the HTTP servers.
const (
	headerPatience = 10 * time.Second
	idlePatience   = 2 * time.Minute
	maxHeader      = 64 << 10 // bytes
)

// NewHTTPServer returns an http.Server with the limits that this API relies on.
// Reading and writing have no overall time, for uploads and streams are long;
// handlers set deadlines piece by piece.
func NewHTTPServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerPatience, IdleTimeout: idlePatience, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), // handshakes of port scanners and the like
	}
}

// Serve serves h on the listener until ctx ends, then lets requests end for as
// long as grace. With tlsConf it speaks TLS (HTTP/1.1 and 2).
func Serve(ctx context.Context, l net.Listener, tlsConf *tls.Config, h http.Handler, log *slog.Logger, grace time.Duration) error {
	srv := NewHTTPServer(h, log)
	if tlsConf != nil {
		srv.TLSConfig = tlsConf
	}
	return serve(ctx, srv, l, grace)
}

func serve(ctx context.Context, srv *http.Server, l net.Listener, grace time.Duration) error {
	ended := make(chan error, 1)
	go func() {
		if srv.TLSConfig != nil {
			ended <- srv.ServeTLS(l, "", "")
		} else {
			ended <- srv.Serve(l)
		}
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if srv.Shutdown(bounded) != nil {
		_ = srv.Close() // the grace is over
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ListenUnix makes the local socket: mode 0660, of the group kaname if there is
// one. A socket that a dead process left is replaced; one that answers is refused.
func ListenUnix(path string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil { //nolint:noctx // local and bounded
		_ = c.Close() // only looked whether somebody is there
		return nil, fault.Exists("socket " + path + " is served by another kaname").Try("stop that one, or set another socket")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // the way to the socket is for all, the socket is not
		return nil, err
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path) //nolint:noctx // a local socket is made at once
	if err != nil {
		return nil, fault.Unavailable("socket " + path + " cannot be made").Because(err)
	}
	if g, err := user.LookupGroup(access.Group); err == nil {
		if gid, err := strconv.Atoi(g.Gid); err == nil {
			_ = os.Chown(path, -1, gid) // not root: then the group's members stay outside
		}
	}
	if err := os.Chmod(path, 0o660); err != nil { //nolint:gosec // the group is let in on purpose
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// ServeUnix serves h on the local socket, where the kernel says who asks, until
// ctx ends.
func ServeUnix(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger, grace time.Duration) error {
	srv := NewHTTPServer(h, log)
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		u, ok := c.(*net.UnixConn)
		if !ok {
			return ctx
		}
		p, err := peerOf(u)
		if err != nil {
			log.Warn("peer of the local socket is unknown", "err", err)
			return ctx
		}
		return context.WithValue(ctx, peerKey{}, p)
	}
	return serve(ctx, srv, l, grace)
}
