// Package release brings a release to every host: stored once on a core, spread
// from host to host, unpacked where it arrives, made live in waves, taken back in
// a second.
//
// The core holds three kinds of document. A release says what was pushed; an app
// says which release is wanted where, with which settings; a deploy is the story
// of one change of that, from which any core can go on where another stopped.
// Hosts serve commands (release.stage, release.activate, …) that are idempotent
// and know nothing of waves; package site has them. What to do next is decided by
// package rollout, a pure function.
//
// The invariants: nothing is live that was not verified; current names a complete
// release at every instant; of two deploys of an app one waits or is refused; the
// digest of the manifest in the signed command is the one anchor of integrity.
package release

import (
	"context"
	"runtime"
	"sync"
	"time"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/plane"
	"kaname.dev/kaname/rib"
	"kaname.dev/kaname/rib/release/files"
	"kaname.dev/kaname/rib/release/fleet"
	"kaname.dev/kaname/rib/release/pack"
	"kaname.dev/kaname/rib/release/site"
	"kaname.dev/kaname/rib/release/store"
	"kaname.dev/kaname/rib/release/swarm"
)

// Rib returns the rib, unattached: no I/O happens before Attach.
func Rib() rib.Rib {
	r := newService()
	return rib.Rib{
		Name:    "release",
		Summary: action.Text{EN: "Bring a release to every host, live in waves, and back in a second", JA: "リリースを全ホストへ配り、段階的に公開し、一秒で戻す"},
		Config:  r.config,
		Actions: r.actions(),
		Attach:  r.attach,
		Run:     r.run,
		Reload:  r.reload,
		Checks:  site.Checks(func() site.Settings { return siteSettings(*r.config) }),
		Complete: map[string]func(context.Context, string) ([]string, error){
			"apps": r.completeApps, "releases": r.completeReleases,
		},
	}
}

// service is the rib on one node.
type service struct {
	config *Config // as decoded at the start
	node   rib.Node
	stats  *swarm.Stats
	limits *swarm.Limits
	server *swarm.Server
	meters *meters

	mu     sync.Mutex                    // guards the fields below
	set    Config                        // as it is now
	deps   map[string]*deployment        // those under way on this core, by app
	yields map[string]context.CancelFunc // by app: interrupts hosts that catch up

	// up is closed when the fields below are set; they do not change after.
	up    chan struct{}
	store *store.Store
	site  *site.Site
	files *files.Files

	life context.Context //nolint:containedctx // of Run; what outlives an action's call ends with it
	work sync.WaitGroup  // the deploys under way; Run waits for them
	tell chan emission   // events to put on the record
	look chan struct{}   // makes the converger look at once

	pace     time.Duration // between two looks of the converger
	patience time.Duration // with a host that is lost while it stages
	ttl      time.Duration // of the leases of apps
}

// emission is an event on its way to the plane.
type emission struct {
	topic string
	v     any
}

func newService() *service {
	c := defaultConfig()
	return &service{
		config: &c, up: make(chan struct{}), deps: map[string]*deployment{}, yields: map[string]context.CancelFunc{},
		tell: make(chan emission, 8192), look: make(chan struct{}, 1), pace: 2 * time.Second, patience: patience, ttl: leaseTTL,
	}
}

// settings returns the configuration as it is now.
func (r *service) settings() Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.set
}

// attach readies the rib on this node: routes and counters. Commands follow in Run,
// once the store is open.
func (r *service) attach(n rib.Node) (err error) {
	r.node, r.set = n, *r.config
	if r.stats, err = swarm.NewStats(n.Metrics); err != nil {
		return err
	}
	if r.meters, err = newMeters(n.Metrics); err != nil {
		return err
	}
	r.limits = swarm.NewLimits(int64(r.set.Upload), int64(r.set.Download))
	r.server = swarm.NewServer(swarm.ServerOptions{Caller: caller, Limits: r.limits, Stats: r.stats, Log: n.Log})
	r.server.Register(n.Peers)
	return nil
}

