// Package router is the TCP router that runs on the hosts of applications: clients connect
// to it, and it leads them to the primary, or to a replica. It knows the epoch, holds new
// work while the primary moves, and cuts what leads to a former primary.
//
// Without users it passes bytes and follows the protocol from outside, so that it can let
// a connection end between two transactions. With users it takes part in the login, and
// then carries a client's session over to the new primary without the client noticing.
package router

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kaname.dev/kaname/rib/mysql/endpoint"
	"kaname.dev/kaname/rib/mysql/topology"
)

// What clients may be led to.
const (
	Primary = "primary"
	Replica = "replica" // fit for reads; the primary when there is none
)

// Defaults of Options.
const (
	DefaultHold  = 10 * time.Second
	DefaultDrain = 2 * time.Second
	DefaultLimit = 10000
)

// Options are what a router is made of.
type Options struct {
	Topology string
	Listen   string        // host:port
	Target   string        // Primary or Replica; empty: Primary
	Hold     time.Duration // a connection or a command waits at most so long for a primary; 0: DefaultHold
	Drain    time.Duration // transactions may go on so long after Withdraw; 0: DefaultDrain
	Limit    int           // connections at a time; 0: DefaultLimit, or what the limit of open files allows
	// Users is a file of lines "user = password", 0600, read again when it changes. With
	// it sessions are kept; without it bytes are passed. Empty: none.
	Users string
	// TLS is offered to clients when Users is set; nil: they talk in the clear.
	TLS *tls.Config
	// ServerTLS is used to the servers when Users is set; nil: in the clear.
	ServerTLS *tls.Config
	Log       *slog.Logger
	Metrics   *Metrics // may be nil
	// Dial connects to a server; nil: a net.Dialer that notices a vanished host.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Router is a router; it implements endpoint.Driver.
type Router struct {
	o     Options
	users *users // nil: bytes are passed
	ready chan struct{}

	view     atomic.Pointer[view] // the newest
	settling sync.Mutex           // one settles at a time, with the newest view

	mu    sync.Mutex
	conns map[*conn]struct{}
	addr  net.Addr
}

// view is where clients are led. It does not change.
type view struct {
	target  endpoint.Target
	servers []topology.Member // any of them; none while held
	held    bool              // withdrawn, or never published
	since   time.Time         // of held
	news    chan struct{}     // closed when there is another view
}

// leads reports whether a connection to the member may go on.
func (v *view) leads(m *topology.Member) bool {
	return slices.ContainsFunc(v.servers, func(s topology.Member) bool { return s.Name == m.Name && s.Address == m.Address })
}

// New makes a router that leads nowhere until Publish. It does no I/O but reading Users.
func New(o Options) (*Router, error) {
	if o.Target == "" {
		o.Target = Primary
	}
	if o.Target != Primary && o.Target != Replica {
		return nil, fmt.Errorf("router of topology %s: target %q is unknown; say %s or %s", o.Topology, o.Target, Primary, Replica)
	}
	if o.Listen == "" {
		return nil, fmt.Errorf("router of topology %s: no address to listen on; set listen, e.g. 127.0.0.1:3306", o.Topology)
	}
	o.Hold, o.Drain = or(o.Hold, DefaultHold), or(o.Drain, DefaultDrain)
	if o.Limit <= 0 {
		o.Limit = limit()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		o.Dial = dialer().DialContext
	}
	r := &Router{o: o, ready: make(chan struct{}), conns: map[*conn]struct{}{}}
	r.view.Store(&view{held: true, since: time.Now(), news: make(chan struct{})})
	if o.Users != "" {
		u, err := openUsers(o.Users)
		if err != nil {
			return nil, err
		}
		r.users = u
	}
	return r, nil
}

func or(d, other time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return other
}

// limit leaves two descriptors for each connection and some for others.
func limit() int {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return DefaultLimit
	}
	return max(16, min(DefaultLimit, (int(min(l.Cur, 1<<20))-64)/2))
}

// Run listens and serves until ctx ends; then it cuts all connections and waits for what
// serves them. It can be called once.
func (r *Router) Run(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", r.o.Listen)
	if err != nil {
		return fmt.Errorf("router of topology %s: listen on %s: %w; is another server there?", r.o.Topology, r.o.Listen, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	r.mu.Lock()
	r.addr = l.Addr()
	r.mu.Unlock()
	close(r.ready)
	all.Go(func() { r.sweep(ctx) })
	return r.accept(ctx, l, &all)
}

// Address waits until the router listens, and returns where.
func (r *Router) Address(ctx context.Context) (string, error) {
	select {
	case <-r.ready:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addr.String(), nil
}

func (r *Router) accept(ctx context.Context, l net.Listener, all *sync.WaitGroup) error {
	pause := time.Duration(0)
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				c.Close()
			}
			return nil
		}
		if err != nil {
			if !passing(err) {
				return fmt.Errorf("router of topology %s: accept on %s: %w", r.o.Topology, r.o.Listen, err)
			}
			if pause == 0 {
				r.o.Log.Warn("cannot take new connections", "topology", r.o.Topology, "err", err)
			}
			pause = min(max(2*pause, 5*time.Millisecond), 200*time.Millisecond)
			wait(ctx, pause)
			continue
		}
		pause = 0
		x := newConn(r, c)
		if !r.add(x) {
			r.o.Metrics.refused(r, "limit")
			x.refuse(tooMany, "too many connections through the router")
			continue
		}
		all.Go(func() {
			defer r.remove(x)
			x.serve(ctx)
		})
	}
}

// passing reports whether accepting can be tried again: the process or the system is out
// of descriptors or memory, or the client has gone.
func passing(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// wait waits for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (r *Router) add(c *conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.conns) >= r.o.Limit {
		return false
	}
	r.conns[c] = struct{}{}
	r.o.Metrics.opened(r)
	return true
}

func (r *Router) remove(c *conn) {
	r.mu.Lock()
	delete(r.conns, c)
	r.mu.Unlock()
	r.o.Metrics.closed(r, c.reason())
}
