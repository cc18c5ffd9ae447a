package agent

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/access"
	"kaname.dev/kaname/action"
	"kaname.dev/kaname/door/api"
	"kaname.dev/kaname/door/console"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/plane/trust"
)

// openAPI opens, on a core, the ways in for people, programs and joining hosts.
func (l *life) openAPI(ctx context.Context) error {
	if !l.o.Core {
		return nil
	}
	l.access.Attach(access.Options{Plane: l.plane, Log: l.log, JoinToken: l.joinToken, Pin: l.plane.Authority().Print()})
	l.hosts.attach(l)
	srv := api.New(api.Options{Catalog: l.catalog(), Access: l.access, Host: l.name, Version: ThisBuild().Version, Complete: l.complete, Log: l.log})
	l.onStop("runs", srv.Close)
	if err := l.openSocket(srv); err != nil {
		return err
	}
	return l.openWeb(ctx, srv)
}

// openSocket serves people on this machine.
func (l *life) openSocket(srv *api.Server) error {
	path := l.cfg.API.Socket
	if path == "" {
		return nil
	}
	ln, err := api.ListenUnix(path)
	if err != nil {
		return err
	}
	l.addr.Socket = path
	l.run("socket", ln, func(ctx context.Context, grace time.Duration) error {
		return api.ServeUnix(ctx, ln, srv.Handler(), l.log, grace)
	})
	return nil
}

// openWeb serves API, console, joining and renewing over TLS.
func (l *life) openWeb(ctx context.Context, srv *api.Server) error {
	c := l.cfg.API
	if c.Listen == "" {
		return nil
	}
	ln, err := listen(ctx, "api", c.Listen)
	if err != nil {
		return err
	}
	l.addr.API = advertised(c.Advertise, ln.Addr())
	l.webNames = ownNames(append(slices.Clone(c.Names), l.name, l.addr.API, l.addr.Plane)...)
	if err := l.nameCertificate(ctx); err != nil {
		_ = ln.Close()
		return err
	}
	enroll, err := l.plane.Enroller(l.coreAddresses, l.log)
	if err != nil {
		_ = ln.Close()
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/v1/", srv.Handler())
	mux.Handle(trust.PathJoin, enroll)
	mux.Handle(trust.PathRenew, enroll)
	mux.Handle("/", console.New(console.Options{API: srv, Log: l.log}))
	l.run("api", ln, func(ctx context.Context, grace time.Duration) error {
		return api.Serve(ctx, ln, l.plane.Identity().WebTLS(), mux, l.log, grace)
	})
	return nil
}

// run serves on a listener until the agent stops.
func (l *life) run(what string, ln net.Listener, serve func(ctx context.Context, grace time.Duration) error) {
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // outlives the start; ends by the stop below
	done := make(chan struct{})
	l.health.set("listener "+what, true, ln.Addr().String())
	l.work.Go(func() {
		defer close(done)
		if err := serve(ctx, drainFor); err != nil && ctx.Err() == nil {
			l.health.set("listener "+what, false, err.Error())
			l.failed <- fault.Internal("listener " + what + " broke").Because(err)
		}
	})
	l.onStop("listener "+what, func(hard context.Context) error {
		cancel()
		select {
		case <-done:
			return nil
		case <-hard.Done():
			return context.Cause(hard)
		}
	})
}

// nameCertificate makes sure that this core's certificate carries the names under
// which the API is called.
func (l *life) nameCertificate(ctx context.Context) error {
	id := l.plane.Identity()
	c := id.Certificate()
	if !slices.ContainsFunc(l.webNames, func(n string) bool { return c.VerifyHostname(n) != nil }) {
		return nil
	}
	return l.renewCore(ctx)
}

// renewCore lets this core's own authority issue its next certificate.
func (l *life) renewCore(ctx context.Context) error {
	id := l.plane.Identity()
	if err := id.RenewFrom(l.plane.Authority(), l.webNames); err != nil {
		return err
	}
	if err := id.Save(trustDir(l.cfg.Config)); err != nil {
		return err
	}
	return l.plane.Renewed(ctx)
}

// joinToken makes a token with which one host joins. The address of this core
// stands behind it, so that one word is enough: kaname join TOKEN@HOST:PORT.
func (l *life) joinToken(ctx context.Context, ttl time.Duration, host, by string) (string, error) {
	t, err := l.plane.CreateToken(ctx, plane.TokenSpec{TTL: ttl, Host: host, By: by})
	if err != nil {
		return "", err
	}
	if l.addr.API == "" {
		return t.Text(), nil
	}
	return t.Text() + "@" + l.addr.API, nil
}

// coreAddresses tells joining hosts what to dial.
func (l *life) coreAddresses() []string {
	own := l.addr.Plane
	if a, err := net.ResolveTCPAddr("tcp", own); err == nil {
		own = advertised(l.cfg.Plane.Advertise, a)
	}
	return []string{own}
}

// complete finds candidates for the doors.
func (l *life) complete(ctx context.Context, kind, prefix string) ([]string, error) {
	if kind == "hosts" || kind == "labels" {
		members, err := l.plane.Members(ctx)
		if err != nil {
			return nil, err
		}
		return candidates(members, kind, prefix), nil
	}
	for _, r := range l.ribs {
		if find := r.Complete[kind]; find != nil {
			return find(ctx, prefix)
		}
	}
	all, err := l.access.Completions(ctx, kind)
	return slices.DeleteFunc(all, func(c string) bool { return !strings.HasPrefix(c, prefix) }), err
}

// catalog is everything that this process can do.
func (l *life) catalog() action.Catalog {
	var all []action.Action
	for _, r := range l.ribs {
		all = append(all, r.Actions...)
	}
	all = append(all, l.access.Actions()...)
	all = append(all, l.hosts.actions()...)
	return action.NewCatalog(all...)
}
