package agent

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"

	"kaname.dev/kaname/plane"
)

// peers is how this host meets others: the listener that they reach, and clients
// to reach them.
type peers struct {
	listener net.Listener // nil when this host only takes
	mux      *http.ServeMux

	mu      sync.Mutex
	plane   *plane.Plane
	clients map[string]*http.Client
}

// openPeers takes the port, so that its address can be told when the plane is
// opened; nothing is served yet.
func (l *life) openPeers(ctx context.Context) error {
	l.peers = &peers{mux: http.NewServeMux(), clients: map[string]*http.Client{}}
	l.onStop("peer connections", func(context.Context) error { l.peers.close(); return nil })
	if l.cfg.Peer.Listen == "" {
		return nil
	}
	ln, err := listen(ctx, "peer", l.cfg.Peer.Listen)
	if err != nil {
		return err
	}
	l.peers.listener = ln
	l.addr.Peer = advertised(l.cfg.Peer.Advertise, ln.Addr())
	l.onStop("peer port", func(context.Context) error { _ = ln.Close(); return nil }) // the server has closed it if it ran
	return nil
}

// servePeers begins to serve what the ribs have registered.
func (l *life) servePeers() {
	p := l.peers
	p.mu.Lock()
	p.plane = l.plane
	p.mu.Unlock()
	if p.listener == nil {
		return
	}
	server, _ := l.plane.PeerTLS()
	l.serve("peer", tls.NewListener(p.listener, server), &http.Server{
		Handler: p.mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	})
}

// client returns the client for the peer listener of a host; it accepts only
// that host's certificate. Connections are kept and shared.
func (p *peers) client(host string) *http.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.clients[host]; ok {
		return c
	}
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     p.clientTLS(host),
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true, // chunks are compressed already
	}
	c := &http.Client{Transport: t}
	p.clients[host] = c
	return c
}

func (p *peers) clientTLS(host string) *tls.Config {
	return p.plane.Identity().ClientTLS(host)
}

func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients {
		c.CloseIdleConnections()
	}
}
