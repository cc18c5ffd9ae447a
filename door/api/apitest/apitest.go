// Package apitest starts a real API for tests: an embedded plane, access on it, and
// the server on a unix socket and on TLS.
package apitest

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"kaname.dev/kaname/access"
	"kaname.dev/kaname/action"
	"kaname.dev/kaname/door/api"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/planetest"
)

// API is a running API.
type API struct {
	Socket string // path of the unix socket
	URL    string // https://localhost:port
	Token  string // of an admin, with the pin of the plane's CA
	Access *access.Access
	Server *api.Server
	Plane  *plane.Plane
}

// Start starts an API with the actions, and those of access, until the end of the
// test.
func Start(t testing.TB, actions ...action.Action) *API {
	t.Helper()
	a := &API{Plane: planetest.Core(t), Access: access.New(), Socket: filepath.Join(t.TempDir(), "k.sock")}
	a.Access.Attach(access.Options{
		Plane: a.Plane, Log: logTo(t), Pin: a.Plane.Authority().Print(),
		JoinToken: func(ctx context.Context, ttl time.Duration, host, by string) (string, error) {
			tok, err := a.Plane.CreateToken(ctx, plane.TokenSpec{TTL: ttl, Host: host, By: by})
			return tok.Text(), err
		},
	})
	a.Server = api.New(api.Options{
		Catalog: action.NewCatalog(append(actions, a.Access.Actions()...)...), Access: a.Access,
		Host: "core", Version: "v1.2.3", Log: logTo(t),
		Complete: func(ctx context.Context, kind, _ string) ([]string, error) { return a.Access.Completions(ctx, kind) },
	})
	a.serve(t)
	token, _, err := a.Access.CreateToken(t.Context(), access.RoleAdmin, time.Hour, "test", "test")
	if err != nil {
		t.Fatal(err)
	}
	a.Token = token
	return a
}

// serve opens both listeners and closes them, runs first, at the end of the test.
func (a *API) serve(t testing.TB) {
	t.Helper()
	local, err := api.ListenUnix(a.Socket)
	if err != nil {
		t.Fatal(err)
	}
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	id := a.Plane.Identity()
	if err := id.RenewFrom(a.Plane.Authority(), []string{"localhost", "127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(web.Addr().String())
	a.URL = "https://localhost:" + port
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 2)
	go func() { ended <- api.ServeUnix(ctx, local, a.Server.Handler(), logTo(t), time.Second) }()
	go func() {
		ended <- api.Serve(ctx, web, id.WebTLS(), a.Server.Handler(), logTo(t), time.Second)
	}()
	t.Cleanup(func() {
		if err := a.Server.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("close runs: %v", err)
		}
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Errorf("serve: %v", err)
			}
		}
	})
}

// Client returns a client of the unix socket.
func (a *API) Client(t testing.TB) *api.Client {
	t.Helper()
	return client(t, api.ClientOptions{Socket: a.Socket, Door: "cli"})
}

// Remote returns a client over TLS with a token of the role.
func (a *API) Remote(t testing.TB, role access.Role) *api.Client {
	t.Helper()
	token, _, err := a.Access.CreateToken(t.Context(), role, time.Hour, string(role), "test")
	if err != nil {
		t.Fatal(err)
	}
	return client(t, api.ClientOptions{Server: a.URL, Token: token})
}

func client(t testing.TB, o api.ClientOptions) *api.Client {
	t.Helper()
	c, err := api.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func logTo(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}
