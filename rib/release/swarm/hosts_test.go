package swarm

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"
)

// testCA signs the certificates of test hosts.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newTestCA() (*testCA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &testCA{cert, key, pool}, nil
}

// config returns the TLS settings of a host, for both sides.
func (ca *testCA) config(host string) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs:      ca.pool, ClientCAs: ca.pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}, nil
}

// testHost is a host with a peer listener.
type testHost struct {
	name   string
	tls    *tls.Config
	addr   string
	server *Server
	http   *http.Server
	stats  *Stats
}

func newTestHost(name, listen string, conf *tls.Config, limits *Limits) (*testHost, error) {
	stats, err := NewStats(nil)
	if err != nil {
		return nil, err
	}
	h := &testHost{name: name, tls: conf, stats: stats}
	h.server = NewServer(ServerOptions{Caller: caller, Limits: limits, Stats: stats})
	l, err := tls.Listen("tcp", listen, conf)
	if err != nil {
		return nil, err
	}
	h.addr = l.Addr().String()
	mux := http.NewServeMux()
	h.server.Register(mux)
	h.http = &http.Server{Handler: mux, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), ReadHeaderTimeout: 5 * time.Second}
	go h.http.Serve(l) //nolint:errcheck // ends with Close
	return h, nil
}

// newTestHostWith makes a host that answers everything with h.
func newTestHostWith(name string, conf *tls.Config, h http.HandlerFunc) (*testHost, error) {
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		return nil, err
	}
	host := &testHost{name: name, tls: conf, addr: l.Addr().String()}
	host.http = &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), ReadHeaderTimeout: 5 * time.Second}
	go host.http.Serve(l) //nolint:errcheck // ends with Close
	return host, nil
}

func caller(r *http.Request) (string, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return "", errors.New("no certificate")
	}
	return r.TLS.VerifiedChains[0][0].Subject.CommonName, nil
}

func (h *testHost) client(peer string) *http.Client {
	conf := h.tls.Clone()
	conf.ServerName = peer
	return &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DialContext: (&net.Dialer{Timeout: 3 * time.Second}).DialContext}}
}

func (h *testHost) close() { h.http.Close() } //nolint:errcheck // a test's end

// cluster is some hosts on loopback; host 0 is the origin and has the pack.
type cluster struct {
	ca    *testCA
	index testIndex
	hosts []*testHost
	packs []*testPack
	peers []Peer
	names []string
	stops []func()
}

func newCluster(t *testing.T, receivers, chunks, size int, limits func(i int) *Limits) *cluster {
	t.Helper()
	ca, err := newTestCA()
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{ca: ca, index: newTestIndex(chunks, size)}
	for i := range receivers + 1 {
		c.names = append(c.names, fmt.Sprint("h", i))
	}
	for i := range receivers + 1 {
		conf, err := ca.config(c.names[i])
		if err != nil {
			t.Fatal(err)
		}
		var l *Limits
		if limits != nil {
			l = limits(i)
		}
		h, err := newTestHost(c.names[i], "127.0.0.1:0", conf, l)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(h.close)
		p, err := openTestPack(t.TempDir(), c.index)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if err := p.fill(); err != nil {
				t.Fatal(err)
			}
		}
		stop, err := h.server.Share(p, ShareSpec{Hosts: c.names, Origin: i == 0})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		c.hosts, c.packs, c.stops = append(c.hosts, h), append(c.packs, p), append(c.stops, stop)
		c.peers = append(c.peers, Peer{Host: h.name, Address: h.addr, Origin: i == 0})
	}
	return c
}

// fetch runs host i's fetch.
func (c *cluster) fetch(ctx context.Context, i int, change func(*FetchSpec)) error {
	h := c.hosts[i]
	spec := FetchSpec{Self: h.name, Peers: c.peers, Client: h.client, Stats: h.stats}
	if change != nil {
		change(&spec)
	}
	return Fetch(ctx, c.packs[i], spec)
}

// origin returns how many copies of the pack the origin has sent.
func (c *cluster) origin() float64 {
	return float64(c.hosts[0].stats.Total().Sent) / float64(len(c.index.Chunks)*c.index.Size)
}
