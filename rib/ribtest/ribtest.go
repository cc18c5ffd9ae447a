// Package ribtest gives tests of ribs real nodes: a plane, a peer listener over
// mutual TLS, a state directory. Nothing in it is a stand-in.
package ribtest

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/planetest"
	"kaname.dev/kaname/plane/trust"
	"kaname.dev/kaname/rib"
)

// Core starts an embedded core with a peer listener and returns its node.
func Core(t testing.TB, name string) rib.Node {
	t.Helper()
	return node(t, plane.Options{Host: name, Mode: plane.Embedded, Listen: "127.0.0.1:0"})
}

// Host starts a plain host that has joined the core, and waits until it is known.
func Host(t testing.TB, core rib.Node, name string, labels map[string]string) rib.Node {
	t.Helper()
	id := planetest.Join(t, core.Plane, name, trust.RoleAgent).Identity
	n := node(t, plane.Options{Host: name, Mode: plane.Host, Identity: id, Cores: []string{core.Plane.ListenAddress()}, Labels: labels})
	planetest.Eventually(t, "core hears of "+name, func() bool {
		members, err := core.Plane.Members(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range members {
			if m.Host == name && m.Alive {
				return true
			}
		}
		return false
	})
	return n
}

// node opens a plane whose peer listener serves what is registered on Peers.
func node(t testing.TB, o plane.Options) rib.Node {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.Address = ln.Addr().String()
	p := planetest.Open(t, o)
	server, client := p.PeerTLS()
	mux := http.NewServeMux()
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(tls.NewListener(ln, server)) // always an error: it was closed
	}()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards clients
	clients := map[string]*http.Client{}
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range clients {
			c.CloseIdleConnections()
		}
		_ = srv.Close()
		<-done
		_ = root.Close()
	})
	return rib.Node{
		Host: o.Host, Labels: o.Labels, Plane: p, Dir: dir, Root: root, Peers: mux, Metrics: prometheus.NewRegistry(),
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})).With("host", o.Host),
		PeerClient: func(host string) *http.Client {
			mu.Lock()
			defer mu.Unlock()
			if clients[host] == nil {
				conf := client.Clone()
				conf.ServerName = host
				clients[host] = &http.Client{Transport: &http.Transport{TLSClientConfig: conf}}
			}
			return clients[host]
		},
	}
}