// reload takes over what can change while the rib runs: limits, what is allowed,
// trusted keys. The quota waits for the next start.
func (r *service) reload(config any) {
	c, ok := config.(*Config)
	if !ok {
		return
	}
	r.mu.Lock()
	r.set = *c
	r.mu.Unlock()
	r.limits.Set(int64(c.Upload), int64(c.Download))
}

// ready waits until the store is open.
func (r *service) ready(ctx context.Context) error {
	select {
	case <-r.up:
		return nil
	case <-ctx.Done():
		return fault.Unavailable("the release store is not open yet").At(r.node.Host).Because(context.Cause(ctx)).Try("see the log: journalctl -u kaname")
	}
}

// run is the rib's loop on this node.
func (r *service) run(ctx context.Context) error {
	if err := r.open(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	r.mu.Lock()
	r.life = ctx
	r.mu.Unlock()
	var loops sync.WaitGroup
	defer r.work.Wait()
	defer loops.Wait()
	defer cancel()
	if err := r.openFiles(); err != nil {
		return err
	}
	defer r.files.Close()
	loops.Go(func() { r.serveTuggle(ctx) })
	r.site.Start(ctx)
	loops.Go(func() { r.record(ctx) })
	loops.Go(func() { r.site.Resume(ctx) })
	if r.node.Plane.IsCore() {
		loops.Go(func() { r.converge(ctx) })
	}
	select {
	case <-r.up:
	default:
		if err := r.site.Serve(r.node.Plane); err != nil {
			return err
		}
		close(r.up)
	}
	<-ctx.Done()
	return nil
}

// open opens the store, once in the life of the process.
func (r *service) open(ctx context.Context) (err error) {
	if r.store != nil {
		return nil
	}
	s := r.settings()
	r.store, err = store.Open(ctx, store.Options{Dir: r.node.Dir + "/store", Quota: int64(s.Quota), Log: r.node.Log, Pack: pack.Options{Workers: spare()}})
	if err != nil {
		return err
	}
	r.site, err = site.New(site.Options{
		Host: r.node.Host, Place: fleet.Place(r.node.Labels), Core: r.node.Plane.IsCore(), Root: r.node.Root,
		Store: r.store, Server: r.server, Limits: r.limits, Stats: r.stats, Client: r.node.PeerClient,
		Settings: func() site.Settings { return siteSettings(r.settings()) }, Log: r.node.Log, Tell: r.say,
	})
	return err
}

// leaseTTL is how long a deploy's lease lasts unrenewed: long enough for a core that is
// short of processors for a while, since letting go of a deploy is worse than a core's
// death being noticed late.
const leaseTTL = 15 * time.Second

// spare returns how many blocks are compressed at a time: one processor is left for the
// plane, which has leases to renew meanwhile.
func spare() int { return max(runtime.GOMAXPROCS(0)-1, 1) }

// siteSettings returns what the configuration allows on this host.
func siteSettings(s Config) site.Settings {
	return site.Settings{
		Root: s.Root, Roots: s.Roots, Keep: s.Keep, RequireSignature: s.RequireSignature, TrustedKeys: s.TrustedKeys,
		Hooks: s.Hooks, HookUser: s.HookUser,
	}
}

// say puts an event on the record soon; when too many wait, it is dropped and logged.
func (r *service) say(topic string, v any) {
	select {
	case r.tell <- emission{topic, v}:
	default:
		r.node.Log.Warn("event is not recorded: too many wait", "topic", topic)
	}
}

// record writes events until ctx ends; those that wait then are lost with the process.
func (r *service) record(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-r.tell:
			if err := r.node.Plane.Emit(ctx, e.topic, e.v); err != nil && ctx.Err() == nil {
				r.node.Log.Warn("event is not recorded", "topic", e.topic, "err", err)
			}
		}
	}
}

// documents of the rib.
func (r *service) releases() plane.Docs[releaseDoc] {
	return plane.Documents[releaseDoc](r.node.Plane, "release.releases")
}

func (r *service) apps() plane.Docs[appDoc] {
	return plane.Documents[appDoc](r.node.Plane, "release.apps")
}

func (r *service) deploys() plane.Docs[deployDoc] {
	return plane.Documents[deployDoc](r.node.Plane, "release.deploys")
}
