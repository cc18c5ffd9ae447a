package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kaname.dev/kaname/access"
	"kaname.dev/kaname/config"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib"
)

// drainFor is how long a graceful stop may take; the unit's TimeoutStopSec is
// longer.
const drainFor = 25 * time.Second

// Options say what lives here and with which configuration.
type Options struct {
	Config config.Options   // without Sections: those come from the ribs
	Ribs   func() []rib.Rib // fresh, unattached values
	Core   bool             // whether this host must be a core; false: it must not be one
	Log    io.Writer        // for log lines; standard error when nil
	// Ready, if not nil, is called once, when everything runs.
	Ready func(Addresses)
}

// Addresses are where a running agent is reached; empty means not at all.
type Addresses struct {
	Host    string `json:"host"`
	Plane   string `json:"plane,omitempty"`   // host:port for hosts, on cores
	API     string `json:"api,omitempty"`     // host:port of API and console, on cores
	Socket  string `json:"socket,omitempty"`  // path of the unix socket, on cores
	Peer    string `json:"peer,omitempty"`    // host:port told to other hosts
	Private string `json:"private,omitempty"` // host:port of metrics and health
}

// life is one run of an agent.
type life struct {
	o        Options
	cfg      *config.Loaded
	logs     *logs
	log      *slog.Logger
	health   *health
	registry *prometheus.Registry
	restarts *prometheus.CounterVec
	ribs     []rib.Rib
	name     string // of this host
	addr     Addresses
	plane    *plane.Plane
	peers    *peers
	access   *access.Access
	hosts    *hosts
	webNames []string // in the certificate of the API, on cores

	labelLock sync.Mutex // of the file of labels

	work   sync.WaitGroup // every goroutine that the agent owns
	failed chan error     // a listener that broke
	undo   []undo         // how to stop, in the order of the start
}

// undo stops one part.
type undo struct {
	name string
	stop func(ctx context.Context) error
}

func (l *life) onStop(name string, stop func(ctx context.Context) error) {
	l.undo = append(l.undo, undo{name, stop})
}

// Run lives until ctx ends, a signal asks it to stop, or a part that cannot be
// restarted breaks. It returns nil after a stop that was asked for.
func Run(ctx context.Context, o Options) error {
	if o.Log == nil {
		o.Log = os.Stderr
	}
	l := &life{o: o, health: newHealth(), registry: newRegistry(ThisBuild()), failed: make(chan error, 8), access: access.New(), hosts: &hosts{}}
	sig := watchSignals()
	defer sig.stop()
	hard, now := context.WithCancelCause(context.WithoutCancel(ctx))
	defer now(nil)

	err := l.start(ctx)
	if err == nil {
		err = l.wait(ctx, sig)
	}
	notifyReadyToStop(l)
	l.work.Go(func() { sig.second(hard, now) })
	stopErr := l.stop(hard)
	now(nil)
	l.work.Wait()
	return errors.Join(err, stopErr)
}

// notifyReadyToStop tells systemd and the log that the stop begins.
func notifyReadyToStop(l *life) {
	if l.logs == nil {
		return // the configuration was refused: nothing has begun
	}
	notifyStopping(l.log)
	l.log.Info("stopping")
}

// start brings the parts up in the order in which they need each other.
func (l *life) start(ctx context.Context) error {
	if err := l.configure(); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func(ctx context.Context) error
	}{
		{"state directory", l.openDir},
		{"private listener", l.openPrivate},
		{"peer listener", l.openPeers},
		{"plane", l.openPlane},
		{"ribs", l.attachRibs},
		{"loops", l.startLoops},
		{"api", l.openAPI},
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step.do(ctx); err != nil {
			l.health.set(step.name, false, err.Error())
			return err
		}
	}
	l.log.Info("ready", "core", l.o.Core, "plane", l.addr.Plane, "api", l.addr.API,
		"socket", l.addr.Socket, "peer", l.addr.Peer, "private", l.addr.Private, "version", ThisBuild().Version)
	notifyReady(l.log, "serving as "+l.name)
	if l.o.Ready != nil {
		l.o.Ready(l.addr)
	}
	return nil
}

// configure reads the configuration and opens the log.
func (l *life) configure() error {
	cfg, ribs, err := l.load()
	if err != nil {
		return err
	}
	host := plane.Mode(cfg.Plane.Mode) == plane.Host
	switch {
	case l.o.Core && host:
		return fault.Invalid(`plane.mode is host, but "kaname up" runs a core`).At(cfg.Origin("plane.mode")).Try(`run "kaname agent" here, or set plane.mode to embedded, cluster or external`)
	case !l.o.Core && !host:
		return fault.Invalid("plane.mode is " + cfg.Plane.Mode + `, but "kaname agent" runs a plain host`).At(cfg.Origin("plane.mode")).Try(`run "kaname up" here, or let this host join a plane: kaname join TOKEN`)
	}
	l.cfg, l.ribs = cfg, ribs
	l.name = HostName(cfg.Config)
	l.logs = newLogs(cfg.Log, l.o.Log)
	l.log = l.logs.With("host", l.name)
	for _, w := range cfg.Warnings {
		l.log.Warn(w)
	}
	return nil
}

// load reads the configuration anew, with fresh ribs.
func (l *life) load() (*config.Loaded, []rib.Rib, error) {
	ribs := l.o.Ribs()
	o := l.o.Config
	o.Sections = Sections(ribs)
	cfg, err := config.Load(o)
	return cfg, ribs, err
}

// Sections returns the ribs' configuration sections by name.
func Sections(ribs []rib.Rib) map[string]any {
	m := map[string]any{}
	for _, r := range ribs {
		if r.Config != nil {
			m[r.Name] = r.Config
		}
	}
	return m
}

// HostName returns the host's name in the plane: as configured, else the first
// part of the machine's own name.
func HostName(c config.Config) string {
	if c.Host.Name != "" {
		return c.Host.Name
	}
	return machineName()
}

// planeDir is where the plane keeps its state, the identity in its folder trust.
func planeDir(c config.Config) string { return filepath.Join(c.Host.Dir, "plane") }

// wait returns nil when it is time to stop, or the error of a part that broke.
func (l *life) wait(ctx context.Context, sig *signals) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-l.failed:
			return err
		case s := <-sig.c:
			switch kindOf(s) {
			case reload:
				l.reload()
			case dump:
				dumpStacks(l.o.Log)
			case halt:
				l.log.Info("asked to stop", "signal", s.String())
				return nil
			}
		}
	}
}

// stop undoes the start in reverse. Each part drains until ctx ends or drainFor
// has passed.
func (l *life) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainFor)
	defer cancel()
	var errs []error
	for _, u := range slices.Backward(l.undo) {
		if err := u.stop(ctx); err != nil {
			errs = append(errs, fault.Timeout(u.name+" did not stop cleanly").Because(err))
		}
	}
	return errors.Join(errs...)
}
