package plane

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"kaname.dev/kaname/fault"
)

// maxPayload is the largest message: a command's input (512 KiB) in its envelope
// fits, and so does a document.
const maxPayload = 1 << 20

// engine is the NATS server inside this process.
type engine struct {
	s *server.Server
}

// startEngine starts the server and waits until it takes connections. Every
// acknowledged write is synced to disk: without SyncAlways a power cut takes the
// last two minutes, acknowledged or not (https://jepsen.io/analyses/nats-2.12.1).
func startEngine(ctx context.Context, o Options, a *auth, log *slog.Logger) (*engine, error) {
	if err := os.MkdirAll(o.storeDir(), 0o700); err != nil {
		return nil, fmt.Errorf("make store directory: %w", err)
	}
	opts := &server.Options{
		ServerName: o.Host, NoSigs: true, DontListen: o.Listen == "",
		JetStream: true, StoreDir: o.storeDir(), SyncAlways: true,
		JetStreamMaxStore: o.MaxStore, JetStreamMaxMemory: 64 << 20,
		MaxPayload: maxPayload, WriteDeadline: 10 * time.Second, DisableJetStreamBanner: true,
		NoSystemAccount: o.Mode == Embedded,
	}
	opts.TLSConfig, opts.TLSTimeout, opts.AuthTimeout = o.Identity.ServerTLS(), 5, 5
	opts.CustomClientAuthentication = a
	if o.Listen != "" {
		host, port, err := splitAddress(o.Listen)
		if err != nil {
			return nil, err
		}
		opts.Host, opts.Port = host, port
		if port == 0 {
			opts.Port = server.RANDOM_PORT
		}
	}
	if o.Mode == Cluster {
		if err := clusterOptions(opts, o); err != nil {
			return nil, err
		}
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fault.Invalid("the plane's server cannot start").At(o.Host).Because(err)
	}
	s.SetLoggerV2(&engineLog{log: log, auth: a}, false, false, false)
	a.attach(s)
	e := &engine{s: s}
	s.Start()
	if err := e.ready(ctx, o); err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

func clusterOptions(opts *server.Options, o Options) error {
	host, port, err := splitAddress(o.Cluster.Listen)
	if err != nil {
		return err
	}
	opts.Cluster = server.ClusterOpts{Name: o.Cluster.Name, Host: host, Port: port, PoolSize: 3, TLSConfig: o.Identity.RouteTLS(), TLSTimeout: 5}
	for _, peer := range o.Cluster.Peers {
		opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats-route", Host: peer})
	}
	return nil
}

// ready waits until the server can be used from inside.
func (e *engine) ready(ctx context.Context, o Options) error {
	wait := 20 * time.Second
	if t, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(t))
	}
	if !e.s.ReadyForConnections(wait) {
		why := "it is not ready after " + wait.Round(time.Second).String()
		if !e.s.Running() {
			why = "it stopped while starting; see the log lines before"
		}
		return fault.Unavailable("the plane's server does not come up: " + why).At(o.Host).
			Try("is " + o.Listen + " taken by another process, or " + o.Dir + " not writable?")
	}
	return nil
}

// address returns the host:port at which hosts reach this core; empty when it
// does not listen.
func (e *engine) address() string {
	if e == nil || e.s == nil {
		return ""
	}
	if a := e.s.Addr(); a != nil {
		return a.String()
	}
	return ""
}

func (e *engine) close() {
	if e == nil {
		return
	}
	e.s.Shutdown()
	e.s.WaitForShutdown()
}

func splitAddress(a string) (string, int, error) {
	host, portText, err := net.SplitHostPort(a)
	if err != nil {
		return "", 0, fault.Invalid(fmt.Sprintf("plane: %q is not host:port", a)).Because(err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fault.Invalid(fmt.Sprintf("plane: %q has no valid port", a))
	}
	return host, port, nil
}

func itoa(n int) string { return strconv.Itoa(n) }

// engineLog hands the server's lines to slog; its notices are debug lines here.
type engineLog struct {
	log  *slog.Logger
	auth *auth // hears of refusals, for the audit
}

func (l *engineLog) line(level slog.Level, format string, v []any) {
	l.log.Log(context.Background(), level, strings.TrimSpace(fmt.Sprintf(format, v...)), "part", "nats") //nolint:forbidigo // the server's logger interface carries no context
}

func (l *engineLog) Noticef(format string, v ...any) { l.line(slog.LevelDebug, format, v) }
func (l *engineLog) Warnf(format string, v ...any)   { l.line(slog.LevelWarn, format, v) }
func (l *engineLog) Fatalf(format string, v ...any)  { l.line(slog.LevelError, format, v) }
func (l *engineLog) Errorf(format string, v ...any) {
	if l.auth.hear(format, v) {
		l.line(slog.LevelWarn, format, v) // somebody else's mistake, or an attempt
		return
	}
	l.line(slog.LevelError, format, v)
}
func (l *engineLog) Debugf(format string, v ...any) { l.line(slog.LevelDebug, format, v) }
func (l *engineLog) Tracef(format string, v ...any) { l.line(slog.LevelDebug, format, v) }
