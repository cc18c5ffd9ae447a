// Package serve is the DNS listener of kaname: it serves catalog zones, and the saved
// contents of zones that are being restored, to those that may have them (SOA, NS,
// TXT and PTR by UDP and TCP, AXFR, IXFR, NOTIFY out), and takes NOTIFY in. All else is
// refused, at the least cost.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"kaname.dev/kaname/rib/zone/name"
	"kaname.dev/kaname/rib/zone/source"
	"kaname.dev/kaname/rib/zone/wire"
)

// Options say where a server listens and whom it hears.
type Options struct {
	Listen []string   // host:port, each by UDP and TCP; a host is an address, best not the wildcard
	Keys   []wire.Key // TSIG keys that are known
	// Notify says whose NOTIFY is handed to OnNotify; one that fits no rule is refused.
	Notify   []Rule
	OnNotify func(source.Notify) // must not block
	MaxConns int                 // TCP connections at a time; 256 when zero
	Log      *slog.Logger
}

// Rule allows NOTIFY. One without From and Keys allows nothing.
type Rule struct {
	Zones []name.Name    // that are told of; empty: any, since a new zone is not known before
	From  []netip.Prefix // where it comes from; empty: anywhere, when it is signed
	Keys  []string       // names of keys, one of which must sign it; empty: it may be unsigned
}

// Server answers DNS.
type Server struct {
	keys   map[string]wire.Key // by canonical name
	rules  []Rule
	tell   func(source.Notify)
	log    *slog.Logger
	wire   wire.Client
	udp    []*net.UDPConn
	tcp    []*net.TCPListener
	addrs  []netip.AddrPort
	conns  *conns
	limit  *limiter
	replay *memory

	zones atomic.Pointer[map[name.Name]*published] // replaced, never changed
	mu    sync.Mutex                               // of those who replace it, and of due
	due   map[target]*due
	wake  chan struct{}
}

// New opens the listeners.
func New(o Options) (*Server, error) {
	s := &Server{
		keys: map[string]wire.Key{}, rules: slices.Clone(o.Notify), tell: o.OnNotify, log: o.Log, wire: wire.Client{Tries: 1},
		conns: newConns(o.MaxConns), limit: newLimiter(), replay: newMemory(), due: map[target]*due{}, wake: make(chan struct{}, 1),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.zones.Store(&map[name.Name]*published{})
	for _, k := range o.Keys {
		k, err := k.Canonical()
		if err != nil {
			return nil, fmt.Errorf("DNS listener: %w", err)
		}
		s.keys[k.Name] = k
	}
	for i := range s.rules {
		keys, err := s.known(s.rules[i].Keys)
		if err != nil {
			return nil, fmt.Errorf("DNS listener: NOTIFY: %w", err)
		}
		s.rules[i].Keys = keys
	}
	for _, l := range o.Listen {
		if err := s.listen(l); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// known returns the canonical names of keys, all of which the server knows.
func (s *Server) known(keys []string) ([]string, error) {
	all := make([]string, 0, len(keys))
	for _, k := range keys {
		n, err := name.Parse(k)
		if err != nil {
			return nil, fmt.Errorf("the key's name %q %w", k, err)
		}
		if _, ok := s.keys[n.String()]; !ok {
			return nil, fmt.Errorf("the key %s is not known here; add its file to zone.keys", n.Bare())
		}
		all = append(all, n.String())
	}
	return all, nil
}

func (s *Server) listen(at string) error {
	a, err := netip.ParseAddrPort(at)
	if err != nil {
		return fmt.Errorf("DNS listener %q: %w; give it as 192.0.2.1:53", at, err)
	}
	t, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(a))
	if err != nil {
		return fmt.Errorf("DNS listener: %w; see who listens there: ss -lntup", err)
	}
	s.tcp = append(s.tcp, t)
	if bound, ok := t.Addr().(*net.TCPAddr); ok && a.Port() == 0 {
		a = netip.AddrPortFrom(a.Addr(), bound.AddrPort().Port())
	}
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(a))
	if err != nil {
		return fmt.Errorf("DNS listener: %w; see who listens there: ss -lntup", err)
	}
	_ = u.SetReadBuffer(4 << 20) // the system may give less
	s.udp = append(s.udp, u)
	s.addrs = append(s.addrs, a)
	return nil
}

// Addresses are where the server listens, in the order of Options.Listen.
func (s *Server) Addresses() []netip.AddrPort { return slices.Clone(s.addrs) }

// Close closes the listeners of a server that does not run.
func (s *Server) Close() error {
	var all []error
	for _, u := range s.udp {
		all = append(all, u.Close())
	}
	for _, t := range s.tcp {
		all = append(all, t.Close())
	}
	return errors.Join(all...)
}

// Run answers until ctx ends, closes the listeners and all connections, and returns nil;
// an error when a listener breaks.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, u := range s.udp {
		g.Go(func() error { return s.datagrams(ctx, u) })
	}
	for _, t := range s.tcp {
		g.Go(func() error { return s.accept(ctx, t) })
	}
	g.Go(func() error { return s.herald(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		_ = s.Close() // what reads from them ends
		s.conns.closeAll()
		return nil
	})
	return g.Wait()
}
