package planetest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/trust"
)

// Cluster starts n cores (3 or 5) in this process, named core1 and so on, and
// returns when all are ready; that takes some seconds, in which they elect leaders.
func Cluster(t testing.TB, n int) []*plane.Plane {
	t.Helper()
	options := ClusterOptions(t, n)
	planes := make([]*plane.Plane, n)
	errs := make([]error, n)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { planes[i], errs[i] = plane.Open(ctx, options[i]) })
	}
	wg.Wait()
	for i, p := range planes {
		if p != nil {
			t.Cleanup(func() { Close(t, p) })
		}
		if errs[i] != nil {
			t.Errorf("open %s: %v", options[i].Host, errs[i])
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return planes
}

// ClusterOptions returns the options of n cores that share an authority and know
// each other's addresses on loopback, each with a temporary directory.
func ClusterOptions(t testing.TB, n int) []plane.Options {
	t.Helper()
	a, err := trust.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	routes, clients := Ports(t, n), Ports(t, n)
	options := make([]plane.Options, n)
	for i := range n {
		o := plane.Options{
			Host: fmt.Sprintf("core%d", i+1), Dir: t.TempDir(), Mode: plane.Cluster, Version: "test",
			Authority: a, Listen: clients[i], Beat: 200 * time.Millisecond, Address: "127.0.0.1:1",
			Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
		}
		o.Cluster.Listen = routes[i]
		for j, r := range routes {
			if j != i {
				o.Cluster.Peers = append(o.Cluster.Peers, r)
			}
		}
		options[i] = o
	}
	return options
}

// Ports returns n addresses on loopback that are free now.
func Ports(t testing.TB, n int) []string {
	t.Helper()
	out := make([]string, n)
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() //nolint:errcheck // only its number is wanted
		out[i] = l.Addr().String()
	}
	return out
}
