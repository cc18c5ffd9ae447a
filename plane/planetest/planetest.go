// Package planetest starts real planes for tests: nothing here is a stand-in.
// One takes about 10 ms.
package planetest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/trust"
)

// Core starts an embedded core named "core" in a temporary directory, which
// takes hosts on loopback and is closed at the end of the test.
func Core(t testing.TB) *plane.Plane {
	t.Helper()
	return Open(t, plane.Options{Host: "core", Mode: plane.Embedded, Listen: "127.0.0.1:0", Address: "127.0.0.1:1"})
}

// Host starts a plain host that has joined the core, and waits until the core
// has heard of it.
func Host(t testing.TB, core *plane.Plane, name string, labels map[string]string) *plane.Plane {
	t.Helper()
	p := Open(t, plane.Options{Host: name, Identity: Join(t, core, name, trust.RoleAgent).Identity, Mode: plane.Host, Cores: []string{core.ListenAddress()}, Labels: labels})
	Eventually(t, "core hears of "+name, func() bool {
		members, err := core.Members(t.Context())
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
	return p
}

// Open opens a plane with test settings where o has none: a temporary
// directory, heartbeats of 200 ms, logs of warnings to the test.
func Open(t testing.TB, o plane.Options) *plane.Plane {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Beat == 0 {
		o.Beat = 200 * time.Millisecond
	}
	if o.Version == "" {
		o.Version = "test"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	p, err := plane.Open(ctx, o)
	if err != nil {
		t.Fatalf("open plane of %s: %v", o.Host, err)
	}
	t.Cleanup(func() { Close(t, p) })
	return p
}

// Close closes the plane; a second time does nothing.
func Close(t testing.TB, p *plane.Plane) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	if err := p.Close(ctx); err != nil {
		t.Errorf("close plane of %s: %v", p.Host(), err)
	}
}

// Eventually waits up to 15 s until cond holds.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !cond(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // polling with a deadline
	}
}
