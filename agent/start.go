package agent

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib"
)

// openDir makes the state directory and locks it, so that no second agent works
// in it.
func (l *life) openDir(context.Context) error {
	dir := l.cfg.Host.Dir
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fault.Denied("state directory " + dir + " cannot be made").Because(err).Try("run as root, or set host.dir")
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fault.Denied("state directory " + dir + " cannot be written").Because(err).Try("run as root, or set host.dir")
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return fault.Conflict("another kaname runs with the state directory " + dir).Try("stop it (systemctl stop kaname kaname-agent), or set another host.dir")
	}
	l.onStop("state directory", func(context.Context) error { return f.Close() })
	return nil
}

// listen opens a TCP listener; the fault tells what to do when the port is taken.
func listen(ctx context.Context, what, address string) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", address)
	if err == nil {
		return ln, nil
	}
	f := fault.Unavailable("listener " + what + " cannot take " + address).Because(err)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, f.Try("see who has the port: ss -ltnp; or set " + what + ".listen")
	}
	return nil, f.Try("set " + what + ".listen to an address of this machine")
}

// serve serves HTTP on a listener until the agent stops; then it lets requests
// finish.
func (l *life) serve(what string, ln net.Listener, srv *http.Server) {
	l.health.set("listener "+what, true, ln.Addr().String())
	l.work.Go(func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			l.health.set("listener "+what, false, err.Error())
			l.failed <- fault.Internal("listener " + what + " broke").Because(err)
		}
	})
	l.onStop("listener "+what, func(ctx context.Context) error {
		if err := srv.Shutdown(ctx); err != nil {
			return errors.Join(err, srv.Close())
		}
		return nil
	})
}

// openPrivate serves metrics, health and profiles.
func (l *life) openPrivate(ctx context.Context) error {
	l.restarts = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kaname_loop_failures_total", Help: "Times that a loop of a rib failed and was started again."}, []string{"loop"})
	ready := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "kaname_ready", Help: "Whether all parts are well."}, func() float64 {
		if _, ok := l.health.report(); ok {
			return 1
		}
		return 0
	})
	l.registry.MustRegister(l.restarts, ready)
	if l.cfg.Metrics.Listen == "" {
		return nil
	}
	ln, err := listen(ctx, "metrics", l.cfg.Metrics.Listen)
	if err != nil {
		return err
	}
	l.addr.Private = ln.Addr().String()
	h := private{registry: l.registry, logs: l.logs, ready: l.readiness, alive: l.alive, checks: l.checks}
	l.serve("private", ln, &http.Server{Handler: h.handler(), ReadHeaderTimeout: 10 * time.Second})
	return nil
}

// readiness is the answer of /readyz.
func (l *life) readiness() Readiness {
	r := Readiness{Host: l.name, Core: l.o.Core, Version: ThisBuild().Version, Protocol: Protocol}
	r.Parts, r.Ready = l.health.report()
	return r
}

// openPlane opens or joins the plane.
func (l *life) openPlane(ctx context.Context) error {
	c := l.cfg.Plane
	l.health.set("plane", false, "opening")
	p, err := plane.Open(ctx, plane.Options{
		Host: l.name, Dir: planeDir(l.cfg.Config), Mode: plane.Mode(c.Mode), Labels: l.labels(), Version: ThisBuild().Version,
		Address: l.addr.Peer, Listen: c.Listen, Cores: c.Cores,
		Cluster:  plane.ClusterOptions{Name: c.Cluster.Name, Listen: c.Cluster.Listen, Peers: c.Cluster.Peers},
		External: plane.ExternalOptions{URL: c.External.URL, Credentials: c.External.CredentialsFile},
		Log:      l.logs.Logger, // it names the host itself
	})
	if err != nil {
		return err
	}
	l.plane = p
	l.addr.Host, l.addr.Plane = l.name, p.ListenAddress()
	l.onStop("plane", p.Close)
	return l.serveCommands()
}

// attachRibs readies each rib on this host.
func (l *life) attachRibs(context.Context) error {
	catalog := l.catalog()
	for _, r := range l.ribs {
		if r.Attach == nil {
			continue
		}
		if err := l.attach(r, catalog); err != nil {
			return fault.Of(err).At("rib " + r.Name)
		}
		l.log.Debug("rib attached", "rib", r.Name)
	}
	return nil
}

func (l *life) attach(r rib.Rib, catalog action.Catalog) error {
	dir := filepath.Join(l.cfg.Host.Dir, r.Name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	l.onStop("directory of rib "+r.Name, func(context.Context) error { return root.Close() })
	return r.Attach(rib.Node{
		Host: l.name, Labels: l.labels(), Log: l.log.With("rib", r.Name), Plane: l.plane, Dir: dir, Root: root,
		Metrics: l.registry, Peers: l.peers.mux, PeerClient: l.peers.client, Actions: catalog,
	})
}

// startLoops starts the ribs' loops and the agent's own.
func (l *life) startLoops(context.Context) error {
	l.servePeers()                                          // only now do the ribs' routes stand
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // the loops outlive the start's context and end by the stop below
	loops := l.ownLoops()
	for _, r := range l.ribs {
		if r.Run == nil {
			continue
		}
		name := "rib " + r.Name
		loops = append(loops, loop{name: name, run: r.Run, fails: func() { l.restarts.WithLabelValues(name).Inc() }})
	}
	for _, lp := range loops {
		l.work.Go(func() { lp.keep(ctx, l.health, l.log) })
	}
	l.work.Go(func() { watchdog(ctx, l.log, l.alive) })
	l.onStop("loops", func(context.Context) error { cancel(); return nil })
	return nil
}
